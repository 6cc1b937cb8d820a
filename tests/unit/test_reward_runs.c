/* Whole runs of the laurel program: a killed run that is resumed, several ranks, scoring. */
#include "run_fixture.h"

/* ---- resuming ---- */

/* Kills a run once its metrics have `lines` lines and resumes it, again and again. */
static void test_killed(void **state) {
  (void)state;
#define SAVES "train.save_steps=4", "train.keep_last=2", "train.eval_steps=10"
  run("whole", 1, (const char *const[]){SAVES, NULL}, 0);
  static const int kills[] = {1, 6, 9, 13, 21};
  struct command c = training("killed", 1, (const char *const[]){SAVES, "--resume", "auto", NULL});
  kill_and_resume(&c, "killed", kills, sizeof kills / sizeof kills[0]);
  expect_same_text("whole/metrics.jsonl", "killed/metrics.jsonl");
}

/* A checkpoint every step: kills land inside the writing of one, too. */
static void test_killed_while_saving(void **state) {
  (void)state;
#define EVERY "train.save_steps=1", "train.max_steps=12"
  run("whole1", 1, (const char *const[]){EVERY, NULL}, 0);
  struct command c = training("killed1", 1, (const char *const[]){EVERY, "--resume", "auto", NULL});
  for (int k = 0; k < 6; k++) {
    pid_t pid = start(&c);
    for (int i = 0; i < 5000 && count_lines("killed1/metrics.jsonl") < 1 + 2 * k; i++)
      usleep(500);
    usleep((useconds_t)(k * 1700 % 5000));
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
  }
  finish(start(&c), 0);
  expect_same_text("whole1/metrics.jsonl", "killed1/metrics.jsonl");
}

/* SIGTERM: saves after the step, exits with 0; the rest is the same as without. */
static void test_asked_to_stop(void **state) {
  (void)state;
  struct command c = training("asked", 1, (const char *const[]){SAVES, "--resume", "auto", NULL});
  pid_t pid = start(&c);
  for (int i = 0; i < 5000 && count_lines("asked/metrics.jsonl") < 3; i++)
    usleep(2000);
  kill(pid, SIGTERM);
  finish(pid, 0);
  finish(start(&c), 0);
  expect_same_text("whole/metrics.jsonl", "asked/metrics.jsonl");
}

static void test_refusals(void **state) {
  (void)state;
  run("whole", 1, NULL, 1);
  expect_log("holds a run already");
  run("whole", 1, (const char *const[]){SAVES, "--resume", "auto", "optim.lr=1", NULL}, 1);
  expect_log("optim.lr");
  write_pairs("other.jsonl", 190, 1);
  char other[128];
  snprintf(other, sizeof other, "data.train=%s/other.jsonl", dir);
  run("whole", 1, (const char *const[]){SAVES, "--resume", "auto", other, NULL}, 1);
  expect_log("other training data");
  run("whole", 1, (const char *const[]){"train.resume=/nonexistent.h5", NULL}, 1);
  expect_log("/nonexistent.h5");
}

/* ---- ranks ---- */

static void test_ranks(void **state) {
  (void)state;
  if (!have_mpirun()) {
    print_message("SKIP: no mpirun\n");
    skip();
  }
#define LONG "train.max_steps=50", "optim.lr=3e-4"
  run("np1", 1, (const char *const[]){LONG, NULL}, 0);
  run("np2", 2, (const char *const[]){LONG, NULL}, 0);
  expect_same_losses("np1", "np2");
  run("np2z1", 2, (const char *const[]){LONG, "train.zero_stage=1", NULL}, 0);
  expect_same_losses("np1", "np2z1");
  run("np2z2", 2,
      (const char *const[]){LONG, "train.zero_stage=2", "train.micro_batch_tokens=80", NULL}, 0);
  expect_same_losses("np1", "np2z2");
  /* Stopped with two ranks and sharded state, finished with one. */
  struct command c = training(
      "moved", 2, (const char *const[]){LONG, "train.zero_stage=1", "train.save_steps=10", NULL});
  pid_t pid = start(&c);
  for (int i = 0; i < 5000 && count_lines("moved/metrics.jsonl") < 25; i++)
    usleep(2000);
  kill(pid, SIGKILL);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  run("moved", 1, (const char *const[]){LONG, "--resume", "auto", NULL}, 0);
  expect_same_losses("np1", "moved");
}

