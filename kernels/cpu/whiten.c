#include "kernels/cpu/simd.h"

lrl_status CPU_FN(whiten)(struct lrl_ctx *ctx, const struct lrl_whiten_args *a) {
  const double back = a->shift_mean ? 0.0 : a->mean;
  const int threads = a->n >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < a->n; i++) {
    const double y = ((double)a->x[i] - a->mean) * a->rstd + back;
    a->out[i] = a->mask == NULL || a->mask[i] != 0 ? (float)y : 0.0f;
  }
  return LRL_OK;
}
