/* Scores, rewards per token, group estimators, the KL controller. */
#include "tests/unit/rl_fixture.h"
#include "train/advantages.h"
#include "train/kl_controller.h"
#include "train/rewards.h"

static const int32_t zero = 0;

/* ---- rewards ---- */

static void test_token_rewards(void **state) {
  (void)state;
  const int32_t start[3] = {0, 2, 6}, length[3] = {2, 4, 1};
  const struct lrl_layout l = {7, 3, start, length, NULL, NULL};
  const uint8_t mask[7] = {0, 0, 1, 0, 1, 0, 1}; /* a prompt; a response with holes; one token */
  const float kl[7] = {NAN, NAN, 1, NAN, 2, NAN, -3};
  const double scores[3] = {NAN, 10, 20};
  float r[7];
  lrl_token_rewards(&l, mask, kl, 0.1, scores, r);
  rl_near_all(r, (const double[]){0, 0, -0.1, 0, 9.8, 0, 20.3}, 7, 1e-6);
  lrl_token_rewards(&l, mask, NULL, 0.1, scores, r);
  rl_near_all(r, (const double[]){0, 0, 0, 0, 10, 0, 20}, 7, 0.0);
}

static void test_score_shaping(void **state) {
  (void)state;
  const struct lrl_score_options o = {.clip_low = -5,
                                      .clip_high = 5,
                                      .missing_eos_penalty = 1,
                                      .overlong_buffer = 4,
                                      .overlong_penalty = 2,
                                      .max_length = 10};
  const int32_t length[5] = {6, 7, 8, 10, 12};
  const bool finished[5] = {true, true, false, true, false};
  double s[5] = {7, 0, 0, -9, 0};
  assert_int_equal(lrl_shape_scores(&o, NULL, NULL, 5, s, length, finished), LRL_OK);
  const double want[5] = {5, -0.5, -2, -7, -3};
  for (int i = 0; i < 5; i++)
    rl_near(s[i], want[i], 1e-12);
  /* Normalising with batches of any size: the running moments are those of all scores so far. */
  const struct lrl_score_options norm = {.normalize = true};
  struct lrl_moments running = {0};
  double x[6] = {1, 2, 4, 8, 16, 32}, all[6];
  memcpy(all, x, sizeof x);
  const int32_t len[6] = {1, 1, 1, 1, 1, 1};
  const bool done[6] = {true, true, true, true, true, true};
  assert_int_equal(lrl_shape_scores(&norm, NULL, &running, 1, x, len, done), LRL_OK);
  rl_near(x[0], 0.0, 0.0);
  assert_int_equal(lrl_shape_scores(&norm, NULL, &running, 5, x + 1, len, done), LRL_OK);
  const struct lrl_moments m = lrl_moments_of(6, all);
  rl_near(running.mean, m.mean, 1e-13);
  rl_near(running.m2, m.m2, 1e-13);
  rl_near(x[5], (32 - m.mean) / sqrt(lrl_variance(&m, false)), 1e-7);
}

static void test_kl_controller(void **state) {
  (void)state;
  struct lrl_kl_controller c = {LRL_KL_CTRL_ADAPTIVE, 0.2, 6.0, 10000.0};
  lrl_kl_controller_update(&c, 60.0, 256.0); /* the error is clipped to .2 */
  rl_near(c.kl_coef, 0.2 * (1.0 + 0.2 * 0.0256), 1e-15);
  c.type = LRL_KL_CTRL_FIXED;
  const double before = c.kl_coef;
  lrl_kl_controller_update(&c, 0.0, 256.0);
  rl_near(c.kl_coef, before, 0.0);
}

/* ---- estimators ---- */

