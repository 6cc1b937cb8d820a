#include "kernels/cpu/simd.h"

#include <math.h>

/* Value at d and derivative; f64, the difference of two f32 numbers is exact. */
static double estimate(const struct lrl_approx_kl_args *a, double d, double *slope) {
  const double dc = a->diff_clamp, kc = a->kl_clamp;
  const bool cut = dc > 0.0 && fabs(d) > dc;
  if (cut)
    d = d > 0.0 ? dc : -dc;
  double kl = d, g = 1.0;
  if (a->estimator == LRL_KL_ABS) {
    kl = fabs(d);
    g = (double)((d > 0.0) - (d < 0.0));
  } else if (a->estimator == LRL_KL_K2) {
    kl = d * d / 2.0;
    g = d;
  } else if (a->estimator == LRL_KL_K3) {
    const double e = expm1(-d);
    kl = e + d;
    g = -e;
  }
  const bool over = kc > 0.0 && fabs(kl) > kc;
  *slope = cut || over ? 0.0 : g;
  return over ? (kl > 0.0 ? kc : -kc) : kl;
}

static double sequence(const struct lrl_approx_kl_args *a, int64_t s) {
  const int64_t begin = a->layout->start[s], end = begin + a->layout->length[s];
  const double w = a->seq_weight == NULL ? 0.0 : (double)a->seq_weight[s];
  const bool grads = a->seq_weight != NULL && a->d_logprobs != NULL;
  double sum = 0.0;
  for (int64_t t = begin; t < end; t++) {
    double kl = 0.0, slope = 0.0;
    if (a->mask == NULL || a->mask[t] != 0)
      kl = estimate(a, (double)a->logprobs[t] - (double)a->ref_logprobs[t], &slope);
    sum += kl;
    if (a->kl != NULL)
      a->kl[t] = (float)kl;
    if (grads)
      a->d_logprobs[t] += (float)(a->coef * w * slope);
  }
  return a->seq_weight == NULL ? 0.0 : w * sum;
}

lrl_status CPU_FN(approx_kl)(struct lrl_ctx *ctx, const struct lrl_approx_kl_args *a) {
  const int64_t n = a->layout->n_seqs;
  double *part = lrl_arena_alloc(&ctx->scratch, (size_t)n * sizeof *part), sum = 0.0;
  if (part == NULL)
    return LRL_ERR_MEMORY;
  const int threads = a->layout->n_tokens >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t s = 0; s < n; s++)
    part[s] = sequence(a, s);
  for (int64_t s = 0; s < n; s++)
    sum += part[s];
  if (a->seq_weight != NULL)
    *a->loss = sum;
  return LRL_OK;
}
