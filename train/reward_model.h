/* A trained reward model ready to score: network, tokenizer, image geometry, all from one
 * checkpoint. */
#ifndef LRL_REWARD_MODEL_H
#define LRL_REWARD_MODEL_H
#include "data/batch.h"
#include "data/image_ops.h"
#include "train/reward_config.h"

struct lrl_reward_model {
  struct lrl_reward_config cfg; /* as it was trained; paths in it may no longer exist */
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_tokenizer *tokenizer;
  struct lrl_vlm model;
  struct lrl_ctx ctx;
  struct lrl_arena steps;
};

/* `path`: a checkpoint or a run's folder (lrl_checkpoint_find). device "cpu" or "ref"; threads 0:
 * all. Everything is frozen. Free with lrl_reward_model_close. */
lrl_status lrl_reward_model_open(const char *path, const char *device, int threads,
                                 struct lrl_reward_model **out);
void lrl_reward_model_close(struct lrl_reward_model *m); /* NULL is fine */

/* f32 scores of the n_seqs sequences of a batch of single chats. */
lrl_status lrl_reward_model_score(struct lrl_reward_model *m, const struct lrl_batch *b,
                                  float *scores);
/* The same for a batch without tiles, whose image tokens were computed before: rows[i] [n_rows[i],
 * hidden] in the model's dtype, one after the other the batch's image tokens. */
struct lrl_image_rows {
  const void *rows;
  int64_t n_rows;
};
lrl_status lrl_reward_model_score_seen(struct lrl_reward_model *m, const struct lrl_batch *b,
                                       const struct lrl_image_rows *images, int64_t n_images,
                                       float *scores);

/* Image options as a run's config gives them. */
struct lrl_image_ops_options lrl_reward_image_options(const struct lrl_model_options *model,
                                                      const struct lrl_data_options *data);
#endif
