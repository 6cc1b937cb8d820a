/* Tokenizer: SentencePiece below, the added-token layer of the official (Hugging Face, slow)
 * tokenizer above. A tokenizer does not change after opening and may be used from several threads.
 */
#ifndef LRL_DATA_TOKENIZER_H
#define LRL_DATA_TOKENIZER_H
#include "kernels/status.h"

struct lrl_tokenizer;

/* A growable list of token ids; start from {0}. */
struct lrl_ids {
  int32_t *data;
  int64_t n, cap;
};
lrl_status lrl_ids_push(struct lrl_ids *ids, int32_t id);
lrl_status lrl_ids_append(struct lrl_ids *ids, const int32_t *from, int64_t n);
/* Appends n copies of one id. */
lrl_status lrl_ids_fill(struct lrl_ids *ids, int32_t id, int64_t n);
void lrl_ids_free(struct lrl_ids *ids);

struct lrl_tokenizer_options {
  /* Whitespace left and right of <s>, </s>, <unk> in a text is dropped, as transformers before 4.34
   * did (the released reward model was trained with 4.33.2). */
  bool strip_around_special;
  /* <|im_start|>, <|im_end|>, <|action_start|>, <|action_end|>, <|interpreter|>, <|plugin|> in a
   * text become [UNUSED_TOKEN_146], 145, 144, 143, 142, 141. */
  bool aliases;
};

/* Special ids are found by piece; -1 where the model has no such piece. pad is eos without a pad
 * piece. */
struct lrl_tokenizer_info {
  int32_t n_vocab, unk, bos, eos, pad;
  int32_t im_start; /* [UNUSED_TOKEN_146], opens a turn */
  int32_t im_end;   /* [UNUSED_TOKEN_145], closes a turn */
  int32_t reward;   /* [UNUSED_TOKEN_130], the token the score is read at */
  struct lrl_tokenizer_options options;
};

/* Opens a SentencePiece model file with both options off. LRL_ERR_IO or LRL_ERR_FORMAT name the
 * file. Free with lrl_tokenizer_close. */
lrl_status lrl_tokenizer_open(const char *path, struct lrl_tokenizer **out);
lrl_status lrl_tokenizer_open_with(const char *path, const struct lrl_tokenizer_options *options,
                                   struct lrl_tokenizer **out);
/* As above from memory (the bytes are copied); `name` is used in messages; options may be NULL. */
lrl_status lrl_tokenizer_open_bytes(const void *bytes, size_t size, const char *name,
                                    const struct lrl_tokenizer_options *options,
                                    struct lrl_tokenizer **out);
void lrl_tokenizer_close(struct lrl_tokenizer *t); /* NULL is fine */

/* Valid as long as the tokenizer. */
const struct lrl_tokenizer_info *lrl_tokenizer_info(const struct lrl_tokenizer *t);
/* The model file's bytes, for embedding in checkpoints; valid as long as the tokenizer. */
const void *lrl_tokenizer_model_bytes(const struct lrl_tokenizer *t, size_t *size);
/* Id of exactly this piece, -1 when absent. */
int32_t lrl_tokenizer_find(const struct lrl_tokenizer *t, const char *piece);

/* Appends the ids of `len` bytes of text. <s>, </s>, <unk> (and the aliases) are split out first,
 * the parts between go through SentencePiece separately. U+0000 may occur. add_bos puts bos in
 * front; LRL_ERR_ARG when the model has no bos. */
lrl_status lrl_tokenizer_encode(const struct lrl_tokenizer *t, const char *text, int64_t len,
                                bool add_bos, struct lrl_ids *out);
/* Plain SentencePiece ids: special tokens in the text are ordinary text. */
lrl_status lrl_tokenizer_encode_plain(const struct lrl_tokenizer *t, const char *text, int64_t len,
                                      struct lrl_ids *out);

enum lrl_decode {
  LRL_DECODE_EXACT,           /* text of the ids, special pieces by name; inverse of encoding */
  LRL_DECODE_HF,              /* official decode(): blank before specials, " ." -> "." and so on */
  LRL_DECODE_HF_SKIP_SPECIAL, /* official decode(skip_special_tokens=True) */
};
/* Text of n ids, malloc'ed, zero-terminated; free() it. LRL_ERR_ARG for an id outside the
 * vocabulary. */
lrl_status lrl_tokenizer_decode(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                char **out);
/* As above with the mode and the length in bytes (the text may hold U+0000). */
lrl_status lrl_tokenizer_decode_as(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                   enum lrl_decode mode, char **out, int64_t *len);

/* Trains a small BPE model with the official model's settings (identity normaliser, no dummy
 * prefix, byte fallback, digits split) and the user-defined pieces [UNUSED_TOKEN_130] and 141..146,
 * and writes it to out_path. Deterministic. n_vocab counts everything, so at least 3 + 256 + 7 +
 * the alphabet; a corpus with too few distinct merges gives fewer pieces. LRL_ERR_ARG when it
 * cannot be met. */
lrl_status lrl_tokenizer_train(const char *const *texts, int64_t n, int32_t n_vocab,
                               const char *out_path);
#endif
