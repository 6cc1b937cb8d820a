#include "kernels/ref/ref.h"

lrl_status REF_FN(gather_rows)(struct lrl_ctx *ctx, const struct lrl_gather_rows_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++)
    for (int64_t j = 0; j < a->width; j++) {
      double x = a->index[i] < 0 ? 0.0 : lrl_ref_load(a->dtype, a->x, a->index[i] * a->width + j);
      if (a->beta != 0.0f)
        x += lrl_ref_load(a->dtype, a->out, i * a->width + j);
      lrl_ref_store(a->dtype, a->out, i * a->width + j, x);
    }
  return LRL_OK;
}

lrl_status REF_FN(scatter_rows)(struct lrl_ctx *ctx, const struct lrl_scatter_rows_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++) {
    if (a->index[i] < 0)
      continue;
    for (int64_t j = 0; j < a->width; j++) {
      double x = lrl_ref_load(a->dtype, a->x, i * a->width + j);
      if (a->beta != 0.0f)
        x += lrl_ref_load(a->dtype, a->out, a->index[i] * a->width + j);
      lrl_ref_store(a->dtype, a->out, a->index[i] * a->width + j, x);
    }
  }
  return LRL_OK;
}
