#include "train/comm_impl.h"
#include "train/window.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH 8192 /* doubles */

static int n_live; /* communicators that keep MPI up */

lrl_status lrl_comm_failed(int code, const char *call) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int n = 0, name = (int)strcspn(call, "(");
  MPI_Error_string(code, text, &n);
  return LRL_FAIL(LRL_ERR_COMM, "%.*s failed: %s", name, call, text);
}

int lrl_comm_rank(const struct lrl_comm *c) { return c == NULL ? 0 : c->rank; }
bool lrl_comm_shares_memory(const struct lrl_comm *c) { return c != NULL && c->shared; }
int lrl_comm_size(const struct lrl_comm *c) { return c == NULL ? 1 : c->size; }

/* ---- start and end ---- */

/* Whether a launcher that speaks to MPI started us (OpenMPI's mpirun, PMIx, MPICH's hydra or
 * srun --mpi=pmi2). */
static bool launched(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMI_RANK"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (getenv(names[i]) != NULL)
      return true;
  return false;
}

/* Tasks of the srun step this process belongs to; 1 outside of one. A shell in an allocation has
 * SLURM_NTASKS too, but no step of several tasks. */
static int srun_tasks(void) {
  const char *n = getenv("SLURM_STEP_NUM_TASKS");
  return n == NULL ? 1 : atoi(n);
}

static lrl_status start_mpi(void) {
  int up = 0, level = 0;
  LRL_MPI(MPI_Initialized(&up));
  if (up) {
    LRL_MPI(MPI_Finalized(&up));
    return up ? LRL_FAIL(LRL_ERR_COMM, "MPI was already finalised in this process") : LRL_OK;
  }
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0); /* its start-up and end wait in a busy loop */
  LRL_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level));
  if (level < MPI_THREAD_FUNNELED)
    return LRL_FAIL(LRL_ERR_COMM, "this MPI does not allow threads in a rank");
  return LRL_OK;
}

static lrl_status join(struct lrl_comm *c) {
  LRL_TRY(start_mpi());
  LRL_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &c->mpi));
  n_live++;
  LRL_MPI(MPI_Comm_set_errhandler(c->mpi, MPI_ERRORS_RETURN));
  LRL_MPI(MPI_Comm_rank(c->mpi, &c->rank));
  LRL_MPI(MPI_Comm_size(c->mpi, &c->size));
  c->scratch = malloc(SCRATCH * sizeof *c->scratch);
  if (c->size > SCRATCH || c->scratch == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %d ranks", c->size);
  return LRL_OK;
}

/* Finds out whether the ranks can share memory, by doing it: containers on one host may not. */
static lrl_status meet(struct lrl_comm *c, bool no_shared) {
  MPI_Comm local;
  int n = 0;
  LRL_MPI(MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local));
  LRL_MPI(MPI_Comm_size(local, &n));
  LRL_MPI(MPI_Comm_free(&local));
  double apart = no_shared || n != c->size;
  LRL_TRY(lrl_comm_sum_f64(c, &apart, 1));
  if (apart > 0)
    return LRL_OK;
  struct lrl_window w;
  if (lrl_window_create(c, sizeof(int), &w) != LRL_OK) {
    lrl_error_clear();
    return LRL_OK;
  }
  lrl_window_destroy(&w);
  double *pid = calloc((size_t)c->size, sizeof *pid);
  int *pids = malloc((size_t)c->size * sizeof *pids);
  lrl_status s = LRL_OK;
  if (pid == NULL || pids == NULL)
    s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for %d ranks", c->size);
  if (s == LRL_OK) {
    pid[c->rank] = getpid();
    s = lrl_comm_sum_f64(c, pid, c->size);
  }
  for (int r = 0; r < c->size && s == LRL_OK; r++)
    pids[r] = (int)pid[r];
  free(pid);
  if (s != LRL_OK) {
    free(pids);
    return s;
  }
  c->pids = pids; /* from here on, waits look whether these processes live */
  c->shared = true;
  return LRL_OK;
}

