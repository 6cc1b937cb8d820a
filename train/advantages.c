#include "train/advantages.h"

#include <math.h>
#include <string.h>

bool lrl_estimator_whitens(enum lrl_estimator e) {
  return e == LRL_EST_GAE || e == LRL_EST_REINFORCE_PP || e == LRL_EST_REINFORCE_PP_BASELINE;
}

static double baselined(const struct lrl_estimator_options *o, const struct lrl_group *g, double s,
                        double greedy) {
  const double n = g->scores.n;
  if (o->estimator == LRL_EST_GAE || o->estimator == LRL_EST_REINFORCE_PP)
    return s;
  if (o->estimator == LRL_EST_REMAX)
    return s - greedy;
  const bool std = o->estimator == LRL_EST_GRPO && o->norm_adv_by_std_in_grpo;
  if (n < 2.0)
    return std ? s / (1.0 + o->std_eps) : s;
  if (o->estimator == LRL_EST_RLOO)
    return (s - g->scores.mean) * (n / (n - 1.0));
  if (o->estimator == LRL_EST_OPO)
    return s - g->weighted / g->weight;
  const double d = s - g->scores.mean;
  return std ? d / (sqrt(lrl_variance(&g->scores, true)) + o->std_eps) : d;
}

lrl_status lrl_baseline_scores(const struct lrl_estimator_options *o, int64_t n,
                               const int32_t *group, int64_t n_groups, struct lrl_group *groups,
                               const int32_t *length, const double *baseline, const double *scores,
                               double *out) {
  if (o->estimator == LRL_EST_REMAX && baseline == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "remax needs the scores of the greedy responses");
  memset(groups, 0, (size_t)n_groups * sizeof *groups);
  for (int64_t i = 0; i < n; i++) {
    if (group[i] < 0 || group[i] >= n_groups)
      return LRL_FAIL(LRL_ERR_ARG, "response %lld belongs to group %d of %lld", (long long)i,
                      group[i], (long long)n_groups);
    struct lrl_group *g = &groups[group[i]];
    lrl_moments_merge(&g->scores, &(struct lrl_moments){.n = 1.0, .mean = scores[i]});
    if (o->estimator == LRL_EST_OPO) {
      g->weighted += (double)length[i] * scores[i];
      g->weight += (double)length[i];
    }
  }
  for (int64_t i = 0; i < n; i++)
    out[i] = baselined(o, &groups[group[i]], scores[i], baseline == NULL ? 0.0 : baseline[i]);
  return LRL_OK;
}

lrl_status lrl_advantages(const struct lrl_estimator_options *o, struct lrl_ctx *ctx,
                          struct lrl_comm *comm, const struct lrl_layout *layout,
                          const uint8_t *mask, const float *rewards, const float *values,
                          float *advantages, float *returns) {
  const bool gae = o->estimator == LRL_EST_GAE;
  LRL_TRY(lrl_gae(ctx, &(struct lrl_gae_args){
                           .layout = layout,
                           .mask = mask,
                           .gamma = gae || o->estimator == LRL_EST_REINFORCE_PP ? o->gamma : 1.0,
                           .lam = gae ? o->lam : 1.0,
                           .rewards = rewards,
                           .values = gae ? values : NULL,
                           .advantages = advantages,
                           .returns = returns}));
  if (!o->whiten)
    return LRL_OK;
  return lrl_whiten_all(ctx, comm, o->whiten_kind, true, layout->n_tokens, mask, advantages);
}
