/* What must hold for the policy, value and KL losses of any batch: how it is cut, its order, what
 * lies in masked tokens. */
#include "tests/unit/rl_fixture.h"

static struct lrl_ctx ctx;

static int open_ctx(void **state) {
  (void)state;
  return lrl_ctx_init(&ctx, "cpu", 2) == LRL_OK ? 0 : -1;
}
static int close_ctx(void **state) {
  (void)state;
  lrl_ctx_free(&ctx);
  return 0;
}

struct result {
  struct lrl_ppo_policy_stats p;
  struct lrl_ppo_value_stats v;
  double kl_loss;
  float d_logprobs[MOST], d_entropy[MOST], d_values[MOST], kl[MOST];
};
/* Everything at once with b->weight. */
static void all_losses(struct batch *b, enum lrl_ratio ratio, struct result *r) {
  memset(r, 0, sizeof *r);
  assert_int_equal(lrl_ppo_policy(&ctx, &(struct lrl_ppo_policy_args){.layout = &b->layout,
                                                                      .mask = b->mask,
                                                                      .ratio = ratio,
                                                                      .clip_low = 0.2,
                                                                      .clip_high = 0.28,
                                                                      .dual_clip = 2.0,
                                                                      .log_ratio_clamp = 20.0,
                                                                      .entropy_coef = 0.01,
                                                                      .logprobs = b->logprobs,
                                                                      .old_logprobs = b->old,
                                                                      .advantages = b->adv,
                                                                      .entropy = b->entropy,
                                                                      .seq_weight = b->weight,
                                                                      .stats = &r->p,
                                                                      .d_logprobs = r->d_logprobs,
                                                                      .d_entropy = r->d_entropy}),
                   LRL_OK);
  assert_int_equal(lrl_approx_kl(&ctx, &(struct lrl_approx_kl_args){.layout = &b->layout,
                                                                    .mask = b->mask,
                                                                    .estimator = LRL_KL_K3,
                                                                    .diff_clamp = 20.0,
                                                                    .kl_clamp = 10.0,
                                                                    .logprobs = b->logprobs,
                                                                    .ref_logprobs = b->ref,
                                                                    .kl = r->kl,
                                                                    .coef = 0.05,
                                                                    .seq_weight = b->weight,
                                                                    .loss = &r->kl_loss,
                                                                    .d_logprobs = r->d_logprobs}),
                   LRL_OK);
  assert_int_equal(lrl_ppo_value(&ctx, &(struct lrl_ppo_value_args){.layout = &b->layout,
                                                                    .mask = b->mask,
                                                                    .cliprange = 0.2,
                                                                    .values = b->values,
                                                                    .old_values = b->old_values,
                                                                    .returns = b->returns,
                                                                    .seq_weight = b->weight,
                                                                    .stats = &r->v,
                                                                    .d_values = r->d_values}),
                   LRL_OK);
}
static void weigh(struct batch *b, enum lrl_loss_agg mode, const struct lrl_loss_count *step) {
  lrl_loss_weights(mode, &b->layout, b->mask, step, 7.0, b->weight);
}

/* Clipped is at least the plain error, scales linearly, is 0 at the returns (NeMo). */
static void test_value_invariants(void **state) {
  (void)state;
  static struct batch b;
  static struct result r;
  struct lrl_ppo_value_stats plain;
  rl_make(&b, 3);
  for (int s = 0; s < SEQS; s++)
    b.weight[s] = 0.5f;
  all_losses(&b, LRL_RATIO_TOKEN, &r);
  struct lrl_ppo_value_args a = {.layout = &b.layout,
                                 .mask = b.mask,
                                 .values = b.values,
                                 .returns = b.returns,
                                 .seq_weight = b.weight,
                                 .stats = &plain};
  assert_int_equal(lrl_ppo_value(&ctx, &a), LRL_OK);
  assert_true(r.v.loss >= plain.loss);
  assert_true(r.v.clipped > 0.0);
  rl_near(plain.loss, 0.25 * plain.sq_error, 1e-12);
  const double half = plain.loss;
  for (int s = 0; s < SEQS; s++)
    b.weight[s] = 1.0f;
  assert_int_equal(lrl_ppo_value(&ctx, &a), LRL_OK);
  rl_near(plain.loss, 2.0 * half, 1e-12);
  a.returns = b.values;
  assert_int_equal(lrl_ppo_value(&ctx, &a), LRL_OK);
  rl_near(plain.loss, 0.0, 0.0);
}

/* A step cut into micro-batches (as ranks or accumulation would) has the loss of the whole, and
 * bit for bit its gradients, in every mode and with every ratio. */
static void test_micro_batches(void **state) {
  (void)state;
  static struct batch whole, part;
  static struct result all, some;
  for (uint64_t seed = 10; seed < 13; seed++)
    for (int k = 0; k < 12; k++) {
      const enum lrl_ratio ratio = (enum lrl_ratio)(k / 4);
      struct lrl_loss_count step = {0};
      struct lrl_ppo_policy_stats p = {0};
      struct lrl_ppo_value_stats v = {0};
      double kl = 0.0;
      rl_make(&whole, seed);
      lrl_loss_count_add(&step, &whole.layout, whole.mask);
      weigh(&whole, (enum lrl_loss_agg)(k % 4), &step);
      all_losses(&whole, ratio, &all);
      for (int first = 0, n; first < SEQS; first += n) {
        int order[SEQS];
        n = 1 + (first * 7 + (int)seed) % 5;
        n = n < SEQS - first ? n : SEQS - first;
        for (int i = 0; i < n; i++)
          order[i] = first + i;
        rl_pick(&whole, order, n, &part);
        weigh(&part, (enum lrl_loss_agg)(k % 4), &step);
        all_losses(&part, ratio, &some);
        lrl_ppo_policy_stats_add(&p, &some.p);
        lrl_ppo_value_stats_add(&v, &some.v);
        kl += some.kl_loss;
        const size_t bytes = (size_t)part.layout.n_tokens * sizeof(float);
        assert_memory_equal(some.d_logprobs, all.d_logprobs + whole.start[first], bytes);
        assert_memory_equal(some.d_entropy, all.d_entropy + whole.start[first], bytes);
        assert_memory_equal(some.d_values, all.d_values + whole.start[first], bytes);
      }
      rl_near(p.loss, all.p.loss, 1e-12);
      rl_near(v.loss, all.v.loss, 1e-12);
      rl_near(kl, all.kl_loss, 1e-12);
      rl_near(p.clipped, all.p.clipped, 0.0);
      rl_near(p.ratio_dev_max, all.p.ratio_dev_max, 0.0);
    }
}

