#include "kernels/cpu/simd.h"

#include <math.h>

/* A token: its loss, dloss/dratio (0 where clipped) and what the clips did. */
struct token {
  double loss, slope;
  bool clipped, lower;
};
static struct token surrogate(const struct lrl_ppo_policy_args *a, double adv, double r) {
  const double lo = 1.0 - a->clip_low, hi = 1.0 + a->clip_high;
  struct token x = {.loss = -adv * r, .slope = -adv};
  const double other = -adv * (r < lo ? lo : r > hi ? hi : r);
  if (other > x.loss)
    x = (struct token){.loss = other, .clipped = true};
  const double cap = -a->dual_clip * adv;
  if (a->dual_clip > 0.0 && adv < 0.0 && x.loss > cap)
    x = (struct token){.loss = cap, .clipped = x.clipped, .lower = true};
  return x;
}

static void sequence(const struct lrl_ppo_policy_args *a, int64_t s,
                     struct lrl_ppo_policy_stats *out) {
  const int64_t n = a->layout->length[s], o = a->layout->start[s];
  const float *lp = a->logprobs + o, *old = a->old_logprobs + o, *adv = a->advantages + o;
  const uint8_t *mask = a->mask == NULL ? NULL : a->mask + o;
  const double w = (double)a->seq_weight[s], limit = a->log_ratio_clamp;
  struct lrl_ppo_policy_stats sum = {0};
  double total = 0.0, count = 0.0, through_mean = 0.0;
  for (int64_t t = 0; a->ratio != LRL_RATIO_TOKEN && t < n; t++)
    if (mask == NULL || mask[t] != 0) {
      total += (double)lp[t] - (double)old[t];
      count += 1.0;
    }
  for (int64_t t = 0; t < n; t++) {
    const bool live = mask == NULL || mask[t] != 0;
    double d_logprob = 0.0;
    if (live) {
      const double d = (double)lp[t] - (double)old[t];
      double x = a->ratio == LRL_RATIO_TOKEN ? d : total / count;
      const bool outside = limit > 0.0 && fabs(x) > limit;
      if (outside)
        x = x > 0.0 ? limit : -limit;
      const double e = expm1(x), r = 1.0 + e;
      const struct token k = surrogate(a, (double)adv[t], r);
      d_logprob = outside ? 0.0 : w * k.slope * r;
      through_mean += d_logprob;
      const double h = a->entropy == NULL ? 0.0 : (double)a->entropy[o + t];
      sum.loss += k.loss - a->entropy_coef * h;
      sum.tokens += 1.0;
      sum.clipped += k.clipped;
      sum.clipped_lower += k.lower;
      sum.kl1 -= d;
      sum.kl2 += d * d / 2.0;
      sum.kl3 += (a->ratio == LRL_RATIO_TOKEN && !outside ? e : expm1(d)) - d;
      sum.ratio += r;
      sum.entropy += h;
      sum.ratio_dev_max = fabs(e) > sum.ratio_dev_max ? fabs(e) : sum.ratio_dev_max;
    }
    if (a->d_logprobs != NULL)
      a->d_logprobs[o + t] = (float)d_logprob;
    if (a->d_entropy != NULL)
      a->d_entropy[o + t] = live ? (float)(-a->entropy_coef * w) : 0.0f;
  }
  for (int64_t t = 0; a->ratio == LRL_RATIO_SEQUENCE && a->d_logprobs != NULL && t < n; t++)
    a->d_logprobs[o + t] = mask == NULL || mask[t] != 0 ? (float)(through_mean / count) : 0.0f;
  sum.loss = sum.tokens > 0.0 ? w * sum.loss : 0.0;
  *out = sum;
}

lrl_status CPU_FN(ppo_policy)(struct lrl_ctx *ctx, const struct lrl_ppo_policy_args *a) {
  const int64_t n = a->layout->n_seqs;
  struct lrl_ppo_policy_stats *part = lrl_arena_alloc(&ctx->scratch, (size_t)n * sizeof *part);
  if (part == NULL)
    return LRL_ERR_MEMORY;
  const int threads = a->layout->n_tokens >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t s = 0; s < n; s++)
    sequence(a, s, &part[s]);
  struct lrl_ppo_policy_stats sum = {0};
  for (int64_t s = 0; s < n; s++)
    lrl_ppo_policy_stats_add(&sum, &part[s]);
  *a->stats = sum;
  return LRL_OK;
}
