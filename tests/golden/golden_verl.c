/* F3: verl's core_algos.py and torch_functional.py. Estimators go the way of Laurel: baseline of
 * the scores, rewards per token, rewards-to-go, whitening. */
#include "tests/golden/rl.h"
#include "train/advantages.h"
#include "train/rewards.h"

/* KL of the rollout policy to the reference as verl takes it in rewards, and its mean over
 * sequences of token means. */
static lrl_status rollout_kl(struct rl *c, enum lrl_kl_estimator e, float *kl, double *mean) {
  const bool k3 = e == LRL_KL_K3;
  const float *w = rl_weights(c, LRL_AGG_SEQ_MEAN_TOKEN_MEAN);
  return lrl_approx_kl(&c->b.ctx,
                       &(struct lrl_approx_kl_args){.layout = &c->layout,
                                                    .mask = c->mask,
                                                    .estimator = e,
                                                    .diff_clamp = k3 ? 20.0 : 0.0,
                                                    .kl_clamp = k3 ? 10.0 : 0.0,
                                                    .logprobs = rl_in(c, "old_logprobs"),
                                                    .ref_logprobs = rl_in(c, "ref_logprobs"),
                                                    .kl = kl,
                                                    .seq_weight = w,
                                                    .loss = mean});
}
/* The file does not say the coefficient of apply_kl_penalty: it is read off the token with the
 * largest k1, and the other tokens and estimators are then checked against it. */
static lrl_status penalty_coef(struct rl *c, double *coef) {
  const float *got =
      rl_pack(c, bag_read(&c->b, "outputs", "", "apply_kl_penalty.k1.rewards", NULL));
  const float *score = rl_in(c, "token_level_scores");
  float *kl = rl_new(c);
  double mean, largest = 0.0;
  LRL_TRY(rollout_kl(c, LRL_KL_K1, kl, &mean));
  for (int64_t t = 0; got != NULL && t < rl_n(c); t++)
    if (c->mask[t] != 0 && fabs((double)kl[t]) > largest) {
      largest = fabs((double)kl[t]);
      *coef = ((double)score[t] - (double)got[t]) / (double)kl[t];
    }
  return LRL_OK;
}
static lrl_status kl_penalty(struct rl *c, const char *group, const char *key, const char *rest) {
  double *scores = bag_zeros(&c->b, c->rows, sizeof *scores), mean;
  double coef = g5_num(&c->b.file, "kl_ratio", 0.1);
  float *kl = rl_new(c), *rewards = rl_new(c), *per_token = rl_in(c, "token_level_scores");
  LRL_TRY(rollout_kl(c, rl_estimator(rest), kl, &mean));
  if (strstr(rest, "current_kl") != NULL)
    return rl_check1(c, group, key, mean);
  if (strncmp(key, "apply", 5) == 0)
    LRL_TRY(penalty_coef(c, &coef));
  lrl_token_rewards(&c->layout, c->mask, kl, coef, scores, rewards);
  for (int64_t t = 0; t < rl_n(c); t++)
    rewards[t] += per_token[t];
  return rl_check(c, group, key, rewards);
}

static lrl_status gae(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_estimator_options o = {.whiten = true};
  if (sscanf(rest, "plain.g%lf_l%lf", &o.gamma, &o.lam) != 2 &&
      sscanf(rest, "hole.g%lf_l%lf", &o.gamma, &o.lam) != 2)
    return LRL_FAIL(LRL_ERR_FORMAT, "no gamma and lambda in %s", key);
  struct rl hole = *c; /* the file and device are c's, the arrays its own */
  hole.b.n = 0;
  if (strncmp(rest, "hole", 4) == 0) {
    const float *m = bag_read(&hole.b, "inputs", "", "mask_hole", NULL);
    if (m != NULL)
      rl_set_mask(&hole, m, c->rows, c->time);
  }
  float *adv = rl_new(&hole), *ret = rl_new(&hole);
  float *rewards = rl_pack(&hole, bag_read(&hole.b, "outputs", "", "compute_rewards", NULL));
  lrl_status s = lrl_advantages(&o, &c->b.ctx, NULL, &hole.layout, hole.mask, rewards,
                                rl_in(&hole, "values"), adv, ret);
  if (s == LRL_OK)
    s = rl_check(&hole, group, key, strstr(rest, ".adv") != NULL ? adv : ret);
  bag_clear(&hole.b);
  return s;
}

