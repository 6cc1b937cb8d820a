/* The paged key/value cache: writing tokens into pages and decoding from them. Pages are laid out
 * as kernels/kv_page.h says, which lets 32 lanes read 32 keys, or 32 dimensions, side by side. */
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

enum { NT = 64, MOST = 4 }; /* a thread has a slot of the page and up to MOST dimensions */
template <class T>
__global__ void __launch_bounds__(NT)
    decode(int64_t n_heads, int64_t n_kv, int64_t d, float scale, const int32_t *page_start,
           const int32_t *page, const int32_t *used, const T *q, const T *k_pages, const T *v_pages,
           T *o) {
  __shared__ float qs[NT * MOST], p[NT];
  const int64_t t = blockIdx.x, h = blockIdx.y, kv = h / (n_heads / n_kv),
                row = (t * n_heads + h) * d;
  const int tid = threadIdx.x;
  float acc[MOST] = {}, top = -INFINITY, sum = 0.0f;
  for (int64_t i = tid; i < d; i += NT)
    qs[i] = to_float(q[row + i]);
  __syncthreads();
  for (int32_t e = page_start[t]; e < page_start[t + 1]; e++) {
    const int64_t head = (page[e] * n_kv + kv) * head_size(d);
    float s = -INFINITY;
    if (tid < used[e]) {
      s = 0.0f;
      for (int64_t i = 0; i < d; i++)
        s += qs[i] * to_float(k_pages[head + key_at<T>(d, tid, i)]);
      s *= scale;
    }
    const float most = fmaxf(top, block_reduce<NT>(s, max_of{}, -INFINITY));
    const float fade = expf(top - most), w = expf(s - most);
    p[tid] = w;
    sum = sum * fade + block_sum<NT>(w); /* its barriers publish p */
    top = most;
#pragma unroll
    for (int m = 0; m < MOST; m++) {
      const int64_t i = tid + m * NT;
      if (i < d) {
        acc[m] *= fade;
        for (int slot = 0; slot < used[e]; slot++)
          acc[m] += p[slot] * to_float(v_pages[head + value_at<T>(slot, i)]);
      }
    }
    __syncthreads(); /* p is written again */
  }
#pragma unroll
  for (int m = 0; m < MOST; m++) {
    const int64_t i = tid + m * NT;
    if (i < d)
      from_float(&o[row + i], sum > 0.0f ? acc[m] / sum : 0.0f);
  }
}
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
lrl_status cuda_attention_decode(struct lrl_ctx *ctx, const struct lrl_attention_decode_args *a) {
  const int64_t n = a->n_tokens * a->n_heads * a->head_dim;
  if (n == 0)
    return LRL_OK;
  if (a->head_dim > NT * MOST)
    return LRL_FAIL(LRL_ERR_ARG, "device cuda: heads of %lld elements, at most %d are possible",
                    (long long)a->head_dim, NT * MOST);
  cuda_op op(ctx);
  const int64_t pages = a->n_pages * a->n_kv_heads * lrl_kv_head_size(a->head_dim);
  const int64_t listed = a->page_start[a->n_tokens];
  const int32_t *start = op.in(a->page_start, a->n_tokens + 1), *page = op.in(a->page, listed);
  const int32_t *used = op.in(a->used, listed);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *q = op.in_as<T>(a->q, n), *k = op.in_as<T>(a->k_pages, pages);
    const T *v = op.in_as<T>(a->v_pages, pages);
    T *o = op.out_as<T>(a->o, n);
    LRL_LAUNCH(op, decode<T>, dim3((unsigned)a->n_tokens, (unsigned)a->n_heads), NT, 0, a->n_heads,
               a->n_kv_heads, a->head_dim, a->scale, start, page, used, q, k, v, o);
  });
  return op.done();
}
