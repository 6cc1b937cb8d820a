/* AdamW over a flat shard in one launch, sums of squares, and the moving average of weights. Floor:
 * 30 bytes a parameter with f32 gradients and bf16 weights; 10 of the average. */
#include "kernels/cuda/map.cuh"

#include <math.h>

namespace {
template <class T> struct adamw_of {
  T *param; /* NULL: the master is the parameter */
  float *master, *m, *v;
  const float *grad;
  float scale, beta1, rest1, beta2, rest2, decay, step_size, inverse_root, eps; /* rest: 1 - beta */
  template <int V> __device__ void run(int64_t i) const {
    float p[V], a[V], b[V], g[V];
    load<float, V>(grad + i, g);
    load<float, V>(m + i, a);
    load<float, V>(v + i, b);
    load<float, V>(master + i, p);
#pragma unroll
    for (int k = 0; k < V; k++) {
      const float x = scale * g[k];
      a[k] = beta1 * a[k] + rest1 * x;
      b[k] = beta2 * b[k] + rest2 * x * x;
      p[k] = p[k] * decay - step_size * a[k] / (sqrtf(b[k]) * inverse_root + eps);
    }
    store<float, V>(m + i, a);
    store<float, V>(v + i, b);
    store<float, V>(master + i, p);
    if (param != nullptr)
      store<T, V>(param + i, p);
  }
};

/* Products and sum each by itself, whatever the compiler would fuse: the bits of the other
 * backends.
 */
template <class T> struct ema_of {
  const T *x;
  float *y;
  double beta, rest; /* 1 - beta */
  template <int V> __device__ void run(int64_t i) const {
    float p[V], q[V];
    load<T, V>(x + i, p);
    load<float, V>(y + i, q);
#pragma unroll
    for (int k = 0; k < V; k++)
      q[k] = (float)__dadd_rn(__dmul_rn(beta, (double)q[k]), __dmul_rn(rest, (double)p[k]));
    store<float, V>(y + i, q);
  }
};

/* The blocks are fixed pieces of x, whatever the device: the sum has the same bits everywhere. */
enum { PIECE = 8192 };
__global__ void __launch_bounds__(256) sumsq_part(int64_t n, const float *x, double *part) {
  const int64_t begin = (int64_t)blockIdx.x * PIECE;
  const int64_t end = begin + PIECE < n ? begin + PIECE : n;
  double s = 0.0;
  int64_t i = begin + threadIdx.x * 4;
  for (; i + 4 <= end && (uintptr_t)x % 16 == 0; i += 1024) {
    float v[4];
    load<float, 4>(x + i, v);
#pragma unroll
    for (int k = 0; k < 4; k++)
      s += (double)v[k] * (double)v[k];
  }
  for (; i < end; i += 1024) /* the last words, or all when they are not aligned */
    for (int64_t j = i; j < i + 4 && j < end; j++)
      s += (double)x[j] * (double)x[j];
  s = block_sum<256>(s);
  if (threadIdx.x == 0)
    part[blockIdx.x] = s;
}
__global__ void __launch_bounds__(256) sum_parts(int64_t n, const double *part, double *out) {
  double s = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += 256)
    s += part[i];
  s = block_sum<256>(s);
  if (threadIdx.x == 0)
    *out = s;
}
} // namespace

lrl_status cuda_adamw(struct lrl_ctx *ctx, const struct lrl_adamw_args *a) {
  cuda_op op(ctx);
  float *master = op.inout(a->master, a->n), *m = op.inout(a->m, a->n), *v = op.inout(a->v, a->n);
  const float *grad = op.in(a->grad, a->n);
  const double root = sqrt(1.0 - pow(a->beta2, (double)a->step));
  by_dtype(a->param_dtype, [&](auto type) {
    typedef decltype(type) T;
    T *param = a->param == a->master ? NULL : op.out_as<T>(a->param, a->n);
    map<4>(op, a->n, aligned16(master, m, v, grad, param),
           adamw_of<T>{param, master, m, v, grad, (float)a->grad_scale, (float)a->beta1,
                       (float)(1.0 - a->beta1), (float)a->beta2, (float)(1.0 - a->beta2),
                       (float)(1.0 - a->lr * a->weight_decay),
                       (float)(a->lr / (1.0 - pow(a->beta1, (double)a->step))), (float)(1.0 / root),
                       (float)a->eps});
  });
  return op.done();
}
lrl_status cuda_ema(struct lrl_ctx *ctx, const struct lrl_ema_args *a) {
  cuda_op op(ctx);
  float *y = op.inout(a->y, a->n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(a->x, a->n);
    map<4>(op, a->n, aligned16(x, y), ema_of<T>{x, y, a->beta, 1.0 - a->beta});
  });
  return op.done();
}
lrl_status cuda_sumsq(struct lrl_ctx *ctx, const struct lrl_sumsq_args *a) {
  cuda_op op(ctx);
  const int64_t parts = ceil_div(a->n, PIECE);
  const float *x = op.in(a->x, a->n);
  double *part = op.scratch<double>(parts), *out = op.out(a->out, 1);
  if (parts > 0)
    LRL_LAUNCH(op, sumsq_part, (unsigned)parts, 256, 0, a->n, x, part);
  LRL_LAUNCH(op, sum_parts, 1, 256, 0, parts, part, out);
  return op.done();
}
