/* F4: OpenRLHF's loss.py, utils.py and experience_maker.py. */
#include "tests/golden/rl.h"
#include "train/advantages.h"
#include "train/rewards.h"

/* OpenRLHF clamps every estimate to +-10. The values are of the rollout policy, the gradients (of
 * the token mean) at the new one. */
static lrl_status kl(struct rl *c, const char *group, const char *key, const char *rest) {
  const bool grad = strcmp(group, "grads") == 0;
  const float *w = rl_weights(c, LRL_AGG_TOKEN_MEAN);
  float *out = rl_new(c), *d = rl_new(c);
  double loss;
  LRL_TRY(lrl_approx_kl(&c->b.ctx, &(struct lrl_approx_kl_args){
                                       .layout = &c->layout,
                                       .mask = c->mask,
                                       .estimator = rl_estimator(rest),
                                       .kl_clamp = 10.0,
                                       .logprobs = rl_in(c, grad ? "logprobs" : "old_logprobs"),
                                       .ref_logprobs = rl_in(c, "ref_logprobs"),
                                       .kl = out,
                                       .coef = 1.0,
                                       .seq_weight = w,
                                       .loss = &loss,
                                       .d_logprobs = d}));
  return rl_check(c, group, key, grad ? d : out);
}

/* Rewards per token of scores already shaped; the KL is the rollout policy's. */
static lrl_status token_rewards(struct rl *c, const double *scores, float *rewards) {
  float *k1 = rl_new(c);
  LRL_TRY(rl_kl(c, LRL_KL_K1, rl_in(c, "old_logprobs"), rl_in(c, "ref_logprobs"), k1));
  lrl_token_rewards(&c->layout, c->mask, k1, g5_num(&c->b.file, "kl_coef", 0.0), scores, rewards);
  return LRL_OK;
}
static double *read_scores(struct rl *c) {
  double *scores = bag_zeros(&c->b, c->rows, sizeof *scores);
  const float *s = bag_read(&c->b, "inputs", "", "scores", NULL);
  for (int64_t i = 0; s != NULL && i < c->rows; i++)
    scores[i] = (double)s[i];
  return scores;
}
static lrl_status rewards(struct rl *c, const char *group, const char *key, const char *rest) {
  double *scores = read_scores(c), clip = 0.0;
  float *out = rl_new(c);
  bool *finished = bag_zeros(&c->b, c->rows, sizeof *finished);
  if (sscanf(rest, ".clip%lf", &clip) == 1) {
    const struct lrl_score_options o = {.clip_low = -clip, .clip_high = clip};
    LRL_TRY(lrl_shape_scores(&o, NULL, NULL, c->rows, scores, c->layout.length, finished));
  }
  LRL_TRY(token_rewards(c, scores, out));
  return rl_check(c, group, key, out);
}

static lrl_status gae(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_estimator_options o = {.gamma = 1.0, .lam = 0.95};
  float *r = rl_new(c), *adv = rl_new(c), *ret = rl_new(c);
  if (strncmp(key, "cumulative", 10) == 0)
    o.estimator = LRL_EST_REINFORCE_PP;
  sscanf(rest, "g%lf_l%lf", &o.gamma, &o.lam);
  LRL_TRY(token_rewards(c, read_scores(c), r));
  LRL_TRY(
      lrl_advantages(&o, &c->b.ctx, NULL, &c->layout, c->mask, r, rl_in(c, "values"), adv, ret));
  return rl_check(c, group, key, strstr(rest, "adv") != NULL ? adv : ret);
}

/* exp.<estimator>.<adv|returns>: groups are n_samples_per_prompt consecutive rows. */
static lrl_status experience(struct rl *c, const char *group, const char *key, const char *rest) {
  const int32_t k = (int32_t)g5_num(&c->b.file, "n_samples_per_prompt", 1.0);
  struct lrl_estimator_options o = {.gamma = rl_note(&c->b.file, "exp.*", "gamma ", 1.0),
                                    .lam = rl_note(&c->b.file, "exp.*", "lambda ", 0.95),
                                    .std_eps = 1e-9,
                                    .whiten_kind = LRL_WHITEN_BIASED};
  if (strncmp(rest, "reinforce_baseline", 18) == 0)
    o.estimator = LRL_EST_REINFORCE_PP_BASELINE;
  else if (strncmp(rest, "reinforce", 9) == 0)
    o.estimator = LRL_EST_REINFORCE_PP;
  else if (strncmp(rest, "rloo", 4) == 0)
    o.estimator = LRL_EST_RLOO;
  else if (strncmp(rest, "group_norm", 10) == 0 || strncmp(rest, "dr_grpo", 7) == 0)
    o.estimator = LRL_EST_GRPO;
  o.norm_adv_by_std_in_grpo = strncmp(rest, "dr_", 3) != 0;
  o.whiten = lrl_estimator_whitens(o.estimator);
  double *scores = read_scores(c);
  int32_t *index = bag_zeros(&c->b, c->rows, 4);
  for (int32_t i = 0; i < (int32_t)c->rows; i++)
    index[i] = i / k;
  LRL_TRY(lrl_baseline_scores(&o, c->rows, index, c->rows,
                              bag_zeros(&c->b, c->rows, sizeof(struct lrl_group)), NULL, NULL,
                              scores, scores));
  float *r = rl_new(c), *adv = rl_new(c), *ret = rl_new(c);
  LRL_TRY(token_rewards(c, scores, r));
  LRL_TRY(
      lrl_advantages(&o, &c->b.ctx, NULL, &c->layout, c->mask, r, rl_in(c, "values"), adv, ret));
  return rl_check(c, group, key, strstr(rest, ".adv") != NULL ? adv : ret);
}

