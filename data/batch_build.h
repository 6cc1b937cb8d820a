/* Puts pairs and chats together to a struct lrl_batch. The arrays grow and are reused, so a builder
 * that is reset and filled again allocates nothing once it has seen the largest batch. */
#ifndef LRL_BATCH_BUILD_H
#define LRL_BATCH_BUILD_H
#include "data/batch.h"
#include "data/bytes.h"
#include "data/corpus.h"

struct lrl_batch_builder {
  struct lrl_batch batch;             /* complete after lrl_batch_builder_finish */
  const struct lrl_image_ops *images; /* NULL: pairs with images are set aside */
  bool share_prefix;                  /* false: each answer is a sequence with the prompt in it */
  bool answers_only;                  /* of a pair only prompt and chosen, as one sequence */
  bool withhold_images;               /* leave image tokens and tiles out (control experiments) */
  struct lrl_buffer buffer[20];       /* storage of the arrays of batch */
  struct lrl_buffer tile_of;          /* scratch: first tile of each image of one pair */
  char reason[200];
  int64_t chat_tokens; /* of the last chat added, before the cut to max_length */
};

/* Empty; the two switches and `images` are set by the caller. */
void lrl_batch_builder_init(struct lrl_batch_builder *b, const struct lrl_image_ops *images);
void lrl_batch_builder_free(struct lrl_batch_builder *b);
void lrl_batch_builder_reset(struct lrl_batch_builder *b);

/* What a batch may come to hold. */
struct lrl_batch_bounds {
  int64_t n_tokens, n_pairs, n_images, n_tiles; /* as in struct lrl_batch */
};
/* The bounds of every batch of at most max_pairs pairs of c in this builder, and of at most
 * max_tokens packed tokens unless it has one pair only (0: no limit, and then no bound of tiles:
 * n_tiles is 0). Looks at every pair. */
struct lrl_batch_bounds lrl_batch_builder_bounds(const struct lrl_batch_builder *b,
                                                 const struct lrl_corpus *c, int64_t max_pairs,
                                                 int64_t max_tokens);
/* Makes room for it, so that adding allocates nothing. LRL_ERR_MEMORY, LRL_ERR_SHAPE. */
lrl_status lrl_batch_builder_reserve(struct lrl_batch_builder *b,
                                     const struct lrl_batch_bounds *bounds);

/* Adds pair i. When one of its images cannot be decoded the pair is left out, n_set_aside counted
 * and the reason kept. LRL_ERR_MEMORY, LRL_ERR_SHAPE (more than 2^31 - 1 tokens), LRL_ERR_ARG (the
 * corpus was packed with another image geometry). */
lrl_status lrl_batch_builder_add_pair(struct lrl_batch_builder *b, const struct lrl_corpus *c,
                                      int64_t i);
/* Adds one conversation as a sequence without a parent; its score is read at last_row. Image paths
 * count from image_root. Unlike above every problem is an error: LRL_ERR_IO, LRL_ERR_FORMAT. */
lrl_status lrl_batch_builder_add_chat(struct lrl_batch_builder *b, const struct lrl_tokenizer *t,
                                      const struct lrl_chat_options *options,
                                      const struct lrl_message *messages, int64_t n_messages,
                                      const char *const *image_paths, int64_t n_images,
                                      const char *image_root);
/* Adds a sequence of ids; image tokens in it are known to the caller alone. */
lrl_status lrl_batch_builder_add_ids(struct lrl_batch_builder *b, const int32_t *ids, int64_t n);
/* Adds <s> and the text as it is, without a template; there are no images in it. */
lrl_status lrl_batch_builder_add_text(struct lrl_batch_builder *b, const struct lrl_tokenizer *t,
                                      const char *text);
/* Sets the pointers of b->batch; they hold until the next add or reset. */
void lrl_batch_builder_finish(struct lrl_batch_builder *b);

/* Packed tokens pair i would take in this builder. */
int64_t lrl_batch_pair_cost(const struct lrl_batch_builder *b, const struct lrl_corpus *c,
                            int64_t i);
#endif
