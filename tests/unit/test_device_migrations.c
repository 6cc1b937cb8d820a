/* A steady step touches no memory of the device from the host: on the simulator, which counts the
 * blocks of managed memory that come over (SIMT_MIGRATE), none does so between the first steps of a
 * reward model, of SFT and of PPO (rollout, scores, update, metrics, evaluations, checkpoints) and
 * the end of the last one, on one rank and on two. `test_device_migrations DEVICE`; the linker puts
 * a counter behind lrl_optimizer_step, and behind lrl_ema, whose results are those of the same
 * arithmetic on the host. */
#include "run_fixture.h"

#include "kernels/log.h"
#include "launch/train_config.h"
#include "tests/unit/sim_device.h"
#include "train/ppo.h"
#include "train/reward.h"
#include "train/sft.h"

static const char *device;
static struct sim_device sim;
static int n_steps, from, until; /* optimizer steps: counted after the first `from` */
static uint64_t migrations;
static bool counts;
static char places[16384];

lrl_status __real_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats);
lrl_status __wrap_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats);
lrl_status __wrap_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats) {
  lrl_status s = __real_lrl_optimizer_step(o, lr, stats);
  const char *text;
  n_steps++;
  if (n_steps == from) {
    counts = sim.migrations(NULL) > 0; /* set-up writes weights */
    sim.reset();
  }
  if (n_steps == until) {
    migrations = sim.migrations(&text);
    snprintf(places, sizeof places, "%s", text);
  }
  return s;
}

static int64_t n_averaged, n_wrong; /* elements */

lrl_status __real_lrl_ema(struct lrl_ctx *ctx, const struct lrl_ema_args *a);
lrl_status __wrap_lrl_ema(struct lrl_ctx *ctx, const struct lrl_ema_args *a);
lrl_status __wrap_lrl_ema(struct lrl_ctx *ctx, const struct lrl_ema_args *a) {
  const size_t bytes = (size_t)a->n * sizeof(float);
  float *old = malloc(bytes), *y = malloc(bytes), *x = malloc(bytes);
  assert_true(old != NULL && y != NULL && x != NULL && a->dtype == LRL_F32);
  lrl_status s = lrl_read(ctx, old, a->y, bytes);
  s = s == LRL_OK ? __real_lrl_ema(ctx, a) : s;
  s = s == LRL_OK ? lrl_read(ctx, y, a->y, bytes) : s;
  s = s == LRL_OK ? lrl_read(ctx, x, a->x, bytes) : s;
  for (int64_t i = 0; i < a->n && s == LRL_OK; i++) {
    n_averaged += old[i] != x[i];
    n_wrong += y[i] != (float)(a->beta * (double)old[i] + (1.0 - a->beta) * (double)x[i]);
  }
  free(old);
  free(y);
  free(x);
  return s;
}

static void expect_none(const char *what, lrl_status s) {
  if (s != LRL_OK)
    fail_msg("%s: %s", what, lrl_last_error());
  assert_true(counts && from < until && until <= n_steps);
  if (migrations > 0) {
    fprintf(stderr, "%s", places);
    fail_msg("%s: %d blocks came to the host in %d steps", what, (int)migrations, until - from);
  }
}
static void watch(int first, int last) {
  const struct simt_settings s = {.order = SIMT_ASCENDING, .streams = SIMT_LAZY, .seed = 1};
  n_steps = 0;
  from = first;
  until = last;
  sim.configure(&s);
}

/* The quickstart's config, then keys, in which DIR is the folder. */
static void configure(const struct lrl_option_table *t, void *cfg, const char *kind,
                      const char *const *keys) {
  static char text[MAX_ARGS][300];
  char *argv[MAX_ARGS];
  int n = 0;
  snprintf(text[n++], sizeof text[0], "%s/configs/quickstart/%s.yaml", getenv("LAUREL_SOURCE"),
           kind);
  snprintf(text[n++], sizeof text[0], "train.device=%s", device);
  for (; *keys != NULL; keys++) {
    const char *folder = strstr(*keys, "DIR");
    snprintf(text[n++], sizeof text[0], "%.*s%s%s", folder != NULL ? (int)(folder - *keys) : 200,
             *keys, folder != NULL ? dir : "", folder != NULL ? folder + 3 : "");
  }
  for (int i = 0; i < n; i++)
    argv[i] = text[i];
  if (lrl_train_config_read(t, cfg, n, argv) != LRL_OK)
    fail_msg("%s", lrl_last_error());
}

static lrl_status reward(struct lrl_comm *comm, const char *const *keys) {
  static struct lrl_reward_config c;
  const struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  configure(&t, &c, "reward", keys);
  char *text = lrl_config_text(&t, &c);
  const lrl_status s = lrl_reward_train(&c, comm, text);
  free(text);
  return s;
}
#define DATA                                                                                       \
  "data.train=DIR/world/data.txt", "data.holdout=0.2",                                             \
      "model.tokenizer=DIR/world/tokenizer.model", "train.threads=1", "train.batch_size=2",        \
      "train.log_steps=1", "train.max_steps=3"

