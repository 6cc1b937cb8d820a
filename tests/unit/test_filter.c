/* laurel filter: the statistics on numbers known by hand, and the command on the synthetic world
 * with a model that has hardly been trained: rows go over byte by byte, scores are those of laurel
 * score, a call that was stopped goes on to the same bytes, pages are well-formed and load nothing.
 */
#include "shell_fixture.h"

#include "train/outliers.h"

#include <jansson.h>
#include <math.h>

static void test_spread(void **state) {
  (void)state;
  struct lrl_spread s;
  const double x[] = {1, 2, NAN, 3, 4, 100};
  assert_int_equal(lrl_spread_of(x, 6, &s), LRL_OK);
  assert_int_equal(s.n, 5);
  assert_true(s.median == 3 && s.mad == 1);
  assert_true(fabs(lrl_spread_z(&s, 100) - 97 / 1.4826022185) < 1e-6);
  /* More than half the same: the MAD is 0, the mean deviation is not. */
  const double tied[] = {5, 5, 5, 5, 1};
  assert_int_equal(lrl_spread_of(tied, 5, &s), LRL_OK);
  assert_true(s.mad == 0 && fabs(s.scale - 0.8 * 1.2533141373) < 1e-9);
  const double equal[] = {2, 2, 2};
  assert_int_equal(lrl_spread_of(equal, 3, &s), LRL_OK);
  assert_true(s.scale == 0 && lrl_spread_z(&s, 2) == 0);
  assert_int_equal(lrl_spread_of(NULL, 0, &s), LRL_OK);
  assert_true(s.n == 0 && lrl_spread_z(&s, 2) == 0);
}

static int below(const double *x, int n, double share) {
  double cut;
  int m = 0;
  assert_int_equal(lrl_lowest_cut(x, n, share, &cut), LRL_OK);
  for (int i = 0; i < n; i++)
    m += x[i] < cut;
  return m;
}

static void test_lowest(void **state) {
  (void)state;
  const double x[] = {9, 1, 8, 2, 7, 3, 6, 4, 5, 0}, tied[] = {0, 1, 1, 1, 2, 3, 4, 5, 6, 7};
  assert_int_equal(below(x, 10, 0), 0);
  assert_int_equal(below(x, 10, 0.3), 3);
  assert_int_equal(below(x, 10, 0.39), 3);
  assert_int_equal(below(x, 10, 1), 10);
  assert_int_equal(below(tied, 10, 0.2), 1); /* ties are not cut apart */
  assert_int_equal(below(tied, 10, 0.4), 4);
  const double equal[] = {3, 3, 3, 3};
  assert_int_equal(below(equal, 4, 0.5), 0);
}

static void test_auc(void **state) {
  (void)state;
  struct lrl_auc a;
  const double good[] = {3, 4, 5, NAN}, bad[] = {1, 4, 6};
  /* Of nine pairs 3 > 1, 4 > 1, 5 > 1, 5 > 4 are right and 4 = 4 is half right. */
  assert_int_equal(lrl_auc_of(good, 4, bad, 3, &a), LRL_OK);
  assert_true(a.n_good == 3 && fabs(a.auc - 4.5 / 9) < 1e-12);
  /* Hanley and McNeil's formula at A = 1/2, n = 3 and 3: 0.25 + 2 * 2 (1/3 - 1/4), over 9. */
  assert_true(fabs(a.se - sqrt((0.25 + 1.0 / 3) / 9)) < 1e-12);
  assert_int_equal(lrl_auc_of(good, 3, bad, 0, &a), LRL_OK);
  assert_true(isnan(a.auc));
}

/* ---- the command ---- */

static const char train[] =
    "$L data synth --out w --level easy --size 40 --tile 56 --domains relation,arithmetic --faults "
    "0.4 && $L reward $S/configs/quickstart/reward.yaml model.tokenizer=w/tokenizer.model "
    "data.train=w/data.txt train.output_dir=model train.max_steps=2 train.threads=1";
/* Forms of rows, and what is wrong with some; blanks and numbers that a JSON writer would change.
 */
