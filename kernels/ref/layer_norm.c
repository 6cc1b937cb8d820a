#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(layer_norm_fwd)(struct lrl_ctx *ctx, const struct lrl_layer_norm_fwd_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const int64_t row = t * a->width;
    double mean = 0.0, var = 0.0;
    for (int64_t j = 0; j < a->width; j++)
      mean += lrl_ref_load(a->dtype, a->x, row + j);
    mean /= (double)a->width;
    for (int64_t j = 0; j < a->width; j++) {
      double d = lrl_ref_load(a->dtype, a->x, row + j) - mean;
      var += d * d;
    }
    double rstd = 1.0 / sqrt(var / (double)a->width + (double)a->eps);
    a->mean[t] = (float)mean;
    a->rstd[t] = (float)rstd;
    for (int64_t j = 0; j < a->width; j++)
      lrl_ref_store(a->dtype, a->y, row + j,
                    (lrl_ref_load(a->dtype, a->x, row + j) - mean) * rstd *
                            lrl_ref_load(a->dtype, a->weight, j) +
                        lrl_ref_load(a->dtype, a->bias, j));
  }
  return LRL_OK;
}

lrl_status REF_FN(layer_norm_bwd)(struct lrl_ctx *ctx, const struct lrl_layer_norm_bwd_args *a) {
  (void)ctx;
  const lrl_dtype t = a->dtype;
  for (int64_t j = 0; j < a->width; j++) {
    double dw = 0.0, db = 0.0;
    for (int64_t i = 0; i < a->n_tokens; i++) {
      double dy = lrl_ref_load(t, a->dy, i * a->width + j);
      dw +=
          dy * (lrl_ref_load(t, a->x, i * a->width + j) - (double)a->mean[i]) * (double)a->rstd[i];
      db += dy;
    }
    if (a->d_weight != NULL)
      a->d_weight[j] += (float)dw;
    if (a->d_bias != NULL)
      a->d_bias[j] += (float)db;
  }
  if (a->dx == NULL)
    return LRL_OK;
#pragma omp parallel for
  for (int64_t i = 0; i < a->n_tokens; i++) {
    const int64_t row = i * a->width;
    const double rstd = (double)a->rstd[i], mean = (double)a->mean[i];
    double sum = 0.0, dot = 0.0;
    for (int64_t j = 0; j < a->width; j++) {
      double g = lrl_ref_load(t, a->weight, j) * lrl_ref_load(t, a->dy, row + j);
      sum += g;
      dot += g * (lrl_ref_load(t, a->x, row + j) - mean) * rstd;
    }
    sum /= (double)a->width;
    dot /= (double)a->width;
    for (int64_t j = 0; j < a->width; j++) {
      double g = lrl_ref_load(t, a->weight, j) * lrl_ref_load(t, a->dy, row + j);
      double dx = rstd * (g - sum - (lrl_ref_load(t, a->x, row + j) - mean) * rstd * dot);
      if (a->d_add != NULL)
        dx += lrl_ref_load(t, a->d_add, row + j);
      lrl_ref_store(t, a->dx, row + j, dx);
    }
  }
  return LRL_OK;
}
