/* Configs: defaults, YAML, overrides, and one clear sentence for everything a user can get wrong.
 */
#include "launch/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct values {
  bool flag;
  int64_t steps;
  double lr;
  char path[LRL_OPTION_TEXT];
  int kind;
};
static const struct lrl_option rows[] = {
    {"train.flag", LRL_OPTION_BOOL, offsetof(struct values, flag), "true", 0, 0, NULL, "",
     "a flag"},
    {"train.steps", LRL_OPTION_INT, offsetof(struct values, steps), "10", 1, 100, NULL, "steps",
     "s"},
    {"optim.lr", LRL_OPTION_FLOAT, offsetof(struct values, lr), "1e-5", 0, 1, NULL, "", "rate"},
    {"data.train", LRL_OPTION_STRING, offsetof(struct values, path), "", 0, 0, NULL, "", "files"},
    {"loss.kind", LRL_OPTION_ENUM, offsetof(struct values, kind), "a", 0, 0, "a|bb|c", "", "kind"},
};
static const struct lrl_option_table table = {rows, 5};

static lrl_status load_text(const char *text, struct values *v) {
  char path[] = "/tmp/laurel_config_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  lrl_config_defaults(&table, v);
  lrl_error_clear();
  lrl_status s = lrl_config_load(&table, v, path);
  unlink(path);
  return s;
}

static void expect_error(const char *text, const char *part) {
  struct values v;
  assert_int_not_equal(load_text(text, &v), LRL_OK);
  if (strstr(lrl_last_error(), part) == NULL)
    fail_msg("'%s' does not say '%s'", lrl_last_error(), part);
  lrl_error_clear();
}

static void test_values(void **state) {
  (void)state;
  struct values v;
  assert_int_equal(load_text("train:\n  flag: false\n  steps: 7\noptim: {lr: 0.5}\n"
                             "data.train: [a.json, b.json]\nloss:\n  kind: bb\n",
                             &v),
                   LRL_OK);
  assert_false(v.flag);
  assert_int_equal(v.steps, 7);
  assert_true(v.lr == 0.5);
  assert_string_equal(v.path, "a.json,b.json");
  assert_int_equal(v.kind, 1);
  assert_int_equal(lrl_config_override(&table, &v, "train.steps=9"), LRL_OK);
  assert_int_equal(v.steps, 9);
  assert_int_equal(load_text("", &v), LRL_OK);
  assert_int_equal(v.steps, 10);
}

static void test_errors(void **state) {
  (void)state;
  expect_error("train:\n  setps: 3\n", ":2: unknown key 'train.setps'");
  expect_error("train:\n  setps: 3\n", "'train.steps'");
  expect_error("lr: 3\n", "'optim.lr'");
  expect_error("train:\n  steps: 3.5\n", ":2: train.steps must be a whole number, not '3.5'");
  expect_error("train: {steps: 101}\n", "between 1 and 100");
  expect_error("optim: {lr: nan}\n", "must be a number");
  expect_error("loss: {kind: d}\n", "one of a|bb|c");
  expect_error("train: {flag: yes}\n", "true or false");
  expect_error("train.steps: 3\ntrain: {steps: 4}\n",
               ":2: the key 'train.steps' was already given");
  expect_error("a: [1\n", ":2:");
  expect_error("- 1\n", "key: value");
  expect_error("data: {train: [[1]]}\n", "plain values");
  struct values v;
  lrl_config_defaults(&table, &v);
  assert_int_not_equal(lrl_config_load(&table, &v, "/nonexistent.yaml"), LRL_OK);
  assert_non_null(strstr(lrl_last_error(), "/nonexistent.yaml"));
  lrl_error_clear();
  assert_int_not_equal(lrl_config_override(&table, &v, "nonsense"), LRL_OK);
  lrl_error_clear();
}

/* The text of a config reads back to the same config. */
static void test_round_trip(void **state) {
  (void)state;
  struct values v, w;
  lrl_config_defaults(&table, &v);
  v.lr = 0.1234567890123456789;
  v.kind = 2;
  char *text = lrl_config_text(&table, &v);
  assert_non_null(text);
  assert_int_equal(load_text(text, &w), LRL_OK);
  assert_true(v.lr == w.lr && v.kind == w.kind && v.steps == w.steps);
  free(text);
}

/* Damaged YAML is refused or read, never a crash (run under ASan by ./check). */
static void test_mutations(void **state) {
  (void)state;
  const char *good = "train:\n  flag: false\n  steps: 7\noptim: {lr: 0.5}\ndata.train: [a, b]\n";
  size_t n = strlen(good);
  char text[128];
  for (unsigned i = 0; i < 400; i++) {
    memcpy(text, good, n + 1);
    text[i * 7 % n] = (char)(i * 31 % 255 + 1);
    if (i % 3 == 0)
      text[n - i % n] = '\0';
    struct values v;
    if (load_text(text, &v) != LRL_OK)
      assert_true(lrl_last_error()[0] != '\0');
    lrl_error_clear();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_errors),
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_mutations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
