/* Benchmarks of reward models: the official results files give SPEC 7's numbers to the digit;
 * averages, ties and damaged files. */
#include "weights_fixture.h"

#include "data/benchmark.h"

#include <math.h>

static bool asset(const char *name, char *path, size_t size) {
  const char *root = getenv("LAUREL_ASSETS"), *source = getenv("LAUREL_SOURCE");
  if (root != NULL)
    snprintf(path, size, "%s/eval/%s", root, name);
  else
    snprintf(path, size, "%s/../shared/assets/eval/%s", source == NULL ? "." : source, name);
  if (access(path, R_OK) == 0)
    return true;
  printf("SKIP: no %s\n", path);
  return false;
}

static struct lrl_benchmark_figure figure(const struct lrl_benchmark *b, const char *name) {
  struct lrl_benchmark_figure f[LRL_BENCHMARK_FIGURES];
  const int n = lrl_benchmark_figures(b, f);
  for (int i = 0; i < n; i++)
    if (strcmp(f[i].name, name) == 0)
      return f[i];
  fail_msg("no figure %s", name);
  return f[0];
}

struct expected {
  const char *name;
  int64_t right, n; /* n 0: a mean */
  const char *percent;
};

static void expect(const struct lrl_benchmark *b, const struct expected *e, int n) {
  for (int i = 0; i < n; i++) {
    const struct lrl_benchmark_figure f = figure(b, e[i].name);
    char percent[16];
    snprintf(percent, sizeof percent, "%.2f", f.percent);
    if (strcmp(percent, e[i].percent) != 0)
      fail_msg("%s is %s, not %s", e[i].name, percent, e[i].percent);
    if (e[i].n > 0) {
      assert_int_equal(f.n_right, e[i].right);
      assert_int_equal(f.n, e[i].n);
    }
  }
}
#define EXPECT(b, ...)                                                                             \
  do {                                                                                             \
    static const struct expected e_[] = {__VA_ARGS__};                                             \
    expect(b, e_, sizeof e_ / sizeof *e_);                                                         \
  } while (0)

/* What we write of a file of scores reads back to the same table. */
static void expect_again(const struct lrl_benchmark *b, const char *figure_name) {
  struct lrl_benchmark again;
  json_t *list = lrl_benchmark_scores(b);
  assert_int_equal(json_dump_file(list, fx_path("again.json"), 0), 0);
  json_decref(list);
  assert_int_equal(lrl_benchmark_read_scores(b->kind, fx_path("again.json"), &again), LRL_OK);
  assert_int_equal(again.n, b->n);
  assert_true(figure(&again, figure_name).percent == figure(b, figure_name).percent);
  lrl_benchmark_free(&again);
}

static void test_vl_rewardbench(void **state) {
  (void)state;
  char path[1000];
  struct lrl_benchmark b;
  if (asset("ixc_official_results/vl_rewardbench_results.json", path, sizeof path)) {
    assert_int_equal(lrl_benchmark_read_scores(LRL_VL_REWARDBENCH, path, &b), LRL_OK);
    EXPECT(&b, {"general", 155, 183, "84.70"}, {"hallucination", 452, 749, "60.35"},
           {"reasoning", 200, 318, "62.89"}, {"overall", 807, 1250, "64.56"},
           {"macro", 0, 0, "69.31"});
    lrl_benchmark_free(&b);
  }
  if (!asset("vl_rewardbench/data_full.json.gz", path, sizeof path))
    return;
  assert_int_equal(lrl_benchmark_read(LRL_VL_REWARDBENCH, path, &b), LRL_OK);
  int count[3] = {0};
  for (int64_t i = 0; i < b.n; i++)
    count[b.items[i].group]++;
  assert_int_equal(count[0], 183);
  assert_int_equal(count[1], 749);
  assert_int_equal(count[2], 318);
  lrl_benchmark_free(&b);
}

