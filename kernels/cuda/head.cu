/* Reward and value heads, mean pooling: few rows, f32 sums in a fixed order. */
#include "kernels/cuda/map.cuh"

namespace {
template <class T>
__global__ void __launch_bounds__(256)
    head_fwd(int64_t width, const T *x, const T *weight, float *score) {
  const T *row = x + blockIdx.x * width;
  float s = 0.0f;
  for (int64_t j = threadIdx.x; j < width; j += 256)
    s += to_float(row[j]) * to_float(weight[j]);
  s = block_sum<256>(s);
  if (threadIdx.x == 0)
    score[blockIdx.x] = s;
}
/* Column j: dx[:, j] and d_weight[j]. */
template <class T> struct head_bwd_of {
  int64_t n, width;
  const T *x, *weight;
  const float *d_score;
  T *dx;
  float *d_weight;
  template <int V> __device__ void run(int64_t j) const {
    float sum = 0.0f;
    const float w = dx != nullptr ? to_float(weight[j]) : 0.0f;
    for (int64_t i = 0; i < n; i++) {
      const float d = d_score[i];
      if (d_weight != nullptr)
        sum += d * to_float(x[i * width + j]);
      if (dx != nullptr)
        from_float(&dx[i * width + j], d * w);
    }
    if (d_weight != nullptr)
      d_weight[j] += sum;
  }
};
/* Rows of a sequence and of its parent. */
template <class T>
__global__ void __launch_bounds__(128)
    mean_fwd(cuda_layout l, int64_t width, const int32_t *seq, const T *x, T *out) {
  const int32_t s = seq[blockIdx.y], p = l.parent[s];
  const int64_t j = (int64_t)blockIdx.x * 128 + threadIdx.x;
  if (j >= width)
    return;
  float sum = 0.0f;
  for (int64_t t = l.start[s]; t < l.start[s] + l.length[s]; t++)
    sum += to_float(x[t * width + j]);
  if (p >= 0)
    for (int64_t t = l.start[p]; t < l.start[p] + l.length[p]; t++)
      sum += to_float(x[t * width + j]);
  const int64_t n = l.length[s] + (p >= 0 ? l.length[p] : 0);
  from_float(&out[(int64_t)blockIdx.y * width + j], n > 0 ? sum / (float)n : 0.0f);
}
/* Sequence blockIdx.y: every row of it gets the same gradient. */
template <class T>
__global__ void __launch_bounds__(128)
    mean_bwd(cuda_layout l, int64_t n, int64_t width, const int32_t *seq, const T *d_out, T *dx) {
  const int32_t s = (int32_t)blockIdx.y;
  const int64_t j = (int64_t)blockIdx.x * 128 + threadIdx.x;
  if (j >= width)
    return;
  float sum = 0.0f;
  for (int64_t i = 0; i < n; i++) {
    const int32_t q = seq[i], p = l.parent[q];
    const int64_t rows = l.length[q] + (p >= 0 ? l.length[p] : 0);
    if (q == s || p == s)
      sum += to_float(d_out[i * width + j]) / (float)(rows > 0 ? rows : 1);
  }
  for (int64_t t = l.start[s]; t < l.start[s] + l.length[s]; t++)
    from_float(&dx[t * width + j], sum);
}
} // namespace

lrl_status cuda_head_fwd(struct lrl_ctx *ctx, const struct lrl_head_fwd_args *a) {
  if (a->n == 0)
    return LRL_OK;
  cuda_op op(ctx);
  float *score = op.out(a->score, a->n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    LRL_LAUNCH(op, head_fwd<T>, (unsigned)a->n, 256, 0, a->width,
               op.in_as<T>(a->x, a->n * a->width), op.in_as<T>(a->weight, a->width), score);
  });
  return op.done();
}
lrl_status cuda_head_bwd(struct lrl_ctx *ctx, const struct lrl_head_bwd_args *a) {
  cuda_op op(ctx);
  const float *d_score = op.in(a->d_score, a->n);
  float *d_weight = op.inout(a->d_weight, a->width);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    map<1>(op, a->width, false,
           head_bwd_of<T>{a->n, a->width, op.in_as<T>(a->x, a->n * a->width),
                          op.in_as<T>(a->weight, a->width), d_score,
                          op.out_as<T>(a->dx, a->n * a->width), d_weight});
  });
  return op.done();
}
lrl_status cuda_mean_pool_fwd(struct lrl_ctx *ctx, const struct lrl_mean_pool_fwd_args *a) {
  if (a->n == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const cuda_layout l = layout_on_device(op, a->layout);
  const int32_t *seq = op.in(a->seq, a->n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(a->x, l.n_tokens * a->width);
    T *out = op.out_as<T>(a->out, a->n * a->width);
    LRL_LAUNCH(op, mean_fwd<T>, dim3((unsigned)ceil_div(a->width, 128), (unsigned)a->n), 128, 0, l,
               a->width, seq, x, out);
  });
  return op.done();
}
lrl_status cuda_mean_pool_bwd(struct lrl_ctx *ctx, const struct lrl_mean_pool_bwd_args *a) {
  if (a->layout->n_seqs == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const cuda_layout l = layout_on_device(op, a->layout);
  const int32_t *seq = op.in(a->seq, a->n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *d_out = op.in_as<T>(a->d_out, a->n * a->width);
    T *dx = op.out_as<T>(a->dx, l.n_tokens * a->width);
    LRL_LAUNCH(op, mean_bwd<T>, dim3((unsigned)ceil_div(a->width, 128), (unsigned)l.n_seqs), 128, 0,
               l, a->n, a->width, seq, d_out, dx);
  });
  return op.done();
}
