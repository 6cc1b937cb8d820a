/* Gradients of parameter units over ranks, and who keeps what (ZeRO).
 *
 * Every trainable unit is cut into one slice a rank. Going back, a unit's gradient is complete when
 * the tape says so; then each rank sums its own slice over all ranks, in rank order. Units are
 * handled in one order on all ranks, the reverse of the forward order, whatever a rank's batch
 * holds: a unit that a rank did not use, and every unit of a rank without work, counts as complete
 * at the end of the backward. So no batch can make ranks wait for each other in different places.
 *
 *   stage 0  the sums go back to all ranks: everyone has the whole gradient and updates everything
 *   stage 1  a rank keeps the sum of its slice, updates it, and parameters are gathered
 *   stage 2  as 1, but whole gradients exist for two units at a time, from the first use in the
 *            backward until they are summed; slices add up over micro-batches
 *
 * Where every rank has a device of its own and the devices can sum, gradients stay there
 * (shard_device.c). Else, where all ranks share a host, gradients live in memory that all of them
 * map and are summed in place (shard_local.c); otherwise they travel in MPI calls of at most 1 MiB
 * that run beside the backward (shard_mpi.c). There is no thread: work is done when a unit
 * completes and while waiting. With one rank nothing here does anything. */
#ifndef LRL_SHARD_H
#define LRL_SHARD_H
#include "model/tape.h"
#include "train/comm.h"
#include "train/window.h"

struct lrl_shard {
  struct lrl_ctx *ctx;
  struct lrl_param_set *params;
  struct lrl_comm *comm;
  int stage; /* 0 with one rank */
  int n;     /* trainable units; a unit's place in the order goes from 0 to n - 1 */
  int unit_at[LRL_MAX_UNITS], place_of[LRL_MAX_UNITS];
  float *slice[LRL_MAX_UNITS]; /* by place: the sum of this rank's slice, see lrl_shard_finish */
  struct lrl_unit_hooks hooks;

  /* A round is one pass over all places: a step in stages 0 and 1, a micro-batch in stage 2. */
  bool open;
  int64_t rounds; /* of this step, before the one under way */
  int ready;      /* places complete on this rank, without a gap */
  bool complete[LRL_MAX_UNITS], used[LRL_MAX_UNITS];

  struct lrl_shard_local *local; /* one of these with several ranks */
  struct lrl_shard_mpi *mpi;
  struct lrl_shard_device *device;
};

/* Makes the gradients of the trainable units (zeros) and points unit->grad at them; from `arena`
 * unless they are shared. Collective. stage 0, 1 or 2; host_sums: through the host even where the
 * devices can sum; comm NULL: one rank. Errors: two ranks use one device that sums. */
lrl_status lrl_shard_init(struct lrl_shard *s, int stage, bool host_sums, struct lrl_ctx *ctx,
                          struct lrl_param_set *params, struct lrl_comm *comm,
                          struct lrl_arena *arena);
void lrl_shard_destroy(struct lrl_shard *s); /* zeroed is fine */

/* Elements [*lo, *hi) of a unit that are rank r's slice; may be empty. */
void lrl_shard_range(const struct lrl_shard *s, int unit, int rank, int64_t *lo, int64_t *hi);
/* Before the forward of each micro-batch; sets the tape's hooks (and its status on failure). */
void lrl_shard_attach(struct lrl_shard *s, struct lrl_tape *tape, bool last_micro_batch);
/* Once a step, after the last backward. Then slice[place] is the sum of this rank's slice over all
 * ranks and micro-batches; in stage 0 unit->grad is the sum as a whole. */
lrl_status lrl_shard_finish(struct lrl_shard *s);
/* Optional before the next: this rank's slice of the unit at `place` has its new value, so that its
 * way to the other ranks can begin. */
lrl_status lrl_shard_updated(struct lrl_shard *s, int place);
/* Stages 1 and 2: every rank's slice of unit->data to all ranks. Overwrites the gradients. On
 * devices the slices travel beside what follows: see lrl_param_ready. */
lrl_status lrl_shard_gather(struct lrl_shard *s);
/* Ends the step: gradients are zero again, or will be once a unit's parameters have arrived. */
lrl_status lrl_shard_clear(struct lrl_shard *s);
#endif
