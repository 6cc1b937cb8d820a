/* The quickstart on a device: its own configs, pictures and all, 20 steps of the reward model, SFT,
 * two iterations of PPO, each against the cpu. What rounding explains is measured: the cpu's curve
 * is off from that of `ref`, which sums in f64, and a device may be off from the cpu by four times
 * the largest difference so far, and a few roundings; so may the patch embedding by cuDNN, where
 * there is one. On the simulator eager, lazy and in three random orders, on one rank and on two,
 * with the same bits in each order and no report.
 *   test_device_curves DEVICE [steps [batch size]]
 * Fewer than 20 steps: SFT, PPO and two ranks in fewer orders; below 3: only lazy, and two
 * ranks only of the reward model. */
#include "run_fixture.h"

#include "tests/unit/sim_device.h"

static const char *device;
static int steps = 20, batch_size = 2;
static bool simulated, has_cudnn;

static const char *const keys[] = {"train/loss",       "train/mean_reward", "train/grad_norm",
                                   "objective/scores", "objective/kl",      "actor/pg_loss",
                                   "actor/entropy",    "critic/vf_loss"};
enum { N_KEYS = sizeof keys / sizeof *keys, MOST = 64 };
struct curve {
  int n;
  double y[MOST][N_KEYS]; /* 0 where a trainer has no such number */
};

static struct curve read_curve(const char *run_name) {
  struct curve c = {0};
  char name[100];
  snprintf(name, sizeof name, "%s/metrics.jsonl", run_name);
  char *text = slurp(name, NULL);
  assert_non_null(text);
  for (char *line = text, *next; *line != '\0' && c.n < MOST; line = next, c.n++) {
    next = strchr(line, '\n');
    assert_non_null(next);
    *next++ = '\0';
    json_t *o = json_loads(line, 0, NULL);
    for (int k = 0; k < N_KEYS; k++)
      c.y[c.n][k] = json_number_value(json_object_get(o, keys[k]));
    json_decref(o);
  }
  free(text);
  return c;
}

/* eps: half a unit in the last place of the numbers that tensors are made of. */
static void expect_rounding(const char *name, const char *cpu_run, const char *ref_run,
                            double eps) {
  const struct curve cpu = read_curve(cpu_run), ref = read_curve(ref_run), got = read_curve(name);
  double apart[N_KEYS] = {0}, worst = 0;
  assert_true(cpu.n >= 2 && cpu.n == ref.n && cpu.n == got.n);
  for (int i = 0; i < cpu.n; i++)
    for (int k = 0; k < N_KEYS; k++) {
      const double y = cpu.y[i][k], off = fabs(got.y[i][k] - y);
      apart[k] = fmax(apart[k], fabs(ref.y[i][k] - y));
      const double allowed = 4 * apart[k] + 8 * eps * fmax(1.0, fabs(y));
      if (!(off <= allowed))
        fail_msg("%s, line %d, %s: %.9g, the cpu %.9g, allowed %.3g off", name, i + 1, keys[k],
                 got.y[i][k], y, allowed);
      worst = k == 0 || k == 5 ? fmax(worst, off) : worst;
    }
  printf("%s: %d lines, losses at most %.2g off (ref: %.2g)\n", name, cpu.n, worst,
         fmax(apart[0], apart[5]));
}

/* One training run into dir/name. */
static void train(const char *name, int n_ranks, const char *on, const char *kind,
                  const char *const *extra) {
  struct command c = {0};
  if (n_ranks > 1)
    add_mpirun(&c, n_ranks);
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "%s", kind);
  add(&c, "%s/configs/quickstart/%s.yaml", getenv("LAUREL_SOURCE"), kind);
  add(&c, "data.train=%s/world/data.txt", dir);
  add(&c, "train.output_dir=%s/%s", dir, name);
  add(&c, "train.device=%s", on);
  add(&c, "train.threads=1");
  if (strcmp(kind, "ppo") != 0) {
    add(&c, "train.log_steps=1");
    add(&c, "train.batch_size=%d", batch_size);
    add(&c, "model.tokenizer=%s/world/tokenizer.model", dir);
  } else {
    add(&c, "actor.init_from=%s/sft_cpu", dir);
    add(&c, "reward.model=%s/reward_cpu", dir);
  }
  for (; *extra != NULL; extra++)
    add(&c, "%s", *extra);
  finish(start(&c), 0);
  expect_no_report();
}

/* Threads and streams: 0 ascending and eager, 1 descending and lazy, else at random. */
static void set_order(int i) {
  const char *const order = i == 0 ? "0" : i == 1 ? "1" : "2";
  char seed[2] = {(char)('0' + i), '\0'};
  setenv("SIMT_ORDER", order, 1);
  setenv("SIMT_STREAMS", order, 1);
  setenv("SIMT_SEED", seed, 1);
}
/* The orders a test goes through: the first n of these. */
static const int orders[] = {1, 4, 0, 2, 3};
enum { ALL = sizeof orders / sizeof *orders };

/* One trainer on the device, on n_ranks, in n orders: the cpu's curve, and the same bits. */
static void compare_orders(const char *kind, const char *variant, double eps, int n, int n_ranks,
                           const char *const *extra) {
  char cpu[32], ref[32], name[48], first[64] = "", metrics[64];
  snprintf(cpu, sizeof cpu, "%s%s_cpu", kind, variant);
  snprintf(ref, sizeof ref, "%s%s_ref", kind, variant);
  for (int i = 0; i < (steps >= 20 ? ALL : n) && (i == 0 || (simulated && steps >= 3)); i++) {
    set_order(orders[i]);
    snprintf(name, sizeof name, "%s%s_ranks%d_order%d", kind, variant, n_ranks, orders[i]);
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", name);
    train(name, n_ranks, device, kind, extra);
    expect_rounding(name, cpu, ref, eps);
    if (i == 0)
      memcpy(first, metrics, sizeof first);
    expect_same_text(first, metrics);
  }
}