static const char odd_rows[] =
    "{ \"id\":\"a\",  \"conversations\":[{\"from\":\"human\",\"value\":\"<script>alert(1)</script> "
    "&\"},{\"from\":\"bot\",\"value\":\"r\\u00e9d \\\"}]\"}], \"x\": 1.50e3}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"What?\"}]}\n"
    "{\"id\": 7, \"prompt\": \"What?\", \"response\": \"left\", \"images\": [\"nowhere.png\"]}\n"
    "not json\n"
    "{\"prompt\": \"Is the object left or right?\", \"response\": \"\"}\n"
    "{\"image\": \"w/images/relation/train-000000.png\", \"prompt\": \"Is the object left or "
    "right?\", \"response\": \"left\"}\n";

static int make_model(void **state) {
  (void)state;
  if (getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL)
    return -1;
  write_text("odd.jsonl", odd_rows);
  return shell(train);
}

static json_t *read_list(const char *name) {
  char path[200];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  json_t *list = json_load_file(path, 0, NULL);
  if (!json_is_array(list))
    fail_msg("%s is not a list", name);
  return list;
}

/* Every row of the data is a line of kept.json or of flagged.json, in order and unchanged. */
static void test_rows_are_unchanged(void **state) {
  (void)state;
  expect(0, "$L filter --model model --data w/sft_train.json --out o --lowest 0.3",
         "80 rows, 24 flagged, 56 kept; 0 could not be scored");
  char *data = slurp("w/sft_train.json"),
       *part[2] = {slurp("o/kept.json"), slurp("o/flagged.json")};
  char *at[2] = {strchr(part[0], '\n') + 1, strchr(part[1], '\n') + 1};
  int n = 0;
  for (char *line = strtok(data + 2, "\n"); line != NULL && line[0] == '{';
       line = strtok(NULL, "\n"), n++) {
    const size_t len = strlen(line) - (line[strlen(line) - 1] == ',');
    const int k = strncmp(at[0], line, len) == 0 ? 0 : 1;
    if (strncmp(at[k], line, len) != 0)
      fail_msg("row %d is not where it should be", n);
    at[k] = strchr(at[k], '\n') + 1;
  }
  assert_int_equal(n, 80);
  assert_string_equal(at[0], "]\n");
  assert_string_equal(at[1], "]\n");
  free(data);
  free(part[0]);
  free(part[1]);
  json_t *kept = read_list("o/kept.json");
  assert_int_equal(json_array_size(kept), 56);
  json_decref(kept);
  /* The faults are told apart and told about. */
  assert_non_null(strstr(output, "wrong_image"));
  assert_non_null(strstr(output, "empty_answer"));
}

/* The scores are those of laurel score; a row's place in the file is that of its score. */
static void test_scores(void **state) {
  (void)state;
  expect(0, "$L score model w/sft_train.json --out s.jsonl", "");
  char *a = slurp("s.jsonl"), *b = slurp("o/scores.jsonl"), *p = a, *q = b;
  for (int i = 0; i < 80; i++) {
    json_t *x = json_loadb(p, strcspn(p, "\n"), 0, NULL),
           *y = json_loadb(q, strcspn(q, "\n"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(x, "id")),
                        json_string_value(json_object_get(y, "id")));
    assert_true(json_number_value(json_object_get(x, "score")) ==
                json_number_value(json_object_get(y, "score")));
    assert_true(json_boolean_value(json_object_get(y, "flagged")) ==
                (json_string_length(json_object_get(y, "reason")) > 0));
    json_decref(x);
    json_decref(y);
    p = strchr(p, '\n') + 1;
    q = strchr(q, '\n') + 1;
  }
  free(a);
  free(b);
}