lrl_status lrl_comm_create_with(const struct lrl_comm_options *options, struct lrl_comm **out) {
  *out = NULL;
  struct lrl_comm *c = calloc(1, sizeof *c);
  if (c == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a communicator");
  *c = (struct lrl_comm){.size = 1,
                         .mpi = MPI_COMM_NULL,
                         .timeout_s = options->timeout_s > 0 ? options->timeout_s : 1800};
  lrl_status s = launched() ? join(c) : LRL_OK;
  if (s == LRL_OK && c->size > 1)
    s = meet(c, options->no_shared);
  if (s == LRL_OK && srun_tasks() > 1 && c->size == 1)
    s = LRL_FAIL(LRL_ERR_COMM,
                 "srun started %d tasks but MPI sees one; try srun --mpi=pmix, or mpirun",
                 srun_tasks());
  if (s != LRL_OK) {
    /* The others may have come further and never arrive at the end of MPI: mpirun ends them when
     * this process exits without it. */
    if (c->size == 1)
      lrl_comm_destroy(c);
    return s;
  }
  *out = c;
  return LRL_OK;
}

lrl_status lrl_comm_create(struct lrl_comm **out) {
  return lrl_comm_create_with(&(struct lrl_comm_options){0}, out);
}

lrl_status lrl_comm_create_planned(int size, struct lrl_comm **out) {
  *out = calloc(1, sizeof **out);
  if (*out == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a communicator");
  **out = (struct lrl_comm){.size = size, .mpi = MPI_COMM_NULL, .planned = true};
  return LRL_OK;
}

/* Whether there is nobody to speak to. */
static bool alone(const struct lrl_comm *c) { return lrl_comm_size(c) == 1 || c->planned; }

void lrl_comm_destroy(struct lrl_comm *c) {
  if (c == NULL)
    return;
  if (c->mpi != MPI_COMM_NULL) {
    MPI_Comm_free(&c->mpi);
    if (--n_live == 0)
      MPI_Finalize();
  }
  free(c->pids);
  free(c->scratch);
  free(c);
}

void lrl_comm_abort(struct lrl_comm *c, int exit_code) {
  fflush(NULL);
  if (c != NULL && c->mpi != MPI_COMM_NULL)
    MPI_Abort(c->mpi, exit_code);
  _exit(exit_code);
}

/* ---- waiting ---- */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static lrl_status check_peers(const struct lrl_comm *c, const char *what) {
  for (int r = 0; c->pids != NULL && r < c->size; r++)
    if (r != c->rank && kill(c->pids[r], 0) != 0 && errno == ESRCH)
      return LRL_FAIL(LRL_ERR_COMM, "rank %d is gone (process %d); rank %d waited for %s", r,
                      c->pids[r], c->rank, what);
  return LRL_OK;
}

lrl_status lrl_comm_pause(struct lrl_comm *c, struct lrl_wait *w, const char *what) {
  enum { SPINS = 200, YIELDS = 1000, CHECK = 1000 };
  w->turns++;
  if (c->poll != NULL)
    LRL_TRY(c->poll(c->poll_user));
  if (w->turns < SPINS) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    return LRL_OK;
  }
  if (w->start == 0)
    w->start = now();
  if (w->turns < YIELDS)
    sched_yield();
  else
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  if (w->turns % CHECK != 0)
    return LRL_OK;
  LRL_TRY(check_peers(c, what));
  double waited = now() - w->start;
  if (waited < c->timeout_s)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_COMM, "rank %d waited %.0f s for %s: another rank is stuck or gone",
                  c->rank, waited, what);
}

lrl_status lrl_comm_wait(struct lrl_comm *c, MPI_Request *request, const char *what) {
  struct lrl_wait w = {0};
  int done = 0;
  for (;;) {
    LRL_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
    if (done)
      return LRL_OK;
    LRL_TRY(lrl_comm_pause(c, &w, what));
  }
}

/* ---- collectives ---- */

lrl_status lrl_comm_sum_f64(struct lrl_comm *c, double *x, int64_t n) {
  if (alone(c))
    return LRL_OK;
  const int64_t most = SCRATCH / c->size;
  for (int64_t at = 0; at < n; at += most) {
    const int64_t m = n - at < most ? n - at : most;
    MPI_Request request;
    LRL_MPI(MPI_Iallgather(x + at, (int)m, MPI_DOUBLE, c->scratch, (int)m, MPI_DOUBLE, c->mpi,
                           &request));
    LRL_TRY(lrl_comm_wait(c, &request, "a sum over ranks"));
    for (int64_t i = 0; i < m; i++) {
      double sum = c->scratch[i];
      for (int r = 1; r < c->size; r++)
        sum += c->scratch[r * m + i];
      x[at + i] = sum;
    }
  }
  return LRL_OK;
}

lrl_status lrl_comm_broadcast(struct lrl_comm *c, void *data, size_t bytes, int root) {
  if (alone(c))
    return LRL_OK;
  for (size_t at = 0; at < bytes; at += LRL_COMM_BUCKET) {
    size_t n = bytes - at < LRL_COMM_BUCKET ? bytes - at : LRL_COMM_BUCKET;
    MPI_Request request;
    LRL_MPI(MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, c->mpi, &request));
    LRL_TRY(lrl_comm_wait(c, &request, "a broadcast"));
  }
  return LRL_OK;
}

lrl_status lrl_comm_agree(struct lrl_comm *c, lrl_status mine) {
  if (alone(c))
    return mine;
  int first = mine == LRL_OK ? c->size : c->rank;
  MPI_Request request;
  LRL_MPI(MPI_Iallreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, c->mpi, &request));
  LRL_TRY(lrl_comm_wait(c, &request, "the other ranks' results"));
  if (first == c->size)
    return LRL_OK;
  struct {
    lrl_status status;
    char text[2048];
  } failure = {.status = mine};
  snprintf(failure.text, sizeof failure.text, "%s", lrl_last_error());
  LRL_TRY(lrl_comm_broadcast(c, &failure, sizeof failure, first));
  if (first == c->rank)
    return mine;
  lrl_error_clear();
  return LRL_FAIL(failure.status, "%s", failure.text);
}
