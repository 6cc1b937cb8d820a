/* Attention, forward and backward, for every type and head size: a warp takes a query (forward and
 * dq) or a key (dk and dv), 32 of the others at a time. No atomics: sums follow the order of
 * positions, so the bits of a sequence depend on its own and its parent's tokens only. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cudnn.cuh"

namespace {
/* Lane l of a warp keeps dimensions l, l + 32, ...: M of them. */
template <class T, int M>
__device__ __forceinline__ void load_row(const T *p, int d, float (&x)[M]) {
#pragma unroll
  for (int m = 0; m < M; m++) {
    const int i = m * 32 + (int)(threadIdx.x % 32);
    x[m] = i < d ? to_float(p[i]) : 0.0f;
  }
}
template <class T, int M>
__device__ __forceinline__ void store_row(T *p, int d, const float (&x)[M], float scale) {
#pragma unroll
  for (int m = 0; m < M; m++) {
    const int i = m * 32 + (int)(threadIdx.x % 32);
    if (i < d)
      from_float(&p[i], x[m] * scale);
  }
}
/* a . row of this lane, a in shared memory. */
template <class T> __device__ __forceinline__ float dot(const float *a, const T *row, int d) {
  float s = 0.0f;
  for (int i = 0; i < d; i++)
    s += a[i] * to_float(row[i]);
  return s;
}
template <class T, int M>
__global__ void __launch_bounds__(WARPS * 32) forward(attention_args<T> a, T *o, float *lse) {
  __shared__ float qs[WARPS][M * 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = a.d;
  const int64_t h = blockIdx.y, row = (int64_t)blockIdx.x * WARPS + warp,
                kv = h / (a.n_heads / a.n_kv);
  if (row >= a.n)
    return;
  const key_range keys = a.keys_of(row);
  float acc[M] = {}, top = -INFINITY, sum = 0.0f;
  for (int i = lane; i < d; i += 32)
    qs[warp][i] = to_float(a.q[row * a.ld_q + h * d + i]);
  __syncwarp();
  for (int64_t j0 = 0; j0 < keys.n; j0 += 32) {
    const int64_t r = keys.row(j0 + lane);
    const bool in = j0 + lane < keys.n;
    const float s = in ? a.scale * dot(qs[warp], a.k + r * a.ld_k + kv * d, d) : -INFINITY;
    const float most = fmaxf(top, warp_reduce(s, max_of{}));
    const float p = expf(s - most), fade = expf(top - most);
    sum = sum * fade + warp_reduce(p, sum_of{});
    top = most;
#pragma unroll
    for (int m = 0; m < M; m++)
      acc[m] *= fade;
    const int here = keys.n - j0 < 32 ? (int)(keys.n - j0) : 32;
    for (int k = 0; k < here; k++) {
      const float w = __shfl_sync(0xffffffffu, p, k);
      float v[M];
      load_row<T, M>(a.v + keys.row(j0 + k) * a.ld_v + kv * d, d, v);
#pragma unroll
      for (int m = 0; m < M; m++)
        acc[m] += w * v[m];
    }
  }
  store_row<T, M>(o + row * a.ld_o + h * d, d, acc, sum > 0.0f ? 1.0f / sum : 0.0f);
  if (lane == 0)
    lse[h * a.n + row] = sum > 0.0f ? top + logf(sum) : INFINITY;
}
/* delta[h, t] = do . o */
template <class T, int M>
__global__ void __launch_bounds__(WARPS * 32)
    output_dots(attention_args<T> a, const T *o, const T *d_o, float *delta) {
  const int64_t h = blockIdx.y, row = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= a.n)
    return;
  float x[M], y[M], s = 0.0f;
  load_row<T, M>(o + row * a.ld_o + h * a.d, a.d, x);
  load_row<T, M>(d_o + row * a.ld_o + h * a.d, a.d, y);
#pragma unroll
  for (int m = 0; m < M; m++)
    s += x[m] * y[m];
  s = warp_reduce(s, sum_of{});
  if (threadIdx.x % 32 == 0)
    delta[h * a.n + row] = s;
}
template <class T, int M>
__global__ void __launch_bounds__(WARPS * 32)
    backward_q(attention_args<T> a, const T *d_o, const float *lse, const float *delta, T *dq) {
  __shared__ float qs[WARPS][M * 32], os[WARPS][M * 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = a.d;
  const int64_t h = blockIdx.y, row = (int64_t)blockIdx.x * WARPS + warp,
                kv = h / (a.n_heads / a.n_kv);
  if (row >= a.n)
    return;
  const key_range keys = a.keys_of(row);
  const float l = lse[h * a.n + row], dl = delta[h * a.n + row];
  float acc[M] = {};
  for (int i = lane; i < d; i += 32) {
    qs[warp][i] = to_float(a.q[row * a.ld_q + h * d + i]);
    os[warp][i] = to_float(d_o[row * a.ld_o + h * d + i]);
  }
  __syncwarp();
  for (int64_t j0 = 0; j0 < keys.n; j0 += 32) {
    float ds = 0.0f;
    if (j0 + lane < keys.n) {
      const int64_t r = keys.row(j0 + lane);
      const float p = expf(a.scale * dot(qs[warp], a.k + r * a.ld_k + kv * d, d) - l);
      ds = a.scale * p * (dot(os[warp], a.v + r * a.ld_v + kv * d, d) - dl);
    }
    const int here = keys.n - j0 < 32 ? (int)(keys.n - j0) : 32;
    for (int k = 0; k < here; k++) {
      const float w = __shfl_sync(0xffffffffu, ds, k);
      float x[M];
      load_row<T, M>(a.k + keys.row(j0 + k) * a.ld_k + kv * d, d, x);
#pragma unroll
      for (int m = 0; m < M; m++)
        acc[m] += w * x[m];
    }
  }
  store_row<T, M>(dq + row * a.ld_q + h * d, d, acc, 1.0f);
}
/* Over the queries that see key `row`, for each head of the group: its own sequence's, then those
 * of the sequences that continue it, in order. */
template <class T, int M>
__global__ void __launch_bounds__(WARPS * 32)
    backward_kv(attention_args<T> a, const T *d_o, const float *lse, const float *delta, T *dk,
                T *dv) {
  __shared__ float ks[WARPS][M * 32], vs[WARPS][M * 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = a.d;
  const int64_t kv = blockIdx.y, row = (int64_t)blockIdx.x * WARPS + warp,
                group = a.n_heads / a.n_kv;
  if (row >= a.n)
    return;
  for (int i = lane; i < d; i += 32) {
    ks[warp][i] = to_float(a.k[row * a.ld_k + kv * d + i]);
    vs[warp][i] = to_float(a.v[row * a.ld_v + kv * d + i]);
  }
  __syncwarp();
  const int32_t own = a.seq_of[row];
  float gk[M] = {}, gv[M] = {};
  for (int64_t h = kv * group; h < (kv + 1) * group; h++)
    for (int64_t s = own; s < a.l.n_seqs; s++) {
      if (s != own && a.l.parent[s] != own)
        continue;
      const int64_t end = a.l.start[s] + a.l.length[s];
      for (int64_t i0 = s == own && a.causal ? row : a.l.start[s]; i0 < end; i0 += 32) {
        float p = 0.0f, ds = 0.0f;
        if (i0 + lane < end) {
          const int64_t r = i0 + lane;
          p = expf(a.scale * dot(ks[warp], a.q + r * a.ld_q + h * d, d) - lse[h * a.n + r]);
          ds = a.scale * p * (dot(vs[warp], d_o + r * a.ld_o + h * d, d) - delta[h * a.n + r]);
        }
        const int here = end - i0 < 32 ? (int)(end - i0) : 32;
        for (int k = 0; k < here; k++) {
          const float wp = __shfl_sync(0xffffffffu, p, k), ws = __shfl_sync(0xffffffffu, ds, k);
          float x[M], y[M];
          load_row<T, M>(a.q + (i0 + k) * a.ld_q + h * d, d, x);
          load_row<T, M>(d_o + (i0 + k) * a.ld_o + h * d, d, y);
#pragma unroll
          for (int m = 0; m < M; m++) {
            gk[m] += ws * x[m];
            gv[m] += wp * y[m];
          }
        }
      }
    }
  store_row<T, M>(dk + row * a.ld_k + kv * d, d, gk, 1.0f);
  store_row<T, M>(dv + row * a.ld_v + kv * d, d, gv, 1.0f);
}

/* f(M) with M = registers a lane needs for d dimensions. */
template <class F> lrl_status by_head_dim(int64_t d, F f) {
  if (d <= 32)
    f(std::integral_constant<int, 1>());
  else if (d <= 64)
    f(std::integral_constant<int, 2>());
  else if (d <= 128)
    f(std::integral_constant<int, 4>());
  else if (d <= 256)
    f(std::integral_constant<int, 8>());
  else
    return LRL_FAIL(LRL_ERR_ARG, "device cuda: heads of %lld elements, at most 256 are possible",
                    (long long)d);
  return LRL_OK;
}
/* Rows of width w in a matrix of row stride ld. */
int64_t rows(int64_t n, int64_t w, int64_t ld) { return n > 0 ? (n - 1) * ld + w : 0; }
template <class T, class A> attention_args<T> make_args(cuda_op &op, const A *a) {
  const int64_t n = a->layout->n_tokens, wq = a->n_heads * a->head_dim,
                wk = a->n_kv_heads * a->head_dim;
  attention_args<T> g;
  std::vector<int32_t> seq_of((size_t)n);
  for (int64_t s = 0; s < a->layout->n_seqs; s++)
    for (int64_t i = 0; i < a->layout->length[s]; i++)
      seq_of[(size_t)(a->layout->start[s] + i)] = (int32_t)s;
  const int32_t *on_device = op.upload(seq_of.data(), n);
  g.l = layout_on_device(op, a->layout);
  g.seq_of = on_device;
  g.n = n;
  g.n_heads = a->n_heads;
  g.n_kv = a->n_kv_heads;
  g.d = (int)a->head_dim;
  g.causal = a->causal;
  g.scale = a->scale;
  g.q = op.in_as<T>(a->q, rows(n, wq, a->ld_q));
  g.k = op.in_as<T>(a->k, rows(n, wk, a->ld_k));
  g.v = op.in_as<T>(a->v, rows(n, wk, a->ld_v));
  g.ld_q = a->ld_q;
  g.ld_k = a->ld_k;
  g.ld_v = a->ld_v;
  g.ld_o = a->ld_o;
  return g;
}
dim3 grid_of(int64_t n, int64_t heads) {
  return dim3((unsigned)ceil_div(n, WARPS), (unsigned)heads);
}
} // namespace

lrl_status cuda_attention_fwd(struct lrl_ctx *ctx, const struct lrl_attention_fwd_args *a) {
  const int64_t n = a->layout->n_tokens, wq = a->n_heads * a->head_dim;
  if (n == 0 || wq == 0)
    return LRL_OK;
  cuda_op op(ctx);
  lrl_status s = LRL_OK;
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const attention_args<T> g = make_args<T>(op, a);
    /* Columns between the heads' rows are the caller's. */
    T *o = op.inout_as<T>(a->o, rows(n, wq, a->ld_o));
    float *lse = op.out(a->lse, a->n_heads * n);
    if (ctx->cudnn[LRL_CUDNN_ATTENTION].asked) {
      const char *refused = "f32";
      if constexpr (sizeof(T) == 2)
        s = cudnn_forward(op, g, a->layout, o, lse, &refused);
      if (refused == NULL || s != LRL_OK)
        return;
      ctx->cudnn[LRL_CUDNN_ATTENTION].refused = refused;
    }
    if constexpr (sizeof(T) == 2)
      if (flash_takes(g, o))
        return flash_forward(op, g, a->layout, o, lse);
    s = by_head_dim(a->head_dim, [&](auto m) {
      LRL_LAUNCH(op, (forward<T, decltype(m)::value>), grid_of(n, a->n_heads), WARPS * 32, 0, g, o,
                 lse);
    });
  });
  const lrl_status done = op.done();
  return s != LRL_OK ? s : done;
}

