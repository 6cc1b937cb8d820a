#include "kernels/philox.h"
#include "kernels/ref/ref.h"

lrl_status REF_FN(add)(struct lrl_ctx *ctx, const struct lrl_add_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++)
    lrl_ref_store(a->dtype, a->y, i,
                  lrl_ref_load(a->dtype, a->a, i) + lrl_ref_load(a->dtype, a->b, i));
  return LRL_OK;
}

lrl_status REF_FN(colsum)(struct lrl_ctx *ctx, const struct lrl_colsum_args *a) {
  (void)ctx;
  for (int64_t j = 0; j < a->width; j++) {
    double sum = 0.0;
    for (int64_t t = 0; t < a->n_tokens; t++)
      sum += lrl_ref_load(a->dtype, a->x, t * a->width + j);
    a->out[j] += (float)sum;
  }
  return LRL_OK;
}

/* Element j of a row uses word j%4 of Philox block j/4 of stream (seed, DROPOUT, row_key); it is
 * dropped when the word's upper 24 bits, as a fraction, are below p. */
lrl_status REF_FN(dropout)(struct lrl_ctx *ctx, const struct lrl_dropout_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t j = 0; j < a->width; j++) {
      uint32_t r[4];
      lrl_philox(a->seed, LRL_RNG_DROPOUT, a->row_key[t], (uint32_t)(j / 4), r);
      bool keep = (float)(r[j % 4] >> 8) * 0x1p-24f >= a->p;
      double x = lrl_ref_load(a->dtype, a->x, t * a->width + j);
      lrl_ref_store(a->dtype, a->y, t * a->width + j, keep ? x / (1.0 - (double)a->p) : 0.0);
    }
  return LRL_OK;
}

lrl_status REF_FN(scale)(struct lrl_ctx *ctx, const struct lrl_scale_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++)
    a->x[i] *= a->alpha;
  return LRL_OK;
}

lrl_status REF_FN(cast)(struct lrl_ctx *ctx, const struct lrl_cast_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++)
    lrl_ref_store(a->to, a->y, i, lrl_ref_load(a->from, a->x, i));
  return LRL_OK;
}
