/* What the plan backend says of the official network is SPEC's; work and messages are closed
 * formulas; what cannot be planned is refused. */
#include "plan_fixture.h"

/* ---- the official network: SPEC 1.6 ---- */

#define SEVEN                                                                                      \
  "model.vocab_size=92544", "model.hidden_size=4096", "model.intermediate_size=14336",             \
      "model.num_hidden_layers=32", "model.num_attention_heads=32", "model.num_key_value_heads=8", \
      "model.dtype=bf16", "train.gradient_checkpointing=true"
#define SEVEN_SEES "model.vision=clip", "model.plora_r=256"

static const struct lrl_plan_batch long_pair = {.n = 1,
                                                .prompt = 4096,
                                                .answer = 4096,
                                                .rows = 3,
                                                .cols = 3,
                                                .pairs = true,
                                                .share_prefix = true};
static struct lrl_plan_setting seven(int ranks, struct lrl_plan_batch b) {
  return (struct lrl_plan_setting){.device = "plan",
                                   .machine = {1e15, 1e14, 1e12, 132},
                                   .ranks = ranks,
                                   .n_micro = 4,
                                   .batch = b};
}

static void test_official(void **state) {
  (void)state;
  struct lrl_plan_setting s = seven(8, long_pair);
  const struct lrl_reward_config *r =
      reward((const char *const[]){SEVEN, SEVEN_SEES, "train.zero_stage=2", NULL});
  struct lrl_plan_report p = plan(&lrl_reward_kind, &r->common, r, &s);
  assert_int_equal(p.n_params, 8300759040);
  assert_int_equal(p.n_trained, 7962640384);
  assert_int_equal(p.bytes.weights / 1000000, 2 * 8300759040 / 1000000);
  const struct lrl_sft_config *c = sft((const char *const[]){SEVEN, SEVEN_SEES, NULL});
  s = seven(1, (struct lrl_plan_batch){.n = 1, .prompt = 4096, .answer = 4096});
  p = plan(&lrl_sft_kind, &c->common, c, &s);
  assert_int_equal(p.n_params, 8679815168);
  c = sft((const char *const[]){SEVEN, NULL});
  p = plan(&lrl_sft_kind, &c->common, c, &s);
  assert_int_equal(p.n_params, 7737708544);
  assert_int_equal(p.n_trained, 7737708544);
  /* One rank, no ZeRO: bf16 weights, f32 gradients, master and two moments. */
  assert_int_equal(p.bytes.weights, 2 * 7737708544);
  assert_int_equal(p.bytes.gradients, 4 * 7737708544 + 320); /* with a sum of squares a unit */
  assert_int_equal(p.bytes.optimizer, 12 * 7737708544);
}

static double gemm_per_token(void) { /* of the linears of the decoder, forward */
  const double h = 4096, f = 14336, qkv = 48 * 128;
  return 2 * 32 * (qkv * h + h * h + 3 * h * f);
}

/* Four networks of it, on 8 ranks: policy, reference, critic, reward model. */
static void test_official_ppo(void **state) {
  (void)state;
  static const char *const network[] = {SEVEN, SEVEN_SEES, NULL};
  struct lrl_plan_setting s = seven(8, long_pair);
  s.batch.answer = 4;
  const struct lrl_plan_report p =
      ppo_plan(network,
               (const char *const[]){"rollout.batch_size=8", "ppo.mini_batch_size=8",
                                     "rollout.max_new_tokens=4", "train.zero_stage=2", "ptx.coef=0",
                                     "ppo.num_ppo_epochs=1", NULL},
               &s);
  assert_int_equal(p.n_params, 8679815168);
  assert_int_equal(p.n_trained, 8679815168 - 304556032 - 33562624 - 2 * 4096);
  assert_int_equal(p.bytes.weights / 1000000, 2 * (2 * 8679815168 + 2 * 8300759040) / 1000000);
  /* Forward through the prompt: for the cache, scores, both log-probs and values; the two that
   * train once more, and back, which is twice the work. Image tokens and tiles take 9 % more. */
  const double products = p.work.op[LRL_PLAN_gemm].flops, once = 4096 * gemm_per_token();
  if (!(products > 11.9 * once && products < 12.3 * once))
    fail_msg("products of %.2f prompts", products / once);
}

/* ---- work and messages ---- */

