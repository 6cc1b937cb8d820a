#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(swiglu_fwd)(struct lrl_ctx *ctx, const struct lrl_swiglu_fwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t j = 0; j < a->width; j++) {
      double g = lrl_ref_load(a->dtype, a->gate, t * a->ld_in + j);
      lrl_ref_store(a->dtype, a->y, t * a->width + j,
                    g / (1.0 + exp(-g)) * lrl_ref_load(a->dtype, a->up, t * a->ld_in + j));
    }
  return LRL_OK;
}

lrl_status REF_FN(swiglu_bwd)(struct lrl_ctx *ctx, const struct lrl_swiglu_bwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t j = 0; j < a->width; j++) {
      const int64_t in = t * a->ld_in + j;
      double g = lrl_ref_load(a->dtype, a->gate, in), up = lrl_ref_load(a->dtype, a->up, in);
      double dy = lrl_ref_load(a->dtype, a->dy, t * a->width + j), sig = 1.0 / (1.0 + exp(-g));
      lrl_ref_store(a->dtype, a->d_gate, in, dy * up * sig * (1.0 + g * (1.0 - sig)));
      lrl_ref_store(a->dtype, a->d_up, in, dy * g * sig);
    }
  return LRL_OK;
}
