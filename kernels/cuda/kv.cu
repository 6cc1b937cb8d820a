/* Writing tokens into the pages of the key/value cache (kernels/kv_page.h). */
#include "kernels/cuda/map.cuh"

namespace {
/* The functions of kernels/kv_page.h on the device. */
__device__ __forceinline__ int64_t head_size(int64_t d) {
  return LRL_KV_PAGE * ((d + LRL_KV_PANEL - 1) / LRL_KV_PANEL * LRL_KV_PANEL);
}
template <class T> __device__ __forceinline__ int64_t in_panel(int64_t k, int64_t c) {
  return sizeof(T) == 2 ? (k / 2 * LRL_KV_PANEL + c) * 2 + k % 2 : k * LRL_KV_PANEL + c;
}
template <class T> __device__ __forceinline__ int64_t key_at(int64_t d, int64_t slot, int64_t i) {
  const int64_t panel = head_size(d) / (LRL_KV_PAGE / LRL_KV_PANEL);
  return slot / LRL_KV_PANEL * panel + in_panel<T>(i, slot % LRL_KV_PANEL);
}
template <class T> __device__ __forceinline__ int64_t value_at(int64_t slot, int64_t i) {
  return i / LRL_KV_PANEL * LRL_KV_PAGE * LRL_KV_PANEL + in_panel<T>(slot, i % LRL_KV_PANEL);
}

template <class T> struct write_of {
  int64_t n_kv, d;
  const int32_t *slots;
  const T *k, *v;
  T *k_pages, *v_pages;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t t = i / (n_kv * d), h = i / d % n_kv, c = i % d, slot = slots[t];
    if (slot < 0)
      return;
    const int64_t head = (slot / LRL_KV_PAGE * n_kv + h) * head_size(d);
    k_pages[head + key_at<T>(d, slot % LRL_KV_PAGE, c)] = k[i];
    v_pages[head + value_at<T>(slot % LRL_KV_PAGE, c)] = v[i];
  }
};
} // namespace

lrl_status cuda_kv_write(struct lrl_ctx *ctx, const struct lrl_kv_write_args *a) {
  cuda_op op(ctx);
  const int64_t n = a->n_tokens * a->n_kv_heads * a->head_dim;
  const int64_t pages = a->n_pages * a->n_kv_heads * lrl_kv_head_size(a->head_dim);
  const int32_t *slot = op.in(a->slot, a->n_tokens);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *k = op.in_as<T>(a->k, n), *v = op.in_as<T>(a->v, n);
    T *k_pages = op.inout_as<T>(a->k_pages, pages), *v_pages = op.inout_as<T>(a->v_pages, pages);
    map<1>(op, n, false, write_of<T>{a->n_kv_heads, a->head_dim, slot, k, v, k_pages, v_pages});
  });
  return op.done();
}
