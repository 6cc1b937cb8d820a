/* Statistics of an experience: means and extremes over the responses, or response tokens, of all
 * ranks, and how they are written. Private to ppo_report.c and ppo_eval.c. */
#ifndef LRL_PPO_FIGURES_H
#define LRL_PPO_FIGURES_H
#include "train/ppo_trainer.h"

/* Quantities with mean, and most with extremes. */
enum {
  LRL_PPO_SCORE,
  LRL_PPO_GOLD,
  LRL_PPO_SHAPED,
  LRL_PPO_LENGTH,
  LRL_PPO_PROMPT,
  LRL_PPO_KL, /* of a response, k1 */
  LRL_PPO_NON_SCORE,
  LRL_PPO_LOGPROB, /* of a response under the policy */
  LRL_PPO_N_RESPONSE,
  LRL_PPO_KL3 = LRL_PPO_N_RESPONSE, /* of a token, and the following */
  LRL_PPO_ENTROPY,
  LRL_PPO_ADVANTAGE,
  LRL_PPO_RETURN,
  LRL_PPO_VALUE,
  LRL_PPO_RESIDUAL,
  LRL_PPO_REWARD,
  LRL_PPO_N
};
struct lrl_ppo_figures {
  struct lrl_moments m[LRL_PPO_N];
  double min[LRL_PPO_N], max[LRL_PPO_N];
  double finished, responses, tokens, prompts, aside, rollout_diff;
};

void lrl_ppo_figures_clear(struct lrl_ppo_figures *f);
/* Adds response k of this rank, and what belongs to the experience as a whole. */
void lrl_ppo_figures_response(struct lrl_ppo_figures *f, const struct lrl_ppo_experience *e,
                              int64_t k);
void lrl_ppo_figures_rest(struct lrl_ppo_figures *f, const struct lrl_ppo_experience *e);
/* Collective. */
lrl_status lrl_ppo_figures_all(struct lrl_comm *comm, struct lrl_ppo_figures *f);
/* NaN when there is none. */
double lrl_ppo_mean(const struct lrl_ppo_figures *f, int q);

/* prefix followed by name: x */
void lrl_ppo_put(json_t *o, const char *prefix, const char *name, double x);
/* name/mean, /max, /min, /std */
void lrl_ppo_put_range(json_t *o, const char *name, const struct lrl_ppo_figures *f, int q);
/* objective/..., response_length/... */
void lrl_ppo_put_objective(json_t *o, const char *prefix, const struct lrl_ppo_figures *f);
#endif
