/* The loader: a thread that decodes the next micro-batches while the model works on this one. What
 * a step holds is set by lrl_order; rank r of R takes its pairs r, r + R, r + 2R, ... and cuts them
 * into micro-batches of at most max_tokens packed tokens. */
#ifndef LRL_DATA_LOADER_H
#define LRL_DATA_LOADER_H
#include "data/batch.h"
#include "data/order.h"

struct lrl_loader_options {
  struct lrl_order_options order;
  int64_t rank, n_ranks;
  int64_t first_step; /* where to go on after a resume */
  int64_t n_steps;    /* steps to deliver; 0 = one pass in sequential order, endless in others */
  int64_t max_tokens; /* of a micro-batch; a larger pair stands alone; 0 = no limit */
  bool share_prefix;  /* a prompt with two children; false repeats the prompt, for comparisons */
  bool answers_only;  /* of a pair only prompt and chosen, as one sequence */
  bool withhold_images;
  /* [pairs of the corpus] or NULL: summed over a whole step as batch.weight_step, for losses that
   * are divided by more than the number of pairs. */
  const int32_t *weight;
  int32_t prefetch;                   /* micro-batches held ready, at least 1 */
  const struct lrl_image_ops *images; /* must be usable from the loader's thread */
};

struct lrl_loader;
/* Starts the thread. The corpus and options->images must outlive the loader. */
lrl_status lrl_loader_create(const struct lrl_corpus *c, const struct lrl_loader_options *options,
                             struct lrl_loader **out);
/* Stops the thread and frees every batch; NULL is fine. */
void lrl_loader_destroy(struct lrl_loader *l);
/* The next micro-batch, in order of (step, micro); the one before is given back. *out = NULL after
 * the last step. Each step gives every rank at least one micro-batch, of 0 pairs where there is
 * nothing for it. A failure in the thread is returned here, after the batches before it. */
lrl_status lrl_loader_next(struct lrl_loader *l, const struct lrl_batch **out);
/* Whole steps of an epoch, see lrl_order_epoch_steps. */
int64_t lrl_loader_epoch_steps(const struct lrl_loader *l);
#endif
