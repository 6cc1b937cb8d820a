/* C face of libsentencepiece (C++). Everything above this file is C; no exception crosses it.
 * Encoding and decoding are safe from several threads at once on one model. */
#ifndef LRL_DATA_SPM_H
#define LRL_DATA_SPM_H
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lrl_spm;

/* Checks that `bytes` is a well-formed model file (protobuf framing and the normaliser's trie,
 * which the library itself follows without bounds checks). `name` is used in messages.
 * LRL_ERR_FORMAT. */
lrl_status lrl_spm_check(const void *bytes, size_t size, const char *name);

/* Loads a serialised model after lrl_spm_check. The bytes are not kept. Free with lrl_spm_close. */
lrl_status lrl_spm_open(const void *bytes, size_t size, const char *name, struct lrl_spm **out);
void lrl_spm_close(struct lrl_spm *s); /* NULL is fine */

int32_t lrl_spm_size(const struct lrl_spm *s); /* number of pieces */
/* Ids of the control pieces, -1 where the model has none. */
int32_t lrl_spm_unk(const struct lrl_spm *s);
int32_t lrl_spm_bos(const struct lrl_spm *s);
int32_t lrl_spm_eos(const struct lrl_spm *s);
int32_t lrl_spm_pad(const struct lrl_spm *s);
/* Id of exactly this piece, -1 when the model does not have it. */
int32_t lrl_spm_find(const struct lrl_spm *s, const char *piece);
/* Text of a piece, valid as long as the model. LRL_ERR_ARG when the id is out of range. */
lrl_status lrl_spm_piece(const struct lrl_spm *s, int32_t id, const char **piece);

/* Receives the ids of one encoding. */
typedef lrl_status lrl_spm_sink(void *user, const int32_t *ids, int64_t n);
/* Plain SentencePiece encoding of len bytes (U+0000 allowed; malformed UTF-8 becomes U+FFFD). */
lrl_status lrl_spm_encode(const struct lrl_spm *s, const char *text, int64_t len,
                          lrl_spm_sink *sink, void *user);
/* Plain decoding. *out is malloc'ed, zero-terminated, *len bytes. LRL_ERR_ARG for an id out of
 * range. */
lrl_status lrl_spm_decode(const struct lrl_spm *s, const int32_t *ids, int64_t n, char **out,
                          int64_t *len);

/* Trains a BPE model: identity normaliser, no dummy prefix, byte fallback, digits split, one
 * thread. `symbols` = user-defined pieces separated by commas. *out is malloc'ed, *size bytes. */
lrl_status lrl_spm_train(const char *const *sentences, int64_t n, int32_t n_vocab,
                         const char *symbols, char **out, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
