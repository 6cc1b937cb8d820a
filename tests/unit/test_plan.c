/* The plan backend: what it says of a small network is what the device that the first argument
 * names (default: cpu) takes, to the byte; what it says of the official one is SPEC's; work and
 * messages are closed formulas. */
#include "launch/config.h"
#include "tests/unit/op_cases.h"
#include "train/plan_run.h"
#include "train/reward.h"
#include "train/sft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *device = "cpu";

#define NETWORK                                                                                    \
  "model.vocab_size=96", "model.hidden_size=32", "model.intermediate_size=48",                     \
      "model.num_hidden_layers=3", "model.num_attention_heads=4", "model.num_key_value_heads=2",   \
      "optim.lr=1e-3"
#define EYES                                                                                       \
  "model.vision=clip", "vision.image_size=16", "vision.patch_size=4", "vision.hidden_size=16",     \
      "vision.intermediate_size=32", "vision.num_hidden_layers=2", "vision.num_attention_heads=2", \
      "model.plora_r=4"

static void set(const struct lrl_option_table *t, void *cfg, const char *const *keys) {
  lrl_config_defaults(t, cfg);
  for (; *keys != NULL; keys++)
    if (lrl_config_override(t, cfg, *keys) != LRL_OK)
      fail_msg("%s", lrl_last_error());
}
static struct lrl_reward_config *reward(const char *const *keys) {
  static struct lrl_reward_config c;
  const struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  set(&t, &c, keys);
  return &c;
}
static struct lrl_sft_config *sft(const char *const *keys) {
  static struct lrl_sft_config c;
  const struct lrl_option_table t = {lrl_sft_options, lrl_n_sft_options};
  set(&t, &c, keys);
  return &c;
}
static struct lrl_plan_report plan(const struct lrl_trainer_kind *kind,
                                   const struct lrl_trainer_options *o, const void *cfg,
                                   const struct lrl_plan_setting *s) {
  struct lrl_plan_report r;
  if (lrl_plan_training(kind, o, cfg, s, &r) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return r;
}

/* ---- bytes ---- */

static void expect_bytes(const char *what, size_t planned, size_t real) {
  if (planned != real)
    fail_msg("%s: %zu bytes were planned, device %s took %zu", what, planned, device, real);
}

static void expect_same(const struct lrl_plan_report *planned, const struct lrl_plan_report *real) {
  const struct lrl_plan_bytes *a = &planned->bytes, *b = &real->bytes;
  expect_bytes("weights", a->weights, b->weights);
  expect_bytes("gradients", a->gradients, b->gradients);
  expect_bytes("optimizer", a->optimizer, b->optimizer);
  expect_bytes("activations", a->activations, b->activations);
  expect_bytes("cache", a->cache, b->cache);
  expect_bytes("messages", a->comm, b->comm);
  assert_int_equal(a->comm, 0);
  if (strcmp(device, "cpu") != 0) /* its ops want other scratch memory than a GPU's */
    expect_bytes("scratch", a->scratch, b->scratch);
}

static void expect_device(const struct lrl_trainer_kind *kind, const struct lrl_trainer_options *o,
                          const void *cfg, struct lrl_plan_batch batch) {
  struct lrl_plan_setting s = {.device = "plan",
                               .machine.n_sm = 4, /* as the simulated device has */
                               .ranks = 1,
                               .n_micro = 2,
                               .batch = batch};
  const struct lrl_plan_report a = plan(kind, o, cfg, &s);
  s.device = device;
  const struct lrl_plan_report b = plan(kind, o, cfg, &s);
  expect_same(&a, &b);
}

static void test_bytes_reward(void **state) {
  (void)state;
  static const struct lrl_plan_batch text = {
      .n = 2, .prompt = 9, .answer = 7, .pairs = true, .share_prefix = true};
  static const struct lrl_plan_batch seen = {
      .n = 2, .prompt = 30, .answer = 5, .rows = 1, .cols = 2, .pairs = true};
  static const char *const more[][8] = {
      {NULL},
      {"model.dtype=bf16", NULL},
      {"train.gradient_checkpointing=true", "model.dtype=bf16", NULL},
      {"model.lora_r=4", "train.gradient_checkpointing=true", NULL},
      {"model.pooling=mean", "model.dtype=bf16", "model.num_attention_heads=1",
       "model.num_key_value_heads=1", "model.hidden_size=64", NULL}, /* heads of matrix units */
  };
  for (int i = 0; i < 5; i++) {
    const char *keys[24] = {NETWORK};
    int n = 7;
    for (int k = 0; more[i][k] != NULL; k++)
      keys[n++] = more[i][k];
    const struct lrl_reward_config *c = reward(keys);
    expect_device(&lrl_reward_kind, &c->common, c, text);
    static const char *const eyes[] = {EYES, "model.freeze_vision_tower=false",
                                       "model.freeze_projector=false"};
    for (int k = 0; k < 8 + (i < 2 ? 2 : 0); k++) /* a tower that trains, and a frozen one */
      keys[n++] = eyes[k];
    c = reward(keys);
    struct lrl_plan_batch b = seen;
    b.share_prefix = i % 2 == 0;
    expect_device(&lrl_reward_kind, &c->common, c, b);
  }
}

static void test_bytes_sft(void **state) {
  (void)state;
  const struct lrl_sft_config *c = sft((const char *const[]){NETWORK, "model.dtype=bf16", NULL});
  expect_device(&lrl_sft_kind, &c->common, c,
                (struct lrl_plan_batch){.n = 3, .prompt = 11, .answer = 13});
  c = sft((const char *const[]){NETWORK, EYES, "train.gradient_checkpointing=true", NULL});
  expect_device(&lrl_sft_kind, &c->common, c,
                (struct lrl_plan_batch){.n = 2, .prompt = 30, .answer = 9, .rows = 2, .cols = 1});
}

static struct lrl_plan_report ppo_plan(const char *const *networks, const char *const *keys,
                                       const struct lrl_plan_setting *s) {
  static struct lrl_ppo_config c;
  const struct lrl_option_table t = {lrl_ppo_options, lrl_n_ppo_options};
  struct lrl_plan_report r;
  set(&t, &c, keys);
  const struct lrl_plan_ppo n = {&reward(networks)->common.model, ""};
  if (lrl_plan_ppo(&c, &n, s, &r) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return r;
}

static void test_bytes_ppo(void **state) {
  (void)state;
  static const char *const text[] = {NETWORK, NULL};
  static const char *const seen[] = {NETWORK, EYES, "model.dtype=bf16", NULL};
#define SHORT "rollout.batch_size=3", "ppo.mini_batch_size=2", "rollout.max_new_tokens=6"
  static const char *const keys[2][10] = {
      {SHORT, "rollout.samples_per_prompt=2", "train.micro_batch_tokens=40", "ptx.coef=0.5",
       "ptx.batch_size=3", "ptx.max_length=24", NULL},
      {SHORT, "actor.lora_r=4", "ppo.estimator=grpo", "rollout.samples_per_prompt=3",
       "train.gradient_checkpointing=true", "rollout.max_samples=4", NULL}};
  for (int i = 0; i < 4; i++) {
    struct lrl_plan_setting s = {
        .device = "plan",
        .machine.n_sm = 4,
        .ranks = 1,
        .batch = {.prompt = 40, .answer = 6, .rows = i / 2, .cols = i / 2}};
    const struct lrl_plan_report a = ppo_plan(i / 2 ? seen : text, keys[i % 2], &s);
    s.device = device;
    const struct lrl_plan_report b = ppo_plan(i / 2 ? seen : text, keys[i % 2], &s);
    expect_same(&a, &b);
    assert_true(a.bytes.cache > 0 && a.n_phases == 5);
  }
}

/* Every op of the table by itself, in both types. */
static void test_scratch(void **state) {
  (void)state;
  static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {5, 64}, {33, 17}, {130, 65}};
  static const struct {
    const char *name;
    lrl_status (*run)(struct op_run *);
  } cases[] = {
#define ROW(op) {#op, case_##op},
      LRL_OPS(ROW)};
  struct lrl_ctx ctx[2], ref;
  assert_int_equal(lrl_ctx_init(&ref, "ref", 1), LRL_OK);
  for (int i = 0; i < 2; i++)
    assert_int_equal(lrl_ctx_init(&ctx[i], i == 0 ? "plan" : device, 1), LRL_OK);
  lrl_plan_of(&ctx[0])->machine.n_sm = 4;
  for (int k = 0; k < 2 * 5 * (int)(sizeof cases / sizeof cases[0]); k++) {
    const int64_t *shape = shapes[k / 2 % 5];
    const lrl_dtype t = k % 2 == 0 ? LRL_F32 : LRL_BF16;
    size_t peak[2];
    for (int i = 0; i < 2; i++) {
      struct op_run r = {.ctx = &ctx[i],
                         .ref = &ref,
                         .seed = 5,
                         .dtype = t,
                         .values = t,
                         .n = shape[0],
                         .w = shape[1]};
      ctx[i].scratch.peak = 0;
      if (cases[k / 10].run(&r) != LRL_OK)
        fail_msg("%s: %s", cases[k / 10].name, lrl_last_error());
      peak[i] = ctx[i].scratch.peak;
      for (int b = 0; b < r.n_buffers; b++)
        give_back(&r.buffers[b]);
    }
    if (peak[0] != peak[1])
      fail_msg("%s, %lld x %lld, %s: scratch of %zu bytes was planned, device %s took %zu",
               cases[k / 10].name, (long long)shape[0], (long long)shape[1], lrl_dtype_name(t),
               peak[0], device, peak[1]);
  }
  for (int i = 0; i < 2; i++)
    lrl_ctx_free(&ctx[i]);
  lrl_ctx_free(&ref);
}

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
  assert_int_equal(p.bytes.gradients, 4 * 7737708544);
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
    const double sums = others * 4 * n * (stage == 2 ? 4 : 1), /* stage 2: each micro-batch */
        gathers = others * n * (stage == 0 ? 4 : 2);
    assert_true(p.traffic.sums > 0.999 * sums && p.traffic.sums < 1.001 * sums);
    assert_true(p.traffic.gathers > 0.999 * gathers && p.traffic.gathers < 1.001 * gathers);
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

int main(int argc, char **argv) {
  struct lrl_ctx ctx;
  device = argc > 1 ? argv[1] : device;
  if (lrl_ctx_init(&ctx, device, 1) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  lrl_ctx_free(&ctx);
  const struct CMUnitTest bytes[] = {cmocka_unit_test(test_bytes_reward),
                                     cmocka_unit_test(test_bytes_sft),
                                     cmocka_unit_test(test_bytes_ppo)};
  const struct CMUnitTest rest[] = {
      cmocka_unit_test(test_official), cmocka_unit_test(test_official_ppo),
      cmocka_unit_test(test_work), cmocka_unit_test(test_ranks), cmocka_unit_test(test_refusals)};
  const struct CMUnitTest ops[] = {cmocka_unit_test(test_scratch)};
  const int failed = cmocka_run_group_tests_name("bytes", bytes, NULL, NULL);
  return failed + (argc > 1 ? cmocka_run_group_tests_name("ops", ops, NULL, NULL)
                            : cmocka_run_group_tests_name("plan", rest, NULL, NULL));
}
