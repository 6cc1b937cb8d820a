#include "kernels/ref/ref.h"

static int32_t parent_of(const struct lrl_layout *l, int64_t s) {
  return l->parent == NULL ? -1 : l->parent[s];
}

static int64_t n_pooled(const struct lrl_layout *l, int64_t s) {
  const int32_t p = parent_of(l, s);
  return l->length[s] + (p < 0 ? 0 : l->length[p]);
}

static double column_sum(const struct lrl_mean_pool_fwd_args *a, int64_t s, int64_t j) {
  double sum = 0.0;
  for (int64_t t = a->layout->start[s]; t < a->layout->start[s] + a->layout->length[s]; t++)
    sum += lrl_ref_load(a->dtype, a->x, t * a->width + j);
  return sum;
}

lrl_status REF_FN(mean_pool_fwd)(struct lrl_ctx *ctx, const struct lrl_mean_pool_fwd_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++) {
    const int64_t s = a->seq[i], n = n_pooled(a->layout, s), p = parent_of(a->layout, s);
    for (int64_t j = 0; j < a->width; j++) {
      double sum = column_sum(a, s, j) + (p < 0 ? 0.0 : column_sum(a, p, j));
      lrl_ref_store(a->dtype, a->out, i * a->width + j, n == 0 ? 0.0 : sum / (double)n);
    }
  }
  return LRL_OK;
}

lrl_status REF_FN(mean_pool_bwd)(struct lrl_ctx *ctx, const struct lrl_mean_pool_bwd_args *a) {
  (void)ctx;
  const struct lrl_layout *l = a->layout;
  for (int64_t s = 0; s < l->n_seqs; s++)
    for (int64_t j = 0; j < a->width; j++) {
      double sum = 0.0;
      for (int64_t i = 0; i < a->n; i++)
        if (a->seq[i] == s || parent_of(l, a->seq[i]) == s)
          sum += lrl_ref_load(a->dtype, a->d_out, i * a->width + j) /
                 (double)(n_pooled(l, a->seq[i]) > 0 ? n_pooled(l, a->seq[i]) : 1);
      for (int64_t t = l->start[s]; t < l->start[s] + l->length[s]; t++)
        lrl_ref_store(a->dtype, a->dx, t * a->width + j, sum);
    }
  return LRL_OK;
}