static void test_work(void **state) {
  (void)state;
  const struct lrl_plan_batch b = {
      .n = 1, .prompt = 1000, .answer = 500, .pairs = true, .share_prefix = true};
  const double tokens = 2000, heads = 32.0 * 128 * 32; /* width of all heads of all layers */
  const double pairs = 1000.0 * 1001 / 2 + 2 * (500.0 * 501 / 2 + 500.0 * 1000);
  struct lrl_plan_setting s = seven(1, b);
  const struct lrl_reward_config *r = reward((const char *const[]){SEVEN, NULL});
  struct lrl_plan_report p = plan(&lrl_reward_kind, &r->common, r, &s);
  /* forward, forward again, twice as much backward; the attention backward has five products */
  assert_true(p.work.op[LRL_PLAN_gemm].flops == 4 * 4 * gemm_per_token() * tokens);
  assert_true(p.work.op[LRL_PLAN_attention_fwd].flops == 4 * 2 * 4 * heads * pairs);
  assert_true(p.work.op[LRL_PLAN_attention_bwd].flops == 4 * 10 * heads * pairs);
  /* the optimizer, once a step: gradient, master and moments, and the bf16 copy */
  assert_true(p.work.op[LRL_PLAN_adamw].bytes == 30.0 * (double)p.n_trained);
  assert_true(p.work.all.seconds > p.work.all.flops / s.machine.bf16_flops);

  /* Recomputation is what it costs and what it saves. */
  r = reward((const char *const[]){SEVEN, "train.gradient_checkpointing=false", NULL});
  const struct lrl_plan_report q = plan(&lrl_reward_kind, &r->common, r, &s);
  assert_true(q.work.op[LRL_PLAN_gemm].flops == 4 * 3 * gemm_per_token() * tokens);
  assert_true(q.bytes.activations > 2 * p.bytes.activations);
  assert_int_equal(q.bytes.weights, p.bytes.weights);
}

static void test_ranks(void **state) {
  (void)state;
  const struct lrl_plan_batch b = {.n = 1, .prompt = 10, .answer = 10, .pairs = true};
  struct lrl_plan_setting s = seven(8, b);
  for (int stage = 0; stage < 3; stage++) {
    char zero[32];
    snprintf(zero, sizeof zero, "train.zero_stage=%d", stage);
    const struct lrl_reward_config *r = reward((const char *const[]){SEVEN, zero, NULL});
    const struct lrl_plan_report p = plan(&lrl_reward_kind, &r->common, r, &s);
    const double n = (double)p.n_trained, others = 7.0 / 8;
    const double sums = others * 4 * n *
                        (stage == 2   ? 4 /* after each micro-batch */
                         : stage == 0 ? 2 /* and back */
                                      : 1),
                 gathers = stage == 0 ? 0 : others * 2 * n;
    assert_true(p.traffic.sums > 0.999 * sums && p.traffic.sums < 1.001 * sums);
    assert_true(p.traffic.gathers >= 0.999 * gathers && p.traffic.gathers <= 1.001 * gathers);
    const double state_bytes = 12 * n / (stage == 0 ? 1 : 8);
    assert_true((double)p.bytes.optimizer > 0.999 * state_bytes &&
                (double)p.bytes.optimizer < 1.001 * state_bytes);
    /* stage 2: this rank's slices, and the two largest neighbours whole */
    const double two = 4.0 * (218112000 + 92544.0 * 4096);
    const double grads = stage < 2 ? 4 * n : 4 * n / 8 + two;
    assert_true((double)p.bytes.gradients > 0.999 * grads &&
                (double)p.bytes.gradients < 1.001 * grads);
  }
}

static void test_refusals(void **state) {
  (void)state;
  struct lrl_plan_report p;
  struct lrl_plan_setting s = seven(1, long_pair);
  s.batch.prompt = 4000;
  const struct lrl_reward_config *r = reward((const char *const[]){SEVEN, SEVEN_SEES, NULL});
  assert_int_not_equal(lrl_plan_training(&lrl_reward_kind, &r->common, r, &s, &p), LRL_OK);
  assert_non_null(strstr(lrl_last_error(), "has 4081 tokens"));
  lrl_error_clear();
  r = reward((const char *const[]){SEVEN, "model.vocab_size=0", "model.tokenizer=/no/file", NULL});
  assert_int_not_equal(lrl_plan_training(&lrl_reward_kind, &r->common, r, &s, &p), LRL_OK);
  assert_non_null(strstr(lrl_last_error(), "/no/file"));
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_official), cmocka_unit_test(test_official_ppo),
      cmocka_unit_test(test_work), cmocka_unit_test(test_ranks), cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