static enum lrl_estimator estimator(const char *key) {
  static const struct {
    const char *prefix;
    enum lrl_estimator e;
  } names[] = {{"grpo", LRL_EST_GRPO},        {"dr_grpo", LRL_EST_GRPO},
               {"rloo", LRL_EST_RLOO},        {"opo", LRL_EST_OPO},
               {"remax", LRL_EST_REMAX},      {"rfpp_baseline", LRL_EST_REINFORCE_PP_BASELINE},
               {"rfpp", LRL_EST_REINFORCE_PP}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strncmp(key, names[i].prefix, strlen(names[i].prefix)) == 0)
      return names[i].e;
  return LRL_EST_GAE;
}
/* verl's vectorised RLOO gives 0 to the only member of a group; its loop, and Laurel, the score. */
static void drop_singles(struct rl *c, const char *key, const struct lrl_group *groups,
                         const int32_t *group, const float *want, float *got) {
  bool any = false;
  for (int64_t t = 0; strstr(key, "rloo_vectorized") != NULL && t < rl_n(c); t++)
    if (groups[group[c->where[t] / c->time]].scores.n < 2.0) {
      got[t] = want[c->where[t]];
      any = true;
    }
  if (any)
    golden_skip(c->g, c->name, key, "groups of one: verl's vectorised form gives 0, its loop not");
}
static lrl_status group_advantages(struct rl *c, const char *group, const char *key,
                                   const char *rest) {
  struct bag *b = &c->b;
  const int64_t rows = c->rows;
  struct lrl_estimator_options o = {.estimator = estimator(key), .std_eps = 1e-6};
  o.norm_adv_by_std_in_grpo = strncmp(key, "dr_", 3) != 0;
  o.whiten = lrl_estimator_whitens(o.estimator);
  o.gamma = rl_note(&b->file, "", "rfpp gamma ", 1.0);
  const bool with_kl = o.estimator == LRL_EST_REINFORCE_PP || o.estimator == LRL_EST_REMAX;
  const float *per_token = rl_in(c, "token_level_scores");
  const float *greedy = bag_read(b, "inputs", "", "reward_baselines", NULL);
  double *scores = bag_zeros(b, rows, sizeof *scores), *base = bag_zeros(b, rows, sizeof *base);
  struct lrl_group *groups = bag_zeros(b, rows, sizeof *groups);
  const int32_t *index = bag_ids(b, "", "group_index", NULL);
  float *kl = rl_new(c), *rewards = rl_new(c), *adv = rl_new(c), *ret = rl_new(c);
  double mean;
  for (int64_t t = 0; t < rl_n(c); t++)
    scores[c->where[t] / c->time] += c->mask[t] != 0 ? (double)per_token[t] : 0.0;
  for (int64_t i = 0; i < rows; i++)
    base[i] = (double)greedy[i];
  if (o.estimator == LRL_EST_REMAX && strstr(rest, "returns") != NULL)
    memset(base, 0, (size_t)rows * sizeof *base); /* verl's returns keep the score */
  LRL_TRY(
      lrl_baseline_scores(&o, rows, index, rows, groups, c->layout.length, base, scores, scores));
  LRL_TRY(rollout_kl(c, LRL_KL_K1, kl, &mean));
  lrl_token_rewards(&c->layout, c->mask, kl, with_kl ? g5_num(&b->file, "kl_ratio", 0.1) : 0.0,
                    scores, rewards);
  LRL_TRY(lrl_advantages(&o, &b->ctx, NULL, &c->layout, c->mask, rewards, NULL, adv, ret));
  float *got = strstr(rest, "returns") != NULL ? ret : adv;
  drop_singles(c, key, groups, index, bag_read(b, group, "", key, NULL), got);
  return rl_check(c, group, key, got);
}

static lrl_status policy(struct rl *c, const char *group, const char *key, const char *rest) {
  const struct g5 *f = &c->b.file;
  const bool gspo = strncmp(key, "gspo", 4) == 0;
  struct lrl_ppo_policy_stats s;
  struct lrl_ppo_policy_args a = {.layout = &c->layout, .mask = c->mask, .stats = &s};
  enum lrl_loss_agg mode = rl_mode(key);
  if (gspo) {
    a.ratio = LRL_RATIO_SEQUENCE_TOKEN;
    a.clip_low = rl_note(f, "gspo: eps ", "", 3e-3);
    a.clip_high = rl_note(f, "gspo: eps ", "/", 4e-3);
    a.log_ratio_clamp = 10.0;
    mode = LRL_AGG_SEQ_MEAN_TOKEN_MEAN;
  } else if (strncmp(rest, "sym", 3) == 0) {
    a.clip_low = a.clip_high = rl_note(f, "policy.sym:", "clip ", 0.2);
    a.dual_clip = rl_note(f, "policy.sym:", "c=", 3.0);
    a.log_ratio_clamp = 20.0;
  } else {
    a.clip_low = rl_note(f, "asym_dual:", "low ", 0.15);
    a.clip_high = rl_note(f, "asym_dual:", "high ", 0.28);
    a.dual_clip = rl_note(f, "asym_dual:", "c=", 1.5);
    a.log_ratio_clamp = 20.0;
  }
  a.logprobs = rl_in(c, "logprobs");
  a.old_logprobs = rl_in(c, "old_logprobs");
  a.advantages = rl_in(c, "advantages");
  a.seq_weight = rl_weights(c, mode);
  a.d_logprobs = rl_new(c);
  LRL_TRY(lrl_ppo_policy(&c->b.ctx, &a));
  if (strcmp(group, "grads") == 0)
    return rl_check(c, group, key, a.d_logprobs);
  if (strstr(rest, "pg_clipfrac_lower") != NULL)
    return rl_check1(c, group, key, s.clipped_lower / s.tokens);
  if (strstr(rest, "pg_clipfrac") != NULL)
    return rl_check1(c, group, key, s.clipped / s.tokens);
  return rl_check1(c, group, key, strstr(rest, "ppo_kl") != NULL ? s.kl1 / s.tokens : s.loss);
}

