/* Whole runs of the laurel program: a killed run that is resumed, several ranks, scoring. */
#include "data/tokenizer.h"
#include "kernels/status.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;
static char dir[64] = "/tmp/laurel_runs_XXXXXX";

static const char *const colours[] = {"red", "green", "blue", "white", "black", "pink"};

/* The right answer repeats the colour that the question names. */
static void write_pairs(const char *file, int n, int shift) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, file);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  for (int i = 0; i < n; i++) {
    int a = (i + shift) % 6, b = (a + 1 + (i / 6 + shift) % 5) % 6;
    fprintf(f,
            "{\"id\": %d, \"prompt\": \"I took the %s ball number %d. Which colour?\", "
            "\"chosen\": \"%s\", \"rejected\": \"%s\"}\n",
            i, colours[a], (i + shift) % 23, colours[a], colours[b]);
  }
  fclose(f);
}

static int make_files(void **state) {
  (void)state;
  if (getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL)
    return -1;
  write_pairs("train.jsonl", 200, 0);
  write_pairs("eval.jsonl", 40, 7);
  const char *texts[120];
  for (int i = 0; i < 120; i++)
    texts[i] = i % 2 ? "I took the red ball number 12. Which colour?" : colours[i / 2 % 6];
  char path[128];
  snprintf(path, sizeof path, "%s/tok.model", dir);
  return lrl_tokenizer_train(texts, 120, 300, path) == LRL_OK ? 0 : -1;
}

static int remove_files(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

/* ---- starting programs ---- */

enum { MAX_ARGS = 64, TEXT = 200 };
struct command {
  char text[MAX_ARGS][TEXT];
  int n;
};

static void add(struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct command *c, const char *fmt, ...) {
  assert_true(c->n < MAX_ARGS - 1);
  va_list args;
  va_start(args, fmt);
  vsnprintf(c->text[c->n++], TEXT, fmt, args);
  va_end(args);
}

/* Output goes to dir/log. */
static pid_t start(struct command *c) {
  char *argv[MAX_ARGS], log[128];
  pid_t pid;
  for (int i = 0; i < c->n; i++)
    argv[i] = c->text[i];
  argv[c->n] = NULL;
  snprintf(log, sizeof log, "%s/log", dir);
  posix_spawn_file_actions_t to;
  posix_spawn_file_actions_init(&to);
  posix_spawn_file_actions_addopen(&to, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&to, 1, 2);
  assert_int_equal(posix_spawnp(&pid, argv[0], &to, NULL, argv, environ), 0);
  posix_spawn_file_actions_destroy(&to);
  return pid;
}

static char *slurp(const char *name, size_t *n_bytes) {
  char path[200];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return NULL;
  char *text = malloc(1 << 20);
  size_t n = fread(text, 1, (1 << 20) - 1, f);
  text[n] = '\0';
  fclose(f);
  if (n_bytes != NULL)
    *n_bytes = n;
  return text;
}

static void finish(pid_t pid, int want) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != want) {
    char *log = slurp("log", NULL);
    fail_msg("exit status %d, not %d: %s", WIFEXITED(status) ? WEXITSTATUS(status) : -1, want, log);
  }
}

/* `laurel reward` on the made files into dir/run. */
static struct command reward(const char *run, int n_ranks, const char *const *extra) {
  struct command c = {0};
  if (n_ranks > 1) {
    static const char *const mpi[] = {"mpirun",
                                      "--allow-run-as-root",
                                      "--oversubscribe",
                                      "--bind-to",
                                      "none", /* What OpenMPI leaves behind at exit is not ours. */
                                      "-x",
                                      "ASAN_OPTIONS=detect_leaks=0",
                                      "-np"};
    for (size_t i = 0; i < sizeof mpi / sizeof mpi[0]; i++)
      add(&c, "%s", mpi[i]);
    add(&c, "%d", n_ranks);
  }
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "reward");
  add(&c, "model.tokenizer=%s/tok.model", dir);
  add(&c, "data.train=%s/train.jsonl", dir);
  add(&c, "data.eval=%s/eval.jsonl", dir);
  add(&c, "train.output_dir=%s/%s", dir, run);
  static const char *const base[] = {
      "model.hidden_size=32", "model.intermediate_size=64", "model.num_hidden_layers=2",
      "train.batch_size=8",   "train.log_steps=1",          "train.threads=1",
      "optim.lr=1e-3",        "train.max_steps=30"};
  for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
    add(&c, "%s", base[i]);
  for (; extra != NULL && *extra != NULL; extra++)
    add(&c, "%s", *extra);
  return c;
}

