/* AdamW over parameter units, with global-norm clipping; one rank. */
#ifndef LRL_OPTIMIZER_H
#define LRL_OPTIMIZER_H
#include "kernels/backend.h"
#include "model/param.h"

struct lrl_optimizer_options {
  double beta1, beta2, eps, weight_decay;
  double max_grad_norm; /* 0: no clipping */
};
struct lrl_optimizer {
  struct lrl_optimizer_options options;
  struct lrl_ctx *ctx;
  struct lrl_param_set *params;
  float *m[LRL_MAX_UNITS], *v[LRL_MAX_UNITS];
  float *master[LRL_MAX_UNITS]; /* f32 weights; the unit's own data when that is f32 */
  int64_t step;                 /* updates made */
};
struct lrl_optimizer_stats {
  double grad_norm; /* before clipping */
  bool skipped;     /* the norm was not finite: nothing was changed */
};

/* State of every trainable unit, zeroed, from `arena`. */
lrl_status lrl_optimizer_init(struct lrl_optimizer *o, const struct lrl_optimizer_options *options,
                              struct lrl_ctx *ctx, struct lrl_param_set *params,
                              struct lrl_arena *arena);
/* One update from the units' gradients, which are zeroed afterwards (also when skipped). Clipping
 * as torch clip_grad_norm_: g *= min(1, max_grad_norm / (norm + 1e-6)). */
lrl_status lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                              struct lrl_optimizer_stats *stats);
#endif
