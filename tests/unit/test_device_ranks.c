/* Several ranks, each with a device: gradients summed by the devices' collectives, or by the host.
 * `test_device_ranks DEVICE [TEST]`; on the simulator in every order of threads and streams,
 * without a report. */
#include "run_fixture.h"

#include "tests/unit/sim_device.h"

#include <time.h>

static const char *device = "ref";

static void set_order(int i) {
  char order[2] = {(char)('0' + i % 3), '\0'}, seed[2] = {(char)('1' + i), '\0'};
  setenv("SIMT_ORDER", order, 1);
  setenv("SIMT_STREAMS", order, 1);
  setenv("SIMT_SEED", seed, 1);
}
static void work(int n_ranks, const char *mode, int want) {
  struct command c = {0};
  char self[512];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 32);
  assert_true(n > 0);
  self[n] = '\0';
  strcpy(strrchr(self, '/') + 1, "device_worker");
  add_mpirun(&c, n_ranks);
  add(&c, "%s", self);
  add(&c, "%s", device);
  add(&c, "%s", mode);
  finish(start(&c), want);
}

static void test_sums(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    set_order(i);
    work(3 - i % 2, "sums", 0);
    expect_no_report();
  }
  set_order(1);
  work(2, "host", 0);
  expect_no_report();
  work(3, "mpi", 0);
  expect_no_report();
}

/* A rank that hangs: the others say so when their time is over, and can close everything. */
static void test_stuck(void **state) {
  (void)state;
  const time_t start_time = time(NULL);
  set_order(0);
  work(2, "stuck", 7);
  expect_log(" s for its device, and a collective of the other ranks");
  assert_true(time(NULL) - start_time < 100);
}

#define SHORT "train.max_steps=2", "train.batch_size=2", "train.eval_steps=0", "train.save_steps=0"
/* Whole steps of the reward trainer: the same bits in every order, and one rank's losses. */
static void test_training(void **state) {
  (void)state;
  char option[64], stage[32], name[32], metrics[64], first[64];
  snprintf(option, sizeof option, "train.device=%s", device);
  set_order(0);
  run("one", 1, (const char *const[]){SHORT, option, NULL}, 0);
  for (int z = 0; z <= 2; z++)
    for (int i = 0; i < 2; i++) {
      set_order(i + 1 + z % 2); /* lazy and random, random and eager */
      snprintf(stage, sizeof stage, "train.zero_stage=%d", z);
      snprintf(name, sizeof name, "zero%d_%d", z, i);
      run(name, 2, (const char *const[]){SHORT, option, stage, NULL}, 0);
      expect_no_report();
      expect_close("one", name, 2e-6);
      snprintf(first, sizeof first, "zero%d_0/metrics.jsonl", z);
      snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", name);
      expect_same_text(first, metrics);
    }
}

/* Two ranks on one device: refused with NCCL, fine without. */
static void test_shared_device(void **state) {
  (void)state;
  char option[64];
  snprintf(option, sizeof option, "train.device=%s", device);
  set_order(1);
#define LONGER "train.max_steps=4", "train.batch_size=2", "train.eval_steps=0", "train.save_steps=0"
  run("alone", 1, (const char *const[]){LONGER, option, NULL}, 0);
  setenv("SIMT_DEVICES", "1", 1);
  run("shared", 2, (const char *const[]){LONGER, option, NULL}, 1);
  expect_log("ranks 0 and 1 would use the same GPU");
  run("host", 2, (const char *const[]){LONGER, option, "train.nccl=false", NULL}, 0);
  expect_close("alone", "host", 2e-6);
  unsetenv("SIMT_DEVICES");
}

/* Checkpoints are written while parameters come from the other rank, and hold its shards. */
static void test_resumed(void **state) {
  (void)state;
  char option[64], stage[32], name[32];
  snprintf(option, sizeof option, "train.device=%s", device);
  set_order(1);
  for (int z = 1; z <= 2; z++) {
    snprintf(stage, sizeof stage, "train.zero_stage=%d", z);
    snprintf(name, sizeof name, "resumed%d", z);
    expect_resumes(name, 2, (const char *const[]){option, stage, "model.dtype=bf16", NULL});
    expect_no_report();
  }
}

int main(int argc, char **argv) {
  const struct lrl_backend *backend = device_of_test(argc, argv, &device);
  if (backend == NULL)
    return 0;
  const bool sums = backend->collectives != NULL;
  if (!sums || !have_mpirun()) {
    printf("SKIP: %s\n", sums ? "there is no mpirun" : "the device has no collectives");
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sums),     cmocka_unit_test(test_stuck),
      cmocka_unit_test(test_training), cmocka_unit_test(test_shared_device),
      cmocka_unit_test(test_resumed),
  };
  if (argc > 2) /* only the sums: training takes long when every access is traced */
    cmocka_set_test_filter(argv[2]);
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
