/* The ranks of a run and what they do together. Started by mpirun or srun a process is one of
 * several ranks over MPI; started alone it is the only one and MPI is not touched. Every call but
 * rank, size and abort is collective: all ranks make the same calls in the same order, from one
 * thread.
 *
 * No call waits for ever: a wait of more than timeout_s, or for a peer that is gone, fails with
 * LRL_ERR_COMM and a sentence. The job cannot go on then: print it and call lrl_comm_abort. Waiting
 * gives the core away, so more ranks than cores work. */
#ifndef LRL_COMM_H
#define LRL_COMM_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_comm;

struct lrl_comm_options {
  double timeout_s; /* of one wait; 0: 1800 */
  bool no_shared;   /* behave as if every rank ran on a host of its own; for tests */
};
/* Several may exist, made and destroyed in the same order on every rank; MPI is finalised with the
 * last and cannot be started again. Errors: MPI fails, or srun started tasks that MPI does not
 * know of. */
lrl_status lrl_comm_create(struct lrl_comm **out);
lrl_status lrl_comm_create_with(const struct lrl_comm_options *options, struct lrl_comm **out);
/* For plans (train/plan_run.h): rank 0 of `size` ranks that do not exist. Collectives return at
 * once and change nothing. */
lrl_status lrl_comm_create_planned(int size, struct lrl_comm **out);
/* After the last use, on all ranks; NULL is fine. After a failure of this rank alone the others
 * never arrive here: use lrl_comm_abort. */
void lrl_comm_destroy(struct lrl_comm *c);

/* NULL counts as the only rank here and in every call below. */
int lrl_comm_rank(const struct lrl_comm *c);
int lrl_comm_size(const struct lrl_comm *c);

/* Whether all ranks run on one host and can map each other's memory. */
bool lrl_comm_shares_memory(const struct lrl_comm *c);

/* x[n] summed over ranks, in place: added in rank order, so that every rank and every run gets the
 * same bits. For statistics; gradients go through train/shard.h. */
lrl_status lrl_comm_sum_f64(struct lrl_comm *c, double *x, int64_t n);
/* Copies root's `bytes` bytes to all. */
lrl_status lrl_comm_broadcast(struct lrl_comm *c, void *data, size_t bytes, int root);
/* LRL_OK when it is LRL_OK on all ranks; otherwise every rank gets the status and the message of
 * the lowest rank that failed. Who prints it is the caller's business: usually rank 0. */
lrl_status lrl_comm_agree(struct lrl_comm *c, lrl_status mine);
/* Ends this process and all its peers; mpirun then exits with exit_code. Does not return. */
__attribute__((noreturn)) void lrl_comm_abort(struct lrl_comm *c, int exit_code);

#ifdef __cplusplus
}
#endif
#endif
