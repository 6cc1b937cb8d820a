/* AdamW over parameter units with global-norm clipping, on one rank or several (ZeRO stages 0, 1,
 * 2).
 *
 * A training step is: for each micro-batch, lrl_optimizer_attach, forward, lrl_backward; then
 * lrl_optimizer_step. Gradients are summed over ranks, not averaged: losses are already divided by
 * the step's pair count over all ranks. A rank with nothing to do makes the same calls (at least
 * one attach with last_micro_batch and the step) and takes part with zeros. */
#ifndef LRL_OPTIMIZER_H
#define LRL_OPTIMIZER_H
#include "model/tape.h"
#include "train/shard.h"

struct lrl_optimizer_options {
  double beta1, beta2, eps, weight_decay;
  double max_grad_norm; /* 0: no clipping */
  int zero_stage;       /* 0, 1 or 2; changes memory and traffic only */
  bool host_sums;       /* sums over ranks go through the host even where devices can sum */
};
/* Points into itself: it stays where it was initialised. */
struct lrl_optimizer {
  struct lrl_optimizer_options options;
  struct lrl_ctx *ctx;
  struct lrl_param_set *params;
  struct lrl_comm *comm;
  struct lrl_shard shard;
  float *m[LRL_MAX_UNITS], *v[LRL_MAX_UNITS];
  double *squares;              /* by place in the shard's order: sums of squares of slices */
  float *master[LRL_MAX_UNITS]; /* f32 weights; the unit's own data when that is f32 */
  int64_t step;                 /* updates made */
};
struct lrl_optimizer_stats {
  double grad_norm; /* before clipping, over all ranks */
  bool skipped;     /* the norm was not finite: nothing was changed */
};

/* State of every trainable unit, zeroed, from `arena`. comm NULL: one rank. */
lrl_status lrl_optimizer_init(struct lrl_optimizer *o, const struct lrl_optimizer_options *options,
                              struct lrl_ctx *ctx, struct lrl_param_set *params,
                              struct lrl_comm *comm, struct lrl_arena *arena);
/* Before the forward of each training micro-batch: sets the tape's hooks, so that gradients are
 * reduced while the backward still runs. last_micro_batch: the next call is lrl_optimizer_step. */
void lrl_optimizer_attach(struct lrl_optimizer *o, struct lrl_tape *tape, bool last_micro_batch);
/* One update from the units' gradients, which are zeroed afterwards (also when skipped). Clipping
 * as torch clip_grad_norm_: g *= min(1, max_grad_norm / (norm + 1e-6)). */
lrl_status lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                              struct lrl_optimizer_stats *stats);
/* Elements [*lo, *hi) of a trainable unit whose state `rank` holds: all of them in stage 0. This
 * rank's m, v and master start at its *lo. */
void lrl_optimizer_range(const struct lrl_optimizer *o, int unit, int rank, int64_t *lo,
                         int64_t *hi);
/* State lives in the arena; this releases what does not. Zeroed or failed o is fine. */
void lrl_optimizer_destroy(struct lrl_optimizer *o);
#endif
