/* rlhf_golden: policy and value losses, preference losses. */
#include "tests/golden/rl_json.h"

/* Numbers of one policy loss against the members it has. */
static void policy_members(struct rl_json *j, const char *path,
                           const struct lrl_ppo_policy_stats *s, const float *d) {
  const struct {
    const char *key;
    double value;
  } stats[] = {{"loss", s->loss},
               {"clip_ratio", s->clipped / s->tokens},
               {"pg_clipfrac", s->clipped / s->tokens},
               {"pg_clipfrac_lower", s->clipped_lower / s->tokens},
               {"ppo_kl", s->kl1 / s->tokens}};
  char full[128];
  for (size_t i = 0; i < sizeof stats / sizeof *stats; i++) {
    snprintf(full, sizeof full, "%s/%s", path, stats[i].key);
    if (rj_get(j, full) != NULL)
      rj_check1(j, full, stats[i].value);
  }
  snprintf(full, sizeof full, "%s/grad_logp", path);
  if (rj_get(j, full) != NULL)
    rj_check(j, full, d);
}
lrl_status rj_policy(struct rl_json *j, const char *name, json_t *section) {
  struct rl *c = &j->c;
  const char *key;
  json_t *value;
  json_object_foreach(section, key, value) {
    struct lrl_ppo_policy_stats s;
    enum lrl_loss_agg mode = rl_mode(key);
    char path[96];
    snprintf(path, sizeof path, "%s/%s", name, key);
    if (json_is_array(value)) /* inputs */
      continue;
    if (strstr(key, "_is_") != NULL) {
      rj_skip(j, path, "no importance correction: rollout and training share their kernels");
      continue;
    }
    if (strstr(key, "seq_mean") != NULL)
      mode = LRL_AGG_SEQ_MEAN_TOKEN_MEAN;
    const bool dual = strstr(key, "dual") != NULL, asym = strstr(key, "asym") != NULL;
    float *d = rl_new(c);
    LRL_TRY(lrl_ppo_policy(&c->b.ctx,
                           &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                                         .mask = c->mask,
                                                         .clip_low = 0.2,
                                                         .clip_high = asym ? 0.28 : 0.2,
                                                         .dual_clip = dual ? 3.0 : 0.0,
                                                         .logprobs = rj_in(j, "inputs/logp"),
                                                         .old_logprobs = rj_in(j, "inputs/old"),
                                                         .advantages = rj_in(j, "policy_loss/adv"),
                                                         .seq_weight = rl_weights(c, mode),
                                                         .stats = &s,
                                                         .d_logprobs = d}));
    if (json_is_number(value))
      rj_check1(j, path, s.loss);
    else
      policy_members(j, path, &s, d);
  }
  return LRL_OK;
}

