/* laurel sweep: runs that are killed, resumed and compared, runs that fail, and the table. */
#include "sweep_fixture.h"

static const char rates[] = "command: reward\n"
                            "output_dir: DIR/whole\n"
                            "sweep: {optim.lr: [1e-3, 3e-3], seed: [0, 1]}\n"
                            "table: {accuracy: eval/accuracy, \"loss, eval\": eval/loss}\n"
                            "model: {tokenizer: DIR/tok.model, hidden_size: 32, "
                            "intermediate_size: 64, num_hidden_layers: 2}\n"
                            "data: {train: DIR/train.jsonl, eval: DIR/eval.jsonl}\n"
                            "train: {batch_size: 8, log_steps: 1, max_steps: 80, threads: 1, "
                            "save_steps: 2}\n";

/* `laurel sweep sweep.yaml` with further words. */
static struct command sweep(const char *a, const char *b) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "sweep");
  add(&c, "%s/sweep.yaml", dir);
  if (a != NULL)
    add(&c, "%s", a);
  if (b != NULL)
    add(&c, "%s", b);
  return c;
}

static double last_loss(const char *run_name) {
  int n;
  double *l = losses(run_name, &n);
  const double v = l[n - 1];
  free(l);
  return v;
}

static void test_table(void **state) {
  (void)state;
  write_file("sweep.yaml", rates);
  struct command dry = sweep("--dry-run", NULL), c = sweep(NULL, NULL);
  finish(start(&dry), 0);
  expect_log("4 runs, 4 rows of results");
  assert_false(exists("whole"));
  finish(start(&c), 0);
  /* Means and deviations against the runs' own metrics, whose last line is the evaluation. */
  char *text = slurp("whole/table.jsonl", NULL), *second = strchr(text, '\n') + 1;
  json_t *o = json_loads(second, JSON_DISABLE_EOF_CHECK, NULL);
  const double x = last_loss("whole/reward-lr3e-3-seed0"),
               y = last_loss("whole/reward-lr3e-3-seed1");
  assert_string_equal(json_string_value(json_object_get(o, "optim.lr")), "3e-3");
  assert_null(json_object_get(o, "seed"));
  expect_near(json_number_value(json_object_get(o, "loss, eval")), (x + y) / 2, 1e-7);
  expect_near(json_number_value(json_object_get(o, "loss, eval std")), fabs(x - y) / sqrt(2), 1e-7);
  assert_int_equal(json_integer_value(json_object_get(o, "runs finished")), 2);
  json_decref(o);
  free(text);
  text = slurp("whole/results.csv", NULL);
  assert_non_null(strstr(text, "optim.lr,seed,accuracy,\"loss, eval\",state\n"));
  assert_int_equal(count_lines("whole/results.csv"), 5);
  free(text);
  /* Again: nothing runs, the table is the same. */
  text = slurp("whole/table.csv", NULL);
  finish(start(&c), 0);
  expect_log("[4/4] reward-lr3e-3-seed1 finished before");
  char *again = slurp("whole/table.csv", NULL);
  assert_string_equal(text, again);
  free(text);
  free(again);
  struct command other = sweep("train.max_steps=81", NULL);
  finish(start(&other), 1);
  expect_log("was finished with 'train.max_steps=80', where it would now be 'train.max_steps=81'");
}

/* Waits until a run has begun to train. */
static void wait_for(const char *run_name) {
  char name[100];
  snprintf(name, sizeof name, "%s/metrics.jsonl", run_name);
  for (int i = 0; i < 20000 && count_lines(name) < 5; i++)
    usleep(1000);
  assert_true(count_lines(name) >= 5);
}

/* False where the kernel does not tell a process's children. */
static bool signal_child(pid_t parent, int number) {
  char path[64], line[64] = "";
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
  FILE *f = fopen(path, "r");
  if (f == NULL)
    return false;
  assert_non_null(fgets(line, sizeof line, f));
  fclose(f);
  assert_int_equal(kill((pid_t)atoi(line), number), 0);
  return true;
}

