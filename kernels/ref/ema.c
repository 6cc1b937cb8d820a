#include "kernels/ref/ref.h"

lrl_status REF_FN(ema)(struct lrl_ctx *ctx, const struct lrl_ema_args *a) {
  const double beta = a->beta, rest = 1.0 - beta;
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++)
    a->y[i] = (float)(beta * (double)a->y[i] + rest * lrl_ref_load(a->dtype, a->x, i));
  return LRL_OK;
}
