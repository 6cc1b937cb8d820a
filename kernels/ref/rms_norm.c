#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(rms_norm_fwd)(struct lrl_ctx *ctx, const struct lrl_rms_norm_fwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const int64_t row = t * a->width;
    double sq = 0.0;
    const void *s = a->x;
    if (a->residual != NULL) {
      for (int64_t j = 0; j < a->width; j++)
        lrl_ref_store(a->dtype, a->sum_out, row + j,
                      lrl_ref_load(a->dtype, a->x, row + j) +
                          lrl_ref_load(a->dtype, a->residual, row + j));
      s = a->sum_out;
    }
    for (int64_t j = 0; j < a->width; j++) {
      double v = lrl_ref_load(a->dtype, s, row + j);
      sq += v * v;
    }
    double rstd = 1.0 / sqrt(sq / (double)a->width + (double)a->eps);
    a->rstd[t] = (float)rstd;
    for (int64_t j = 0; j < a->width; j++)
      lrl_ref_store(a->dtype, a->y, row + j,
                    lrl_ref_load(a->dtype, a->weight, j) *
                        lrl_ref_round(a->dtype, lrl_ref_load(a->dtype, s, row + j) * rstd));
  }
  return LRL_OK;
}

lrl_status REF_FN(rms_norm_bwd)(struct lrl_ctx *ctx, const struct lrl_rms_norm_bwd_args *a) {
  (void)ctx;
  const lrl_dtype t = a->dtype;
  for (int64_t j = 0; a->d_weight != NULL && j < a->width; j++) {
    double sum = 0.0;
    for (int64_t i = 0; i < a->n_tokens; i++)
      sum += lrl_ref_load(t, a->dy, i * a->width + j) * lrl_ref_load(t, a->s, i * a->width + j) *
             (double)a->rstd[i];
    a->d_weight[j] += (float)sum;
  }
  if (a->dx == NULL)
    return LRL_OK;
#pragma omp parallel for
  for (int64_t i = 0; i < a->n_tokens; i++) {
    const int64_t row = i * a->width;
    const double rstd = (double)a->rstd[i];
    double dot = 0.0;
    for (int64_t j = 0; j < a->width; j++)
      dot += lrl_ref_load(t, a->weight, j) * lrl_ref_load(t, a->dy, row + j) *
             lrl_ref_load(t, a->s, row + j) * rstd;
    dot /= (double)a->width;
    for (int64_t j = 0; j < a->width; j++) {
      double g = lrl_ref_load(t, a->weight, j) * lrl_ref_load(t, a->dy, row + j);
      double dx = rstd * (g - lrl_ref_load(t, a->s, row + j) * rstd * dot);
      if (a->d_sum != NULL)
        dx += lrl_ref_load(t, a->d_sum, row + j);
      lrl_ref_store(t, a->dx, row + j, dx);
    }
  }
  return LRL_OK;
}
