#include "kernels/ref/ref.h"

#include <math.h>

static bool outside(double x, double limit) { return limit > 0.0 && fabs(x) > limit; }
/* Keeps NaN. */
static double clamp(double x, double limit) { return outside(x, limit) ? copysign(limit, x) : x; }

static double estimate(enum lrl_kl_estimator kind, double d, double *slope) {
  switch (kind) {
  case LRL_KL_ABS:
    *slope = d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : 0.0;
    return fabs(d);
  case LRL_KL_K2:
    *slope = d;
    return 0.5 * d * d;
  case LRL_KL_K3:
    *slope = 1.0 - exp(-d);
    return exp(-d) - 1.0 + d;
  default:
    *slope = 1.0;
    return d;
  }
}

lrl_status REF_FN(approx_kl)(struct lrl_ctx *ctx, const struct lrl_approx_kl_args *a) {
  (void)ctx;
  double loss = 0.0;
  for (int64_t s = 0; s < a->layout->n_seqs; s++)
    for (int64_t t = a->layout->start[s]; t < a->layout->start[s] + a->layout->length[s]; t++) {
      if (a->mask != NULL && a->mask[t] == 0) {
        if (a->kl != NULL)
          a->kl[t] = 0.0f;
        continue;
      }
      const double d = (double)a->logprobs[t] - (double)a->ref_logprobs[t];
      double slope;
      const double kl = estimate(a->estimator, clamp(d, a->diff_clamp), &slope);
      if (a->kl != NULL)
        a->kl[t] = (float)clamp(kl, a->kl_clamp);
      if (a->seq_weight == NULL)
        continue;
      const double w = (double)a->seq_weight[s];
      loss += w * clamp(kl, a->kl_clamp);
      if (a->d_logprobs != NULL && !outside(d, a->diff_clamp) && !outside(kl, a->kl_clamp))
        a->d_logprobs[t] = (float)((double)a->d_logprobs[t] + a->coef * w * slope);
    }
  if (a->seq_weight != NULL)
    *a->loss = loss;
  return LRL_OK;
}