static void test_rewardbench(void **state) {
  (void)state;
  char path[1000];
  struct lrl_benchmark b;
  if (!asset("ixc_official_results/reward_bench_results.json", path, sizeof path))
    skip();
  assert_int_equal(lrl_benchmark_read_scores(LRL_REWARDBENCH, path, &b), LRL_OK);
  assert_int_equal(b.n, 2938);
  assert_int_equal(b.n_lost, 47);
  EXPECT(&b, {"chat", 281, 311, "90.35"}, {"chat hard", 382, 456, "83.77"},
         {"safety", 650, 740, "87.84"}, {"reasoning", 1289, 1431, "90.08"},
         {"average", 2602, 2938, "88.56"}, {"math-prm", 408, 447, "91.28"},
         {"code", 881, 984, "89.53"}, {"leaderboard reasoning", 0, 0, "90.40"});
  expect_again(&b, "leaderboard score");
  lrl_benchmark_free(&b);
}

static void test_rm_bench(void **state) {
  (void)state;
  char path[1000];
  struct lrl_benchmark b;
  if (!asset("ixc_official_results/rm_bench_results.json", path, sizeof path))
    skip();
  assert_int_equal(lrl_benchmark_read_scores(LRL_RM_BENCH, path, &b), LRL_OK);
  EXPECT(&b, {"chat", 0, 0, "65.46"}, {"math", 0, 0, "55.95"}, {"code", 0, 0, "51.71"},
         {"safety", 0, 0, "93.88"}, {"safety-refuse", 0, 0, "94.52"},
         {"safety-response", 0, 0, "92.71"}, {"easy", 0, 0, "87.47"}, {"normal", 0, 0, "71.34"},
         {"hard", 0, 0, "47.45"}, {"average", 0, 0, "68.75"});
  assert_true(fabs(figure(&b, "leaderboard average").percent - 66.7) < 0.05);
  expect_again(&b, "leaderboard average");
  lrl_benchmark_free(&b);
}

/* ---- made here ---- */

static void test_counting(void **state) {
  (void)state;
  struct lrl_benchmark b;
  static const char vl[] =
      "[{\"group\": \"general\", \"score_chosen\": 2, \"score_rejected\": 1.5},"
      "{\"group\": \"general\", \"score_chosen\": 1, \"score_rejected\": 1},"
      "{\"group\": \"reasoning\", \"score_chosen\": -1, \"score_rejected\": 1}]";
  fx_write("vl.json", vl, sizeof vl - 1);
  assert_int_equal(lrl_benchmark_read_scores(LRL_VL_REWARDBENCH, fx_path("vl.json"), &b), LRL_OK);
  EXPECT(&b, {"general", 1, 2, "50.00"}, {"reasoning", 0, 1, "0.00"}, {"overall", 1, 3, "33.33"});
  assert_int_equal(figure(&b, "general").n_ties, 1);
  assert_true(isnan(figure(&b, "hallucination").percent) && isnan(figure(&b, "macro").percent));
  lrl_benchmark_free(&b);
  /* chosen 1, 2, 3 against rejected 2, 2, 0: easy 2>2, 3>2, 3>2; normal 1>2, 2>2, 3>0; hard 1>2,
   * 1>0, 2>0. */
  static const char rm[] =
      "[{\"group\": \"math\", \"score_chosen\": [1, 2, 3], \"score_rejected\": [2, 2, 0]}]";
  fx_write("rm.json", rm, sizeof rm - 1);
  assert_int_equal(lrl_benchmark_read_scores(LRL_RM_BENCH, fx_path("rm.json"), &b), LRL_OK);
  EXPECT(&b, {"easy", 2, 3, "66.67"}, {"normal", 1, 3, "33.33"}, {"hard", 2, 3, "66.67"},
         {"average", 0, 0, "55.56"}, {"math", 5, 9, "55.56"});
  assert_int_equal(figure(&b, "easy").n_ties, 1);
  lrl_benchmark_free(&b);
}

