/* F2: slices of PPOTrainer.train of TRL 0.15.2 and 1.9.0; keys are <version>.<variant>.<quantity>.
 */
#include "tests/golden/rl.h"
#include "train/advantages.h"
#include "train/rewards.h"

struct f2 {
  struct rl c, value; /* packed by the response, and with one slot more as TRL v2's values */
  char variant[64];   /* "v1.9.0.k3" */
  int64_t context, width;
  const float *logits;
  int32_t *target; /* [rows * width]: the response token a row of logits predicts, or -100 */
};
static const float *f2_file(struct f2 *x, const char *quantity) {
  return bag_read(&x->c.b, "outputs", x->variant, quantity, NULL);
}
static bool f2_whitens(const struct f2 *x) { return strstr(x->variant, "whiten") != NULL; }
static void f2_result(struct f2 *x, const char *what, double worst) {
  char label[128];
  snprintf(label, sizeof label, "%s.%s", x->variant, what);
  golden_check(x->c.g, x->c.name, label, worst, x->c.tol);
}
static void f2_number(struct f2 *x, const char *what, double got) {
  const float *want = f2_file(x, what);
  f2_result(x, what, want == NULL ? NAN : rl_error1(got, (double)*want));
}

/* Scores with the missing-EOS penalty, KL and its share of the reward. */
static lrl_status f2_rewards(struct f2 *x) {
  struct rl *c = &x->c;
  struct bag *b = &c->b;
  const int32_t eos = (int32_t)g5_num(&b->file, "eos_id", -1.0);
  const int32_t *ids = bag_ids(b, "", "responses", NULL);
  const float *raw = bag_read(b, "inputs", "", "scores", NULL), *want = f2_file(x, "scores");
  double *scores = bag_zeros(b, c->rows, sizeof *scores), worst = 0.0;
  bool *finished = bag_zeros(b, c->rows, sizeof *finished);
  for (int64_t i = 0; i < c->rows; i++) {
    scores[i] = (double)raw[i];
    for (int64_t t = 0; t < c->layout.length[i]; t++)
      finished[i] = finished[i] || ids[i * c->time + t] == eos;
  }
  const struct lrl_score_options o = {
      .missing_eos_penalty =
          f2_whitens(x) ? rl_note(&b->file, "", "missing_eos_penalty ", 1.0) : 0.0};
  LRL_TRY(lrl_shape_scores(&o, NULL, NULL, c->rows, scores, c->layout.length, finished));
  for (int64_t i = 0; i < c->rows; i++)
    worst = bag_worse(worst, rl_error1(scores[i], (double)want[i]));
  f2_result(x, "scores", worst);
  float *kl = rl_new(c), *rewards = rl_new(c);
  LRL_TRY(rl_kl(c, rl_estimator(x->variant), rl_in(c, "logprobs"), rl_in(c, "ref_logprobs"), kl));
  f2_result(x, "kl", rl_error(c, kl, f2_file(x, "kl")));
  memset(scores, 0, (size_t)c->rows * sizeof *scores);
  lrl_token_rewards(&c->layout, c->mask, kl, g5_num(&b->file, "kl_coef", 0.0), scores, rewards);
  f2_result(x, "non_score_reward", rl_error(c, rewards, f2_file(x, "non_score_reward")));
  return LRL_OK;
}
/* From the library's rewards, on its mask with one slot more, to returns and advantages. */
static lrl_status f2_gae(struct f2 *x) {
  struct rl *v = &x->value, *c = &x->c;
  const struct g5 *f = &c->b.file;
  float *adv = rl_new(v), *ret = rl_new(v), *padded = bag_floats(&c->b, c->rows * c->time);
  double gamma = g5_num(f, "gamma", 1.0), lam = g5_num(f, "lam", 0.95);
  if (f2_whitens(x)) {
    gamma = rl_note(f, "", "gamma ", 0.99);
    lam = rl_note(f, "", "lam ", 0.9);
  }
  LRL_TRY(lrl_gae(&c->b.ctx, &(struct lrl_gae_args){.layout = &v->layout,
                                                    .mask = v->mask,
                                                    .gamma = gamma,
                                                    .lam = lam,
                                                    .rewards = rl_pack(v, f2_file(x, "rewards")),
                                                    .values = rl_pack(v, f2_file(x, "values")),
                                                    .advantages = adv,
                                                    .returns = ret}));
  f2_result(x, "returns", rl_error(v, ret, f2_file(x, "returns")));
  for (int64_t t = 0; t < rl_n(v); t++)
    padded[v->where[t]] = adv[t];
  float *live = rl_pack(c, padded);
  LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_UNBIASED, true, rl_n(c), c->mask, live));
  f2_result(x, "advantages", rl_error(c, live, f2_file(x, "advantages")));
  return LRL_OK;
}
/* One value per response slot of a [rows, context + time] array: what its prefix predicts. */
static float *f2_shifted(struct f2 *x, const float *full) {
  float *p = bag_floats(&x->c.b, x->c.rows * x->c.time);
  for (int64_t i = 0; i < x->c.rows; i++)
    for (int64_t t = 0; t < x->c.time; t++)
      p[i * x->c.time + t] = full[i * x->width + x->context - 1 + t];
  return p;
}
static lrl_status f2_loss(struct f2 *x) {
  struct rl *c = &x->c, *v = &x->value;
  struct bag *b = &c->b;
  struct g5_array a = {0};
  const float *logits = bag_read(b, "inputs", "", "logits", &a);
  const int64_t n = c->rows * x->width, vocab = a.dim[2];
  const float temperature = (float)(g5_num(&b->file, "temperature", 1.0) + 1e-7);
  const double clip = g5_num(&b->file, "cliprange", 0.2), coef = g5_num(&b->file, "vf_coef", 0.1);
  float *lp = bag_floats(b, n), *lse = bag_floats(b, n), *d_full = bag_floats(b, n);
  LRL_TRY(
      lrl_logprob_fwd(&b->ctx, &(struct lrl_logprob_fwd_args){n, vocab, temperature, logits,
                                                              x->target, lp, NULL, lse, false}));
  const float *packed = rl_pack(c, f2_shifted(x, lp));
  f2_result(x, "new_logprobs", rl_error(c, packed, f2_file(x, "new_logprobs")));

  struct lrl_ppo_policy_stats p;
  struct lrl_ppo_value_stats q;
  float *d = rl_new(c), *d_values = rl_new(v), *d_logits = bag_floats(b, n * vocab);
  LRL_TRY(lrl_ppo_policy(
      &b->ctx, &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                             .mask = c->mask,
                                             .clip_low = clip,
                                             .clip_high = clip,
                                             .logprobs = packed,
                                             .old_logprobs = rl_pack(c, f2_file(x, "logprobs")),
                                             .advantages = rl_pack(c, f2_file(x, "advantages")),
                                             .seq_weight = rl_weights(c, LRL_AGG_TOKEN_MEAN),
                                             .stats = &p,
                                             .d_logprobs = d}));
  LRL_TRY(lrl_ppo_value(
      &b->ctx,
      &(struct lrl_ppo_value_args){
          .layout = &v->layout,
          .mask = v->mask,
          .cliprange = g5_num(&b->file, "cliprange_value", 0.2),
          .values = rl_pack(v, f2_shifted(x, bag_read(b, "inputs", "", "vpred_full", NULL))),
          .old_values = rl_pack(v, f2_file(x, "values")),
          .returns = rl_pack(v, f2_file(x, "returns")),
          .seq_weight = rl_weights(v, LRL_AGG_TOKEN_MEAN),
          .stats = &q,
          .d_values = d_values}));
  f2_number(x, "pg_loss", p.loss);
  f2_number(x, "vf_loss", q.loss);
  f2_number(x, "loss", p.loss + coef * q.loss);
  f2_number(x, "vf_clipfrac", q.clipped / q.tokens);

  for (int64_t t = 0; t < rl_n(c); t++)
    d_full[c->where[t] / c->time * x->width + x->context - 1 + c->where[t] % c->time] = d[t];
  LRL_TRY(lrl_logprob_bwd(&b->ctx, &(struct lrl_logprob_bwd_args){.n_tokens = n,
                                                                  .n_vocab = vocab,
                                                                  .temperature = temperature,
                                                                  .logits = logits,
                                                                  .target = x->target,
                                                                  .lse = lse,
                                                                  .d_logprobs = d_full,
                                                                  .d_logits = d_logits}));
  memset(d_full, 0, (size_t)n * sizeof *d_full);
  for (int64_t t = 0; t < rl_n(v); t++)
    d_full[v->where[t] / v->time * x->width + x->context - 1 + v->where[t] % v->time] =
        (float)coef * d_values[t];
  const float *want = bag_read(b, "grads", x->variant, "logits", NULL);
  const float *want_v = bag_read(b, "grads", x->variant, "vpred_full", NULL);
  f2_result(x, "grad logits", want == NULL ? NAN : golden_max_abs(d_logits, want, n * vocab));
  f2_result(x, "grad vpred_full", want_v == NULL ? NAN : golden_max_abs(d_full, want_v, n));
  return LRL_OK;
}

