/* Policy, value and KL losses: the numeric examples of NeMo-RL's and OpenRLHF's tests (FIELD 5). */
#include "tests/unit/rl_fixture.h"

static struct lrl_ctx ctx;
static const int32_t zero = 0;

static int open_ctx(void **state) {
  (void)state;
  return lrl_ctx_init(&ctx, "cpu", 2) == LRL_OK ? 0 : -1;
}
static int close_ctx(void **state) {
  (void)state;
  lrl_ctx_free(&ctx);
  return 0;
}

/* ---- numeric examples ---- */

static double policy_mean(const float *adv, const double *ratio, double high, double dual) {
  const int32_t n = 3;
  const struct lrl_layout l = rl_one(&zero, &n);
  const float old[3] = {-1.0f, -1.0f, -1.0f}, w = 1.0f / 3.0f;
  float lp[3];
  struct lrl_ppo_policy_stats s;
  for (int i = 0; i < 3; i++)
    lp[i] = (float)(-1.0 + log(ratio[i]));
  assert_int_equal(lrl_ppo_policy(&ctx, &(struct lrl_ppo_policy_args){.layout = &l,
                                                                      .clip_low = 0.2,
                                                                      .clip_high = high,
                                                                      .dual_clip = dual,
                                                                      .logprobs = lp,
                                                                      .old_logprobs = old,
                                                                      .advantages = adv,
                                                                      .seq_weight = &w,
                                                                      .stats = &s}),
                   LRL_OK);
  return s.loss;
}
static void test_policy_examples(void **state) {
  (void)state;
  const float a[3] = {1, -1, 2}, b[3] = {1, -1, -4};
  /* NeMo: -.5, 1, -2.4; with the dual clip at 3: -.5, 1, 12 */
  rl_near(policy_mean(a, (const double[]){0.5, 1.0, 1.5}, 0.2, 0.0), -1.9 / 3, 1e-6);
  rl_near(policy_mean(b, (const double[]){0.5, 1.0, 10.0}, 0.2, 3.0), 12.5 / 3, 1e-6);
  rl_near(policy_mean(b, (const double[]){0.5, 1.0, 10.0}, 0.2, 0.0), 40.5 / 3, 1e-5);
  /* clip-higher moves only the upper end: -.5, 1, -2.56 */
  rl_near(policy_mean(a, (const double[]){0.5, 1.0, 1.5}, 0.28, 0.0), -2.06 / 3, 1e-6);
}
/* The dual clip never touches a positive advantage. */
static void test_dual_clip_only_below(void **state) {
  (void)state;
  const float up[3] = {4, 4, 4}, down[3] = {-4, -4, -4};
  const double ratio[] = {0.01, 10.0, 1.0};
  rl_near(policy_mean(up, ratio, 0.2, 1.5), policy_mean(up, ratio, 0.2, 0.0), 0.0);
  rl_near(policy_mean(down, ratio, 0.2, 1.5), (3.2 + 6.0 + 4.0) / 3, 1e-6);
}

static void kl_example(enum lrl_kl_estimator e, double diff, double out, const double *want) {
  const int32_t n = 3;
  const struct lrl_layout l = rl_one(&zero, &n);
  const float lp[3] = {-1, -1, -1}, ref[3] = {0, -15, -30};
  float kl[3];
  assert_int_equal(lrl_approx_kl(&ctx, &(struct lrl_approx_kl_args){.layout = &l,
                                                                    .estimator = e,
                                                                    .diff_clamp = diff,
                                                                    .kl_clamp = out,
                                                                    .logprobs = lp,
                                                                    .ref_logprobs = ref,
                                                                    .kl = kl}),
                   LRL_OK);
  rl_near_all(kl, want, 3, 1e-5);
}
static void test_kl_examples(void **state) {
  (void)state;
  kl_example(LRL_KL_K1, 0, 0, (const double[]){-1, 14, 29});
  kl_example(LRL_KL_ABS, 0, 0, (const double[]){1, 14, 29});
  kl_example(LRL_KL_K2, 0, 0, (const double[]){.5, 98, 420.5});
  kl_example(LRL_KL_K3, 0, 0, (const double[]){.71828183, 13.00000083, 28});
  kl_example(LRL_KL_K1, 20, 10, (const double[]){-1, 10, 10});
  kl_example(LRL_KL_K2, 20, 10, (const double[]){.5, 10, 10});
  kl_example(LRL_KL_K3, 20, 10, (const double[]){.71828183, 10, 10});
  /* NeMo: .1 * k3 of -1, 0, 1 on average */
  const int32_t n = 3;
  const struct lrl_layout l = rl_one(&zero, &n);
  const float lp[3] = {-2, -1, 0}, ref[3] = {-1, -1, -1}, w = 1.0f / 3.0f;
  double loss;
  float d[3] = {0}, kl[3];
  assert_int_equal(lrl_approx_kl(&ctx, &(struct lrl_approx_kl_args){.layout = &l,
                                                                    .estimator = LRL_KL_K3,
                                                                    .diff_clamp = 20,
                                                                    .kl_clamp = 10,
                                                                    .logprobs = lp,
                                                                    .ref_logprobs = ref,
                                                                    .kl = kl,
                                                                    .coef = 0.1,
                                                                    .seq_weight = &w,
                                                                    .loss = &loss,
                                                                    .d_logprobs = d}),
                   LRL_OK);
  rl_near(0.1 * loss, 0.0362054, 1e-6);
  /* outside the result's clamp no gradient; with d = 0 it is 0 as well */
  rl_near_all(d, (const double[]){0.1 / 3 * (1 - exp(1)), 0, 0.1 / 3 * (1 - exp(-1))}, 3, 1e-6);
  const float far[3] = {-31, -1, 1};
  memset(d, 0, sizeof d);
  assert_int_equal(lrl_approx_kl(&ctx, &(struct lrl_approx_kl_args){.layout = &l,
                                                                    .estimator = LRL_KL_K3,
                                                                    .kl_clamp = 10,
                                                                    .logprobs = far,
                                                                    .ref_logprobs = ref,
                                                                    .coef = 1,
                                                                    .seq_weight = &w,
                                                                    .loss = &loss,
                                                                    .d_logprobs = d}),
                   LRL_OK);
  rl_near_all(d, (const double[]){0, 0, (1 - exp(-2)) / 3}, 3, 1e-6);
}

