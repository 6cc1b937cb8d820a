/* From a batch of data/ to the input of the network in model/ (neither knows the other). */
#ifndef LRL_FEED_H
#define LRL_FEED_H
#include "data/batch.h"
#include "model/vlm.h"

struct lrl_feed_options {
  bool dropout; /* training: Partial LoRA drops inputs, keyed by (seed, step, pair, position) */
  uint64_t seed;
};

/* Fills *in with the tokens and images of b; scores are the caller's to set. Everything lives in
 * the tape's step memory or in b. An image that stands in several sequences is encoded once.
 * LRL_ERR_SHAPE when the batch's tiles are not those of the model's tower. */
lrl_status lrl_feed(struct lrl_tape *tape, const struct lrl_vlm *model, const struct lrl_batch *b,
                    const struct lrl_feed_options *options, struct lrl_vlm_input *in);
#endif
