/* Scores of a saved reward model (lrl_saved_model_open with kind "reward"). */
#ifndef LRL_REWARD_MODEL_H
#define LRL_REWARD_MODEL_H
#include "data/batch.h"
#include "data/image_ops.h"
#include "train/saved_model.h"

/* f32 scores of the n_seqs sequences of a batch of single chats. */
lrl_status lrl_reward_model_score(struct lrl_saved_model *m, const struct lrl_batch *b,
                                  float *scores);
/* The same for a batch without tiles, whose image tokens were computed before: rows[i] [n_rows[i],
 * hidden] in the model's dtype, one after the other the batch's image tokens. */
struct lrl_image_rows {
  const void *rows;
  int64_t n_rows;
};
lrl_status lrl_reward_model_score_seen(struct lrl_saved_model *m, const struct lrl_batch *b,
                                       const struct lrl_image_rows *images, int64_t n_images,
                                       float *scores);

/* Image options as a run's config gives them. */
struct lrl_image_ops_options lrl_reward_image_options(const struct lrl_model_options *model,
                                                      const struct lrl_data_options *data);
#endif
