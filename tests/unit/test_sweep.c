/* laurel sweep: what a file expands to, one sentence for every slip, runs that are killed, resumed
 * and compared, runs that fail, and the table. */
#include "launch/sweep.h"
#include "run_fixture.h"

#include <glob.h>

static char *with_dir(const char *text) { /* "DIR" becomes the scratch folder */
  char *out = malloc(8192), *to = out;
  assert_non_null(out);
  for (const char *p = text; *p != '\0';)
    if (strncmp(p, "DIR", 3) == 0) {
      to += sprintf(to, "%s", dir);
      p += 3;
    } else {
      *to++ = *p++;
    }
  *to = '\0';
  return out;
}

static const char *write_file(const char *name, const char *text) {
  static char path[160];
  char *whole = with_dir(text);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(whole, f);
  fclose(f);
  free(whole);
  return path;
}

static bool exists(const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return access(path, F_OK) == 0;
}

static struct lrl_sweep s; /* large */

static void expect_near(double got, double want, double tolerance) {
  if (!(fabs(got - want) <= tolerance))
    fail_msg("%.9g, not %.9g", got, want);
}

static lrl_status plan(const char *text, int n, char **overrides) {
  lrl_sweep_free(&s);
  s = (struct lrl_sweep){0};
  lrl_error_clear();
  LRL_TRY(lrl_sweep_read(write_file("sweep.yaml", text), n, overrides, &s));
  LRL_TRY(lrl_sweep_plan(&s));
  for (int64_t i = 0; i < s.n_columns; i++)
    LRL_TRY(lrl_sweep_column_parse(&s, &s.column[i]));
  return LRL_OK;
}

static void planned(const char *text, int n, char **overrides) {
  if (plan(text, n, overrides) != LRL_OK)
    fail_msg("%s", lrl_last_error());
}

static void expect_run(int64_t i, const char *name, const char *words) {
  char all[4096] = "", *want = with_dir(words);
  assert_true(i < s.n_runs);
  for (int64_t k = 0; k < s.run[i].words.n; k++) {
    strcat(all, k > 0 ? " " : "");
    strcat(all, s.run[i].words.at[k].value);
  }
  assert_string_equal(s.run[i].name, name);
  assert_string_equal(all, want);
  free(want);
}

/* ---- expansion ---- */

static void test_grid(void **state) {
  (void)state;
  static const char text[] = "command: reward\n"
                             "output_dir: DIR/out\n"
                             "sweep: {optim.lr: [1e-4, 3e-4], seed: [0, 1]}\n"
                             "table: [eval/accuracy]\n"
                             "data: {train: [a.json, b.json]}\n"
                             "optim.lr: 1\n";
  planned(text, 0, NULL);
  assert_int_equal(s.n_points, 4);
  assert_int_equal(s.n_runs, 4);
  expect_run(0, "reward-lr1e-4-seed0",
             "reward data.train=a.json,b.json optim.lr=1e-4 train.seed=0 "
             "train.output_dir=DIR/out/reward-lr1e-4-seed0 train.resume=auto");
  expect_run(3, "reward-lr3e-4-seed1",
             "reward data.train=a.json,b.json optim.lr=3e-4 train.seed=1 "
             "train.output_dir=DIR/out/reward-lr3e-4-seed1 train.resume=auto");
  char change[] = "train.max_steps=7", rate[] = "sweep.optim.lr=0.5", *overrides[] = {change, rate};
  planned(text, 2, overrides);
  assert_int_equal(s.n_runs, 2);
  expect_run(1, "reward-lr0.5-seed1",
             "reward data.train=a.json,b.json optim.lr=0.5 train.max_steps=7 train.seed=1 "
             "train.output_dir=DIR/out/reward-lr0.5-seed1 train.resume=auto");
}

/* Stages run once for all points that agree in what they depend on. */
static const char staged[] = "output_dir: DIR/out\n"
                             "sweep:\n"
                             "  seed: [1, 2]\n"
                             "  limit:\n"
                             "    without: {}\n"
                             "    with: {rm.data.length_ratio: 1.5, rm.optim.lr: 1e-3}\n"
                             "stages:\n"
                             "  world: {command: data synth, size: 9}\n"
                             "  rm:\n"
                             "    command: reward\n"
                             "    data.train: ${world}/data.txt\n"
                             "  sft: {command: sft, data.train: \"${world}/data.txt\", "
                             "train.seed: 5}\n"
                             "  ppo: {command: ppo, actor.init_from: \"${sft}\", reward.model: "
                             "\"${rm}\"}\n"
                             "  answers:\n"
                             "    command: generate\n"
                             "    files: [\"${ppo}\", \"${world}/v.json\"]\n"
                             "    samples: 2\n"
                             "table: {gold: answers gold, won: answers gold against without}\n";