static void test_killed(void **state) {
  (void)state;
  char folder[128];
  int status;
  write_file("sweep.yaml", rates);
  snprintf(folder, sizeof folder, "output_dir=%s/killed", dir);
  struct command c = sweep(folder, NULL);
  pid_t pid = start(&c);
  wait_for("killed/reward-lr1e-3-seed1");
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  assert_true(WIFSIGNALED(status));
  pid = start(&c);
  wait_for("killed/reward-lr3e-3-seed0");
  kill(pid, SIGTERM);
  finish(pid, 1);
  expect_log("[1/4] reward-lr1e-3-seed0 finished before");
  expect_log("stopped as asked, the same call goes on");
  /* The signal goes to the run alone: it saves and ends well, but is not finished. */
  pid = start(&c);
  wait_for("killed/reward-lr3e-3-seed1");
  if (signal_child(pid, SIGTERM)) {
    finish(pid, 1);
    expect_log("[4/4] reward-lr3e-3-seed1 was stopped by a signal");
    expect_log("0 of 4 runs failed, 1 were not run");
    pid = start(&c);
  }
  finish(pid, 0);
  expect_log("[2/4] reward-lr1e-3-seed1 finished before");
  expect_same_text("whole/results.csv", "killed/results.csv");
  expect_same_text("whole/table.jsonl", "killed/table.jsonl");
  expect_same_text("whole/reward-lr1e-3-seed1/metrics.jsonl",
                   "killed/reward-lr1e-3-seed1/metrics.jsonl");
}

/* Others go on, what needs the failed run is left out. */
static void test_failing(void **state) {
  (void)state;
  write_file("sweep.yaml",
             "output_dir: DIR/failing\n"
             "sweep: {pairs: {bad: {rm.data.train: DIR/none.jsonl}, good: {}}}\n"
             "stages:\n"
             "  rm:\n"
             "    command: reward\n"
             "    model: {tokenizer: DIR/tok.model, hidden_size: 32, intermediate_size: 64, "
             "num_hidden_layers: 1}\n"
             "    data: {train: DIR/train.jsonl, eval: DIR/eval.jsonl}\n"
             "    train: {max_steps: 2, threads: 1}\n"
             "  more:\n"
             "    command: reward\n"
             "    model: {init_from: \"${rm}\", hidden_size: 32, intermediate_size: 64, "
             "num_hidden_layers: 1}\n"
             "    data: {train: DIR/train.jsonl, eval: DIR/eval.jsonl}\n"
             "    train: {max_steps: 2, threads: 1}\n"
             "table: {before: rm eval/accuracy, after: more eval/accuracy}\n");
  struct command c = sweep(NULL, NULL);
  finish(start(&c), 1);
  expect_log("[1/4] rm-bad FAILED: exit status 1;");
  expect_log("none.jsonl");
  expect_log("[2/4] more-bad left out: what it needs has failed");
  expect_log("1 of 4 runs failed, 1 were not run");
  assert_true(exists("failing/more-good/finished"));
  assert_false(exists("failing/rm-bad/finished"));
  char *text = slurp("failing/results.jsonl", NULL);
  assert_non_null(strstr(text, "{\"pairs\":\"bad\",\"before\":null,\"after\":null,"
                               "\"state\":\"failed\"}"));
  assert_non_null(strstr(text, "\"state\":\"finished\"}"));
  free(text);
  write_pairs("none.jsonl", 40, 1); /* what was missing is there now */
  finish(start(&c), 0);
  expect_log("[3/4] rm-good finished before");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_killed),
      cmocka_unit_test(test_failing),
  };
  const int failed = cmocka_run_group_tests(tests, make_files, remove_files);
  lrl_sweep_free(&s);
  return failed;
}