/* A trainer on the cpu, on ref, and on the device: in n orders, on two ranks in n_two. */
static void compare(const char *kind, const char *variant, double eps, int n, int n_two,
                    const char *const *extra) {
  char name[32];
  snprintf(name, sizeof name, "%s%s_cpu", kind, variant);
  train(name, 1, "cpu", kind, extra);
  snprintf(name, sizeof name, "%s%s_ref", kind, variant);
  train(name, 1, "ref", kind, extra);
  compare_orders(kind, variant, eps, n, 1, extra);
  /* A real device may be the only one; test_device_ranks is for several. */
  if (n_two > 0 && simulated && have_mpirun() && (steps >= 3 || strcmp(kind, "reward") == 0))
    compare_orders(kind, variant, eps, n_two, 2, extra);
}

/* After compare(): the same with the tower's convolution by cuDNN, which takes all of it. */
static void compare_cudnn(const char *cpu, const char *ref, double eps, const char *const *extra) {
  char name[48];
  if (!has_cudnn)
    return;
  snprintf(name, sizeof name, "%s_cudnn", cpu);
  train(name, 1, device, "reward", extra);
  char *log = slurp("log", NULL);
  assert_null(strstr(log, "patch_embed=cudnn:"));
  free(log);
  expect_rounding(name, cpu, ref, eps);
}

static void test_reward(void **state) {
  (void)state;
  char max[40];
  snprintf(max, sizeof max, "train.max_steps=%d", steps);
  compare("reward", "", 0x1p-24, ALL, 2, (const char *const[]){max, NULL});
  compare_cudnn("reward_cpu", "reward_ref", 0x1p-24,
                (const char *const[]){max, "train.patch_embed=cudnn", NULL});
  compare("reward", "_bf16", 0x1p-9, 1, 0, (const char *const[]){max, "model.dtype=bf16", NULL});
  compare_cudnn("reward_bf16_cpu", "reward_bf16_ref", 0x1p-9,
                (const char *const[]){max, "model.dtype=bf16", "train.patch_embed=cudnn", NULL});
}
static void test_sft(void **state) {
  (void)state;
  char from[96], max[40];
  snprintf(from, sizeof from, "model.init_from=%s/reward_cpu", dir);
  snprintf(max, sizeof max, "train.max_steps=%d", steps < 10 ? steps : 10);
  compare("sft", "", 0x1p-24, 2, 1, (const char *const[]){from, max, NULL});
}
/* Two iterations: rollout, scores, update. */
#define SHORT_PPO                                                                                  \
  "train.max_steps=2", "rollout.batch_size=4", "rollout.samples_per_prompt=2",                     \
      "rollout.max_new_tokens=6", "ppo.mini_batch_size=4"
static void test_ppo(void **state) {
  (void)state;
  compare("ppo", "", 0x1p-24, ALL, 2, (const char *const[]){SHORT_PPO, NULL});
}
/* What is still queued when a run is set up does not reach what its checkpoint brings: the second
 * iteration once more leaves the same bytes, but for how long timing.jsonl is, and checksums. */
static void test_ppo_resumed(void **state) {
  (void)state;
#define NEWEST "resumed/checkpoints/step_00000002.h5"
  size_t n[2] = {0};
  char path[160], *bytes[2];
  set_order(1);
  for (int i = 0; i < 2; i++) {
    train("resumed", 1, device, "ppo",
          (const char *const[]){SHORT_PPO, "train.save_steps=1", "train.resume=auto",
                                "ppo.ema_beta=0.9", "critic.reset_head=true", NULL});
    bytes[i] = slurp(NEWEST, &n[i]);
    snprintf(path, sizeof path, "%s/" NEWEST, dir);
    assert_true(bytes[i] != NULL && unlink(path) == 0);
  }
  expect_log("goes on from");
  int differ = 0;
  for (size_t k = 0; k < n[0] && k < n[1]; k++)
    differ += bytes[0][k] != bytes[1][k];
  assert_true(n[0] == n[1] && differ < 64);
  free(bytes[0]);
  free(bytes[1]);
}

static int make_world(void **state) {
  char world[96];
  if (getenv("LAUREL_SOURCE") == NULL || make_files(state) != 0)
    return -1;
  snprintf(world, sizeof world, "%s/world", dir);
  struct command c = {0};
  const char *const words[] = {
      getenv("LAUREL_BIN"), "data", "synth",  "--out", world, "--level", "easy", "--size", "40",
      "--validation",       "4",    "--tile", "56"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    add(&c, "%s", words[i]);
  finish(start(&c), 0);
  expect_log("training");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 2)
    printf("SKIP: this test needs the name of a device\n");
  const struct lrl_backend *b = argc < 2 ? NULL : device_of_test(argc, argv, &device);
  int version;
  if (b == NULL)
    return 0;
  has_cudnn = b->cudnn != NULL && b->cudnn(NULL, LRL_CUDNN_PATCH_EMBED, &version) == LRL_OK;
  lrl_error_clear();
  simulated = strcmp(device, "sim") == 0;
  steps = argc > 2 ? atoi(argv[2]) : steps;
  batch_size = argc > 3 ? atoi(argv[3]) : batch_size;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reward), cmocka_unit_test(test_sft),
                                     cmocka_unit_test(test_ppo),
                                     cmocka_unit_test(test_ppo_resumed)};
  return cmocka_run_group_tests(tests, make_world, remove_files);
}
