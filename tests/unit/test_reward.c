/* The reward trainer end to end on a small made-up corpus with a learnable rule. */
#include "data/tokenizer.h"
#include "launch/config.h"
#include "train/reward.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_reward_XXXXXX";
static const struct lrl_option_table *options(void) {
  static struct lrl_option_table t;
  t = (struct lrl_option_table){lrl_reward_options, lrl_n_reward_options};
  return &t;
}

static const char *const fruits[] = {"apple", "pear", "plum", "fig", "lime", "kiwi"};
static const char *const stones[] = {"ruby", "opal", "jade", "onyx", "topaz", "agate"};

/* The right answer names the asked kind; each word is chosen and rejected equally often. */
static void write_pairs(const char *file, int n, int shift) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, file);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  for (int i = 0; i < n; i++) {
    int k = i + shift;
    const char *fruit = fruits[k % 6], *stone = stones[k / 2 * 7 % 6];
    bool ask_fruit = k % 2 == 0;
    fprintf(f,
            "{\"prompt\": \"Please name a %s for number %d.\", \"chosen\": \"%s\", "
            "\"rejected\": \"%s\"}\n",
            ask_fruit ? "fruit" : "stone", k % 17, ask_fruit ? fruit : stone,
            ask_fruit ? stone : fruit);
  }
  fclose(f);
}

static int make_files(void **state) {
  (void)state;
  if (mkdtemp(dir) == NULL)
    return -1;
  write_pairs("train.jsonl", 240, 0);
  write_pairs("eval.jsonl", 60, 1000);
  const char *texts[400];
  for (int i = 0; i < 400; i++)
    texts[i] = i % 3 == 0   ? "Please name a fruit for number 3."
               : i % 3 == 1 ? "Please name a stone for number 14."
                            : (i % 2 ? fruits : stones)[i % 6];
  char path[128];
  snprintf(path, sizeof path, "%s/tok.model", dir);
  return lrl_tokenizer_train(texts, 400, 320, path) == LRL_OK ? 0 : -1;
}

static int remove_files(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

/* Trains with the base settings and extra key=value pairs (NULL-terminated). */
static lrl_status train(const char *run, const char *const *extra) {
  struct lrl_reward_config cfg;
  char text[256];
  lrl_config_defaults(options(), &cfg);
  const char *const files[][2] = {{"model.tokenizer", "tok.model"},
                                  {"data.train", "train.jsonl"},
                                  {"data.eval", "eval.jsonl"},
                                  {"train.output_dir", run}};
  for (int i = 0; i < 4; i++) {
    snprintf(text, sizeof text, "%s=%s/%s", files[i][0], dir, files[i][1]);
    assert_int_equal(lrl_config_override(options(), &cfg, text), LRL_OK);
  }
  static const char *const base[] = {"model.hidden_size=32",      "model.intermediate_size=64",
                                     "model.num_hidden_layers=2", "train.max_steps=40",
                                     "train.batch_size=16",       "optim.lr=3e-3",
                                     "train.log_steps=1",         NULL};
  for (const char *const *p = base; *p != NULL; p++)
    assert_int_equal(lrl_config_override(options(), &cfg, *p), LRL_OK);
  for (const char *const *p = extra; p != NULL && *p != NULL; p++)
    assert_int_equal(lrl_config_override(options(), &cfg, *p), LRL_OK);
  return lrl_reward_train(&cfg, NULL, "test: 1\n");
}

static char *slurp(const char *run) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s/metrics.jsonl", dir, run);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  char *text = calloc(1, 1 << 18);
  assert_true(fread(text, 1, (1 << 18) - 1, f) > 0);
  fclose(f);
  return text;
}

static double last_value(const char *text, const char *key) {
  const char *found = NULL;
  for (const char *p = strstr(text, key); p != NULL; p = strstr(p + 1, key))
    found = p;
  assert_non_null(found);
  return strtod(found + strlen(key) + 2, NULL);
}

static void test_learns(void **state) {
  (void)state;
  assert_int_equal(train("a", NULL), LRL_OK);
  char *text = slurp("a");
  double accuracy = last_value(text, "eval/accuracy");
  if (!(accuracy >= 0.9))
    fail_msg("held-out accuracy %g", accuracy);
  free(text);
}

