#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(gelu_fwd)(struct lrl_ctx *ctx, const struct lrl_gelu_fwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t i = 0; i < a->n; i++) {
    double x = lrl_ref_load(a->dtype, a->x, i);
    double gate = a->kind == LRL_GELU_ERF ? 0.5 * erfc(-x * 0.70710678118654752440)
                                          : 1.0 / (1.0 + exp(-1.702 * x));
    lrl_ref_store(a->dtype, a->y, i, x * gate);
  }
  return LRL_OK;
}

lrl_status REF_FN(gelu_bwd)(struct lrl_ctx *ctx, const struct lrl_gelu_bwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t i = 0; i < a->n; i++) {
    double x = lrl_ref_load(a->dtype, a->x, i), slope;
    if (a->kind == LRL_GELU_ERF) {
      slope =
          0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
    } else {
      double sig = 1.0 / (1.0 + exp(-1.702 * x));
      slope = sig * (1.0 + 1.702 * x * (1.0 - sig));
    }
    lrl_ref_store(a->dtype, a->dx, i, slope * lrl_ref_load(a->dtype, a->dy, i));
  }
  return LRL_OK;
}