/* The metric is not clamped though the ratio is (OpenRLHF). */
static void test_metric_is_not_clamped(void **state) {
  (void)state;
  const int32_t n = 1;
  const struct lrl_layout l = rl_one(&zero, &n);
  const float lp = -1.0f, old = -101.0f, adv = -1.0f, w = 1.0f;
  struct lrl_ppo_policy_stats s;
  float d;
  assert_int_equal(lrl_ppo_policy(&ctx, &(struct lrl_ppo_policy_args){.layout = &l,
                                                                      .clip_low = 0.2,
                                                                      .clip_high = 0.2,
                                                                      .log_ratio_clamp = 20,
                                                                      .logprobs = &lp,
                                                                      .old_logprobs = &old,
                                                                      .advantages = &adv,
                                                                      .seq_weight = &w,
                                                                      .stats = &s,
                                                                      .d_logprobs = &d}),
                   LRL_OK);
  rl_near(s.kl1, -100.0, 0.0);
  rl_near(s.loss, exp(20.0), 1e-6);
  rl_near((double)d, 0.0, 0.0);
}

/* ---- aggregation ---- */

/* OpenRLHF: two ranks with 2 and 5 tokens give the mean over 7; a sequence without live tokens is
 * no sequence. */
static void test_aggregation_examples(void **state) {
  (void)state;
  const int32_t start[3] = {0, 2, 7}, length[3] = {2, 5, 3};
  const uint8_t mask[10] = {1, 1, 1, 1, 1, 1, 1, 0, 0, 0};
  const struct lrl_layout l = {10, 3, start, length, NULL, NULL};
  struct lrl_loss_count count = {0};
  float w[3];
  lrl_loss_count_add(&count, &l, mask);
  rl_near(count.tokens, 7.0, 0.0);
  rl_near(count.seqs, 2.0, 0.0);
  lrl_loss_weights(LRL_AGG_TOKEN_MEAN, &l, mask, &count, 0, w);
  rl_near_all(w, (const double[]){1.0 / 7, 1.0 / 7, 0}, 3, 1e-7);
  lrl_loss_weights(LRL_AGG_SEQ_MEAN_TOKEN_SUM, &l, mask, &count, 0, w);
  rl_near_all(w, (const double[]){0.5, 0.5, 0}, 3, 1e-7);
  lrl_loss_weights(LRL_AGG_SEQ_MEAN_TOKEN_MEAN, &l, mask, &count, 0, w);
  rl_near_all(w, (const double[]){0.25, 0.1, 0}, 3, 1e-7);
  lrl_loss_weights(LRL_AGG_SEQ_MEAN_TOKEN_SUM_NORM, &l, mask, &count, 64, w);
  rl_near_all(w, (const double[]){1.0 / 64, 1.0 / 64, 0}, 3, 1e-7);
}

static void test_refusals(void **state) {
  (void)state;
  const int32_t n = 1;
  const struct lrl_layout l = rl_one(&zero, &n);
  const float x = 0.0f;
  struct lrl_ppo_policy_stats s;
  struct lrl_ppo_policy_args a = {.layout = &l,
                                  .clip_low = 0.2,
                                  .clip_high = 0.2,
                                  .dual_clip = 0.5,
                                  .logprobs = &x,
                                  .old_logprobs = &x,
                                  .advantages = &x,
                                  .seq_weight = &x,
                                  .stats = &s};
  assert_int_equal(lrl_ppo_policy(&ctx, &a), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "dual_clip"));
  lrl_error_clear();
  a.dual_clip = 3.0;
  a.clip_low = -0.1;
  assert_int_equal(lrl_ppo_policy(&ctx, &a), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "clip_low"));
  lrl_error_clear();
  float lp;
  const int32_t target = 3;
  const float logits[3] = {0, 1, 2};
  assert_int_equal(lrl_logprob_fwd(&ctx, &(struct lrl_logprob_fwd_args){.n_tokens = 1,
                                                                        .n_vocab = 3,
                                                                        .temperature = 1.0f,
                                                                        .logits = logits,
                                                                        .target = &target,
                                                                        .logprobs = &lp}),
                   LRL_ERR_ARG);
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_policy_examples),      cmocka_unit_test(test_dual_clip_only_below),
      cmocka_unit_test(test_kl_examples),          cmocka_unit_test(test_metric_is_not_clamped),
      cmocka_unit_test(test_aggregation_examples), cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
