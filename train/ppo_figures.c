#include "train/ppo_figures.h"

#include <math.h>
#include <stdlib.h>

static void take(struct lrl_ppo_figures *f, int q, double x) {
  if (isnan(x))
    return;
  lrl_moments_merge(&f->m[q], &(struct lrl_moments){.n = 1, .mean = x});
  f->min[q] = fmin(f->min[q], x);
  f->max[q] = fmax(f->max[q], x);
}

void lrl_ppo_figures_response(struct lrl_ppo_figures *f, const struct lrl_ppo_experience *e,
                              int64_t k) {
  double kl = 0, logprob = 0, non_score = 0;
  for (int64_t i = e->start[k]; i < e->start[k] + e->length[k]; i++) {
    const double d = (double)e->old_logprobs[i] - (double)e->ref_logprobs[i];
    kl += d;
    logprob += (double)e->old_logprobs[i];
    take(f, LRL_PPO_KL3, exp(-d) - 1.0 + d);
    take(f, LRL_PPO_ENTROPY, (double)e->entropy[i]);
    f->rollout_diff =
        fmax(f->rollout_diff, fabs((double)e->old_logprobs[i] - (double)e->rollout_logprobs[i]));
    if (e->advantages == NULL)
      continue;
    non_score += (double)e->rewards[i];
    take(f, LRL_PPO_ADVANTAGE, (double)e->advantages[i]);
    take(f, LRL_PPO_RETURN, (double)e->returns[i]);
    take(f, LRL_PPO_REWARD, (double)e->rewards[i]);
    if (e->values != NULL) {
      take(f, LRL_PPO_VALUE, (double)e->values[i]);
      take(f, LRL_PPO_RESIDUAL, (double)e->returns[i] - (double)e->values[i]);
    }
  }
  take(f, LRL_PPO_SCORE, e->score[k]);
  take(f, LRL_PPO_GOLD, e->gold[k]);
  take(f, LRL_PPO_LENGTH, (double)e->length[k]);
  take(f, LRL_PPO_KL, kl);
  take(f, LRL_PPO_LOGPROB, logprob);
  if (e->advantages != NULL) {
    take(f, LRL_PPO_SHAPED, e->shaped[k]);
    take(f, LRL_PPO_NON_SCORE, non_score);
  }
  f->finished += e->finished[k];
  f->responses += 1;
}

static lrl_status extremes(struct lrl_comm *comm, struct lrl_ppo_figures *f) {
  const int n = lrl_comm_size(comm), rank = lrl_comm_rank(comm);
  enum { EACH = 2 * LRL_PPO_N + 1 };
  if (n == 1)
    return LRL_OK;
  double *all = calloc((size_t)n * EACH, sizeof *all);
  if (all == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the figures of %d ranks", n);
  for (int q = 0; q < LRL_PPO_N; q++) {

    all[rank * EACH + q] = f->min[q];
    all[rank * EACH + LRL_PPO_N + q] = f->max[q];
  }
  all[rank * EACH + 2 * LRL_PPO_N] = f->rollout_diff;
  const lrl_status s = lrl_comm_sum_f64(comm, all, (int64_t)n * EACH);
  for (int r = 0; r < n && s == LRL_OK; r++) {
    for (int q = 0; q < LRL_PPO_N; q++) {
      f->min[q] = fmin(f->min[q], all[r * EACH + q]);
      f->max[q] = fmax(f->max[q], all[r * EACH + LRL_PPO_N + q]);
    }
    f->rollout_diff = fmax(f->rollout_diff, all[r * EACH + 2 * LRL_PPO_N]);
  }
  free(all);
  return s;
}

void lrl_ppo_figures_rest(struct lrl_ppo_figures *f, const struct lrl_ppo_experience *e) {
  for (int64_t i = 0; i < e->n_prompts; i++)
    take(f, LRL_PPO_PROMPT, (double)e->prompt[i].data.n_ids);
  f->tokens += (double)(e->n_tokens + e->prefill_tokens);
  f->prompts += (double)e->n_prompts;
  f->aside += (double)e->n_aside;
}
void lrl_ppo_figures_clear(struct lrl_ppo_figures *f) {
  *f = (struct lrl_ppo_figures){0};
  for (int q = 0; q < LRL_PPO_N; q++) {
    f->min[q] = INFINITY;
    f->max[q] = -INFINITY;
  }
}
lrl_status lrl_ppo_figures_all(struct lrl_comm *comm, struct lrl_ppo_figures *f) {
  double sums[] = {f->finished, f->responses, f->tokens, f->prompts, f->aside};
  LRL_TRY(lrl_moments_all(comm, f->m, LRL_PPO_N));
  LRL_TRY(extremes(comm, f));
  LRL_TRY(lrl_comm_sum_f64(comm, sums, 5));
  f->finished = sums[0];
  f->responses = sums[1];
  f->tokens = sums[2];
  f->prompts = sums[3];
  f->aside = sums[4];
  return LRL_OK;
}

/* ---- writing ---- */

void lrl_ppo_put(json_t *o, const char *prefix, const char *name, double x) {
  char key[120];
  snprintf(key, sizeof key, "%s%s", prefix, name);
  json_object_set_new(o, key, lrl_metrics_number(x));
}
double lrl_ppo_mean(const struct lrl_ppo_figures *f, int q) {
  return f->m[q].n > 0 ? f->m[q].mean : NAN;
}

void lrl_ppo_put_range(json_t *o, const char *name, const struct lrl_ppo_figures *f, int q) {
  lrl_ppo_put(o, name, "/mean", lrl_ppo_mean(f, q));
  if (f->m[q].n > 0) {
    lrl_ppo_put(o, name, "/max", f->max[q]);
    lrl_ppo_put(o, name, "/min", f->min[q]);
    lrl_ppo_put(o, name, "/std", sqrt(lrl_variance(&f->m[q], false)));
  }
}

void lrl_ppo_put_objective(json_t *o, const char *prefix, const struct lrl_ppo_figures *f) {
  lrl_ppo_put(o, prefix, "objective/scores", lrl_ppo_mean(f, LRL_PPO_SCORE));
  lrl_ppo_put(o, prefix, "objective/gold", lrl_ppo_mean(f, LRL_PPO_GOLD));
  lrl_ppo_put(o, prefix, "objective/kl", lrl_ppo_mean(f, LRL_PPO_KL));
  lrl_ppo_put(o, prefix, "objective/kl_k3", lrl_ppo_mean(f, LRL_PPO_KL3));
  lrl_ppo_put(o, prefix, "objective/entropy", lrl_ppo_mean(f, LRL_PPO_ENTROPY));
  lrl_ppo_put(o, prefix, "response_length/mean", lrl_ppo_mean(f, LRL_PPO_LENGTH));
  lrl_ppo_put(o, prefix, "response_length/max", f->max[LRL_PPO_LENGTH]);
  lrl_ppo_put(o, prefix, "response_length/min", f->min[LRL_PPO_LENGTH]);
  lrl_ppo_put(o, prefix, "response_length/clip_ratio", 1.0 - f->finished / f->responses);
}
