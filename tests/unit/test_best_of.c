/* Best-of-n weights against every subset, and the curve of the command. */
#include "kernels/philox.h"
#include "train/best_of.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* By enumeration of all subsets of n of k; the best of a subset shares among equals. */
static void by_hand(const double *score, int k, int n, double *weight) {
  int n_subsets = 0;
  memset(weight, 0, (size_t)k * sizeof *weight);
  for (int set = 0; set < 1 << k; set++) {
    if (__builtin_popcount((unsigned)set) != n)
      continue;
    double top = -INFINITY;
    int n_top = 0;
    for (int i = 0; i < k; i++)
      top = set >> i & 1 ? fmax(top, score[i]) : top;
    for (int i = 0; i < k; i++)
      n_top += (set >> i & 1) && !(score[i] < top);
    for (int i = 0; i < k; i++)
      weight[i] += (set >> i & 1) && !(score[i] < top) ? 1.0 / n_top : 0;
    n_subsets++;
  }
  for (int i = 0; i < k; i++)
    weight[i] /= n_subsets;
}

static void test_weights(void **state) {
  (void)state;
  for (int c = 0; c < 200; c++) {
    struct lrl_rng r = lrl_rng_make(5, LRL_RNG_SYNTH, (uint64_t)c);
    const int k = 1 + (int)lrl_rng_below(&r, 9), levels = c % 2 ? 3 : 1000; /* ties or hardly any */
    double score[9], want[9], got[9];
    for (int i = 0; i < k; i++)
      score[i] = (double)lrl_rng_below(&r, (uint64_t)levels) - 1;
    for (int n = 1; n <= k; n++) {
      double sum = 0;
      lrl_best_of_weights(score, k, n, got);
      by_hand(score, k, n, want);
      for (int i = 0; i < k; i++) {
        if (fabs(got[i] - want[i]) > 1e-12)
          fail_msg("case %d, best of %d of %d, candidate %d: %.17g, not %.17g", c, n, k, i, got[i],
                   want[i]);
        sum += got[i];
      }
      assert_true(fabs(sum - 1) < 1e-12);
    }
  }
}

static void test_many(void **state) {
  (void)state;
  enum { K = 4096 };
  static double score[K], weight[K];
  double sum = 0;
  for (int i = 0; i < K; i++)
    score[i] = i;
  lrl_best_of_weights(score, K, K / 2, weight);
  for (int i = 0; i < K; i++)
    sum += weight[i];
  assert_true(fabs(sum - 1) < 1e-9 && fabs(weight[K - 1] - 0.5) < 1e-9);
  lrl_best_of_weights(score, K, 1, weight);
  assert_true(fabs(weight[0] - 1.0 / K) < 1e-15 && fabs(weight[K - 1] - 1.0 / K) < 1e-15);
}

static void test_kl(void **state) {
  (void)state;
  assert_true(lrl_best_of_kl(1) == 0.0);
  assert_true(fabs(lrl_best_of_kl(4) - (log(4) - 0.75)) < 1e-15);
}

/* ---- the command ---- */

static char dir[64] = "/tmp/laurel_best_XXXXXX";

static int run(const char *input, const char *options) {
  char path[96], command[700];
  snprintf(path, sizeof path, "%s/in.jsonl", dir);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(input, f);
  fclose(f);
  snprintf(command, sizeof command, "cd %s && '%s' bon-curve in.jsonl %s >out 2>err", dir,
           getenv("LAUREL_BIN"), options);
  return system(command) >> 8;
}

static double at(int line, const char *key) {
  char path[96], text[1000];
  snprintf(path, sizeof path, "%s/curve", dir);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  for (int i = 0; i <= line; i++)
    assert_non_null(fgets(text, sizeof text, f));
  fclose(f);
  json_t *o = json_loads(text, 0, NULL);
  const json_t *v = json_object_get(o, key);
  const double x = v == NULL ? NAN : json_number_value(v);
  json_decref(o);
  return x;
}

#define ANSWER(s, g) "{\"score\": " #s ", \"gold\": " #g ", \"tokens\": 3}"
static void test_command(void **state) {
  (void)state;
  assert_non_null(mkdtemp(dir));
  const char *two = "{\"responses\": [" ANSWER(1, 0) ", " ANSWER(3, 1) ", " ANSWER(
      2, 0.5) "]}\n"
              "{\"error\": \"x\"}\nnot json\n"
              "{\"responses\": [" ANSWER(5, 0) ", " ANSWER(4, 1) "]}\n";
  assert_int_equal(run(two, "--out curve"), 0);
  assert_true(fabs(at(0, "score") - (2 + 4.5) / 2) < 1e-8);
  assert_true(fabs(at(0, "gold") - 0.5) < 1e-8);
  assert_true(fabs(at(1, "score") - (3 * 2 / 3.0 + 2 / 3.0 + 5) / 2) < 1e-8);
  assert_true(fabs(at(1, "gold") - (2 / 3.0 + 0.5 / 3.0 + 0) / 2) < 1e-8);
  assert_true(fabs(at(1, "kl") - (log(2) - 0.5)) < 1e-8 && at(1, "num_prompts") == 2.0);
  assert_int_equal(run("{\"responses\": [{\"score\": 1, \"tokens\": 2}]}\n", "--out curve"), 0);
  assert_true(isnan(at(0, "gold")) && at(0, "score") == 1.0);
  assert_int_equal(run("{\"responses\": [{\"text\": \"a\", \"tokens\": 2}]}\n", ""), 1);
  assert_int_equal(run("", ""), 1);
  assert_int_equal(run(two, "--out absent/curve"), 1);
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", dir);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_weights), cmocka_unit_test(test_many),
                                     cmocka_unit_test(test_kl), cmocka_unit_test(test_command)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