lrl_status cuda_attention_bwd(struct lrl_ctx *ctx, const struct lrl_attention_bwd_args *a) {
  const int64_t n = a->layout->n_tokens, wq = a->n_heads * a->head_dim,
                wk = a->n_kv_heads * a->head_dim;
  if (n == 0 || wq == 0)
    return LRL_OK;
  cuda_op op(ctx);
  lrl_status s = LRL_OK;
  const float *lse = op.in(a->lse, a->n_heads * n);
  float *delta = op.scratch<float>(a->n_heads * n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const attention_args<T> g = make_args<T>(op, a);
    const T *o = op.in_as<T>(a->o, rows(n, wq, a->ld_o)),
            *d_o = op.in_as<T>(a->d_o, rows(n, wq, a->ld_o));
    T *dq = op.inout_as<T>(a->dq, rows(n, wq, a->ld_q)),
      *dk = op.inout_as<T>(a->dk, rows(n, wk, a->ld_k));
    T *dv = op.inout_as<T>(a->dv, rows(n, wk, a->ld_v));
    s = by_head_dim(a->head_dim, [&](auto m) {
      const dim3 heads = grid_of(n, a->n_heads), kv_heads = grid_of(n, a->n_kv_heads);
      LRL_LAUNCH(op, (output_dots<T, decltype(m)::value>), heads, WARPS * 32, 0, g, o, d_o, delta);
      if constexpr (sizeof(T) == 2)
        if (flash_takes(g, d_o) && aligned16(dq, dk, dv))
          return flash_backward(op, g, a->layout, d_o, lse, delta, dq, dk, dv);
      LRL_LAUNCH(op, (backward_q<T, decltype(m)::value>), heads, WARPS * 32, 0, g, d_o, lse, delta,
                 dq);
      LRL_LAUNCH(op, (backward_kv<T, decltype(m)::value>), kv_heads, WARPS * 32, 0, g, d_o, lse,
                 delta, dk, dv);
    });
  });
  const lrl_status done = op.done();
  return s != LRL_OK ? s : done;
}