static void test_stages(void **state) {
  (void)state;
  planned(staged, 0, NULL);
  assert_int_equal(s.n_points, 4);
  assert_int_equal(s.n_runs, 1 + 4 + 1 + 4 + 4);
  expect_run(0, "world", "data synth --size=9 --out=DIR/out/world");
  expect_run(1, "rm-seed1-without",
             "reward data.train=DIR/out/world/data.txt train.seed=1 "
             "train.output_dir=DIR/out/rm-seed1-without train.resume=auto");
  expect_run(2, "sft",
             "sft data.train=DIR/out/world/data.txt train.seed=5 train.output_dir=DIR/out/sft "
             "train.resume=auto");
  expect_run(4, "answers-seed1-without",
             "generate DIR/out/ppo-seed1-without DIR/out/world/v.json --samples=2 "
             "--out=DIR/out/answers-seed1-without/answers.jsonl");
  expect_run(5, "rm-seed1-with",
             "reward data.train=DIR/out/world/data.txt train.seed=1 data.length_ratio=1.5 "
             "optim.lr=1e-3 train.output_dir=DIR/out/rm-seed1-with train.resume=auto");
  char one[] = "sweep.limit=with", key[] = "rm.optim.lr=1e-2", *overrides[] = {one, key};
  assert_int_equal(plan(staged, 1, overrides), LRL_ERR_ARG); /* nothing to compare with is left */
  assert_non_null(strstr(lrl_last_error(), "'without' is a choice of no axis"));
  planned(staged, 1, overrides + 1);
  expect_run(1, "rm-seed1-without",
             "reward data.train=DIR/out/world/data.txt optim.lr=1e-2 train.seed=1 "
             "train.output_dir=DIR/out/rm-seed1-without train.resume=auto");
}

/* The studies of configs/ablations are sound as far as can be seen without running them. */
static void test_ablations(void **state) {
  (void)state;
  glob_t files;
  assert_int_equal(chdir(getenv("LAUREL_SOURCE")), 0);
  assert_int_equal(glob("configs/ablations/*.yaml", 0, NULL, &files), 0);
  assert_true(files.gl_pathc >= 6);
  for (size_t i = 0; i < files.gl_pathc; i++) {
    lrl_sweep_free(&s);
    s = (struct lrl_sweep){0};
    lrl_status status = lrl_sweep_read(files.gl_pathv[i], 0, NULL, &s);
    if (status == LRL_OK)
      status = lrl_sweep_plan(&s);
    for (int64_t k = 0; k < s.n_columns && status == LRL_OK; k++)
      status = lrl_sweep_column_parse(&s, &s.column[k]);
    if (status != LRL_OK)
      fail_msg("%s", lrl_last_error());
    assert_true(s.n_points >= 4 && s.n_columns >= 3);
  }
  globfree(&files);
}

/* ---- slips ---- */

static void test_mistakes(void **state) {
  (void)state;
#define TOP "output_dir: o\n"
#define TEN "xxxxxxxxxx"
#define FIFTY TEN TEN TEN TEN TEN
#define LONG FIFTY FIFTY FIFTY FIFTY
#define AXIS "sweep: {optim.lr: [1, 2]}\n"
  static const struct {
    const char *text, *part;
  } cases[] = {
      {TOP AXIS, "neither a command nor stages"},
      {TOP "command: reward\n", "no sweep section"},
      {"command: reward\n" AXIS, "names no output_dir"},
      {TOP AXIS "optim.wd: 1\n", "names no command"},
      {TOP AXIS "command: rewrad\n", "sweep.yaml:3: no stage can run 'rewrad'; command is one of"},
      {TOP AXIS "command: reward\noptim: {larning_rate: 1}\n",
       "sweep.yaml:4: unknown key 'optim.larning_rate'"},
      {TOP AXIS "command: reward\noptim: {eps: high}\n", "optim.eps must be a number, not 'high'"},
      {TOP "command: reward\nsweep: {optim.rl: [1, 2]}\n", "the nearest known key is 'optim.lr'"},
      {TOP "command: reward\nsweep: {optim.lr: [1, x]}\n", "optim.lr must be a number, not 'x'"},
      {TOP "command: reward\nsweep: {optim.lr: [1, 1]}\n", "has the value 1 twice"},
      {TOP "command: reward\nsweep: {optim.lr: []}\n", "sweep.optim.lr has no values"},
      {TOP "command: reward\nsweep: {optim.lr: 1}\n", "must be a list of values, or choices"},
      {TOP "command: reward\nsweep: {lr: [1, 2]}\n", "nothing depends on sweep.lr"},
      {TOP "command: reward\nsweep: {v: {a: {lr: 1}, b: {optim.lr: 2}}}\n",
       "'lr' is a key of no stage"},
      {TOP "command: reward\nsweep: {v: {a: {optim.lr: 1}, b: {}}, optim.lr: [1, 2]}\n",
       "sweep.v and sweep.optim.lr both set optim.lr"},
      {TOP "command: reward\nsweep: {seed: [1, 2], train.seed: [1, 2]}\n",
       "sweep.train.seed and sweep.seed both set train.seed"},
      {TOP AXIS "command: reward\ntrain.output_dir: x\n",
       "a sweep chooses train.output_dir itself"},
      {TOP AXIS "command: reward\ndata.train: ${world}/x\n",
       "${world} is neither an axis of the sweep nor a stage before 'reward'"},
      {TOP AXIS "command: reward\nconfig: /nonexistent.yaml\n", "cannot open the config"},
      {TOP AXIS "command: reward\nfiles: [a]\n", "laurel reward takes no files"},
      {TOP AXIS "command: reward\ntable: [a b]\n", "the column 'a b' is not of the form 'METRIC'"},
      {TOP AXIS "command: reward\ntable: {a: x against 1}\n", "only answers of laurel generate"},
      {TOP "sweep: {rm.optim.lr: [1, 2]}\nstages: {rm: {command: reward}}\nseed: 3\n",
       "sweep.yaml:4: unknown key 'seed'; beside stages there are"},
      {TOP "sweep: {seed: [1]}\nstages: {rm: {command: reward}}\ntable: {a: ppo b}\n",
       "it names no stage"},
      {TOP "sweep: {seed: [1, 2]}\nstages: {rm: {command: reward, train.seed: 1}}\n",
       "nothing depends on sweep.seed"},
      {TOP "sweep: {v: [" LONG ", b]}\nstages: {rm: {command: reward, data.train: \"${v}\"}}\n",
       "would have too long a name; give the choices names"},
      {TOP "sweep: {v.x: [a/b, a_b]}\nstages: {rm: {command: reward, data.train: \"${v.x}\"}}\n",
       "two different runs would have the name rm-xa_b"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (plan(cases[i].text, 0, NULL) == LRL_OK)
      fail_msg("no error for:\n%s", cases[i].text);
    if (strstr(lrl_last_error(), cases[i].part) == NULL)
      fail_msg("'%s' does not say '%s'", lrl_last_error(), cases[i].part);
  }
  static const struct {
    char text[40];
    const char *part;
  } overrides[] = {{"rm.optim.rl=1", "the nearest known key is 'optim.lr'"},
                   {"optim.lr=1", "it is output_dir, sweep.AXIS or STAGE.KEY"},
                   {"sweep.rate=1", "the sweep has no axis 'rate'"},
                   {"sweep.limit=wiht", "sweep.limit has no choice 'wiht'"},
                   {"words", "not of the form key=value"}};
  for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
    char text[40], *list[] = {text};
    memcpy(text, overrides[i].text, sizeof text);
    if (plan(staged, 1, list) == LRL_OK || strstr(lrl_last_error(), overrides[i].part) == NULL)
      fail_msg("'%s' for %s does not say '%s'", lrl_last_error(), text, overrides[i].part);
  }
  lrl_error_clear();
}

