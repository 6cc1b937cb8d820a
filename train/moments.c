#include "train/moments.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lrl_moments lrl_moments_of(int64_t n, const double *x) {
  struct lrl_moments m = {.n = (double)n};
  for (int64_t i = 0; i < n; i++)
    m.mean += x[i] / m.n;
  for (int64_t i = 0; i < n; i++)
    m.m2 += (x[i] - m.mean) * (x[i] - m.mean);
  return m;
}

lrl_status lrl_moments_all(struct lrl_comm *comm, struct lrl_moments *m, int64_t n) {
  const int size = lrl_comm_size(comm), rank = lrl_comm_rank(comm);
  if (size == 1)
    return LRL_OK;
  /* Every rank's moments side by side: zeros of the others make the sum a gather. */
  struct lrl_moments *all = calloc((size_t)size * (size_t)n, sizeof *all);
  if (all == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the statistics of %d ranks", size);
  memcpy(all + rank * n, m, (size_t)n * sizeof *m);
  const lrl_status status = lrl_comm_sum_f64(comm, &all[0].n, size * n * 3);
  for (int64_t i = 0; status == LRL_OK && i < n; i++) {
    m[i] = all[i];
    for (int r = 1; r < size; r++)
      lrl_moments_merge(&m[i], &all[r * n + i]);
  }
  free(all);
  return status;
}

double lrl_variance(const struct lrl_moments *m, bool unbiased) {
  const double n = unbiased ? m->n - 1.0 : m->n;
  return n > 0.0 ? m->m2 / n : 0.0;
}

double lrl_whiten_rstd(enum lrl_whiten_kind kind, const struct lrl_moments *m) {
  const double var = lrl_variance(m, kind == LRL_WHITEN_UNBIASED);
  if (kind == LRL_WHITEN_UNBIASED)
    return 1.0 / sqrt(var + 1e-8);
  return 1.0 / sqrt(var < 1e-8 ? 1e-8 : var);
}

lrl_status lrl_whiten_all(struct lrl_ctx *ctx, struct lrl_comm *comm, enum lrl_whiten_kind kind,
                          bool shift_mean, int64_t n, const uint8_t *mask, float *x) {
  struct lrl_moments m;
  LRL_TRY(lrl_moments(ctx, &(struct lrl_moments_args){.n = n, .mask = mask, .x = x, .out = &m}));
  LRL_TRY(lrl_moments_all(comm, &m, 1));
  return lrl_whiten(ctx, &(struct lrl_whiten_args){.n = n,
                                                   .mask = mask,
                                                   .x = x,
                                                   .mean = m.mean,
                                                   .rstd = lrl_whiten_rstd(kind, &m),
                                                   .shift_mean = shift_mean,
                                                   .out = x});
}

double lrl_explained_variance(const struct lrl_moments *residual,
                              const struct lrl_moments *returns) {
  return 1.0 - lrl_variance(residual, true) / (lrl_variance(returns, true) + 1e-5);
}

double lrl_explained_variance_mse(const struct lrl_moments *residual,
                                  const struct lrl_moments *returns) {
  const double mse = lrl_variance(residual, false) + residual->mean * residual->mean;
  return 1.0 - mse / lrl_variance(returns, true);
}
