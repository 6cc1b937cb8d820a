/* Loss aggregation over sequences and tokens. A loss is sum_s seq_weight[s] * sum of l[t] over the
 * live tokens of s; the weights hold the mode and the counts of the whole optimizer step, so that
 * the gradient does not depend on how the step is cut into micro-batches and ranks. Names are
 * verl's. */
#ifndef LRL_LOSS_WEIGHT_H
#define LRL_LOSS_WEIGHT_H
#include "kernels/layout.h"

enum lrl_loss_agg {
  LRL_AGG_TOKEN_MEAN = 0,              /* 1 / tokens */
  LRL_AGG_SEQ_MEAN_TOKEN_SUM = 1,      /* 1 / seqs */
  LRL_AGG_SEQ_MEAN_TOKEN_MEAN = 2,     /* 1 / (seqs * live tokens of s) */
  LRL_AGG_SEQ_MEAN_TOKEN_SUM_NORM = 3, /* 1 / norm_length, a constant: Dr.GRPO */
};
/* Live tokens, and sequences with at least one: plain sums, so counts of micro-batches and ranks
 * add up (lrl_comm_sum_f64 takes the struct as 2 numbers). */
struct lrl_loss_count {
  double tokens, seqs;
};
/* Adds the counts of a layout. mask u8 [n_tokens] or NULL (all live), as in kernels/ops_rl.h. */
void lrl_loss_count_add(struct lrl_loss_count *count, const struct lrl_layout *layout,
                        const uint8_t *mask);
/* seq_weight [n_seqs], 0 for a sequence without a live token. `step` counts the whole optimizer
 * step; norm_length is used by the last mode only. */
void lrl_loss_weights(enum lrl_loss_agg mode, const struct lrl_layout *layout, const uint8_t *mask,
                      const struct lrl_loss_count *step, double norm_length, float *seq_weight);
#endif
