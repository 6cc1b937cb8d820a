/* F1: TRL 0.11 PPO (core.py, ppo_trainer.py). */
#include "tests/golden/rl.h"
#include "train/advantages.h"
#include "train/rewards.h"

static lrl_status f1_kl(struct rl *c, const char *group, const char *key, const char *rest) {
  float *kl = rl_new(c);
  LRL_TRY(rl_kl(c, rl_estimator(rest), rl_in(c, "old_logprobs"), rl_in(c, "ref_logprobs"), kl));
  return rl_check(c, group, key, kl);
}
/* rewards.full starts from the library's exact KL: the placing of the score is checked. */
static lrl_status f1_rewards(struct rl *c, const char *group, const char *key, const char *rest) {
  const bool non_score = strncmp(key, "non_score", 9) == 0;
  const float *scores = bag_read(&c->b, "inputs", "", "scores", NULL);
  double *s = bag_zeros(&c->b, c->rows, sizeof *s);
  float *kl = rl_new(c), *rewards = rl_new(c);
  if (strcmp(rest, "full") == 0)
    kl = rl_pack(c, bag_read(&c->b, "outputs", "kl", "full", NULL));
  else
    LRL_TRY(rl_kl(c, rl_estimator(rest), rl_in(c, "old_logprobs"), rl_in(c, "ref_logprobs"), kl));
  for (int64_t i = 0; i < c->rows; i++)
    s[i] = non_score ? 0.0 : (double)scores[i];
  lrl_token_rewards(&c->layout, c->mask, kl, g5_num(&c->b.file, "kl_coef", 0.0), s, rewards);
  return rl_check(c, group, key, rewards);
}
/* TRL leaves the whitened rewards of masked positions in place, and they leak into the live ones
 * before them: only the returns of rows without masked positions can agree. */
