#include "kernels/ref/ref.h"

lrl_status REF_FN(head_fwd)(struct lrl_ctx *ctx, const struct lrl_head_fwd_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++) {
    double sum = 0.0;
    for (int64_t j = 0; j < a->width; j++)
      sum += lrl_ref_load(a->dtype, a->x, i * a->width + j) * lrl_ref_load(a->dtype, a->weight, j);
    a->score[i] = (float)sum;
  }
  return LRL_OK;
}

lrl_status REF_FN(head_bwd)(struct lrl_ctx *ctx, const struct lrl_head_bwd_args *a) {
  (void)ctx;
  for (int64_t j = 0; j < a->width; j++) {
    double sum = 0.0;
    for (int64_t i = 0; i < a->n; i++) {
      const double d = (double)a->d_score[i];
      sum += d * lrl_ref_load(a->dtype, a->x, i * a->width + j);
      if (a->dx != NULL)
        lrl_ref_store(a->dtype, a->dx, i * a->width + j, d * lrl_ref_load(a->dtype, a->weight, j));
    }
    if (a->d_weight != NULL)
      a->d_weight[j] += (float)sum;
  }
  return LRL_OK;
}