static void test_data(void **state) {
  (void)state;
  struct lrl_benchmark b;
  struct lrl_message m[2];
  static const char rm[] = "[{\"id\": 3, \"prompt\": \"Q\", \"domain\": \"code\", \"chosen\": "
                           "[\"a\", \"b\", \"c\"], \"rejected\": [\"d\", \"e\", \"f\"]}]";
  fx_write("data.json", rm, sizeof rm - 1);
  assert_int_equal(lrl_benchmark_read(LRL_RM_BENCH, fx_path("data.json"), &b), LRL_OK);
  assert_int_equal(b.items[0].group, 1);
  for (int k = 0; k < 6; k++) {
    lrl_benchmark_chat(&b, &b.items[0], k, m);
    assert_string_equal(m[0].content, "Q");
    assert_int_equal(m[1].content[0], "abcdef"[k]);
  }
  assert_null(lrl_benchmark_image(&b.items[0]));
  lrl_benchmark_free(&b);
  static const char vl[] = "{\"id\": \"RLAIF-V_1\", \"query\": \"Q\", \"image\": \"x.png\", "
                           "\"response\": [\"worse\", \"better\"], \"human_ranking\": [1, 0]}\n";
  fx_write("data.jsonl", vl, sizeof vl - 1);
  assert_int_equal(lrl_benchmark_read(LRL_VL_REWARDBENCH, fx_path("data.jsonl"), &b), LRL_OK);
  assert_int_equal(b.items[0].group, 1);
  lrl_benchmark_chat(&b, &b.items[0], 0, m);
  assert_string_equal(m[1].content, "better");
  lrl_benchmark_chat(&b, &b.items[0], 1, m);
  assert_string_equal(m[1].content, "worse");
  assert_string_equal(lrl_benchmark_image(&b.items[0]), "x.png");
  lrl_benchmark_free(&b);
}

static void expect_refused(bool scores, enum lrl_benchmark_kind kind, const char *text,
                           const char *why) {
  struct lrl_benchmark b;
  const char *path = fx_write("bad.json", text, strlen(text));
  lrl_error_clear();
  const lrl_status s =
      scores ? lrl_benchmark_read_scores(kind, path, &b) : lrl_benchmark_read(kind, path, &b);
  if (s != LRL_ERR_FORMAT || strstr(lrl_last_error(), why) == NULL)
    fail_msg("%d, '%s' instead of '%s'", (int)s, lrl_last_error(), why);
}

static void test_refusals(void **state) {
  (void)state;
  expect_refused(true, LRL_RM_BENCH, "", "is no file of scores");
  expect_refused(true, LRL_RM_BENCH, "[]", "holds 0 scores without groups");
  expect_refused(true, LRL_RM_BENCH, "{\"out_general\": []}", "is no file of scores");
  expect_refused(true, LRL_VL_REWARDBENCH, "{\"out_general\": [2]}", "something else than 0 and 1");
  expect_refused(true, LRL_VL_REWARDBENCH, "{\"out_general\": [1]}", "no list out_hallucination");
  expect_refused(true, LRL_RM_BENCH,
                 "[{\"group\": \"math\", \"score_chosen\": [1, 2], \"score_rejected\": [1, 2, 3]}]",
                 "row 1 holds no scores of this benchmark");
  expect_refused(true, LRL_RM_BENCH, "[{\"group\": \"poems\"}]", "row 1 holds no scores");
  expect_refused(false, LRL_RM_BENCH, "[]", "holds no rows");
  expect_refused(false, LRL_RM_BENCH, "[{\"prompt\": \"q\"}]", "row 1 is not a row");
  expect_refused(false, LRL_REWARDBENCH,
                 "[{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": \"x\"}]",
                 "row 1 is of x, which this benchmark does not have");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vl_rewardbench), cmocka_unit_test(test_rewardbench),
      cmocka_unit_test(test_rm_bench),       cmocka_unit_test(test_counting),
      cmocka_unit_test(test_data),           cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
