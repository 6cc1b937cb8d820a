/* Handlers that several libraries' cases share. */
#include "tests/golden/rl.h"
#include "train/moments.h"

lrl_status rl_masked(struct rl *c, const char *group, const char *key, const char *rest) {
  struct lrl_moments m;
  float *x = rl_in(c, "advantages");
  LRL_TRY(rl_moments(c, x, NULL, &m));
  if (strncmp(rest, "whiten", 6) != 0)
    return rl_check1(c, group, key,
                     strcmp(rest, "mean") == 0 ? m.mean
                                               : lrl_variance(&m, strcmp(rest, "var") == 0));
  LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_UNBIASED, strcmp(rest, "whiten") == 0, rl_n(c),
                         c->mask, x));
  return rl_check(c, group, key, x);
}

/* Log-probabilities and entropy of every row, masked ones too, with their gradients. */
lrl_status rl_logits(struct rl *c, const char *group, const char *key, const char *rest) {
  struct bag *b = &c->b;
  struct g5_array a = {0};
  (void)rest;
  const float *logits = bag_read(b, "inputs", "", "logits", &a);
  const int32_t *labels = bag_ids(b, "", "labels", NULL);
  const int64_t n = c->rows * c->time, v = a.dim[2];
  const bool entropy = strncmp(key, "entropy", 7) == 0;
  float *lp = bag_floats(b, n), *h = bag_floats(b, n), *lse = bag_floats(b, n);
  LRL_TRY(lrl_logprob_fwd(
      &b->ctx, &(struct lrl_logprob_fwd_args){n, v, 1.0f, logits, labels, lp, h, lse, false}));
  const float *want = bag_read(b, group, "", key, NULL);
  if (strcmp(key, "entropy_loss") == 0) {
    struct lrl_moments m;
    LRL_TRY(rl_moments(c, rl_pack(c, h), NULL, &m));
    return rl_check1(c, group, key, m.mean);
  }
  if (strcmp(group, "outputs") == 0) {
    golden_check(c->g, c->name, key, golden_max_abs(entropy ? h : lp, want, n), c->tol);
    return LRL_OK;
  }
  /* The file's losses: sum of advantages * logprobs, and the masked mean of the entropy. */
  struct lrl_loss_count live = {0};
  lrl_loss_count_add(&live, &c->layout, c->mask);
  float *d_h = bag_floats(b, n), *d_lp = bag_floats(b, n), *d = bag_floats(b, a.n);
  const float *mask = bag_read(b, "inputs", "", "mask", NULL);
  const float *adv = bag_read(b, "inputs", "", "advantages", NULL);
  for (int64_t i = 0; i < n; i++) {
    d_h[i] = entropy ? mask[i] / (float)live.tokens : 0.0f;
    d_lp[i] = entropy ? 0.0f : adv[i];
  }
  LRL_TRY(lrl_logprob_bwd(&b->ctx, &(struct lrl_logprob_bwd_args){n, v, 1.0f, logits, labels, lse,
                                                                  h, d_lp, d_h, LRL_F32, d}));
  golden_check(c->g, c->name, key, golden_max_abs(d, want, a.n), c->tol);
  return LRL_OK;
}
