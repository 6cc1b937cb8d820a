/* Inside of train/comm.c, for the files that move gradients and checkpoints. */
#ifndef LRL_COMM_IMPL_H
#define LRL_COMM_IMPL_H
#include "train/comm.h"

#include <mpi.h>

/* Bytes of one MPI call; larger ones are slow (CPU 6). */
#define LRL_COMM_BUCKET ((size_t)1 << 20)

/* One wait, in turns: check, then pause. Starts zeroed. A pause spins, then yields, then sleeps a
 * little; it fails when the limit is over or a peer is gone. `what` completes the sentence "rank 1
 * waited 1800 s for ...". */
struct lrl_wait {
  int64_t turns;
  double start; /* seconds */
};

struct lrl_comm {
  int rank, size;
  MPI_Comm mpi; /* a duplicate of MPI_COMM_WORLD; MPI_COMM_NULL for one rank */
  double timeout_s;
  bool shared; /* all ranks run on one host and can map each other's memory */
  int *pids;   /* [size] process ids of the ranks when shared, else NULL */
  double *scratch;
  bool planned;                /* stands for ranks that do not exist: nothing is sent */
  struct lrl_wait device_wait; /* the wait for the device under way (train/shard_device.c) */
  /* Asked in every pause, when set: whether the devices' collectives still work. */
  lrl_status (*poll)(void *user);
  void *poll_user;
};

/* Records an MPI failure of `call`. */
lrl_status lrl_comm_failed(int code, const char *call);
#define LRL_MPI(call)                                                                              \
  do {                                                                                             \
    int lrl_mpi_code_ = (call);                                                                    \
    if (lrl_mpi_code_ != MPI_SUCCESS)                                                              \
      return lrl_comm_failed(lrl_mpi_code_, #call);                                                \
  } while (0)

lrl_status lrl_comm_pause(struct lrl_comm *c, struct lrl_wait *w, const char *what);
lrl_status lrl_comm_wait(struct lrl_comm *c, MPI_Request *request, const char *what);
#endif