static lrl_status value(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_ppo_value_stats s;
  float *d = rl_new(c);
  LRL_TRY(lrl_ppo_value(&c->b.ctx, &(struct lrl_ppo_value_args){
                                       .layout = &c->layout,
                                       .mask = c->mask,
                                       .cliprange = g5_num(&c->b.file, "cliprange_value", 0.2),
                                       .values = rl_in(c, "vpreds"),
                                       .old_values = rl_in(c, "values"),
                                       .returns = rl_in(c, "returns"),
                                       .seq_weight = rl_weights(c, rl_mode(rest)),
                                       .stats = &s,
                                       .d_values = d}));
  if (strcmp(group, "grads") == 0)
    return rl_check(c, group, key, d);
  return rl_check1(c, group, key, strstr(rest, "clipfrac") ? s.clipped / s.tokens : s.loss);
}

/* A plain aggregation is the policy loss with ratio 1 and -x as the advantage. */
static lrl_status aggregate(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_ppo_policy_stats s;
  float *x = rl_in(c, "advantages"), *lp = rl_in(c, "logprobs");
  for (int64_t t = 0; t < rl_n(c); t++)
    x[t] = -x[t];
  LRL_TRY(lrl_ppo_policy(&c->b.ctx,
                         &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                                       .mask = c->mask,
                                                       .logprobs = lp,
                                                       .old_logprobs = lp,
                                                       .advantages = x,
                                                       .seq_weight = rl_weights(c, rl_mode(rest)),
                                                       .stats = &s}));
  return rl_check1(c, group, key, s.loss);
}

static lrl_status kl(struct rl *c, const char *group, const char *key, const char *rest) {
  double loss;
  float *out = rl_new(c), *d = rl_new(c);
  const bool k3 = rl_estimator(rest) == LRL_KL_K3;
  LRL_TRY(lrl_approx_kl(
      &c->b.ctx, &(struct lrl_approx_kl_args){.layout = &c->layout,
                                              .mask = c->mask,
                                              .estimator = rl_estimator(rest),
                                              .diff_clamp = k3 ? 20.0 : 0.0,
                                              .kl_clamp = k3 ? 10.0 : 0.0,
                                              .logprobs = rl_in(c, "logprobs"),
                                              .ref_logprobs = rl_in(c, "ref_logprobs"),
                                              .kl = out,
                                              .coef = 1.0,
                                              .seq_weight = rl_weights(c, LRL_AGG_TOKEN_MEAN),
                                              .loss = &loss,
                                              .d_logprobs = d}));
  return rl_check(c, group, key, strcmp(group, "grads") == 0 ? d : out);
}

static const struct rl_row rows[] = {
    {"outputs", "agg.", aggregate, NULL},
    {"outputs", "apply_kl_penalty.", kl_penalty, NULL},
    {"outputs", "compute_rewards", kl_penalty, NULL},
    {"outputs", "gae.", gae, NULL},
    {"outputs", "grpo", group_advantages, NULL},
    {"outputs", "dr_grpo", group_advantages, NULL},
    {"outputs", "rloo", group_advantages, NULL},
    {"outputs", "opo", group_advantages, NULL},
    {"outputs", "remax", group_advantages, NULL},
    {"outputs", "rfpp", group_advantages, NULL},
    {"outputs", "masked_", rl_masked, NULL},
    {"outputs", "policy.", policy, NULL},
    {"outputs", "gspo", policy, NULL},
    {"outputs", "value.", value, NULL},
    {"outputs", "kl.", kl, NULL},
    {"outputs", "entropy_loss", rl_logits, NULL},
    {"outputs", "logprobs_from_logits", rl_logits, NULL},
    {"outputs", "get_response_mask", NULL,
     "lengths and the finish reason are carried, never derived from token ids"},
    {"grads", "policy.", policy, NULL},
    {"grads", "gspo", policy, NULL},
    {"grads", "value.", value, NULL},
    {"grads", "kl.", kl, NULL},
    {"grads", "entropy_loss", rl_logits, NULL},
    {NULL, NULL, NULL, NULL}};

static void f3(struct golden *g, const char *path, const char *name) {
  struct rl c;
  if (!rl_open(&c, g, path, name, "mask", 1e-5))
    return;
  rl_run(&c, rows);
  bag_close(&c.b);
}
GOLDEN_FAMILY("F3_", f3)