static lrl_status f1_whitened(struct rl *c, const char *key, const float *returns) {
  const float *want = bag_read(&c->b, "outputs", "", key, NULL);
  double worst = 0.0;
  int64_t rows = 0;
  golden_skip(c->g, c->name, key, "rows with padding: TRL lets whitened padding leak into them");
  for (int64_t r = 0; r < c->rows; r++)
    for (int64_t i = 0; c->layout.length[r] == c->time && i < c->time; i++) {
      const int64_t t = c->layout.start[r] + i;
      worst = bag_worse(worst, rl_error1((double)returns[t], (double)want[c->where[t]]));
      rows += i == 0;
    }
  if (rows > 0)
    golden_check(c->g, c->name, key, worst, c->tol);
  return LRL_OK;
}
static lrl_status f1_gae(struct rl *c, const char *group, const char *key, const char *rest) {
  float *rewards = rl_pack(c, bag_read(&c->b, "outputs", "rewards", "kl", NULL));
  float *adv = rl_new(c), *ret = rl_new(c);
  struct lrl_estimator_options o = {.whiten = true};
  if (sscanf(rest, "g%lf_l%lf", &o.gamma, &o.lam) != 2) {
    o.gamma = g5_num(&c->b.file, "gamma", 1.0);
    o.lam = g5_num(&c->b.file, "lam", 0.95);
  }
  if (strncmp(rest, "whiten_rewards", 14) == 0)
    LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_UNBIASED, false, rl_n(c), c->mask, rewards));
  LRL_TRY(lrl_advantages(&o, &c->b.ctx, NULL, &c->layout, c->mask, rewards, rl_in(c, "values"), adv,
                         ret));
  if (strncmp(key, "returns.whiten", 14) == 0)
    return f1_whitened(c, key, ret);
  return rl_check(c, group, key, strncmp(key, "adv", 3) == 0 ? adv : ret);
}
static lrl_status f1_whiten(struct rl *c, const char *group, const char *key, const char *rest) {
  struct g5_array a = {0};
  (void)rest;
  float *x = bag_read(&c->b, "inputs", "", "advantages", &a);
  LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_UNBIASED, true, a.n, NULL, x));
  golden_check(c->g, c->name, key, golden_max_abs(x, bag_read(&c->b, group, "", key, NULL), a.n),
               c->tol);
  return LRL_OK;
}
/* A whole loss: both halves with their gradients and what the library logs. */
struct f1_loss {
  struct lrl_ppo_policy_stats p;
  struct lrl_ppo_value_stats v;
  struct lrl_moments returns, values;
  double vf_coef;
  float *d_logprobs, *d_values;
};
static lrl_status f1_compute(struct rl *c, const char *name, struct f1_loss *x) {
  const struct g5 *f = &c->b.file;
  double clip = g5_num(f, "cliprange", 0.2), clip_value = g5_num(f, "cliprange_value", 0.2);
  x->vf_coef = g5_num(f, "vf_coef", 0.1);
  if (sscanf(name, "clip%lf_vf%lf", &clip, &x->vf_coef) == 2)
    clip_value = rl_note(f, "", "cliprange_value ", clip_value);
  const float *returns = rl_in(c, "returns"), *values = rl_in(c, "values");
  const float *w = rl_weights(c, LRL_AGG_TOKEN_MEAN), *logits;
  struct g5_array a = {0};
  logits = bag_read(&c->b, "inputs", "", "logits", &a);
  float *h = bag_floats(&c->b, c->rows * c->time), *lp = bag_floats(&c->b, c->rows * c->time);
  LRL_TRY(lrl_logprob_fwd(&c->b.ctx, &(struct lrl_logprob_fwd_args){
                                         c->rows * c->time, a.dim[2], 1.0f, logits,
                                         bag_ids(&c->b, "", "labels", NULL), lp, h, NULL, false}));
  x->d_logprobs = rl_new(c);
  x->d_values = rl_new(c);
  LRL_TRY(lrl_ppo_policy(&c->b.ctx,
                         &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                                       .mask = c->mask,
                                                       .clip_low = clip,
                                                       .clip_high = clip,
                                                       .logprobs = rl_in(c, "logprobs"),
                                                       .old_logprobs = rl_in(c, "old_logprobs"),
                                                       .advantages = rl_in(c, "advantages"),
                                                       .entropy = rl_pack(c, h),
                                                       .seq_weight = w,
                                                       .stats = &x->p,
                                                       .d_logprobs = x->d_logprobs}));
  LRL_TRY(lrl_ppo_value(&c->b.ctx, &(struct lrl_ppo_value_args){.layout = &c->layout,
                                                                .mask = c->mask,
                                                                .cliprange = clip_value,
                                                                .values = rl_in(c, "vpreds"),
                                                                .old_values = values,
                                                                .returns = returns,
                                                                .seq_weight = w,
                                                                .stats = &x->v,
                                                                .d_values = x->d_values}));
  LRL_TRY(rl_moments(c, returns, NULL, &x->returns));
  LRL_TRY(rl_moments(c, values, NULL, &x->values));
  for (int64_t t = 0; t < rl_n(c); t++)
    x->d_values[t] *= (float)x->vf_coef;
  return LRL_OK;
}
static bool f1_skipped(struct rl *c, const char *key) {
  if (strstr(key, "ratio_skip") == NULL || strncmp(key, "stats", 5) == 0)
    return false;
  golden_skip(c->g, c->name, key,
              "TRL drops a minibatch whose mean ratio is too large; Laurel stops at target_kl");
  return true;
}
static lrl_status f1_loss(struct rl *c, const char *group, const char *key, const char *rest) {
  struct f1_loss x = {0};
  if (f1_skipped(c, key))
    return LRL_OK;
  LRL_TRY(f1_compute(c, rest, &x));
  if (strcmp(group, "grads") == 0)
    return rl_check(c, group, key, strstr(rest, ".logprobs") != NULL ? x.d_logprobs : x.d_values);
  if (strncmp(key, "pg_loss", 7) == 0)
    return rl_check1(c, group, key, x.p.loss);
  if (strncmp(key, "vf_loss", 7) == 0)
    return rl_check1(c, group, key, x.v.loss * x.vf_coef);
  const double n = x.p.tokens;
  const struct {
    const char *name;
    double value;
  } stats[] = {{"policy.approxkl", x.p.kl2 / n},    {"policy.clipfrac", x.p.clipped / n},
               {"policy.entropy", x.p.entropy / n}, {"policy.policykl", x.p.kl1 / n},
               {"returns.mean", x.returns.mean},    {"returns.var", lrl_variance(&x.returns, true)},
               {"val.clipfrac", x.v.clipped / n},   {"val.error", x.v.sq_error / n},
               {"val.mean", x.values.mean},         {"val.var", lrl_variance(&x.values, true)}};
  for (size_t i = 0; i < sizeof stats / sizeof *stats; i++) {
    const char *end = strstr(rest, stats[i].name);
    if (end != NULL && strcmp(end, stats[i].name) == 0)
      return rl_check1(c, group, key, stats[i].value);
  }
  return LRL_FAIL(LRL_ERR_FORMAT, "unknown statistic");
}

static const struct rl_row f1_rows[] = {
    {"outputs", "adv.whiten_rewards", NULL, "TRL lets whitened padding leak into live tokens"},
    {"outputs", "adv.", f1_gae, NULL},
    {"outputs", "returns.", f1_gae, NULL},
    {"outputs", "kl.full", NULL, "the exact KL needs both whole distributions; k1, k2, k3 exist"},
    {"outputs", "kl.", f1_kl, NULL},
    {"outputs", "rewards.", f1_rewards, NULL},
    {"outputs", "non_score.", f1_rewards, NULL},
    {"outputs", "masked_", rl_masked, NULL},
    {"outputs", "whiten", f1_whiten, NULL},
    {"outputs", "values_masked", NULL, "there is no padding to clear"},
    {"outputs", "entropy_from_logits", rl_logits, NULL},
    {"outputs", "logprobs_from_logits", rl_logits, NULL},
    {"grads", "entropy_masked_mean", rl_logits, NULL},
    {"grads", "logprobs_from_logits", rl_logits, NULL},
    {"outputs", "pg_loss.", f1_loss, NULL},
    {"outputs", "vf_loss_scaled.", f1_loss, NULL},
    {"outputs", "stats.", f1_loss, NULL},
    {"grads", "loss.", f1_loss, NULL},
    {NULL, NULL, NULL, NULL}};

static void f1(struct golden *g, const char *path, const char *name) {
  struct rl c;
  if (!rl_open(&c, g, path, name, "mask", 5e-6))
    return;
  rl_run(&c, f1_rows);
  bag_close(&c.b);
}
GOLDEN_FAMILY("F1_", f1)