/* The formulas with plain loops over the other members (verl's loop forms), three sizes. */
static void test_group_estimators(void **state) {
  (void)state;
  static const int sizes[3][2] = {{6, 2}, {24, 5}, {60, 7}};
  for (int k = 0; k < 3; k++) {
    const int n = sizes[k][0], n_groups = sizes[k][1] + 1; /* the last group has one member */
    struct lrl_rng r = lrl_rng_make(77, LRL_RNG_TEST, (uint64_t)k);
    double scores[60], out[60];
    int32_t group[60], length[60];
    struct lrl_group groups[8];
    for (int i = 0; i < n; i++) {
      scores[i] = (double)lrl_rng_normal(&r);
      group[i] = i == n - 1 ? n_groups - 1 : i % (n_groups - 1);
      length[i] = 1 + (int32_t)lrl_rng_below(&r, 50);
    }
    for (int e = 0; e < 5; e++) {
      static const enum lrl_estimator which[] = {LRL_EST_GRPO, LRL_EST_GRPO, LRL_EST_RLOO,
                                                 LRL_EST_OPO, LRL_EST_REINFORCE_PP_BASELINE};
      const struct lrl_estimator_options o = {
          .estimator = which[e], .norm_adv_by_std_in_grpo = e == 0, .std_eps = 1e-6};
      assert_int_equal(
          lrl_baseline_scores(&o, n, group, n_groups, groups, length, NULL, scores, out), LRL_OK);
      for (int i = 0; i < n; i++) {
        double sum = 0, count = 0, weighted = 0, tokens = 0, sq = 0;
        for (int j = 0; j < n; j++)
          if (group[j] == group[i]) {
            sum += scores[j];
            count += 1;
            weighted += scores[j] * length[j];
            tokens += length[j];
          }
        for (int j = 0; j < n; j++)
          sq += group[j] == group[i] ? pow(scores[j] - sum / count, 2) : 0;
        double want = scores[i] - sum / count;
        if (e == 0)
          want = count > 1 ? want / (sqrt(sq / (count - 1)) + 1e-6) : scores[i] / (1 + 1e-6);
        else if (count < 2)
          want = scores[i];
        else if (e == 2)
          want = scores[i] - (sum - scores[i]) / (count - 1);
        else if (e == 3)
          want = scores[i] - weighted / tokens;
        rl_near(out[i], want, 1e-10);
      }
    }
  }
}

/* Equal rewards carry no signal: exactly 0, not noise divided by noise. */
static void test_equal_rewards(void **state) {
  (void)state;
  static const enum lrl_estimator which[] = {LRL_EST_GRPO, LRL_EST_RLOO, LRL_EST_OPO,
                                             LRL_EST_REINFORCE_PP_BASELINE};
  const double scores[5] = {0.1, 0.1, 0.1, 0.1, 0.1};
  const int32_t group[5] = {0, 0, 0, 0, 0}, length[5] = {1, 2, 3, 4, 5};
  for (int e = 0; e < 4; e++) {
    const struct lrl_estimator_options o = {
        .estimator = which[e], .norm_adv_by_std_in_grpo = true, .std_eps = 1e-9};
    double out[5];
    struct lrl_group g;
    assert_int_equal(lrl_baseline_scores(&o, 5, group, 1, &g, length, NULL, scores, out), LRL_OK);
    for (int i = 0; i < 5; i++)
      rl_near(out[i], 0.0, which[e] == LRL_EST_OPO ? 1e-15 : 0.0);
    rl_near(g.scores.m2, 0.0, 0.0);
  }
}

static void test_estimator_errors(void **state) {
  (void)state;
  const double s = 1.0;
  const int32_t bad = 3;
  double out;
  struct lrl_group g;
  struct lrl_estimator_options o = {.estimator = LRL_EST_RLOO};
  assert_int_equal(lrl_baseline_scores(&o, 1, &bad, 1, &g, NULL, NULL, &s, &out), LRL_ERR_ARG);
  lrl_error_clear();
  o.estimator = LRL_EST_REMAX;
  assert_int_equal(lrl_baseline_scores(&o, 1, &zero, 1, &g, NULL, NULL, &s, &out), LRL_ERR_ARG);
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_token_rewards), cmocka_unit_test(test_score_shaping),
      cmocka_unit_test(test_kl_controller), cmocka_unit_test(test_group_estimators),
      cmocka_unit_test(test_equal_rewards), cmocka_unit_test(test_estimator_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