/* ---- scoring ---- */

/* The length constraint chooses what to learn from, not what to be measured on. */
static void test_length_ratio(void **state) {
  (void)state;
  char *text, *rows;
  run("ratio", 1,
      (const char *const[]){"data.length_ratio=1", "data.length_unit=chars", "train.max_steps=1",
                            NULL},
      0);
  expect_log("data: eval.jsonl: 40 pairs; 0 of 40 rows set aside");
  text = slurp("log", NULL);
  rows = strstr(text, "data: train.jsonl: ");
  assert_non_null(rows);
  const int kept = atoi(rows + strlen("data: train.jsonl: "));
  assert_true(kept > 80 && kept < 160); /* of 200: the right word is not the longer one */
  free(text);
}

static void score(const char *const *extra, int want) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "score");
  add(&c, "%s/whole", dir);
  add(&c, "%s/chats.jsonl", dir);
  for (; extra != NULL && *extra != NULL; extra++)
    add(&c, "%s", *extra);
  finish(start(&c), want);
}

static void test_score(void **state) {
  (void)state;
  char path[128], out[2][128];
  snprintf(path, sizeof path, "%s/chats.jsonl", dir);
  FILE *f = fopen(path, "w");
  for (int i = 0; i < 40; i++)
    fprintf(f,
            "{\"id\": %d, \"messages\": [{\"role\": \"user\", \"content\": \"I took the %s ball "
            "number %d. Which colour?\"}, {\"role\": \"assistant\", \"content\": \"%s\"}]}\n",
            i, colours[i % 6], i, colours[i * 7 % 6]);
  fclose(f);
  for (int k = 0; k < 2; k++)
    snprintf(out[k], sizeof out[k], "%s/scores%d", dir, k);
  score((const char *const[]){"--out", out[0], NULL}, 0);
  score((const char *const[]){"--out", out[1], "--batch-tokens", "1", "--threads", "1", NULL}, 0);
  char *a = slurp("scores0", NULL), *b = slurp("scores1", NULL);
  assert_int_equal(count_lines("scores0"), 40);
  assert_string_equal(a, b);
  free(a);
  free(b);
  f = fopen(path, "w");
  fputs("{\"prompt\": \"Which colour?\", \"chosen\": \"red\", \"rejected\": \"red\"}\n"
        "{\"chats\": [[{\"role\": \"user\", \"content\": \"a\"}], \"b\", \"c\"]}\n"
        "{\"messages\": [{\"role\": \"judge\", \"content\": \"a\"}]}\n"
        "{\"messages\": []}\n"
        "not json\n",
        f);
  fclose(f);
  score((const char *const[]){"--compare", "--rank", "--out", out[0], NULL}, 0);
  a = slurp("scores0", NULL);
  assert_non_null(strstr(a, "\"better\":null,\"rank\":[0,1]"));
  assert_non_null(strstr(a, "--compare needs two chats"));
  assert_non_null(strstr(a, "\"line\":3"));
  assert_non_null(strstr(a, "\"line\":4"));
  assert_non_null(strstr(a, "\"line\":5"));
  free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed),   cmocka_unit_test(test_killed_while_saving),
      cmocka_unit_test(test_refusals), cmocka_unit_test(test_asked_to_stop),
      cmocka_unit_test(test_score),    cmocka_unit_test(test_length_ratio),
      cmocka_unit_test(test_ranks),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
