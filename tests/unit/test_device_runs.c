/* A reward trainer on the device that the first argument names follows the cpu's losses step by
 * step, as far as rounding lets it; on the simulator in three orders of threads and streams,
 * without a report. */
#include "run_fixture.h"

#include "tests/unit/sim_device.h"

static const char *device = "ref";
static char option[64]; /* the device's */

static void test_losses(void **state) {
  (void)state;
  char name[32], metrics[64];
#define SHORT "train.max_steps=2", "train.batch_size=2", "train.eval_steps=0", "train.save_steps=0"
  run("cpu", 1, (const char *const[]){SHORT, NULL}, 0);
  for (int i = 0; i < 3;
       i++) { /* threads and streams: ascending and eager, descending and lazy, random */
    char order[2] = {(char)('0' + i), '\0'};
    setenv("SIMT_ORDER", order, 1);
    setenv("SIMT_STREAMS", order, 1);
    snprintf(name, sizeof name, "device%d", i);
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", name);
    run(name, 1, (const char *const[]){SHORT, option, NULL}, 0);
    expect_close("cpu", name, 2e-4);
    expect_same_text("device0/metrics.jsonl", metrics);
    expect_no_report();
  }
  /* Memory is given back while ops that use it are still queued. */
  setenv("SIMT_ORDER", "1", 1);
  setenv("SIMT_STREAMS", "1", 1);
  run("recomputed", 1,
      (const char *const[]){SHORT, option, "train.gradient_checkpointing=true", NULL}, 0);
  expect_close("device0", "recomputed", 2e-6);
  expect_no_report();
  if (strcmp(device, "sim") == 0) { /* this model is f32, which cuDNN does not take */
    run("cudnn", 1, (const char *const[]){SHORT, option, "train.attention=cudnn", NULL}, 0);
    expect_log("attention=cudnn: the native kernel computes f32");
    expect_same_text("device0/metrics.jsonl", "cudnn/metrics.jsonl");
  }
}

/* A checkpoint holds what its step left, however late the device gets to it: what goes on from
 * there has the same bits, masters of bf16 included. */
static void test_resumed(void **state) {
  (void)state;
  setenv("SIMT_ORDER", "1", 1);
  setenv("SIMT_STREAMS", "1", 1);
  expect_resumes("kept", 1, (const char *const[]){option, NULL});
  expect_resumes("bf16", 1, (const char *const[]){option, "model.dtype=bf16", NULL});
  expect_no_report();
}

/* Without the library, and without a driver, a run ends with one sentence. */
static void test_refusals(void **state) {
  (void)state;
  const char *folder = getenv("LAUREL_BACKENDS");
  char kept[512];
  snprintf(kept, sizeof kept, "%s", folder != NULL ? folder : "");
  run("native", 1, (const char *const[]){SHORT, "train.attention=cudnn", NULL}, 1);
  expect_log("attention by cuDNN needs device=cuda; device 'cpu' has its own");
  setenv("LAUREL_BACKENDS", "/nonexistent", 1);
  run("none", 1, (const char *const[]){SHORT, "train.device=sim", NULL}, 1);
  expect_log("this build has no liblaurel_sim.so");
  folder != NULL ? setenv("LAUREL_BACKENDS", kept, 1) : unsetenv("LAUREL_BACKENDS");
}

int main(int argc, char **argv) {
  if (device_of_test(argc, argv, &device) == NULL)
    return 0;
  snprintf(option, sizeof option, "train.device=%s", device);
  if (argc > 2)
    cmocka_set_test_filter(argv[2]);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_losses), cmocka_unit_test(test_resumed),
                                     cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
