/* Rotary embedding on the fused projection [t, hk, g + 2, d]: split and rotate, or back. A warp
 * takes a token, so that the cosines and sines of its position are read once and kept for all its
 * heads. Floor: 4 bytes an element of qkv (bf16). */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
struct heads {
  int64_t n, n_kv, d;
};
/* Where unit u (of n_kv (g + 2)) of token t lies outside the fused tensor. */
template <class T> struct unfused {
  T *q, *k, *v;
  __device__ __forceinline__ T *at(const heads &h, int64_t t, int64_t u, bool *rotate) const {
    const int64_t g = h.n / h.n_kv, kv = u / (g + 2), i = u % (g + 2);
    *rotate = i <= g;
    if (i < g)
      return q + (t * h.n + kv * g + i) * h.d;
    return (i == g ? k : v) + (t * h.n_kv + kv) * h.d;
  }
};
/* Lane l has the V pairs from (l % n_lanes) V of the units l / n_lanes, l / n_lanes + 32 / n_lanes,
 * ... Where a half has more than 32 V pairs, the lanes go over it again. */
template <class T, class From, class To, int V>
__device__ __forceinline__ void rotate_token(const heads &h, int64_t t, const float *cos,
                                             const float *sin, float sign, From from, To to) {
  const int lane = threadIdx.x % 32;
  const int64_t half = h.d / 2, vectors = half / V, units = h.n_kv * (h.n / h.n_kv + 2);
  const int64_t n_lanes = vectors < 32 ? vectors : 32, side = 32 / n_lanes;
  if (lane >= n_lanes * side)
    return;
  for (int64_t i = lane % n_lanes * V; i < half; i += n_lanes * V) {
    float c[V], s[V];
    load<float, V>(cos + i, c);
    load<float, V>(sin + i, s);
    for (int64_t u = lane / n_lanes; u < units; u += side) {
      bool rotate;
      const T *x = from(t, u, &rotate);
      T *y = to(t, u, &rotate);
      float a[V], b[V];
      load<T, V>(x + i, a);
      load<T, V>(x + half + i, b);
      if (rotate) {
#pragma unroll
        for (int k = 0; k < V; k++) {
          const float low = a[k] * c[k] - sign * b[k] * s[k];
          b[k] = b[k] * c[k] + sign * a[k] * s[k];
          a[k] = low;
        }
      }
      store<T, V>(y + i, a);
      store<T, V>(y + half + i, b);
    }
  }
}
template <class T, int V, bool BACK>
__global__ void __launch_bounds__(128)
    rope(int64_t n, heads h, const int32_t *positions, const float *cos, const float *sin, T *fused,
         unfused<T> split) {
  const int64_t units = h.n_kv * (h.n / h.n_kv + 2);
  auto in_fused = [=](int64_t t, int64_t u, bool *) { return fused + (t * units + u) * h.d; };
  auto in_split = [=](int64_t t, int64_t u, bool *r) { return split.at(h, t, u, r); };
  for (int64_t t = (int64_t)blockIdx.x * 4 + threadIdx.x / 32; t < n; t += (int64_t)gridDim.x * 4) {
    const int64_t row = positions[t] * (h.d / 2);
    if constexpr (BACK)
      rotate_token<T, decltype(in_split), decltype(in_fused), V>(h, t, cos + row, sin + row, -1.0f,
                                                                 in_split, in_fused);
    else
      rotate_token<T, decltype(in_fused), decltype(in_split), V>(h, t, cos + row, sin + row, 1.0f,
                                                                 in_fused, in_split);
  }
}
template <bool BACK, class T>
void launch(cuda_op &op, int64_t n, const heads &h, const int32_t *positions, const float *cos,
            const float *sin, T *fused, const unfused<T> &s) {
  constexpr int V = 16 / sizeof(T);
  const unsigned grid = grid_for(op, ceil_div(n, 4), 16);
  if (aligned16(cos, sin, fused, s.q, s.k, s.v) && h.d / 2 % V == 0)
    LRL_LAUNCH(op, (rope<T, V, BACK>), grid, 128, 0, n, h, positions, cos, sin, fused, s);
  else
    LRL_LAUNCH(op, (rope<T, 1, BACK>), grid, 128, 0, n, h, positions, cos, sin, fused, s);
}
} // namespace

lrl_status cuda_rope_qkv_fwd(struct lrl_ctx *ctx, const struct lrl_rope_qkv_fwd_args *a) {
  const int64_t wq = a->n_heads * a->head_dim, wk = a->n_kv_heads * a->head_dim, n = a->n_tokens;
  if (n * wq == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int32_t *positions = op.in(a->positions, n);
  const float *cos = op.in(a->cos, a->n_positions * a->head_dim / 2);
  const float *sin = op.in(a->sin, a->n_positions * a->head_dim / 2);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const unfused<T> s = {op.out_as<T>(a->q, n * wq), op.out_as<T>(a->k, n * wk),
                          op.out_as<T>(a->v, n * wk)};
    launch<false>(op, n, heads{a->n_heads, a->n_kv_heads, a->head_dim}, positions, cos, sin,
                  const_cast<T *>(op.in_as<T>(a->qkv, n * (wq + 2 * wk))), s);
  });
  return op.done();
}
lrl_status cuda_rope_qkv_bwd(struct lrl_ctx *ctx, const struct lrl_rope_qkv_bwd_args *a) {
  const int64_t wq = a->n_heads * a->head_dim, wk = a->n_kv_heads * a->head_dim, n = a->n_tokens;
  if (n * wq == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int32_t *positions = op.in(a->positions, n);
  const float *cos = op.in(a->cos, a->n_positions * a->head_dim / 2);
  const float *sin = op.in(a->sin, a->n_positions * a->head_dim / 2);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const unfused<T> s = {const_cast<T *>(op.in_as<T>(a->dq, n * wq)),
                          const_cast<T *>(op.in_as<T>(a->dk, n * wk)),
                          const_cast<T *>(op.in_as<T>(a->dv, n * wk))};
    launch<true>(op, n, heads{a->n_heads, a->n_kv_heads, a->head_dim}, positions, cos, sin,
                 op.out_as<T>(a->dqkv, n * (wq + 2 * wk)), s);
  });
  return op.done();
}