static void test_reward(void **state) {
  (void)state;
  watch(1, 3);
  expect_none("reward", reward(NULL, (const char *const[]){DATA, "train.output_dir=DIR/reward",
                                                           "train.eval_steps=2",
                                                           "train.save_steps=2", NULL}));
  watch(1, 3);
  expect_none("recomputed in bf16 with LoRA",
              reward(NULL, (const char *const[]){DATA, "train.output_dir=DIR/lora",
                                                 "model.dtype=bf16", "model.plora_r=4",
                                                 "model.lora_r=4", "model.lora_dropout=0.1",
                                                 "train.gradient_checkpointing=true",
                                                 "train.micro_batch_tokens=200", NULL}));
}
static void test_sft(void **state) {
  (void)state;
  static struct lrl_sft_config c;
  const struct lrl_option_table t = {lrl_sft_options, lrl_n_sft_options};
  configure(&t, &c, "sft",
            (const char *const[]){DATA, "model.init_from=DIR/reward", "train.output_dir=DIR/sft",
                                  "train.eval_steps=2", "train.save_steps=2", NULL});
  char *text = lrl_config_text(&t, &c);
  watch(1, 3);
  expect_none("sft", lrl_sft_train(&c, NULL, text));
  free(text);
}
/* An optimizer step of each network an iteration. */
static lrl_status ppo(struct lrl_comm *comm, const char *out) {
  static struct lrl_ppo_config c;
  const struct lrl_option_table t = {lrl_ppo_options, lrl_n_ppo_options};
  configure(&t, &c, "ppo",
            (const char *const[]){"actor.init_from=DIR/sft", "reward.model=DIR/reward",
                                  "critic.reset_head=true", "data.train=DIR/world/data.txt", out,
                                  "train.threads=1", "train.zero_stage=1", "train.max_steps=3",
                                  "train.save_steps=1", "rollout.batch_size=2",
                                  "rollout.samples_per_prompt=2", "rollout.max_new_tokens=6",
                                  "ppo.mini_batch_size=2", "ppo.ema_beta=0.9", "kl.in=loss", NULL});
  char *text = lrl_config_text(&t, &c);
  watch(2, 6);
  const lrl_status s = lrl_ppo_train(&c, comm, text);
  free(text);
  return s;
}
static bool averaged(void) { return n_averaged > 10000 && n_wrong == 0; }
static void test_ppo(void **state) {
  (void)state;
  expect_none("ppo", ppo(NULL, "train.output_dir=DIR/ppo"));
  assert_true(averaged());
}
/* What a rank of test_ranks does. */
static int train_as_rank(const char *folder, const char *stage) {
  struct lrl_comm *comm;
  snprintf(dir, sizeof dir, "%s", folder);
  if (lrl_comm_create(&comm) != LRL_OK) {
    fprintf(stderr, "%s\n", lrl_last_error());
    return 1;
  }
  char zero[40], out[60];
  snprintf(zero, sizeof zero, "train.zero_stage=%s", stage);
  snprintf(out, sizeof out, "train.output_dir=DIR/ranks%s", stage);
  watch(1, 3);
  lrl_status s = reward(comm, (const char *const[]){DATA, out, "train.save_steps=2",
                                                    "train.eval_steps=2", zero, NULL});
  bool failed = s != LRL_OK || migrations > 0 || n_steps < until || !counts;
  if (!failed && stage[0] == '1') {
    s = ppo(comm, "train.output_dir=DIR/ranks_ppo");
    failed = s != LRL_OK || migrations > 0 || n_steps < until || !counts || !averaged();
  }
  if (failed) { /* the others do not wait for it */
    fprintf(
        stderr,
        "stage %s, rank %d, %d steps, %s: %d blocks came to the host, %d averages are wrong %s\n%s",
        stage, lrl_comm_rank(comm), n_steps, counts ? "counted" : "not counted", (int)migrations,
        (int)n_wrong, s != LRL_OK ? lrl_last_error() : "", places);
    lrl_comm_abort(comm, 1);
  }
  lrl_comm_destroy(comm);
  return 0;
}
static void test_ranks(void **state) {
  (void)state;
  char self[512];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = '\0';
  if (!have_mpirun())
    skip();
  for (int stage = 0; stage <= 2; stage++) {
    struct command c = {0};
    add_mpirun(&c, 2);
    add(&c, "%s", self);
    add(&c, "%s", device);
    add(&c, "%s", dir);
    add(&c, "%d", stage);
    finish(start(&c), 0);
  }
}

static int make_world(void **state) {
  char world[96];
  if (getenv("LAUREL_SOURCE") == NULL || make_files(state) != 0)
    return -1;
  snprintf(world, sizeof world, "%s/world", dir);
  struct command c = {0};
  const char *const words[] = {
      getenv("LAUREL_BIN"), "data", "synth",  "--out", world, "--level", "easy", "--size", "8",
      "--validation",       "4",    "--tile", "56"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    add(&c, "%s", words[i]);
  finish(start(&c), 0);
  expect_log("training");
  return 0;
}

int main(int argc, char **argv) {
  struct lrl_ctx ctx;
  if (argc < 2 || strcmp(argv[1], "sim") != 0) {
    printf("SKIP: only the simulator counts what the host touches\n");
    return 0;
  }
  device = argv[1];
  setenv("SIMT_MIGRATE", "1", 1);
  if (lrl_ctx_init(&ctx, device, 1) != LRL_OK || !sim_device_open(&sim)) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  lrl_ctx_free(&ctx);
  lrl_log_setup(LRL_LOG_WARN, 0, 1);
  if (argc > 3)
    return train_as_rank(argv[2], argv[3]);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reward), cmocka_unit_test(test_sft),
                                     cmocka_unit_test(test_ppo), cmocka_unit_test(test_ranks)};
  return cmocka_run_group_tests(tests, make_world, remove_files);
}