/* The page is complete, escapes what rows hold, loads nothing and has every picture in itself. */
static void test_odd_rows(void **state) {
  (void)state;
  expect(0, "$L filter --model model --data odd.jsonl --out odd --below 1e6 --contrast 0",
         "6 rows, 6 flagged, 0 kept; 3 could not be scored");
  char *page = slurp("odd/sheet.html"), *scores = slurp("odd/scores.jsonl");
  assert_non_null(strstr(page, "&lt;script&gt;alert(1)&lt;/script&gt; &amp;"));
  assert_null(strstr(page, "<script"));
  assert_null(strstr(page, "http"));
  assert_non_null(strstr(page, "src=\"data:image/jpeg;base64,/9j/"));
  assert_non_null(strstr(page, "no picture: cannot read"));
  assert_non_null(strstr(page, "</html>\n"));
  static const char *const reasons[] = {"does not end with a reply", "nowhere.png", "not JSON",
                                        "is below 1e+06"};
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
    if (strstr(scores, reasons[i]) == NULL)
      fail_msg("no '%s' in %s", reasons[i], scores);
  char *flagged = slurp("odd/flagged.json");
  char first[400];
  snprintf(first, sizeof first, "[\n%.*s,\n", (int)strcspn(odd_rows, "\n"), odd_rows);
  assert_int_equal(strncmp(flagged, first, strlen(first)), 0);
  json_t *list = read_list("odd/flagged.json"), *none = read_list("odd/kept.json");
  assert_int_equal(json_array_size(list), 5); /* what is not JSON cannot be in a list */
  assert_int_equal(json_array_size(none), 0);
  json_decref(list);
  json_decref(none);
  free(page);
  free(scores);
  free(flagged);
}

/* A log cut off in the middle of a line: the rest is scored, everything has the same bytes. */
static void test_goes_on(void **state) {
  (void)state;
  expect(0, "$L filter --model model --data w/sft_train.json --out c --contrast 2", "80 rows");
  expect(0,
         "cp -r c whole && head -c 2500 c/scoring.jsonl > cut && mv cut c/scoring.jsonl && rm "
         "c/*.json && $L filter --model model --data w/sft_train.json --out c --contrast 2",
         "rows already");
  expect(0, "diff -r c whole && echo same", "same");
  expect(0, "$L filter --model model --data w/sft_train.json --out c --contrast 2 --z 2",
         "the scores of 80 rows already");
  expect(0,
         "cut -d, -f2 whole/scoring.jsonl | sort > x; cut -d, -f2 o/scoring.jsonl | sort | cmp -s "
         "- x || echo differ",
         "differ"); /* a contrast is another score */
}

static void test_full_disk(void **state) {
  (void)state;
  expect(0,
         "cp -r o before && trap '' XFSZ && ulimit -f 8 && ! $L filter --model model --data "
         "w/sft_train.json --out o --lowest 0.5",
         "cannot write all of o/");
  expect(0, "diff -r o before && echo same", "same");
}

static void test_wrong_use(void **state) {
  (void)state;
  expect(2, "$L filter", "usage: laurel filter");
  expect(0, "$L filter --help", "contact sheet");
  expect(1, "$L filter --data x --out y", "name a reward model: --model MODEL");
  expect(1, "$L filter --model model --out y", "--data SFT.json");
  expect(1, "$L filter --model model --data odd.jsonl", "--out DIR");
  expect(1, "$L filter --model model --data odd.jsonl --out y --lowst 0.1", "'lowest'");
  expect(1, "$L filter --model model --data odd.jsonl --out y --lowest 1.5", "between 0 and 1");
  expect(1, "$L filter --model model --data odd.jsonl --out y --below low", "must be a number");
  expect(1, "$L filter --model model --data none.json --out y", "none.json");
  expect(1, "$L filter --model nothing --data odd.jsonl --out y", "nothing");
  expect(1, "$L filter --model model --data odd.jsonl --out y extra", "'extra' is not an option");
  expect(1, "echo '[]' > empty.json && $L filter --model model --data empty.json --out y",
         "empty.json has no rows");
  expect(1,
         "head -4 odd.jsonl | tail -1 > bad.jsonl && $L filter --model model --data bad.jsonl "
         "--out y",
         "no row of bad.jsonl can be scored; the first: not JSON");
  expect(1, "echo '{' > damaged.json && $L filter --model model --data damaged.json --out y",
         "damaged.json, line");
  expect(0,
         "for i in 1 2 3; do tail -1 odd.jsonl; done > same.jsonl && $L filter --model model "
         "--data same.jsonl --out e",
         "all scores are equal");
  assert_non_null(strstr(output, "3 rows, 0 flagged"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_spread),   cmocka_unit_test(test_lowest),
      cmocka_unit_test(test_auc),      cmocka_unit_test(test_rows_are_unchanged),
      cmocka_unit_test(test_scores),   cmocka_unit_test(test_odd_rows),
      cmocka_unit_test(test_goes_on),  cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, make_model, remove_files);
}
