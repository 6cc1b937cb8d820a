/* Statistics, rewards, GAE and estimators: the numeric examples of TRL's, verl's and NeMo-RL's
 * tests (FIELD 5), GAE against its O(n^2) definition, and what must hold for any batch. */
#include "tests/unit/rl_fixture.h"
#include "train/advantages.h"

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

static struct lrl_moments moments(int64_t n, const uint8_t *mask, const float *x) {
  struct lrl_moments m;
  assert_int_equal(lrl_moments(&ctx, &(struct lrl_moments_args){n, mask, x, NULL, &m}), LRL_OK);
  return m;
}

/* ---- statistics ---- */

static void test_masked_examples(void **state) {
  (void)state;
  /* TRL TestCore */
  const uint8_t middle[4] = {0, 1, 1, 0}, ends[4] = {1, 0, 0, 1}, none[4] = {0};
  float x[4] = {1, 2, 3, 4};
  struct lrl_moments m = moments(4, middle, x);
  rl_near(m.mean, 2.5, 0.0);
  rl_near(lrl_variance(&m, true), 0.5, 0.0);
  rl_near(lrl_variance(&m, false), 0.25, 0.0);
  float y[4] = {1, 2, 3, 4};
  assert_int_equal(lrl_whiten_all(&ctx, NULL, LRL_WHITEN_UNBIASED, true, 4, middle, y), LRL_OK);
  rl_near_all(y, (const double[]){0, -0.70710677, 0.70710677, 0}, 4, 1e-6);
  memcpy(y, x, sizeof y);
  assert_int_equal(lrl_whiten_all(&ctx, NULL, LRL_WHITEN_BIASED, false, 4, middle, y), LRL_OK);
  rl_near_all(y, (const double[]){0, 1.5, 3.5, 0}, 4, 1e-6);
  /* verl test_masked_mean: NaN counts where it is live only */
  x[1] = NAN;
  rl_near(moments(4, ends, x).mean, 2.5, 0.0);
  assert_true(isnan(moments(4, middle, x).mean));
  /* NeMo: the mean of nothing is 0; a single element has no variance and stays finite */
  rl_near(moments(4, none, x).mean, 0.0, 0.0);
  const uint8_t one[4] = {0, 0, 0, 1};
  assert_int_equal(lrl_whiten_all(&ctx, NULL, LRL_WHITEN_UNBIASED, true, 4, one, x), LRL_OK);
  rl_near((double)x[3], 0.0, 0.0);
}

/* Parts of any size merge to the moments of the whole: ranks change nothing but rounding. */
static void test_merge(void **state) {
  (void)state;
  enum { N = 40000 };
  float *x = malloc(N * sizeof *x);
  struct lrl_rng r = lrl_rng_make(5, LRL_RNG_TEST, 0);
  double sum = 0.0, m2 = 0.0;
  for (int i = 0; i < N; i++) {
    x[i] = 1000.0f + lrl_rng_normal(&r);
    sum += (double)x[i];
  }
  for (int i = 0; i < N; i++)
    m2 += ((double)x[i] - sum / N) * ((double)x[i] - sum / N);
  const struct lrl_moments whole = moments(N, NULL, x);
  rl_near(whole.mean, sum / N, 1e-13);
  rl_near(whole.m2, m2, 1e-10);
  for (int parts = 2; parts < 6; parts++) {
    struct lrl_moments m = {0};
    for (int p = 0, at = 0; p < parts; p++) {
      const int n = p == parts - 1 ? N - at : (p * 7919) % (N / parts);
      const struct lrl_moments one = moments(n, NULL, x + at);
      lrl_moments_merge(&m, &one);
      at += n;
    }
    rl_near(m.n, N, 0.0);
    rl_near(m.mean, whole.mean, 1e-13);
    rl_near(m.m2, whole.m2, 1e-10);
  }
  free(x);
}

static void test_explained_variance(void **state) {
  (void)state;
  const double r[4] = {1, 2, 3, 4}, perfect[4] = {0}, offset[4] = {1, 1, 1, 1};
  const struct lrl_moments returns = lrl_moments_of(4, r), none = lrl_moments_of(4, perfect),
                           shifted = lrl_moments_of(4, offset);
  rl_near(lrl_explained_variance(&none, &returns), 1.0, 1e-12);
  rl_near(lrl_explained_variance_mse(&none, &returns), 1.0, 1e-12);
  rl_near(lrl_explained_variance(&returns, &returns), 0.0, 1e-5); /* a critic that says 0 */
  rl_near(lrl_explained_variance(&shifted, &returns), 1.0, 1e-12);
  rl_near(lrl_explained_variance_mse(&shifted, &returns), 1.0 - 1.0 / (5.0 / 3.0), 1e-12);
}

/* ---- GAE ---- */

