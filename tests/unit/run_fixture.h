/* Whole runs of the laurel program for tests: files to train on, starting, killing, comparing. The
 * including test is one program; everything is static. */
#ifndef LRL_RUN_FIXTURE_H
#define LRL_RUN_FIXTURE_H
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

static inline void add_mpirun(struct command *c, int n_ranks) {
  static const char *const mpi[] = {"mpirun",
                                    "--allow-run-as-root",
                                    "--oversubscribe",
                                    "--bind-to",
                                    "none", /* What OpenMPI leaves behind at exit is not ours. */
                                    "-x",
                                    "ASAN_OPTIONS=detect_leaks=0",
                                    "-np"};
  for (size_t i = 0; i < sizeof mpi / sizeof mpi[0]; i++)
    add(c, "%s", mpi[i]);
  add(c, "%d", n_ranks);
}

/* `laurel reward` (or another trainer) on the made files into dir/run. */
static const char *trainer = "reward";
static inline struct command training(const char *run, int n_ranks, const char *const *extra) {
  struct command c = {0};
  if (n_ranks > 1)
    add_mpirun(&c, n_ranks);
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "%s", trainer);
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

static inline void run(const char *name, int n_ranks, const char *const *extra, int want) {
  struct command c = training(name, n_ranks, extra);
  finish(start(&c), want);
}

static inline void expect_log(const char *part) {
  char *log = slurp("log", NULL);
  if (strstr(log, part) == NULL)
    fail_msg("'%s' is not in: %s", part, log);
  free(log);
}

static inline int count_lines(const char *name) {
  char *text = slurp(name, NULL);
  int n = 0;
  for (const char *p = text; p != NULL && (p = strchr(p, '\n')) != NULL; p++)
    n++;
  free(text);
  return n;
}

static inline double *losses(const char *run_name, int *n) {
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

/* Every loss of one run is the other's, to a relative error. */
static inline void expect_close(const char *a, const char *b, double rtol) {
  int n_a, n_b;
  double *x = losses(a, &n_a), *y = losses(b, &n_b);
  assert_int_equal(n_a, n_b);
  assert_true(n_a >= 2);
  for (int i = 0; i < n_a; i++)
    if (!(fabs(x[i] - y[i]) <= rtol * fabs(x[i])))
      fail_msg("%s against %s, line %d: %.9g, %.9g", a, b, i + 1, x[i], y[i]);
  free(x);
  free(y);
}

static inline void expect_same_losses(const char *a, const char *b) {
  int n;
  free(losses(a, &n));
  assert_true(n > 50);
  expect_close(a, b, 1e-5);
}

/* Kills a run each time its metrics have that many lines, and resumes it; then lets it end. The run
 * is started anew by the same command. */
static inline void kill_and_resume(struct command *c, const char *run_name, const int *kills,
                                   int n) {
  char name[100];
  int status;
  snprintf(name, sizeof name, "%s/metrics.jsonl", run_name);
  for (int k = 0; k < n; k++) {
    pid_t pid = start(c);
    for (int i = 0; i < 5000 && count_lines(name) < kills[k]; i++)
      usleep(2000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
  }
  finish(start(c), 0);
}

static inline void expect_same_text(const char *a, const char *b) {
  char *x = slurp(a, NULL), *y = slurp(b, NULL);
  assert_non_null(x);
  assert_string_equal(x, y);
  free(x);
  free(y);
}

/* The last command left no report of the simulator's. */
static inline void expect_no_report(void) {
  char *log = slurp("log", NULL);
  if (strstr(log, "SIMT:") != NULL)
    fail_msg("the simulator reports: %s", strstr(log, "SIMT:"));
  free(log);
}

/* Four steps with these options, and the last two once more from a checkpoint, which was made after
 * an update: the same metrics to the bit, those of the fourth by way of the optimizer's state. */
static inline void expect_resumes(const char *name, int n_ranks, const char *const *options) {
  const char *args[MAX_ARGS] = {"train.max_steps=4",  "train.batch_size=2", "train.eval_steps=0",
                                "train.save_steps=1", "train.keep_last=4",  "data.eval=",
                                "optim.lr=1e-2",      "--resume",           "auto"};
  char command[256], whole[64], metrics[64];
  int n = 0;
  while (args[n] != NULL)
    n++;
  for (; *options != NULL; options++)
    args[n++] = *options;
  snprintf(whole, sizeof whole, "%s.jsonl", name);
  snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", name);
  run(name, n_ranks, args, 0);
  snprintf(command, sizeof command,
           "cd %s/%s && cp metrics.jsonl ../%s && ls -d checkpoints/* | tail -n 2 | xargs rm -r",
           dir, name, whole);
  assert_int_equal(system(command), 0);
  run(name, n_ranks, args, 0);
  expect_log("goes on from");
  expect_same_text(whole, metrics);
}

static inline bool have_mpirun(void) { return system("command -v mpirun >/dev/null 2>&1") == 0; }
#endif