static bool finite_all(const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i]))
      return false;
  return true;
}
/* rl_make puts NaN at every masked token: nothing of it may come out; at a live token it must. */
static void test_masked_nan(void **state) {
  (void)state;
  static struct batch b;
  static struct result r;
  struct lrl_loss_count step = {0};
  rl_make(&b, 21);
  lrl_loss_count_add(&step, &b.layout, b.mask);
  assert_true(step.tokens < (double)b.layout.n_tokens);
  for (int ratio = 0; ratio < 3; ratio++) {
    weigh(&b, LRL_AGG_SEQ_MEAN_TOKEN_MEAN, &step);
    all_losses(&b, (enum lrl_ratio)ratio, &r);
    const double *numbers = &r.p.loss;
    for (size_t i = 0; i < sizeof r.p / sizeof *numbers; i++)
      assert_true(isfinite(numbers[i]));
    assert_true(isfinite(r.v.loss) && isfinite(r.kl_loss));
    assert_true(finite_all(r.d_logprobs, b.layout.n_tokens));
    assert_true(finite_all(r.d_entropy, b.layout.n_tokens));
    assert_true(finite_all(r.d_values, b.layout.n_tokens));
    assert_true(finite_all(r.kl, b.layout.n_tokens));
    for (int64_t t = 0; t < b.layout.n_tokens; t++)
      if (b.mask[t] == 0)
        assert_true(r.d_logprobs[t] == 0.0f && r.d_values[t] == 0.0f && r.kl[t] == 0.0f);
  }
  int64_t live = 0;
  while (b.mask[live] == 0)
    live++;
  b.logprobs[live] = b.values[live] = NAN;
  all_losses(&b, LRL_RATIO_TOKEN, &r);
  assert_true(isnan(r.p.loss) && isnan(r.v.loss) && isnan(r.kl_loss));
}

/* Another order of the sequences gives the same bits at every token. */
static void test_permutation(void **state) {
  (void)state;
  static struct batch a, b;
  static struct result ra, rb;
  int64_t order64[SEQS];
  int order[SEQS];
  struct lrl_loss_count step = {0};
  struct lrl_rng rng = lrl_rng_make(31, LRL_RNG_TEST, 1);
  for (int i = 0; i < SEQS; i++)
    order64[i] = i;
  lrl_rng_shuffle(&rng, order64, SEQS);
  for (int i = 0; i < SEQS; i++)
    order[i] = (int)order64[i];
  rl_make(&a, 31);
  lrl_loss_count_add(&step, &a.layout, a.mask);
  for (int ratio = 0; ratio < 3; ratio++) {
    weigh(&a, LRL_AGG_SEQ_MEAN_TOKEN_MEAN, &step);
    rl_pick(&a, order, SEQS, &b);
    all_losses(&a, (enum lrl_ratio)ratio, &ra);
    all_losses(&b, (enum lrl_ratio)ratio, &rb);
    for (int i = 0; i < SEQS; i++) {
      const size_t bytes = (size_t)b.length[i] * sizeof(float);
      assert_memory_equal(rb.d_logprobs + b.start[i], ra.d_logprobs + a.start[order[i]], bytes);
      assert_memory_equal(rb.d_values + b.start[i], ra.d_values + a.start[order[i]], bytes);
    }
    rl_near(rb.p.loss, ra.p.loss, 1e-12);
    rl_near(rb.v.loss, ra.v.loss, 1e-12);
  }
}

/* Before the first update: ratio exactly 1, nothing clipped, no KL, the plain policy gradient. */
static void test_first_update(void **state) {
  (void)state;
  static struct batch b;
  static struct result r;
  struct lrl_loss_count step = {0};
  rl_make(&b, 41);
  memcpy(b.old, b.logprobs, sizeof b.old);
  lrl_loss_count_add(&step, &b.layout, b.mask);
  weigh(&b, LRL_AGG_TOKEN_MEAN, &step);
  all_losses(&b, LRL_RATIO_SEQUENCE, &r);
  rl_near(r.p.ratio_dev_max, 0.0, 0.0);
  all_losses(&b, LRL_RATIO_TOKEN, &r);
  rl_near(r.p.ratio_dev_max, 0.0, 0.0);
  rl_near(r.p.ratio, r.p.tokens, 0.0);
  rl_near(r.p.clipped + r.p.clipped_lower + r.p.kl1 + r.p.kl2 + r.p.kl3, 0.0, 0.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_value_invariants), cmocka_unit_test(test_micro_batches),
      cmocka_unit_test(test_masked_nan),       cmocka_unit_test(test_permutation),
      cmocka_unit_test(test_first_update),
  };
  return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