static void gae(const struct lrl_layout *l, const uint8_t *mask, double gamma, double lam,
                const float *rewards, const float *values, float *adv, float *ret) {
  assert_int_equal(
      lrl_gae(&ctx, &(struct lrl_gae_args){l, mask, gamma, lam, rewards, values, adv, ret}),
      LRL_OK);
}
static void test_gae_examples(void **state) {
  (void)state;
  const int32_t n3 = 3, n5 = 5, n11 = 11;
  const struct lrl_layout l3 = rl_one(&zero, &n3), l5 = rl_one(&zero, &n5),
                          l11 = rl_one(&zero, &n11);
  float a[11], r[11];
  /* NeMo: lambda 0 and 1, and a gap */
  gae(&l3, NULL, 1, 0, (const float[]){0, 0, 5}, (const float[]){1, 2, 3}, a, r);
  rl_near_all(a, (const double[]){1, 1, 2}, 3, 1e-6);
  gae(&l3, NULL, 1, 1, (const float[]){0, 0, 1}, (const float[]){.5, .5, .5}, a, r);
  rl_near_all(a, (const double[]){.5, .5, .5}, 3, 1e-6);
  const uint8_t gap[5] = {1, 1, 0, 1, 1};
  gae(&l5, gap, .99, .95, (const float[]){0, 0, 999, 0, 1},
      (const float[]){.1f, .2f, 999, .4f, .5f}, a, r);
  rl_near_all(a, (const double[]){.7823244, .7276176, 0, .56525, .5}, 5, 1e-6);
  /* verl multi_turn: the masked values are junk, whatever they are */
  const float rewards[11] = {0, 0, .1f, .1f, .1f, 0, 0, .1f, 1, 0, 0};
  const uint8_t turns[11] = {0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0};
  const double want_a[11] = {0, 0, -2.6, -3.7, -4.8, 0, 0, -5.9, -8, 0, 0};
  const double want_r[11] = {0, 0, 1.4, 1.3, 1.2, 0, 0, 1.1, 1.0, 0, 0};
  const double want_w[11] = {0, 0, 1.154033, .625101, .096169, 0, 0, -.432762, -1.442541, 0, 0};
  const float junk[] = {0, 1, -5, NAN};
  for (int k = 0; k < 4; k++) {
    float v[11] = {0, 0, 4, 5, 6, 0, 0, 7, 9, 0, 0};
    for (int t = 0; t < 11; t++)
      v[t] = turns[t] != 0 ? v[t] : junk[k];
    gae(&l11, turns, 1, 1, rewards, v, a, r);
    rl_near_all(a, want_a, 11, 1e-6);
    rl_near_all(r, want_r, 11, 1e-6);
    assert_int_equal(lrl_whiten_all(&ctx, NULL, LRL_WHITEN_UNBIASED, true, 11, turns, a), LRL_OK);
    rl_near_all(a, want_w, 11, 1e-5);
  }
}

/* A[t] = sum_k (gamma lam)^k delta[t + k] over the live tokens, term by term. */
static void test_gae_definition(void **state) {
  (void)state;
  static struct batch b;
  static float adv[MOST], ret[MOST];
  const double gamma = 0.97, lam = 0.9;
  for (uint64_t seed = 1; seed < 6; seed++) {
    rl_make(&b, seed);
    gae(&b.layout, b.mask, gamma, lam, b.rewards, b.values, adv, ret);
    for (int s = 0; s < SEQS; s++) {
      int live[LONGEST], n = 0;
      for (int t = b.start[s]; t < b.start[s] + b.length[s]; t++)
        if (b.mask[t] != 0)
          live[n++] = t;
        else
          assert_true(adv[t] == 0.0f && ret[t] == 0.0f);
      for (int i = 0; i < n; i++) {
        double sum = 0.0;
        for (int k = i; k < n; k++) {
          const double next = k + 1 < n ? (double)b.values[live[k + 1]] : 0.0;
          sum += pow(gamma * lam, k - i) *
                 ((double)b.rewards[live[k]] + gamma * next - (double)b.values[live[k]]);
        }
        rl_near((double)adv[live[i]], sum, 1e-6);
        rl_near((double)ret[live[i]], sum + (double)b.values[live[i]], 1e-6);
      }
    }
  }
}

/* Whole way on random responses: masked junk never shows, the order of sequences only rounds the
 * whitening, whitened advantages have mean 0 and variance 1, returns stay unwhitened. */
static void test_advantages(void **state) {
  (void)state;
  static struct batch a, b;
  static float adv[MOST], ret[MOST], adv_b[MOST], ret_b[MOST];
  int order[SEQS];
  for (int i = 0; i < SEQS; i++)
    order[i] = SEQS - 1 - i;
  rl_make(&a, 51);
  rl_pick(&a, order, SEQS, &b);
  for (int e = 0; e < 7; e++) {
    const struct lrl_estimator_options o = {.estimator = (enum lrl_estimator)e,
                                            .gamma = 0.99,
                                            .lam = 0.95,
                                            .whiten = lrl_estimator_whitens((enum lrl_estimator)e)};
    const int64_t n = a.layout.n_tokens;
    assert_int_equal(
        lrl_advantages(&o, &ctx, NULL, &a.layout, a.mask, a.rewards, a.values, adv, ret), LRL_OK);
    assert_int_equal(
        lrl_advantages(&o, &ctx, NULL, &b.layout, b.mask, b.rewards, b.values, adv_b, ret_b),
        LRL_OK);
    for (int i = 0; i < SEQS; i++)
      for (int t = 0; t < b.length[i]; t++) {
        assert_true(ret_b[b.start[i] + t] == ret[a.start[order[i]] + t]);
        rl_near((double)adv_b[b.start[i] + t], (double)adv[a.start[order[i]] + t], 1e-6);
      }
    for (int64_t t = 0; t < n; t++)
      assert_true(a.mask[t] != 0 ? isfinite(adv[t]) : adv[t] == 0.0f);
    const struct lrl_moments m = moments(n, a.mask, adv);
    if (o.whiten) {
      rl_near(m.mean, 0.0, 1e-6);
      rl_near(lrl_variance(&m, true), 1.0, 1e-5);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_masked_examples),    cmocka_unit_test(test_merge),
      cmocka_unit_test(test_explained_variance), cmocka_unit_test(test_gae_examples),
      cmocka_unit_test(test_gae_definition),     cmocka_unit_test(test_advantages),
  };
  return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
