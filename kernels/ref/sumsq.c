#include "kernels/ref/ref.h"

lrl_status REF_FN(sumsq)(struct lrl_ctx *ctx, const struct lrl_sumsq_args *a) {
  (void)ctx;
  double sum = 0.0;
  for (int64_t i = 0; i < a->n; i++)
    sum += (double)a->x[i] * (double)a->x[i];
  a->out[0] = sum;
  return LRL_OK;
}