/* ---- whole sweeps ---- */

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

/* ---- comparing answers ---- */

static void write_answers(int64_t point, const char *text) {
  const struct lrl_sweep_run *r = &s.run[s.point[point].run[4]];
  char path[256];
  snprintf(path, sizeof path, "mkdir -p %s", r->dir);
  assert_int_equal(system(path), 0);
  snprintf(path, sizeof path, "%s/answers.jsonl", r->dir);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void test_against(void **state) {
  (void)state;
  planned(staged, 0, NULL);
#define ANSWER(gold) "{\"tokens\":4,\"finish\":\"stop\",\"gold\":" gold "}"
#define ROW(line, a, b)                                                                            \
  "{\"line\":" line ",\"responses\":[" ANSWER(a) "," ANSWER(b) "],\"best\":1}\n"
  write_answers(0, ROW("1", "0", "1") ROW("2", "0.5", "0.5")
                       ROW("3", "0", "0") "{\"line\":4,\"error\":\"set aside\"}\n");
  write_answers(1,
                ROW("1", "0.5", "1") ROW("2", "0.5", "0.5") ROW("4", "1", "1") ROW("3", "1", "0"));
  for (int64_t i = 0; i < 2; i++) {
    struct lrl_sweep_run *r = &s.run[s.point[i].run[4]];
    r->state = LRL_SWEEP_FINISHED;
    assert_int_equal(lrl_sweep_metrics(&s, r), LRL_OK);
  }
  expect_near(lrl_sweep_value(&s, 0, &s.column[0]), 1.0 / 3, 1e-12);
  expect_near(lrl_sweep_value(&s, 1, &s.column[0]), (0.75 + 0.5 + 1 + 0.5) / 4, 1e-12);
  assert_true(isnan(lrl_sweep_value(&s, 0, &s.column[1])));
  expect_near(lrl_sweep_value(&s, 1, &s.column[1]), (1 + 0.5 + 1) / 3.0, 1e-12);
  assert_true(isnan(lrl_sweep_value(&s, 2, &s.column[0]))); /* not finished */
  const json_t *m = s.run[s.point[0].run[4]].metrics;
  expect_near(json_number_value(json_object_get(m, "best_gold")), 0.5, 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_grid),      cmocka_unit_test(test_stages),
      cmocka_unit_test(test_ablations), cmocka_unit_test(test_mistakes),
      cmocka_unit_test(test_table),     cmocka_unit_test(test_killed),
      cmocka_unit_test(test_failing),   cmocka_unit_test(test_against)};
  const int failed = cmocka_run_group_tests(tests, make_files, remove_files);
  lrl_sweep_free(&s);
  return failed;
}
