/* laurel sweep: what a file expands to, one sentence for every slip, and answers compared. */
#include "sweep_fixture.h"

#include <glob.h>

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
      cmocka_unit_test(test_against),
  };
  const int failed = cmocka_run_group_tests(tests, make_files, remove_files);
  lrl_sweep_free(&s);
  return failed;
}
