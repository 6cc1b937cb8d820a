#include "train/run.h"

#include "data/bytes.h"
#include "kernels/log.h"
#include "train/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool has_run(const struct lrl_run *r) {
  char path[LRL_OPTION_TEXT + 32];
  struct stat st;
  snprintf(path, sizeof path, "%s/metrics.jsonl", r->options->output_dir);
  return stat(path, &st) == 0 && st.st_size > 0;
}

static lrl_status write_config(const struct lrl_run *r) {
  char path[LRL_OPTION_TEXT + 32];
  snprintf(path, sizeof path, "%s/config.yaml", r->options->output_dir);
  FILE *f = fopen(path, "w");
  bool ok = f != NULL && fputs(r->config_text, f) >= 0;
  if (f != NULL)
    ok = fclose(f) == 0 && ok;
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

enum { LOCK_WAIT_MS = 5000, LOCK_POLL_MS = 50 };

static bool try_lock(int folder) {
  return flock(folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/* The lock ends with the process, however it ends; the ranks of a killed mpirun outlive it a
 * little, so a run that is resumed at once waits for them. A file system without locks has none. */
static lrl_status lock_folder(struct lrl_run *r) {
  const char *folder = r->options->output_dir;
  r->lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (r->lock < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the folder %s: %s", folder, strerror(errno));
  r->locked = true;
  bool free_now = try_lock(r->lock);
  if (!free_now)
    lrl_log(LRL_LOG_INFO, "run", "%s: another run holds it; waiting %d s for its end", folder,
            LOCK_WAIT_MS / 1000);
  for (int ms = 0; !free_now && ms < LOCK_WAIT_MS; ms += LOCK_POLL_MS) {
    nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
    free_now = try_lock(r->lock);
  }
  if (!free_now)
    return LRL_FAIL(LRL_ERR_ARG,
                    "another run is writing to %s now; wait for it or choose another "
                    "train.output_dir",
                    folder);
  return LRL_OK;
}

void lrl_run_close(struct lrl_run *r) {
  if (r->locked)
    close(r->lock);
  r->locked = false;
}

/* Rank 0's part. */
static lrl_status open_folder(struct lrl_run *r) {
  const struct lrl_run_options *o = r->options;
  if (o->output_dir[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "train.output_dir names no folder");
  LRL_TRY(lrl_folder_make(r->checkpoints));
  LRL_TRY(lock_folder(r));
  int64_t step;
  bool automatic = strcmp(o->resume, "auto") == 0;
  if (automatic)
    LRL_TRY(lrl_checkpoint_latest(r->checkpoints, r->resume, sizeof r->resume, &step));
  else if (o->resume[0] != '\0')
    snprintf(r->resume, sizeof r->resume, "%s", o->resume);
  if (r->resume[0] != '\0')
    return lrl_machine_record(o->output_dir, lrl_comm_size(r->comm), false);
  char newest[sizeof r->resume];
  LRL_TRY(lrl_checkpoint_latest(r->checkpoints, newest, sizeof newest, &step));
  if (!o->overwrite && (newest[0] != '\0' || (has_run(r) && !automatic)))
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s holds a run already; go on with --resume auto, choose another "
                    "train.output_dir, or set train.overwrite=true",
                    o->output_dir);
  if (o->overwrite)
    LRL_TRY(lrl_checkpoint_rotate(r->checkpoints, 0, -1));
  LRL_TRY(lrl_machine_record(o->output_dir, lrl_comm_size(r->comm), true));
  return write_config(r);
}

lrl_status lrl_run_open(struct lrl_run *r, const struct lrl_run_options *options,
                        struct lrl_comm *comm, const char *config_text) {
  *r = (struct lrl_run){.options = options, .comm = comm, .config_text = config_text};
  snprintf(r->checkpoints, sizeof r->checkpoints, "%s/checkpoints", options->output_dir);
  LRL_TRY(lrl_comm_agree(comm, lrl_comm_rank(comm) == 0 ? open_folder(r) : LRL_OK));
  return lrl_comm_broadcast(comm, r->resume, sizeof r->resume, 0);
}

/* ---- config of a checkpoint against config of the run ---- */

/* Value of `key` in "key: value" lines; its length in *n; NULL when absent. */
static const char *value_of(const char *text, const char *key, size_t n_key, size_t *n) {
  for (const char *p = text; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
    p += *p == '\n';
    if (strncmp(p, key, n_key) == 0 && strncmp(p + n_key, ": ", 2) == 0) {
      p += n_key + 2;
      *n = strcspn(p, "\n");
      return p;
    }
  }
  return NULL;
}

static bool is_free(const char *key, size_t n, const char *const *free_keys) {
  for (; *free_keys != NULL; free_keys++)
    if (strlen(*free_keys) == n && strncmp(*free_keys, key, n) == 0)
      return true;
  return false;
}

lrl_status lrl_run_check_config(const struct lrl_run *r, const char *saved,
                                const char *const *free_keys) {
  for (const char *p = r->config_text; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
    p += *p == '\n';
    const char *colon = strstr(p, ": ");
    if (colon == NULL)
      break;
    size_t n_key = (size_t)(colon - p), n_now = strcspn(colon + 2, "\n"), n_then;
    const char *then = value_of(saved, p, n_key, &n_then);
    if (is_free(p, n_key, free_keys) || then == NULL ||
        (n_then == n_now && strncmp(then, colon + 2, n_now) == 0))
      continue;
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s was made with %.*s %.*s, this run has %.*s; to begin with its weights "
                    "under other settings use model.init_from",
                    r->resume, (int)n_key, p, (int)n_then, then, (int)n_now, colon + 2);
  }
  return LRL_OK;
}

void lrl_run_checkpoint_path(const struct lrl_run *r, int64_t step, char *path, size_t size) {
  snprintf(path, size, "%s/step_%08lld.h5", r->checkpoints, (long long)step);
}

/* ---- signals ---- */

static volatile sig_atomic_t stop_requested;

static void on_signal(int number) {
  stop_requested = 1;
  signal(number, SIG_DFL);
}
void lrl_run_catch_signals(void) {
  stop_requested = 0;
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
}
bool lrl_run_stop_requested(void) { return stop_requested != 0; }
