/* The runs of a sweep as processes. A run's folder has "log", what it printed, and when it is
 * finished "finished", the arguments it was made with. */
#include "data/bytes.h"
#include "data/text.h"
#include "launch/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 2 * LRL_OPTION_TEXT };

/* The arguments, one a line. */
static lrl_status text_of(const struct lrl_sweep_run *r, struct lrl_text *t) {
  for (int64_t i = 0; i < r->words.n; i++) {
    LRL_TRY(lrl_text_puts(t, r->words.at[i].value));
    LRL_TRY(lrl_text_puts(t, "\n"));
  }
  return LRL_OK;
}

/* ---- what earlier calls did ---- */

static lrl_status look_at(struct lrl_sweep_run *r) {
  char path[PATH_BYTES];
  char *then = NULL;
  struct lrl_text now = {0};
  size_t n;
  lrl_status status;
  snprintf(path, sizeof path, "%s/finished", r->dir);
  if (access(path, F_OK) != 0)
    return LRL_OK;
  LRL_TRY_GOTO(lrl_file_read(path, &then, &n));
  LRL_TRY_GOTO(text_of(r, &now));
  if (strcmp(then, now.data) != 0) {
    size_t at = 0;
    for (size_t i = 0; then[i] == now.data[i]; i++)
      at = then[i] == '\n' ? i + 1 : at;
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG,
                          "%s was finished with '%.*s', where it would now be '%.*s'; choose "
                          "another output_dir, or remove that folder",
                          r->dir, (int)strcspn(then + at, "\n"), then + at,
                          (int)strcspn(now.data + at, "\n"), now.data + at));
  }
  r->state = LRL_SWEEP_FINISHED;
  r->before = true;
done:
  free(then);
  free(now.data);
  return status;
}

lrl_status lrl_sweep_look(struct lrl_sweep *s) {
  for (int64_t i = 0; i < s->n_runs; i++)
    LRL_TRY(look_at(&s->run[i]));
  return LRL_OK;
}