static lrl_status policy(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_ppo_policy_stats s;
  struct lrl_ppo_policy_args a = {
      .layout = &c->layout, .mask = c->mask, .clip_low = 0.2, .clip_high = 0.2, .stats = &s};
  const bool seq = strstr(rest, "_seq") != NULL || strncmp(rest, "gspo", 4) == 0;
  if (strncmp(rest, "gspo", 4) == 0) {
    a.ratio = LRL_RATIO_SEQUENCE;
    a.clip_low = rl_note(&c->b.file, "policy.gspo", "eps ", 3e-3);
    a.clip_high = rl_note(&c->b.file, "policy.gspo", "/", 4e-3);
  } else if (strncmp(rest, "asym", 4) == 0) {
    a.clip_low = rl_note(&c->b.file, "policy.asym", "eps ", 0.2);
    a.clip_high = rl_note(&c->b.file, "policy.asym", "/", 0.28);
  }
  sscanf(rest, "dual%lf", &a.dual_clip);
  a.logprobs = rl_in(c, "logprobs");
  a.old_logprobs = rl_in(c, "old_logprobs");
  a.advantages = rl_in(c, "advantages");
  a.seq_weight = rl_weights(c, seq ? LRL_AGG_SEQ_MEAN_TOKEN_MEAN : LRL_AGG_TOKEN_MEAN);
  a.d_logprobs = rl_new(c);
  LRL_TRY(lrl_ppo_policy(&c->b.ctx, &a));
  if (strcmp(group, "grads") == 0)
    return rl_check(c, group, key, a.d_logprobs);
  if (strstr(rest, "clip_ratio") != NULL)
    return rl_check1(c, group, key, s.clipped / s.tokens);
  return rl_check1(c, group, key, strstr(rest, "ppo_kl") != NULL ? s.kl1 / s.tokens : s.loss);
}

static lrl_status value(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_ppo_value_stats s;
  float *d = rl_new(c);
  double clip = 0.0;
  sscanf(rest, "clip%lf", &clip);
  const bool seq = strstr(rest, "_seq") != NULL;
  const float *w = rl_weights(c, seq ? LRL_AGG_SEQ_MEAN_TOKEN_MEAN : LRL_AGG_TOKEN_MEAN);
  LRL_TRY(lrl_ppo_value(&c->b.ctx, &(struct lrl_ppo_value_args){.layout = &c->layout,
                                                                .mask = c->mask,
                                                                .cliprange = clip,
                                                                .values = rl_in(c, "vpreds"),
                                                                .old_values = rl_in(c, "values"),
                                                                .returns = rl_in(c, "returns"),
                                                                .seq_weight = w,
                                                                .stats = &s,
                                                                .d_values = d}));
  return strcmp(group, "grads") == 0 ? rl_check(c, group, key, d)
                                     : rl_check1(c, group, key, s.loss);
}

static lrl_status normalize(struct rl *c, const char *group, const char *key, const char *rest) {
  float *x = rl_in(c, "advantages");
  (void)rest;
  LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_BIASED, true, rl_n(c), c->mask, x));
  return rl_check(c, group, key, x);
}

static const struct rl_row rows[] = {{"outputs", "approx_kl.", kl, NULL},
                                     {"grads", "approx_kl.", kl, NULL},
                                     {"outputs", "compute_reward", rewards, NULL},
                                     {"outputs", "cumulative_returns.", gae, NULL},
                                     {"outputs", "gae.", gae, NULL},
                                     {"outputs", "exp.", experience, NULL},
                                     {"outputs", "policy.", policy, NULL},
                                     {"grads", "policy.", policy, NULL},
                                     {"outputs", "value.", value, NULL},
                                     {"grads", "value.", value, NULL},
                                     {"outputs", "v0.5.9_buffer_normalize", normalize, NULL},
                                     {NULL, NULL, NULL, NULL}};

static void f4(struct golden *g, const char *path, const char *name) {
  struct rl c;
  if (!rl_open(&c, g, path, name, "mask", 5e-6))
    return;
  rl_run(&c, rows);
  bag_close(&c.b);
}
GOLDEN_FAMILY("F4_", f4)
