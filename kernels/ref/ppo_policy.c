#include "kernels/ref/ref.h"

#include <math.h>

/* Loss of a token with ratio r and its derivative with respect to r. */
static double surrogate(const struct lrl_ppo_policy_args *a, double adv, double r, double *slope,
                        struct lrl_ppo_policy_stats *sum) {
  const double plain = -adv * r;
  const double clipped = -adv * fmin(fmax(r, 1.0 - a->clip_low), 1.0 + a->clip_high);
  double loss = plain;
  *slope = -adv;
  if (clipped > plain) {
    loss = clipped;
    *slope = 0.0;
    sum->clipped += 1.0;
  }
  if (a->dual_clip > 0.0 && adv < 0.0 && -a->dual_clip * adv < loss) {
    loss = -a->dual_clip * adv;
    *slope = 0.0;
    sum->clipped_lower += 1.0;
  }
  return loss;
}

static double diff(const struct lrl_ppo_policy_args *a, int64_t t) {
  return (double)a->logprobs[t] - (double)a->old_logprobs[t];
}
static bool live(const struct lrl_ppo_policy_args *a, int64_t t) {
  return a->mask == NULL || a->mask[t] != 0;
}

static void sequence(const struct lrl_ppo_policy_args *a, int64_t s,
                     struct lrl_ppo_policy_stats *sum) {
  const int64_t begin = a->layout->start[s], end = begin + a->layout->length[s];
  const double w = (double)a->seq_weight[s], limit = a->log_ratio_clamp;
  double mean = 0.0, count = 0.0, through_mean = 0.0;
  for (int64_t t = begin; t < end; t++)
    if (live(a, t)) {
      mean += diff(a, t);
      count += 1.0;
    }
  mean = count > 0.0 ? mean / count : 0.0;
  for (int64_t t = begin; t < end; t++) {
    double d_logprob = 0.0;
    if (live(a, t)) {
      const double d = diff(a, t);
      double x = a->ratio == LRL_RATIO_TOKEN ? d : mean, slope;
      const bool outside = limit > 0.0 && fabs(x) > limit;
      if (outside)
        x = copysign(limit, x);
      const double r = exp(x);
      sum->loss += w * surrogate(a, (double)a->advantages[t], r, &slope, sum);
      d_logprob = outside ? 0.0 : w * slope * r;
      through_mean += d_logprob;
      sum->tokens += 1.0;
      sum->kl1 += -d;
      sum->kl2 += 0.5 * d * d;
      sum->kl3 += exp(d) - 1.0 - d;
      sum->ratio += r;
      sum->ratio_dev_max = fmax(sum->ratio_dev_max, fabs(r - 1.0));
      if (a->entropy != NULL) {
        sum->loss -= w * a->entropy_coef * (double)a->entropy[t];
        sum->entropy += (double)a->entropy[t];
      }
    }
    if (a->d_logprobs != NULL)
      a->d_logprobs[t] = (float)d_logprob;
    if (a->d_entropy != NULL)
      a->d_entropy[t] = live(a, t) ? (float)(-w * a->entropy_coef) : 0.0f;
  }
  if (a->ratio == LRL_RATIO_SEQUENCE && a->d_logprobs != NULL)
    for (int64_t t = begin; t < end; t++)
      a->d_logprobs[t] = live(a, t) ? (float)(through_mean / count) : 0.0f;
}

lrl_status REF_FN(ppo_policy)(struct lrl_ctx *ctx, const struct lrl_ppo_policy_args *a) {
  (void)ctx;
  struct lrl_ppo_policy_stats sum = {0};
  for (int64_t s = 0; s < a->layout->n_seqs; s++)
    sequence(a, s, &sum);
  *a->stats = sum;
  return LRL_OK;
}