static void run(const char *name, int n_ranks, const char *const *extra, int want) {
  struct command c = reward(name, n_ranks, extra);
  finish(start(&c), want);
}

static void expect_log(const char *part) {
  char *log = slurp("log", NULL);
  if (strstr(log, part) == NULL)
    fail_msg("'%s' is not in: %s", part, log);
  free(log);
}

/* ---- resuming ---- */

static int count_lines(const char *name) {
  char *text = slurp(name, NULL);
  int n = 0;
  for (const char *p = text; p != NULL && (p = strchr(p, '\n')) != NULL; p++)
    n++;
  free(text);
  return n;
}

/* Kills a run once its metrics have `lines` lines and resumes it, again and again. */
static void test_killed(void **state) {
  (void)state;
#define SAVES "train.save_steps=4", "train.keep_last=2", "train.eval_steps=10"
  run("whole", 1, (const char *const[]){SAVES, NULL}, 0);
  static const int kills[] = {1, 6, 9, 13, 21};
  struct command c = reward("killed", 1, (const char *const[]){SAVES, "--resume", "auto", NULL});
  for (size_t k = 0; k < sizeof kills / sizeof kills[0]; k++) {
    pid_t pid = start(&c);
    for (int i = 0; i < 5000 && count_lines("killed/metrics.jsonl") < kills[k]; i++)
      usleep(2000);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
  }
  finish(start(&c), 0);
  char *a = slurp("whole/metrics.jsonl", NULL), *b = slurp("killed/metrics.jsonl", NULL);
  assert_string_equal(a, b);
  free(a);
  free(b);
}

/* A checkpoint every step: kills land inside the writing of one, too. */
static void test_killed_while_saving(void **state) {
  (void)state;
#define EVERY "train.save_steps=1", "train.max_steps=12"
  run("whole1", 1, (const char *const[]){EVERY, NULL}, 0);
  struct command c = reward("killed1", 1, (const char *const[]){EVERY, "--resume", "auto", NULL});
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
  char *a = slurp("whole1/metrics.jsonl", NULL), *b = slurp("killed1/metrics.jsonl", NULL);
  assert_string_equal(a, b);
  free(a);
  free(b);
}

/* SIGTERM: saves after the step, exits with 0; the rest is the same as without. */
static void test_asked_to_stop(void **state) {
  (void)state;
  struct command c = reward("asked", 1, (const char *const[]){SAVES, "--resume", "auto", NULL});
  pid_t pid = start(&c);
  for (int i = 0; i < 5000 && count_lines("asked/metrics.jsonl") < 3; i++)
    usleep(2000);
  kill(pid, SIGTERM);
  finish(pid, 0);
  finish(start(&c), 0);
  char *a = slurp("whole/metrics.jsonl", NULL), *b = slurp("asked/metrics.jsonl", NULL);
  assert_string_equal(a, b);
  free(a);
  free(b);
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

static double *losses(const char *run_name, int *n) {
  char name[100];
  snprintf(name, sizeof name, "%s/metrics.jsonl", run_name);
  char *text = slurp(name, NULL);
  assert_non_null(text);
  double *out = calloc(1000, sizeof *out);
  *n = 0;
  for (char *line = text, *next; *line != '\0'; line = next) {
    next = strchr(line, '\n');
    *next++ = '\0';
    json_t *o = json_loads(line, 0, NULL);
    json_t *loss = json_object_get(o, "train/loss");
    loss = loss != NULL ? loss : json_object_get(o, "eval/loss");
    out[(*n)++] = json_number_value(loss);
    json_decref(o);
  }
  free(text);
  return out;
}

static void expect_same_losses(const char *a, const char *b) {
  int n_a, n_b;
  double *x = losses(a, &n_a), *y = losses(b, &n_b);
  assert_int_equal(n_a, n_b);
  assert_true(n_a > 50);
  for (int i = 0; i < n_a; i++)
    if (!(fabs(x[i] - y[i]) <= 1e-5 * fabs(x[i])))
      fail_msg("%s against %s, line %d: %.9g, %.9g", a, b, i + 1, x[i], y[i]);
  free(x);
  free(y);
}

static void test_ranks(void **state) {
  (void)state;
  if (system("command -v mpirun >/dev/null") != 0) {
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
  struct command c = reward(
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
      cmocka_unit_test(test_score),    cmocka_unit_test(test_ranks),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
