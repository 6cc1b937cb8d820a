#include "kernels/ref/ref.h"

lrl_status REF_FN(whiten)(struct lrl_ctx *ctx, const struct lrl_whiten_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++) {
    const bool live = a->mask == NULL || a->mask[i] != 0;
    const double back = a->shift_mean ? 0.0 : a->mean;
    a->out[i] = live ? (float)(((double)a->x[i] - a->mean) * a->rstd + back) : 0.0f;
  }
  return LRL_OK;
}
