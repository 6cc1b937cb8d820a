/* Inside of sharding: what the three ways to move gradients offer to shard.c. */
#ifndef LRL_SHARD_IMPL_H
#define LRL_SHARD_IMPL_H
#include "train/comm_impl.h"
#include "train/shard.h"

static inline struct lrl_param_unit *lrl_shard_unit(const struct lrl_shard *s, int place) {
  return &s->params->units[s->unit_at[place]];
}
static inline void lrl_shard_own(const struct lrl_shard *s, int place, int64_t *lo, int64_t *hi) {
  lrl_shard_range(s, s->unit_at[place], lrl_comm_rank(s->comm), lo, hi);
}

/* Elements of the largest slice of a place, rank 0's; all but the last ones are of this size. */
int64_t lrl_shard_chunk(const struct lrl_shard *s, int place);
/* Where the whole gradients of all units go in one run of floats: one behind the other, or, in
 * stage 2, by turns at the start and at the end of room for the largest two neighbours; on
 * devices with room for slices of equal size. Returns the size of the run. */
int64_t lrl_shard_layout(const struct lrl_shard *s, int64_t at[LRL_MAX_UNITS]);

/* Init points unit->grad and s->slice. Advance does what can be done without waiting; consumed is
 * the number of places of this round whose gradients nobody needs any more. */
lrl_status lrl_shard_local_init(struct lrl_shard *s);
void lrl_shard_local_destroy(struct lrl_shard *s);
lrl_status lrl_shard_local_advance(struct lrl_shard *s);
int lrl_shard_local_consumed(const struct lrl_shard *s, int *slowest_rank);
void lrl_shard_local_close(struct lrl_shard *s); /* the round is over everywhere */
lrl_status lrl_shard_local_gather(struct lrl_shard *s);

lrl_status lrl_shard_mpi_init(struct lrl_shard *s, struct lrl_arena *arena);
void lrl_shard_mpi_destroy(struct lrl_shard *s);
lrl_status lrl_shard_mpi_advance(struct lrl_shard *s);
int lrl_shard_mpi_consumed(const struct lrl_shard *s);
bool lrl_shard_mpi_idle(const struct lrl_shard *s); /* all sums of the round have arrived */
void lrl_shard_mpi_close(struct lrl_shard *s);
/* Every rank's slice of `data` (elements of `width` bytes of the unit at `place`) to all. */
lrl_status lrl_shard_mpi_gather(struct lrl_shard *s, int place, void *data, int64_t width);

lrl_status lrl_shard_device_init(struct lrl_shard *s, struct lrl_arena *arena);
void lrl_shard_device_destroy(struct lrl_shard *s);
lrl_status lrl_shard_device_advance(struct lrl_shard *s);
/* Ops called from now on find the sums of the first `places` places, which are queued. */
lrl_status lrl_shard_device_wait(struct lrl_shard *s, int places);
void lrl_shard_device_close(struct lrl_shard *s);
/* Queues the gather of a unit; then those of the rest. */
lrl_status lrl_shard_device_send(struct lrl_shard *s, int place);
lrl_status lrl_shard_device_gather(struct lrl_shard *s);
#endif
