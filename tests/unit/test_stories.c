/* Stories: texts and pairs of real against corrupted continuations. */
#include "data/bytes.h"
#include "data/stories.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_stories_XXXXXX";

static int set_up(void **state) {
  (void)state;
  return mkdtemp(dir) == NULL ? -1 : 0;
}
static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static const char *path_of(const char *name) {
  static char path[4][128];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
  return path[turn];
}

static const char *put(const char *name, const char *text) {
  const char *path = path_of(name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
  return path;
}

static const char *stories(void) {
  static char text[1 << 15];
  static const char *const what[] = {"dog", "cat", "bird", "fox", "frog"};
  size_t n = 0;
  for (int i = 0; i < 20; i++)
    n += (size_t)snprintf(
        text + n, sizeof text - n,
        "%s there was a %s number %d.\n\nIt ran to the %d  trees and saw %d \"red\" balls there. "
        "Then it went home, ate %d apples and slept for %d hours in the warm bed of its "
        "mother.\n%s",
        i % 3 ? "Once upon a time," : "Once", what[i % 5], i, i + 2, i + 3, i + 4, i + 5,
        i % 4 ? "\n" : "<|endoftext|>\n");
  return text;
}

static lrl_status make(const char *out, const char *file, uint64_t seed,
                       struct lrl_stories_counts *c) {
  const struct lrl_stories_options o = {.seed = seed,
                                        .validation = 0.2,
                                        .pairs = 6,
                                        .min_prompt_words = 5,
                                        .max_prompt_words = 12,
                                        .min_words = 4,
                                        .max_words = 9};
  return lrl_stories_write(&file, 1, path_of(out), &o, c);
}

static char *slurp(const char *name) {
  char *text;
  size_t n;
  assert_int_equal(lrl_file_read(path_of(name), &text, &n), LRL_OK);
  return text;
}

static int count_words(const char *s) {
  int n = 0;
  for (const char *p = s; *p != '\0'; p++)
    n += *p != ' ' && *p != '\n' && (p == s || p[-1] == ' ' || p[-1] == '\n');
  return n;
}

static void check_pairs(const char *texts, const char *pairs, int64_t want, int *kinds) {
  static const char *const names[] = {"swapped", "replaced", "shuffled", "elsewhere", "repeated"};
  char *all = slurp(texts), *rows = slurp(pairs);
  int64_t n = 0;
  for (char *line = rows, *next; *line != '\0'; line = next, n++) {
    next = strchr(line, '\n');
    *next++ = '\0';
    json_t *o = json_loads(line, 0, NULL);
    const char *prompt, *chosen, *rejected, *kind;
    assert_int_equal(json_unpack(o, "{ss ss ss ss}", "prompt", &prompt, "chosen", &chosen,
                                 "rejected", &rejected, "kind", &kind),
                     0);
    char both[1000];
    snprintf(both, sizeof both, "%s%s", prompt, chosen);
    json_t *text = json_string(both);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    quoted[strlen(quoted) - 1] = '\0'; /* the story goes on */
    assert_non_null(strstr(all, quoted));
    free(quoted);
    json_decref(text);
    assert_string_not_equal(chosen, rejected);
    assert_true(count_words(prompt) >= 5 && count_words(prompt) <= 12);
    assert_true(count_words(chosen) >= 4 && count_words(chosen) <= 9);
    assert_int_equal(count_words(chosen), count_words(rejected));
    assert_true(rejected[0] == ' ' || rejected[0] == '\n');
    for (int k = 0; k < 5; k++)
      kinds[k] += strcmp(kind, names[k]) == 0;
    json_decref(o);
  }
  assert_int_equal(n, want);
  free(all);
  free(rows);
}

static void test_pairs(void **state) {
  (void)state;
  struct lrl_stories_counts c, d;
  int kinds[5] = {0};
  char file[128];
  snprintf(file, sizeof file, "%s", put("in.txt", stories()));
  if (make("a", file, 1, &c) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  assert_int_equal(c.stories, 16);
  assert_int_equal(c.validation_stories, 4);
  assert_int_equal(c.pairs, 16 * 6);
  assert_int_equal(c.validation_pairs, 4 * 6);
  check_pairs("a/texts.jsonl", "a/pairs.jsonl", c.pairs, kinds);
  check_pairs("a/texts_validation.jsonl", "a/pairs_validation.jsonl", c.validation_pairs, kinds);
  for (int k = 0; k < 5; k++)
    assert_true(kinds[k] > 8);
  assert_int_equal(make("b", file, 1, &d), LRL_OK);
  assert_int_equal(make("c", file, 2, &d), LRL_OK);
  char *x = slurp("a/pairs.jsonl"), *y = slurp("b/pairs.jsonl"), *z = slurp("c/pairs.jsonl");
  assert_string_equal(x, y);
  assert_string_not_equal(x, z);
  free(x);
  free(y);
  free(z);
}

static void test_odd_files(void **state) {
  (void)state;
  struct lrl_stories_counts c;
  assert_int_equal(make("d", path_of("absent.txt"), 1, &c), LRL_ERR_IO);
  lrl_error_clear();
  assert_int_equal(make("d", put("empty.txt", ""), 1, &c), LRL_ERR_FORMAT);
  lrl_error_clear();
  assert_int_equal(make("d", put("one.txt", "Once there was a cat."), 1, &c), LRL_ERR_FORMAT);
  lrl_error_clear();
  /* Words that no corruption changes, stories too short for a pair, a text without openings. */
  assert_int_equal(
      make("e", put("same.txt", "a a a a a a a a a a a a a\n<|endoftext|>\na a a a a a a a a a a"),
           1, &c),
      LRL_OK);
  assert_int_equal(c.stories + c.validation_stories, 2);
  assert_int_equal(c.pairs + c.validation_pairs, 0);
  assert_int_equal(make("e", put("short.txt", "Once there.\nOnce there was a dog."), 1, &c),
                   LRL_OK);
  assert_int_equal(c.pairs + c.validation_pairs, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs),
                                     cmocka_unit_test(test_odd_files)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
