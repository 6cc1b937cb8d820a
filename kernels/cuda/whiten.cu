/* Masked moments in two passes over fixed pieces, and whitening. */
#include "kernels/cuda/map.cuh"

namespace {
enum { PIECE = 16384 };
struct elements {
  const uint8_t *mask;
  const float *x, *y;
  __device__ bool live(int64_t i) const { return mask == nullptr || mask[i] != 0; }
  __device__ double at(int64_t i) const {
    return (double)x[i] - (y == nullptr ? 0.0 : (double)y[i]);
  }
};
__global__ void __launch_bounds__(256)
    moments_part(int64_t n, elements e, struct lrl_moments *part) {
  const int64_t begin = (int64_t)blockIdx.x * PIECE;
  const int64_t end = begin + PIECE < n ? begin + PIECE : n;
  double count = 0.0, sum = 0.0, m2 = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += 256)
    if (e.live(i)) {
      count += 1.0;
      sum += e.at(i);
    }
  count = block_sum<256>(count);
  sum = block_sum<256>(sum);
  const double mean = count > 0.0 ? sum / count : 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += 256)
    if (e.live(i))
      m2 += (e.at(i) - mean) * (e.at(i) - mean);
  m2 = block_sum<256>(m2);
  if (threadIdx.x == 0)
    part[blockIdx.x] = {count, mean, m2};
}
/* As lrl_moments_merge, in order. */
__global__ void moments_merge(int64_t parts, const struct lrl_moments *part,
                              struct lrl_moments *out) {
  struct lrl_moments a = {0.0, 0.0, 0.0};
  for (int64_t p = 0; p < parts; p++) {
    const struct lrl_moments b = part[p];
    if (b.n == 0.0)
      continue;
    const double n = a.n + b.n, d = b.mean - a.mean;
    a.mean += d * (b.n / n);
    a.m2 += b.m2 + d * d * (a.n * b.n / n);
    a.n = n;
  }
  *out = a;
}
struct whiten_of {
  const uint8_t *mask;
  const float *x;
  double mean, rstd, back;
  float *out;
  template <int V> __device__ void run(int64_t i) const {
    const bool live = mask == nullptr || mask[i] != 0;
    out[i] = live ? (float)(((double)x[i] - mean) * rstd + back) : 0.0f;
  }
};
} // namespace

lrl_status cuda_moments(struct lrl_ctx *ctx, const struct lrl_moments_args *a) {
  cuda_op op(ctx);
  const int64_t parts = ceil_div(a->n, PIECE);
  const elements e = {op.in(a->mask, a->n), op.in(a->x, a->n), op.in(a->y, a->n)};
  struct lrl_moments *part = op.scratch<struct lrl_moments>(parts), *out = op.out(a->out, 1);
  if (parts > 0)
    LRL_LAUNCH(op, moments_part, (unsigned)parts, 256, 0, a->n, e, part);
  LRL_LAUNCH(op, moments_merge, 1, 1, 0, parts, part, out);
  return op.done();
}
lrl_status cuda_whiten(struct lrl_ctx *ctx, const struct lrl_whiten_args *a) {
  cuda_op op(ctx);
  const uint8_t *mask = op.in(a->mask, a->n);
  const float *x = op.in(a->x, a->n);
  map<1>(op, a->n, false,
         whiten_of{mask, x, a->mean, a->rstd, a->shift_mean ? 0.0 : a->mean, op.out(a->out, a->n)});
  return op.done();
}