/* Written aside and renamed: a kill leaves no half of it. */
static lrl_status mark_finished(const struct lrl_sweep_run *r) {
  char path[PATH_BYTES], aside[PATH_BYTES];
  struct lrl_text t = {0};
  snprintf(path, sizeof path, "%s/finished", r->dir);
  snprintf(aside, sizeof aside, "%s/finished.tmp", r->dir);
  lrl_status status = text_of(r, &t);
  FILE *f = status == LRL_OK ? fopen(aside, "w") : NULL;
  bool ok = f != NULL && fputs(t.data, f) >= 0;
  if (f != NULL)
    ok = fclose(f) == 0 && ok;
  ok = ok && rename(aside, path) == 0;
  free(t.data);
  return status != LRL_OK || ok
             ? status
             : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

/* ---- one process ---- */

static volatile sig_atomic_t stop_requested;
static volatile pid_t child;

static void on_signal(int number) {
  stop_requested = 1;
  if (child > 0)
    kill(child, number);
}

struct process {
  char *argv[LRL_OPTION_TEXT];
  int n;
  char self[PATH_BYTES], launcher[LRL_OPTION_TEXT];
};

static lrl_status arguments(const struct lrl_sweep_run *r, bool trainer, const char *launcher,
                            struct process *p) {
  *p = (struct process){0};
  snprintf(p->launcher, sizeof p->launcher, "%s", trainer ? launcher : "");
  if (readlink("/proc/self/exe", p->self, sizeof p->self - 1) < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot find the program itself: %s", strerror(errno));
  for (char *at = strtok(p->launcher, " "); at != NULL && p->n < 64; at = strtok(NULL, " "))
    p->argv[p->n++] = at;
  p->argv[p->n++] = p->self;
  if (r->words.n + p->n >= LRL_OPTION_TEXT)
    return LRL_FAIL(LRL_ERR_ARG, "the run %s has too many arguments", r->name);
  for (int64_t i = 0; i < r->words.n; i++)
    p->argv[p->n++] = r->words.at[i].value;
  return LRL_OK;
}

/* The child's part. It ends with the sweep, however that ends (SIGTERM: trainers save first), and
 * has a group of its own, so that Ctrl-C reaches it once, through the sweep. */
static void become(const struct process *p, int log, pid_t parent) {
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() == parent && nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(log, 1) >= 0 &&
      dup2(log, 2) >= 0)
    execvp(p->argv[0], p->argv);
  dprintf(log, "cannot start %s: %s\n", p->argv[0], strerror(errno));
  _exit(127);
}

/* *status as waitpid has it. */
static lrl_status process_run(const struct lrl_sweep_run *r, const struct process *p, int *status) {
  char path[PATH_BYTES];
  LRL_TRY(lrl_folder_make(r->dir));
  snprintf(path, sizeof path, "%s/log", r->dir);
  const int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  const pid_t self = getpid(), pid = fork();
  if (pid == 0)
    become(p, log, self);
  close(log);
  if (pid < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot start a process: %s", strerror(errno));
  child = pid;
  if (stop_requested != 0) /* it came while nobody was there to be told */
    kill(pid, SIGTERM);
  pid_t ended;
  do
    ended = waitpid(pid, status, 0);
  while (ended < 0 && errno == EINTR);
  child = 0;
  return ended == pid
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_IO, "lost the process of %s: %s", r->name, strerror(errno));
}

/* The last line of a log that says something. */
static void last_line(const struct lrl_sweep_run *r, char *out, size_t size) {
  char path[PATH_BYTES], *text;
  size_t n;
  out[0] = '\0';
  snprintf(path, sizeof path, "%s/log", r->dir);
  if (lrl_file_read(path, &text, &n) != LRL_OK) {
    lrl_error_clear();
    return;
  }
  for (const char *line = text; *line != '\0';) {
    const size_t len = strcspn(line, "\n");
    if (len > 0)
      snprintf(out, size, "%.*s", (int)len, line);
    line += len + (line[len] == '\n');
  }
  free(text);
}

/* ---- all of them ---- */

static bool needs_are_finished(const struct lrl_sweep *s, const struct lrl_sweep_run *r) {
  for (int64_t i = 0; i < r->n_need; i++)
    if (s->run[r->need[i]].state != LRL_SWEEP_FINISHED)
      return false;
  return true;
}

static lrl_status one(struct lrl_sweep *s, int64_t i, const char *launcher) {
  struct lrl_sweep_run *r = &s->run[i];
  struct process p;
  int status = 0;
  const double t0 = omp_get_wtime();
  fprintf(stderr, "[%lld/%lld] %s ", (long long)i + 1, (long long)s->n_runs, r->name);
  fflush(stderr);
  LRL_TRY(arguments(r, s->stage[r->stage].command->trainer, launcher, &p));
  LRL_TRY(process_run(r, &p, &status));
  const bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  char line[400];
  last_line(r, line, sizeof line);
  /* A trainer that was sent a signal saves, says so and ends well. */
  if (stop_requested != 0 ||
      (ended && strstr(line, "as asked; go on with --resume auto") != NULL)) {
    fprintf(stderr, "was stopped by a signal\n");
    return LRL_OK;
  }
  r->state = ended ? LRL_SWEEP_FINISHED : LRL_SWEEP_FAILED;
  if (ended) {
    fprintf(stderr, "%.1f s\n", omp_get_wtime() - t0);
    return mark_finished(r);
  }
  if (WIFSIGNALED(status))
    fprintf(stderr, "FAILED: killed by signal %d; %s/log ends: %s\n", WTERMSIG(status), r->dir,
            line);
  else
    fprintf(stderr, "FAILED: exit status %d; %s/log ends: %s\n", WEXITSTATUS(status), r->dir, line);
  return LRL_OK;
}

static lrl_status all(struct lrl_sweep *s, const char *launcher) {
  for (int64_t i = 0; i < s->n_runs && stop_requested == 0; i++) {
    struct lrl_sweep_run *r = &s->run[i];
    if (r->state == LRL_SWEEP_FINISHED) {
      fprintf(stderr, "[%lld/%lld] %s finished before\n", (long long)i + 1, (long long)s->n_runs,
              r->name);
    } else if (!needs_are_finished(s, r)) {
      r->state = LRL_SWEEP_SKIPPED;
      fprintf(stderr, "[%lld/%lld] %s left out: what it needs has failed\n", (long long)i + 1,
              (long long)s->n_runs, r->name);
    } else {
      LRL_TRY(one(s, i, launcher));
    }
  }
  return LRL_OK;
}

lrl_status lrl_sweep_run_all(struct lrl_sweep *s, const char *launcher, bool *stopped) {
  struct sigaction mine = {.sa_handler = on_signal}, old_int, old_term;
  sigemptyset(&mine.sa_mask);
  sigaction(SIGINT, &mine, &old_int);
  sigaction(SIGTERM, &mine, &old_term);
  const lrl_status status = all(s, launcher);
  sigaction(SIGINT, &old_int, NULL);
  sigaction(SIGTERM, &old_term, NULL);
  *stopped = stop_requested != 0;
  return status;
}
