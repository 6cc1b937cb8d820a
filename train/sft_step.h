/* One micro-batch of the language loss, and sums over tokens. */
#ifndef LRL_SFT_STEP_H
#define LRL_SFT_STEP_H
#include "data/corpus.h"
#include "train/feed.h"

enum lrl_sft_field {
  LRL_SFT_CHATS,
  LRL_SFT_TARGETS,   /* tokens with a loss */
  LRL_SFT_LOSS,      /* - sum of their log-probs, nats */
  LRL_SFT_TOKENS,    /* packed tokens computed */
  LRL_SFT_NONFINITE, /* chats whose loss is not finite; they are in no other sum but this */
  LRL_SFT_SET_ASIDE, /* chats dropped while loading, e.g. for a damaged image */
  LRL_SFT_N
};

struct lrl_sft_objective {
  const struct lrl_tokenizer *tokenizer;
  enum lrl_chat_template form; /* says which tokens are targets, see lrl_chat_targets */
  double weight;               /* factor of each token's loss: 1 / targets of the step */
  uint64_t seed;               /* of dropout */
};

/* Targets of chat i of a corpus: the tokens that bear a loss. */
lrl_status lrl_sft_count(const struct lrl_tokenizer *t, enum lrl_chat_template form,
                         const struct lrl_corpus *c, int64_t i, int32_t *n);

/* Cross-entropy of the targets in a batch of answers, position t predicting t + 1; only rows that
 * predict a target reach the vocabulary, and its logits exist in chunks. Adds to sums[source] (a
 * row of LRL_SFT_N; by_source false: one row). When the tape is to record, adds the gradient of
 * weight * sum(loss); the sums are then of the whole batch. The caller resets the arena.
 * on_nonfinite is told each chat (its index in the corpus) whose loss is not finite; may be NULL.
 */
lrl_status lrl_sft_micro_batch(struct lrl_tape *tape, struct lrl_vlm *model,
                               const struct lrl_batch *b, const struct lrl_sft_objective *o,
                               double *sums, bool by_source,
                               void (*on_nonfinite)(void *user, int64_t chat), void *user);
#endif