lrl_status rj_value(struct rl_json *j, const char *name, json_t *section) {
  struct rl *c = &j->c;
  const char *key;
  json_t *value;
  json_object_foreach(section, key, value) {
    struct lrl_ppo_value_stats s;
    double clip = 0.0;
    char path[96], full[128];
    snprintf(path, sizeof path, "%s/%s", name, key);
    if (json_is_array(value)) /* inputs */
      continue;
    const char *number = strstr(key, "clip");
    if (number == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: no clip range in the name", path);
    sscanf(number, "clip%lf", &clip);
    float *d = rl_new(c);
    LRL_TRY(lrl_ppo_value(
        &c->b.ctx, &(struct lrl_ppo_value_args){.layout = &c->layout,
                                                .mask = c->mask,
                                                .cliprange = clip,
                                                .values = rj_in(j, "value_loss/newv"),
                                                .old_values = rj_in(j, "inputs/values"),
                                                .returns = rj_in(j, "value_loss/returns"),
                                                .seq_weight = rl_weights(c, LRL_AGG_TOKEN_MEAN),
                                                .stats = &s,
                                                .d_values = d}));
    if (json_is_number(value)) {
      rj_check1(j, path, s.loss);
      continue;
    }
    snprintf(full, sizeof full, "%s/loss", path);
    rj_check1(j, full, s.loss);
    snprintf(full, sizeof full, "%s/clipfrac", path);
    if (rj_get(j, full) != NULL)
      rj_check1(j, full, s.clipped / s.tokens);
    snprintf(full, sizeof full, "%s/grad", path);
    if (rj_get(j, full) != NULL)
      rj_check(j, full, d);
  }
  return LRL_OK;
}

struct pairs {
  int64_t n;
  const float *chosen, *rejected, *margin;
  double loss, *d_chosen, *d_rejected;
};
/* Adds sign * (mean loss and gradients). */
static lrl_status add_loss(struct bag *b, struct pairs *p, struct lrl_bradley_terry_args a,
                           double sign) {
  a.n = p->n;
  a.weight = 1.0f / (float)p->n;
  a.chosen = p->chosen;
  a.rejected = p->rejected;
  a.loss = bag_zeros(b, p->n, sizeof *a.loss);
  a.d_chosen = bag_floats(b, p->n);
  a.d_rejected = bag_floats(b, p->n);
  LRL_TRY(lrl_bradley_terry(&b->ctx, &a));
  for (int64_t i = 0; i < p->n; i++) {
    p->loss += sign * a.loss[i] / (double)p->n;
    p->d_chosen[i] += sign * (double)a.d_chosen[i];
    p->d_rejected[i] += sign * (double)a.d_rejected[i];
  }
  return LRL_OK;
}
/* The loss `key` names. XTuner's penalties stand alone and unweighted in the file: ours with weight
 * 1 less the ranking loss. */
static lrl_status rm_loss(struct bag *b, const char *key, struct pairs *p) {
  struct lrl_bradley_terry_args a = {.focal_gamma = 2.0f,
                                     .penalty_weight = 0.01f,
                                     .barrier_lo = -5.0f,
                                     .barrier_hi = 5.0f,
                                     .barrier_eps = 1e-3f};
  const bool barrier = strstr(key, "logbarrier") != NULL, l2 = strstr(key, "l2") != NULL;
  const char *center = strstr(key, "center");
  a.rank = strstr(key, "focal") != NULL ? LRL_RANK_FOCAL : LRL_RANK_LOGSIGMOID;
  a.margin = strstr(key, "margin") != NULL ? p->margin : NULL;
  a.center_weight = center != NULL ? strtof(center + 6, NULL) : 0.0f;
  a.penalty = barrier || strstr(key, "total") ? LRL_PENALTY_LOG_BARRIER
              : l2                            ? LRL_PENALTY_L2
                                              : LRL_PENALTY_NONE;
  if (barrier || l2) {
    a.penalty_weight = 1.0f;
    LRL_TRY(add_loss(b, p, (struct lrl_bradley_terry_args){0}, -1.0));
  }
  return add_loss(b, p, a, 1.0);
}
lrl_status rj_rm(struct rl_json *j, const char *name, json_t *section) {
  struct bag *b = &j->c.b;
  int64_t n = 0;
  rj_list(j, rj_get(j, "rm/chosen"), &n, NULL);
  const float *zero = bag_floats(b, n);
  const char *key;
  json_t *value;
  json_object_foreach(section, key, value) {
    char path[96], full[128];
    struct pairs p = {.n = n,
                      .chosen = rj_padded(j, "rm/chosen"),
                      .rejected = rj_padded(j, "rm/rejected"),
                      .margin = rj_padded(j, "rm/margin"),
                      .d_chosen = bag_zeros(b, n, sizeof(double)),
                      .d_rejected = bag_zeros(b, n, sizeof(double))};
    snprintf(path, sizeof path, "%s/%s", name, key);
    if (json_is_array(value)) /* inputs */
      continue;
    if (strcmp(key, "accuracy_strict_gt") == 0) {
      rj_skip(j, path, "the trainer counts pairs itself: tests/unit/test_reward.c");
    } else if (strncmp(key, "llava", 5) == 0) {
      rj_skip(j, path, "LLaVA-RLHF adds a linear term of the scores");
    } else if (json_is_number(value)) { /* xtuner_init_total_*: all scores 0 */
      p.chosen = p.rejected = zero;
      LRL_TRY(rm_loss(b, key, &p));
      rj_check1(j, path, p.loss);
    } else {
      LRL_TRY(rm_loss(b, key, &p));
      snprintf(full, sizeof full, "%s/loss", path);
      rj_check1(j, full, p.loss);
      snprintf(full, sizeof full, "%s/g_chosen", path);
      rj_check_list(j, full, p.d_chosen);
      snprintf(full, sizeof full, "%s/g_rejected", path);
      rj_check_list(j, full, p.d_rejected);
    }
  }
  return LRL_OK;
}