static void test_same_bits(void **state) {
  (void)state;
  assert_int_equal(train("b", NULL), LRL_OK);
  assert_int_equal(train("c", (const char *const[]){"train.threads=1", NULL}), LRL_OK);
  char *a = slurp("a"), *b = slurp("b"), *c = slurp("c");
  assert_string_equal(a, b);
  assert_string_equal(a, c);
  free(a);
  free(b);
  free(c);
}

/* A variant that may differ by rounding only: every logged loss within 1e-5 relative over 20 steps.
 */
static void expect_close(const char *run, const char *const *extra) {
  char *a = slurp("gentle");
  assert_int_equal(train(run, extra), LRL_OK);
  char *b = slurp(run);
  const char *p = a, *q = b, *key = "\"train/loss\":";
  for (int i = 0; i < 20; i++) {
    p = strstr(p, key);
    q = strstr(q, key);
    assert_true(p != NULL && q != NULL);
    p += strlen(key);
    q += strlen(key);
    double x = strtod(p, NULL), y = strtod(q, NULL), e = x > y ? x - y : y - x;
    if (!(e <= 1e-5 * x))
      fail_msg("%s: step %d has loss %.9g, expected %.9g", run, i + 1, y, x);
  }
  free(a);
  free(b);
}

static void test_variants(void **state) {
  (void)state;
#define GENTLE "optim.lr=3e-4", "train.max_steps=20"
  assert_int_equal(train("gentle", (const char *const[]){GENTLE, NULL}), LRL_OK);
  expect_close("d", (const char *const[]){GENTLE, "data.share_prefix=false", NULL});
  expect_close("e", (const char *const[]){GENTLE, "train.micro_batch_tokens=100", NULL});
  expect_close("f", (const char *const[]){GENTLE, "train.device=ref", NULL});
  expect_close("g", (const char *const[]){GENTLE, "train.gradient_checkpointing=true", NULL});
}

/* LoRA begins on a trained model without adapters; with rate 0 it is that model still. */
static void test_lora_from_base(void **state) {
  (void)state;
  char from[128];
  snprintf(from, sizeof from, "model.init_from=%s/a", dir);
  assert_int_equal(
      train("lora", (const char *const[]){from, "model.lora_r=4", "model.freeze_head=true",
                                          "optim.lr=0", "train.max_steps=1", NULL}),
      LRL_OK);
  char *a = slurp("a"), *b = slurp("lora");
  assert_true(last_value(a, "eval/loss") == last_value(b, "eval/loss"));
  free(a);
  free(b);
}

static void expect_error(const char *const *extra, const char *part) {
  assert_int_not_equal(train("x", extra), LRL_OK);
  if (strstr(lrl_last_error(), part) == NULL)
    fail_msg("'%s' does not say '%s'", lrl_last_error(), part);
  lrl_error_clear();
}

static void test_bad_input(void **state) {
  (void)state;
  expect_error((const char *const[]){"data.train=/nonexistent.jsonl", NULL}, "/nonexistent.jsonl");
  expect_error((const char *const[]){"model.tokenizer=/nonexistent.model", NULL},
               "nonexistent.model");
  expect_error((const char *const[]){"data.train=", NULL}, "data.train names no file");
  expect_error((const char *const[]){"model.num_attention_heads=3", NULL}, "no multiple");
  expect_error((const char *const[]){"model.freeze_decoder=true", "model.freeze_head=true", NULL},
               "nothing would be trained");
  expect_error((const char *const[]){"train.output_dir=/proc/nowhere/run", NULL},
               "cannot make the folder");
  char path[128]; /* what another run that is writing there holds */
  snprintf(path, sizeof path, "%s/a", dir);
  int fd = open(path, O_RDONLY);
  assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
  snprintf(path, sizeof path, "train.output_dir=%s/a", dir);
  expect_error((const char *const[]){path, NULL}, "another run is writing");
  close(fd);
  expect_error((const char *const[]){path, NULL}, "holds a run already");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_learns),    cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_variants),  cmocka_unit_test(test_lora_from_base),
      cmocka_unit_test(test_bad_input),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