/* Runs once per variant: at its "loss". */
static void f2_visit(const char *key, void *user) {
  struct f2 *x = user;
  const char *end = strrchr(key, '.');
  if (end == NULL || strcmp(end, ".loss") != 0)
    return;
  snprintf(x->variant, sizeof x->variant, "%.*s", (int)(end - key), key);
  struct rl *c = &x->c;
  char label[128];
  golden_ok(c->g, c->name, x->variant, f2_rewards(x));
  snprintf(label, sizeof label, "%s.rewards", x->variant);
  golden_skip(c->g, c->name, label,
              "TRL v2 adds the score one slot after the last token (SPEC 10.15)");
  golden_ok(c->g, c->name, x->variant, f2_gae(x));
  golden_ok(c->g, c->name, x->variant, f2_loss(x));
}
static void f2(struct golden *g, const char *path, const char *name) {
  struct f2 x = {0};
  struct bag *b = &x.c.b;
  struct g5_array shape = {0}, full = {0};
  if (!bag_open(g, b, path, name))
    return;
  const int32_t *last = bag_ids(b, "", "sequence_lengths", NULL);
  const int32_t *ids = bag_ids(b, "", "responses", &shape);
  bag_read(b, "inputs", "", "logits", &full);
  x.context = (int64_t)g5_num(&b->file, "context_length", 1.0);
  if (last == NULL || ids == NULL || full.ndim != 3) {
    golden_fail(g, name, "", "sequence_lengths, responses or logits are missing");
    bag_close(b);
    return;
  }
  const int64_t rows = shape.dim[0], time = shape.dim[1];
  float *mask = bag_floats(b, rows * time), *more = bag_floats(b, rows * time);
  x.c.g = g;
  x.c.name = name;
  x.c.tol = 5e-6;
  x.width = full.dim[1];
  x.target = bag_zeros(b, rows * x.width, 4);
  for (int64_t i = 0; i < rows * x.width; i++)
    x.target[i] = -100;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t t = 0; t < time && t <= last[i] + 1; t++) {
      more[i * time + t] = 1.0f;
      if (t > last[i])
        continue;
      mask[i * time + t] = 1.0f;
      x.target[i * x.width + x.context - 1 + t] = ids[i * time + t];
    }
  rl_set_mask(&x.c, mask, rows, time);
  x.value = x.c; /* the file and device are c's, the arrays its own */
  x.value.b.n = 0;
  rl_set_mask(&x.value, more, rows, time);
  g5_each(&b->file, "/outputs", f2_visit, &x);
  bag_clear(&x.value.b);
  bag_close(b);
}
GOLDEN_FAMILY("F2_", f2)
