/* Advantage estimators. All but GAE need no critic; a batch goes through
 *   lrl_shape_scores -> lrl_baseline_scores -> lrl_token_rewards -> lrl_advantages.
 * With a KL penalty in the reward, the baseline is therefore taken of the scores alone and the
 * penalty is credited token by token (as OpenRLHF; verl takes the baseline of the sum). */
#ifndef LRL_ADVANTAGES_H
#define LRL_ADVANTAGES_H
#include "train/moments.h"

enum lrl_estimator {
  LRL_EST_GAE = 0,
  LRL_EST_GRPO = 1,                  /* (s - mean of the group)/(std + eps); without std: Dr.GRPO */
  LRL_EST_RLOO = 2,                  /* s - mean of the others of the group */
  LRL_EST_REINFORCE_PP = 3,          /* s, then discounted rewards-to-go, whitened */
  LRL_EST_REINFORCE_PP_BASELINE = 4, /* s - mean of the group, whitened */
  LRL_EST_REMAX = 5,                 /* s - score of the greedy response */
  LRL_EST_OPO = 6,                   /* s - length-weighted mean of the group */
};
struct lrl_estimator_options {
  enum lrl_estimator estimator;
  bool norm_adv_by_std_in_grpo; /* false: Dr.GRPO */
  double std_eps;               /* verl 1e-6, TRL 1e-4, OpenRLHF 1e-9 */
  double gamma, lam;            /* GAE; gamma also REINFORCE++; the others use 1 */
  bool whiten;                  /* the advantages, over all ranks */
  enum lrl_whiten_kind whiten_kind;
};
/* Whether the estimator's paper whitens: GAE and both REINFORCE++. */
bool lrl_estimator_whitens(enum lrl_estimator estimator);

/* One prompt's responses; `scores` shows groups without a signal (m2 0). */
struct lrl_group {
  struct lrl_moments scores;
  double weighted, weight; /* sum of length * score, of length: OPO */
};
/* scores [n] -> out [n], may alias. group[i] in [0, n_groups) names the prompt of response i;
 * groups [n_groups] is overwritten. A group must be whole on a rank. The only member of a group has
 * nothing to compare with: baseline 0, std 1. length: OPO only; baseline (the greedy scores): ReMax
 * only. Errors: a group out of range, ReMax without baseline. */
lrl_status lrl_baseline_scores(const struct lrl_estimator_options *o, int64_t n,
                               const int32_t *group, int64_t n_groups, struct lrl_group *groups,
                               const int32_t *length, const double *baseline, const double *scores,
                               double *out);
/* rewards [n_tokens] -> advantages and returns (see lrl_gae_args; returns are of the unwhitened
 * advantages). values: GAE only. Collective when whitening. */
lrl_status lrl_advantages(const struct lrl_estimator_options *o, struct lrl_ctx *ctx,
                          struct lrl_comm *comm, const struct lrl_layout *layout,
                          const uint8_t *mask, const float *rewards, const float *values,
                          float *advantages, float *returns);
#endif
