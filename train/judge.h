/* Chats in, reward scores out: renders each with the reward model's own template, suffix and image
 * geometry, packs them and scores them together. A score does not depend on what else is scored. */
#ifndef LRL_JUDGE_H
#define LRL_JUDGE_H
#include "data/batch_build.h"
#include "train/reward_model.h"

struct lrl_judge {
  struct lrl_saved_model *model;
  struct lrl_image_ops images;
  struct lrl_batch_builder batch; /* the chats added so far */
  struct lrl_chat_options chat;
  struct lrl_buffer seen; /* struct lrl_image_rows of the chats added by lrl_judge_add_seen */
  int64_t n_seen;
};
struct lrl_judge_options {
  bool training_geometry; /* of images; else inference (SPEC 3) */
  int64_t hd_num;         /* 0: as the model was trained */
  int64_t max_length;     /* longer chats are cut on the right; 0: no limit */
};

/* How the judge cuts images; the model sees some. */
void lrl_judge_image_options(const struct lrl_saved_model *model,
                             const struct lrl_judge_options *options,
                             struct lrl_image_ops_options *out);
/* The model stays the caller's and outlives the judge. */
lrl_status lrl_judge_init(struct lrl_judge *j, struct lrl_saved_model *model,
                          const struct lrl_judge_options *options);
void lrl_judge_free(struct lrl_judge *j);
/* Adds a chat, its image paths relative to image_root. Errors as lrl_batch_builder_add_chat; the
 * chats added before stay. */
lrl_status lrl_judge_add(struct lrl_judge *j, const struct lrl_message *messages,
                         int64_t n_messages, const char *const *images, int64_t n_images,
                         const char *image_root);
/* Adds a chat whose images somebody has seen already with the reward model's eyes: counts[k] image
 * tokens of image k, all of them in `rows` (see lrl_reward_model_score_seen), which must live until
 * the scores are there. Between two calls of lrl_judge_scores images are either all of this kind or
 * none. */
lrl_status lrl_judge_add_seen(struct lrl_judge *j, const struct lrl_message *messages,
                              int64_t n_messages, const int64_t *counts, int64_t n_images,
                              const void *rows);
static inline int64_t lrl_judge_chats(const struct lrl_judge *j) { return j->batch.batch.n_seqs; }
static inline int64_t lrl_judge_tokens(const struct lrl_judge *j) {
  return j->batch.batch.n_tokens;
}
/* f32 scores of the chats in the order they were added; there are none after it. */
lrl_status lrl_judge_scores(struct lrl_judge *j, float *scores);
#endif
