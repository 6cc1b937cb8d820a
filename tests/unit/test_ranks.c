/* Several ranks: starts tests/mpi/rank_worker under mpirun and compares what the runs leave behind.
 * SKIP without mpirun. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 20 };
static char dir[64] = "/tmp/laurel_ranks_XXXXXX", worker[512];

/* The program run() starts, from the folder of this one. */
static void use_worker(const char *name) { strcpy(strrchr(worker, '/') + 1, name); }
static int set_up(void **state) {
  (void)state;
  ssize_t n = readlink("/proc/self/exe", worker, sizeof worker - 32);
  if (n <= 0 || mkdtemp(dir) == NULL)
    return -1;
  worker[n] = '\0';
  use_worker("rank_worker");
  setenv("OMP_NUM_THREADS", "1", 1);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static bool have_mpirun(void) { return system("command -v mpirun >/dev/null 2>&1") == 0; }

/* Runs the worker on n ranks; its output goes to DIR/log. Returns mpirun's exit status. */
static int run(int n, bool apart, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int run(int n, bool apart, const char *fmt, ...) {
  char arguments[512], command[1600];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(arguments, sizeof arguments, fmt, ap);
  va_end(ap);
  /* MPI unloads modules that leak, and then the leaks cannot be told from ours; one rank goes
   * without MPI. */
  if (n == 1)
    snprintf(command, sizeof command, "'%s' %s >%s/log 2>&1", worker, arguments, dir);
  else
    snprintf(command, sizeof command,
             "%s ASAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root --oversubscribe "
             "--bind-to none -np %d '%s' %s >%s/log 2>&1",
             apart ? "RANK_WORKER_APART=1" : "", n, worker, arguments, dir);
  int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *slurp(const char *name, size_t *n) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return NULL;
  fseek(f, 0, SEEK_END);
  *n = (size_t)ftell(f);
  rewind(f);
  char *bytes = calloc(1, *n + 1);
  assert_int_equal(fread(bytes, 1, *n, f), *n);
  fclose(f);
  return bytes;
}

static void train(int n, bool apart, const char *options) {
  if (run(n, apart, "train %s %s", dir, options) == 0)
    return;
  size_t size;
  char *log = slurp("log", &size);
  fail_msg("%s on %d ranks failed:\n%s", options, n, log);
}

static void expect_same_file(const char *a, const char *b) {
  size_t n[2];
  char *x = slurp(a, &n[0]), *y = slurp(b, &n[1]);
  assert_true(x != NULL && y != NULL);
  if (n[0] != n[1] || memcmp(x, y, n[0]) != 0)
    fail_msg("%s and %s differ", a, b);
  free(x);
  free(y);
}

/* The two runs left the same bits: every loss and norm, and the whole checkpoint. */
static void expect_same(const char *a, const char *b) {
  static const char *const suffixes[] = {".txt", ".h5"};
  for (int i = 0; i < 2; i++) {
    char name[2][96];
    snprintf(name[0], sizeof name[0], "%s%s", a, suffixes[i]);
    snprintf(name[1], sizeof name[1], "%s%s", b, suffixes[i]);
    expect_same_file(name[0], name[1]);
  }
}

/* Losses and gradient norms of every step within 1e-5 relative. */
static void expect_close(const char *a, const char *b) {
  char name[96];
  size_t n;
  snprintf(name, sizeof name, "%s.txt", a);
  char *x = slurp(name, &n), *p = x;
  snprintf(name, sizeof name, "%s.txt", b);
  char *y = slurp(name, &n), *q = y;
  assert_true(x != NULL && y != NULL);
  for (int i = 0; i < 2 * STEPS; i++) {
    char *end = p;
    double u = strtod(p, &p), v = strtod(q, &q);
    assert_true(end != p);
    if (!(fabs(u - v) <= 1e-5 * fabs(u)))
      fail_msg("%s and %s differ in step %d: %.9g, %.9g", a, b, i / 2, u, v);
  }
  free(x);
  free(y);
}

static void test_collectives(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  assert_int_equal(run(2, false, "comm"), 0);
  assert_int_equal(run(3, true, "comm"), 0);
}

/* Whitening and reward normalisation over ranks. */
static void test_statistics(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  use_worker("statistics_worker");
  const int two = run(2, false, "statistics"), three = run(3, false, "statistics");
  use_worker("rank_worker");
  assert_int_equal(two, 0);
  assert_int_equal(three, 0);
}

/* Every stage on one, two and three ranks, over shared memory and over MPI: the same losses; and
 * where the arithmetic is the same, the same bits. Pairs are uneven, every fourth step has one
 * pair only, and images come and go, so ranks use different units in every step. */
static void test_stages(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  train(1, false, "name=alone stage=0 then name=alone2 stage=2");
  expect_same("alone", "alone2");
  for (int ranks = 2; ranks <= 3; ranks++)
    for (int apart = 0; apart <= 1; apart++) {
      char options[200], name[3][32];
      for (int stage = 0; stage <= 2; stage++)
        snprintf(name[stage], sizeof name[stage], "np%d_%s_%d", ranks, apart ? "mpi" : "shm",
                 stage);
      snprintf(options, sizeof options, "name=%s stage=0 then name=%s stage=1 then name=%s stage=2",
               name[0], name[1], name[2]);
      train(ranks, apart, options);
      for (int stage = 0; stage <= 2; stage++)
        expect_close("alone", name[stage]);
      expect_same(name[0], name[1]);
    }
  expect_same("np2_shm_0", "np2_mpi_0");
  train(2, false, "name=again stage=2");
  expect_same("again", "np2_shm_2");
}

/* Recomputation, bf16 weights with sharded masters, all work on one rank. */
static void test_variants(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  train(2, false,
        "name=r0 stage=1 then name=r1 stage=1 recompute=1 then name=r2 stage=2 recompute=1 "
        "then name=b0 stage=0 bf16=1 then name=b1 stage=1 bf16=1");
  expect_close("r0", "r1");
  expect_close("r0", "r2");
  expect_same("b0", "b1");
  train(3, false, "name=one1 stage=2 only_rank=2");
  train(2, true, "name=one2 stage=2 only_rank=0");
  expect_close("r0", "one1");
  expect_close("r0", "one2");
}

/* A checkpoint read and written by another number of ranks in another stage keeps every bit. */
static void test_change_of_ranks(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  char options[400];
  train(2, false, "name=c0 stage=2 steps=5 then name=d0 stage=2 steps=5 bf16=1");
  static const struct {
    int ranks, apart, stage;
  } next[] = {{1, 0, 0}, {3, 0, 1}, {2, 1, 2}, {2, 0, 0}};
  for (int i = 0; i < 4; i++) {
    snprintf(options, sizeof options,
             "name=c%d load=%s/c%d.h5 stage=%d steps=0 then "
             "name=d%d load=%s/d%d.h5 stage=%d steps=0 bf16=1",
             i + 1, dir, i, next[i].stage, i + 1, dir, i, next[i].stage);
    train(next[i].ranks, next[i].apart, options);
  }
  expect_same_file("c0.h5", "c4.h5");
  expect_same_file("d0.h5", "d4.h5");
  /* 5 steps, a checkpoint and 5 more are 10 steps, on the same ranks. */
  snprintf(options, sizeof options,
           "name=ten stage=1 steps=10 then name=five stage=1 steps=5 then "
           "name=more stage=1 steps=5 load=%s/five.h5",
           dir);
  train(2, false, options);
  expect_same_file("ten.h5", "more.h5");
}

/* Gradients that are not finite, tapes and files that go wrong: the same outcome on all ranks. */
static void test_faults(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  for (int apart = 0; apart <= 1; apart++) {
    size_t n;
    int status = run(2 + apart, apart, "faults %s", dir);
    char *log = slurp("log", &n);
    if (status != 0)
      fail_msg("status %d:\n%s", status, log);
    free(log);
  }
}

/* A rank that is killed, hangs or fails ends the whole job, soon and with its message. */
static void test_lost_ranks(void **state) {
  (void)state;
  if (!have_mpirun())
    skip();
  static const struct {
    const char *mode, *message;
  } cases[] = {{"die", ""}, {"stuck", "s for the gradient of"}, {"fail", "rank 1 cannot go on"}};
  for (int apart = 0; apart <= 1; apart++)
    for (int i = 0; i < 3; i++) {
      size_t n;
      time_t t0 = time(NULL);
      int status = run(2, apart, "%s", cases[i].mode);
      char *log = slurp("log", &n);
      if (status == 0 || time(NULL) - t0 > 25 || strstr(log, cases[i].message) == NULL)
        fail_msg("%s: status %d after %lld s:\n%s", cases[i].mode, status,
                 (long long)(time(NULL) - t0), log);
      if (strcmp(cases[i].mode, "fail") == 0)
        assert_int_equal(status, 7);
      free(log);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_collectives),     cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_stages),          cmocka_unit_test(test_variants),
      cmocka_unit_test(test_change_of_ranks), cmocka_unit_test(test_faults),
      cmocka_unit_test(test_lost_ranks),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
