/* The plan backend: what it says of a small network is what the device that the first argument
 * names (default: cpu) takes, to the byte. Other tests of it: test_plan_official.c,
 * test_plan_command.c. */
#include "plan_fixture.h"

#include "tests/unit/op_cases.h"

static const char *device = "cpu";

#define NETWORK                                                                                    \
  "model.vocab_size=96", "model.hidden_size=32", "model.intermediate_size=48",                     \
      "model.num_hidden_layers=2", "model.num_attention_heads=4", "model.num_key_value_heads=2",   \
      "optim.lr=1e-3"
#define EYES                                                                                       \
  "model.vision=clip", "vision.image_size=16", "vision.patch_size=4", "vision.hidden_size=16",     \
      "vision.intermediate_size=32", "vision.num_hidden_layers=2", "vision.num_attention_heads=2", \
      "model.plora_r=4"

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

static void test_bytes_ppo(void **state) {
  (void)state;
  static const char *const text[] = {NETWORK, NULL};
  static const char *const seen[] = {NETWORK, EYES, "model.dtype=bf16", NULL};
#define SHORT "rollout.batch_size=3", "ppo.mini_batch_size=2", "rollout.max_new_tokens=6"
  static const char *const keys[2][10] = {
      {SHORT, "rollout.samples_per_prompt=2", "train.micro_batch_tokens=40", "ptx.coef=0.5",
       "ptx.batch_size=3", "ptx.max_length=24", NULL},
      {SHORT, "actor.lora_r=4", "ppo.estimator=grpo", "rollout.samples_per_prompt=3",
       "ppo.ema_beta=0.9", "train.gradient_checkpointing=true", "rollout.max_samples=4", NULL}};
  for (int i = 0; i < 4; i += 3) {
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
  static const int64_t shapes[][2] = {{0, 8}, {1, 1}, {5, 64}, {130, 17}};
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
  for (int k = 0; k < 2 * 4 * (int)(sizeof cases / sizeof cases[0]); k++) {
    const int64_t *shape = shapes[k / 2 % 4];
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
      if (cases[k / 8].run(&r) != LRL_OK)
        fail_msg("%s: %s", cases[k / 8].name, lrl_last_error());
      peak[i] = ctx[i].scratch.peak;
      for (int b = 0; b < r.n_buffers; b++)
        give_back(&r.buffers[b]);
    }
    if (peak[0] != peak[1])
      fail_msg("%s, %lld x %lld, %s: scratch of %zu bytes was planned, device %s took %zu",
               cases[k / 8].name, (long long)shape[0], (long long)shape[1], lrl_dtype_name(t),
               peak[0], device, peak[1]);
  }
  for (int i = 0; i < 2; i++)
    lrl_ctx_free(&ctx[i]);
  lrl_ctx_free(&ref);
}

/* Under mpirun: of the first of as many ranks as there are. */
static struct lrl_comm *comm;
static void test_bytes_ranks(void **state) {
  (void)state;
  for (int stage = 0; stage < 3; stage++) {
    char zero[32];
    snprintf(zero, sizeof zero, "train.zero_stage=%d", stage);
    const struct lrl_reward_config *c =
        reward((const char *const[]){NETWORK, "model.dtype=bf16", zero, NULL});
    struct lrl_plan_setting s = {
        .device = device,
        .comm = comm,
        .ranks = lrl_comm_size(comm),
        .n_micro = 2,
        .machine.n_sm = 4,
        .batch = {.n = 1, .prompt = 9, .answer = 7, .pairs = true, .share_prefix = true}};
    const struct lrl_plan_report b = plan(&lrl_reward_kind, &c->common, c, &s);
    s.device = "plan";
    s.comm = NULL;
    const struct lrl_plan_report a = plan(&lrl_reward_kind, &c->common, c, &s);
    if (lrl_comm_rank(comm) == 0)
      expect_same(&a, &b);
  }
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
  const struct CMUnitTest ranks[] = {cmocka_unit_test(test_bytes_ranks)};
  const struct CMUnitTest ops[] = {cmocka_unit_test(test_scratch)};
  if (lrl_comm_create(&comm) != LRL_OK)
    return 1;
  if (lrl_comm_size(comm) > 1) {
    const int wrong = cmocka_run_group_tests_name("ranks", ranks, NULL, NULL);
    lrl_comm_destroy(comm);
    return wrong;
  }
  lrl_comm_destroy(comm);
  const int failed = cmocka_run_group_tests_name("bytes", bytes, NULL, NULL);
  return argc > 1 ? failed + cmocka_run_group_tests_name("ops", ops, NULL, NULL) : failed;
}
