#include "kernels/cpu/simd.h"

#include <math.h>

#define CHUNK 4096 /* elements per unit of work */

struct factors {
  float b1, b2, c1, c2, decay, rate, inv_v, eps, grad_scale;
};
CPU_INLINE void chunk(const struct lrl_adamw_args *a, const struct factors *f, int64_t lo,
                      int64_t hi, bool bf) {
  float *restrict p = a->master, *restrict m = a->m, *restrict v = a->v;
  const float *restrict grad = a->grad;
#pragma omp simd
  for (int64_t i = lo; i < hi; i++) {
    const float g = grad[i] * f->grad_scale;
    const float m1 = f->b1 * m[i] + f->c1 * g, v1 = f->b2 * v[i] + f->c2 * g * g;
    m[i] = m1;
    v[i] = v1;
    p[i] = p[i] * f->decay - f->rate * m1 / (sqrtf(v1) * f->inv_v + f->eps);
  }
  if (!bf)
    return;
  for (int64_t i = lo; i < hi; i += CPU_LANES) {
    int n = cpu_lanes(hi, i);
    cpu_store(a->param, i, n, true, cpu_load(p, i, n, false));
  }
}
lrl_status CPU_FN(adamw)(struct lrl_ctx *ctx, const struct lrl_adamw_args *a) {
  const double step = (double)a->step;
  const struct factors f = {
      .b1 = (float)a->beta1,
      .b2 = (float)a->beta2,
      .c1 = (float)(1.0 - a->beta1),
      .c2 = (float)(1.0 - a->beta2),
      .decay = (float)(1.0 - a->lr * a->weight_decay),
      .rate = (float)(a->lr / (1.0 - pow(a->beta1, step))),
      .inv_v = (float)(1.0 / sqrt(1.0 - pow(a->beta2, step))),
      .eps = (float)a->eps,
      .grad_scale = (float)a->grad_scale,
  };
  const int threads = a->n >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t c = 0; c < cpu_blocks(a->n, CHUNK); c++)
    chunk(a, &f, c * CHUNK, (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n,
          a->param_dtype == LRL_BF16);
  return LRL_OK;
}
