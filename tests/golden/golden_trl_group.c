/* F6: GRPO and RLOO of TRL 0.15.2. */
#include "tests/golden/rl.h"
#include "train/advantages.h"
#include "train/rewards.h"

static lrl_status grpo_advantages(struct rl *c, const char *group, const char *key,
                                  const char *rest) {
  const struct lrl_estimator_options o = {
      .estimator = LRL_EST_GRPO, .norm_adv_by_std_in_grpo = true, .std_eps = 1e-4};
  const float *s = bag_read(&c->b, "inputs", "", "scores", NULL);
  const float *want = bag_read(&c->b, group, "", key, NULL);
  const int32_t k = (int32_t)g5_num(&c->b.file, "num_generations", 1.0);
  double *scores = bag_zeros(&c->b, c->rows, sizeof *scores), worst = 0.0;
  int32_t *index = bag_zeros(&c->b, c->rows, 4);
  (void)rest;
  for (int32_t i = 0; i < (int32_t)c->rows; i++) {
    scores[i] = (double)s[i];
    index[i] = i / k;
  }
  LRL_TRY(lrl_baseline_scores(&o, c->rows, index, c->rows,
                              bag_zeros(&c->b, c->rows, sizeof(struct lrl_group)), NULL, NULL,
                              scores, scores));
  for (int64_t i = 0; i < c->rows; i++)
    worst = bag_worse(worst, rl_error1(scores[i], (double)want[i]));
  golden_check(c->g, c->name, key, worst, c->tol);
  return LRL_OK;
}

/* Ratio 1 everywhere (the library detaches the old policy from the new), plus beta * k3. */
static lrl_status grpo_loss(struct rl *c, const char *group, const char *key, const char *rest) {
  struct bag *b = &c->b;
  const float *w = rl_weights(c, LRL_AGG_SEQ_MEAN_TOKEN_MEAN), *lp = rl_in(c, "logprobs");
  const float *per_row = bag_read(b, "outputs", "", "grpo.advantages", NULL);
  const double beta = g5_num(&b->file, "beta", 0.0);
  struct lrl_ppo_policy_stats s;
  float *adv = rl_new(c), *d = rl_new(c), *kl = rl_new(c);
  double kl_loss;
  (void)rest;
  for (int64_t t = 0; t < rl_n(c); t++)
    adv[t] = per_row[c->where[t] / c->time];
  LRL_TRY(lrl_ppo_policy(&b->ctx, &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                                                .mask = c->mask,
                                                                .clip_low = 0.2,
                                                                .clip_high = 0.2,
                                                                .logprobs = lp,
                                                                .old_logprobs = lp,
                                                                .advantages = adv,
                                                                .seq_weight = w,
                                                                .stats = &s,
                                                                .d_logprobs = d}));
  LRL_TRY(
      lrl_approx_kl(&b->ctx, &(struct lrl_approx_kl_args){.layout = &c->layout,
                                                          .mask = c->mask,
                                                          .estimator = LRL_KL_K3,
                                                          .logprobs = lp,
                                                          .ref_logprobs = rl_in(c, "ref_logprobs"),
                                                          .kl = kl,
                                                          .coef = beta,
                                                          .seq_weight = w,
                                                          .loss = &kl_loss,
                                                          .d_logprobs = d}));
  if (strcmp(group, "grads") == 0)
    return rl_check(c, group, key, d);
  return strstr(key, "per_token_kl") != NULL ? rl_check(c, group, key, kl)
                                             : rl_check1(c, group, key, s.loss + beta * kl_loss);
}

/* Groups are strided: row i belongs to prompt i mod (rows / k). The KL is summed into the score, so
 * that the baseline holds it too. */
static lrl_status rloo(struct rl *c, const char *group, const char *key, const char *rest) {
  struct bag *b = &c->b;
  const struct lrl_estimator_options o = {.estimator = LRL_EST_RLOO};
  const bool norm = strstr(rest, "_norm") != NULL;
  const int32_t prompts = (int32_t)c->rows / (int32_t)g5_num(&b->file, "rloo_k", 1.0);
  const float *s = bag_read(b, "inputs", "", "scores", NULL);
  const float *want = bag_read(b, group, "", key, NULL);
  double *scores = bag_zeros(b, c->rows, sizeof *scores), worst = 0.0;
  int32_t *index = bag_zeros(b, c->rows, 4);
  float *kl = rl_new(c), *rewards = rl_new(c);
  for (int32_t i = 0; i < (int32_t)c->rows; i++) {
    scores[i] = (double)s[i];
    index[i] = i % prompts;
  }
  if (norm) { /* of the batch, before the clip: TRL's order */
    const double clip = rl_note(&b->file, "seq_norm", "clip ", 1.0);
    const struct lrl_moments m = lrl_moments_of(c->rows, scores);
    for (int64_t i = 0; i < c->rows; i++)
      scores[i] = (scores[i] - m.mean) / (sqrt(lrl_variance(&m, true)) + 1e-8);
    LRL_TRY(lrl_shape_scores(&(struct lrl_score_options){.clip_low = -clip, .clip_high = clip},
                             NULL, NULL, c->rows, scores, c->layout.length,
                             bag_zeros(b, c->rows, sizeof(bool))));
  }
  LRL_TRY(rl_kl(c, LRL_KL_K1, rl_in(c, "logprobs"), rl_in(c, "ref_logprobs"), kl));
  lrl_token_rewards(&c->layout, c->mask, kl, g5_num(&b->file, "kl_coef", 0.0), scores, rewards);
  memset(scores, 0, (size_t)c->rows * sizeof *scores);
  for (int64_t t = 0; t < rl_n(c); t++)
    scores[c->where[t] / c->time] += (double)rewards[t];
  LRL_TRY(lrl_baseline_scores(&o, c->rows, index, prompts,
                              bag_zeros(b, prompts, sizeof(struct lrl_group)), NULL, NULL, scores,
                              scores));
  const struct lrl_moments m = lrl_moments_of(c->rows, scores);
  for (int64_t i = 0; i < c->rows; i++) {
    const double got =
        norm ? (scores[i] - m.mean) / (sqrt(lrl_variance(&m, true)) + 1e-8) : scores[i];
    worst = bag_worse(worst, rl_error1(got, (double)want[i]));
  }
  golden_check(c->g, c->name, key, worst, c->tol);
  return LRL_OK;
}

static const struct rl_row rows[] = {{"outputs", "grpo.advantages", grpo_advantages, NULL},
                                     {"outputs", "grpo.", grpo_loss, NULL},
                                     {"grads", "grpo.", grpo_loss, NULL},
                                     {"outputs", "rloo.", rloo, NULL},
                                     {NULL, NULL, NULL, NULL}};

static void f6(struct golden *g, const char *path, const char *name) {
  struct rl c;
  if (!rl_open(&c, g, path, name, "mask", 5e-6))
    return;
  rl_run(&c, rows);
  bag_close(&c.b);
}
GOLDEN_FAMILY("F6_", f6)
