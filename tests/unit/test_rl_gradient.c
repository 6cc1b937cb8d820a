/* The gradient of a whole PPO loss to the logits against finite differences. */
#include "tests/unit/rl_fixture.h"

enum { SEED = 11 };

static void fill(float *x, int64_t n, uint64_t stream) {
  struct lrl_rng r = lrl_rng_make(SEED, LRL_RNG_TEST, stream);
  for (int64_t i = 0; i < n; i++)
    x[i] = lrl_rng_normal(&r);
}

/* Policy loss, entropy bonus and KL loss through log-probabilities to the logits, on the ref
 * backend, whose arithmetic is f64 between f32 arrays. */
enum { N = 9, V = 7 };
struct loss_case {
  struct lrl_ctx *ref;
  struct lrl_layout layout;
  const uint8_t *mask;
  const int32_t *ids;
  const float *old, *ref_lp, *adv, *weight;
  enum lrl_ratio ratio;
};
static double whole_loss(const struct loss_case *c, const float *logits, float *d_logits) {
  float lp[N], h[N], lse[N], d_lp[N], d_h[N];
  struct lrl_ppo_policy_stats s;
  double kl;
  assert_int_equal(
      lrl_logprob_fwd(
          c->ref, &(struct lrl_logprob_fwd_args){N, V, 0.8f, logits, c->ids, lp, h, lse, false}),
      LRL_OK);
  assert_int_equal(lrl_ppo_policy(c->ref, &(struct lrl_ppo_policy_args){.layout = &c->layout,
                                                                        .mask = c->mask,
                                                                        .ratio = c->ratio,
                                                                        .clip_low = 0.2,
                                                                        .clip_high = 0.28,
                                                                        .dual_clip = 1.5,
                                                                        .entropy_coef = 0.3,
                                                                        .logprobs = lp,
                                                                        .old_logprobs = c->old,
                                                                        .advantages = c->adv,
                                                                        .entropy = h,
                                                                        .seq_weight = c->weight,
                                                                        .stats = &s,
                                                                        .d_logprobs = d_lp,
                                                                        .d_entropy = d_h}),
                   LRL_OK);
  assert_int_equal(lrl_approx_kl(c->ref, &(struct lrl_approx_kl_args){.layout = &c->layout,
                                                                      .mask = c->mask,
                                                                      .estimator = LRL_KL_K3,
                                                                      .logprobs = lp,
                                                                      .ref_logprobs = c->ref_lp,
                                                                      .coef = 0.2,
                                                                      .seq_weight = c->weight,
                                                                      .loss = &kl,
                                                                      .d_logprobs = d_lp}),
                   LRL_OK);
  if (d_logits != NULL)
    assert_int_equal(
        lrl_logprob_bwd(c->ref, &(struct lrl_logprob_bwd_args){N, V, 0.8f, logits, c->ids, lse, h,
                                                               d_lp, d_h, LRL_F32, d_logits}),
        LRL_OK);
  return s.loss + 0.2 * kl;
}
static void test_whole_loss_gradient(void **state) {
  (void)state;
  struct lrl_ctx ref;
  const int32_t start[3] = {0, 4, 5}, length[3] = {4, 1, 4};
  const uint8_t mask[N] = {1, 1, 0, 1, 1, 1, 1, 1, 0};
  float logits[N * V], adv[N], old[N], ref_lp[N], d[N * V];
  int32_t ids[N];
  const float weight[3] = {0.2f, 0.5f, 0.3f};
  assert_int_equal(lrl_ctx_init(&ref, "ref", 1), LRL_OK);
  fill(logits, N * V, 20);
  fill(adv, N, 21);
  fill(old, N, 22);
  fill(ref_lp, N, 23);
  for (int t = 0; t < N; t++) {
    ids[t] = t % V;
    old[t] = -1.9f + 0.15f * old[t];
    ref_lp[t] = -1.9f + 0.3f * ref_lp[t];
  }
  for (int ratio = 0; ratio < 2; ratio++) { /* the third is no derivative of its loss by design */
    const struct loss_case c = {.ref = &ref,
                                .layout = {N, 3, start, length, NULL, NULL},
                                .mask = mask,
                                .ids = ids,
                                .old = old,
                                .ref_lp = ref_lp,
                                .adv = adv,
                                .weight = weight,
                                .ratio = (enum lrl_ratio)ratio};
    whole_loss(&c, logits, d);
    double largest = 0.0;
    for (int i = 0; i < N * V; i++) {
      const float at = logits[i], step = 4e-3f;
      logits[i] = at + step;
      const double up = whole_loss(&c, logits, NULL), hi = (double)logits[i];
      logits[i] = at - step;
      const double slope = (up - whole_loss(&c, logits, NULL)) / (hi - (double)logits[i]);
      logits[i] = at;
      largest = fmax(largest, fabs(slope));
      if (!(fabs(slope - (double)d[i]) < 2e-4))
        fail_msg("ratio %d logit %d: gradient %g, finite difference %g", ratio, i, (double)d[i],
                 slope);
      if (mask[i / V] == 0)
        assert_true(d[i] == 0.0f);
    }
    assert_true(largest > 0.05);
  }
  lrl_ctx_free(&ref);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole_loss_gradient)};
  printf("seed %d\n", SEED);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
