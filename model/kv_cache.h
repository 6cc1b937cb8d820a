/* A paged key/value cache. Pages (kernels/kv_page.h) of all layers come from one pool; a sequence
 * is a list of pages, each with the number of its slots that are filled.
 *
 * Samples of one prompt share the prompt's pages by reference, its last, partly filled one too:
 * what continues a shared sequence starts a page of its own. So nothing is ever copied, and the
 * pages of a prompt and its answer hold the same tokens as the key blocks of a packed layout in
 * which the answer is a child of the prompt: decoding gives the bits of a training forward pass.
 *
 * Keys are kept rotated as they were when they were written. Under dynamic NTK, past the trained
 * length, that is what the original does while it decodes (SPEC 10.7), and differs from one pass
 * over the whole sequence, which rotates all keys by its final length. */
#ifndef LRL_KV_CACHE_H
#define LRL_KV_CACHE_H
#include "model/decoder.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_kv_cache {
  int64_t n_layers, n_kv_heads, head_dim, n_pages;
  lrl_dtype dtype;
  char *k, *v; /* [layer][page][kv head][lrl_kv_head_size] */
  int32_t *refs, *free;
  int64_t n_free;
};
/* Bytes of a page over all layers, keys and values. */
int64_t lrl_kv_page_bytes(const struct lrl_decoder_config *c, lrl_dtype dtype);
/* n_pages from `arena`, whose memory they stay: there is nothing to free. */
lrl_status lrl_kv_cache_init(struct lrl_kv_cache *cache, const struct lrl_decoder_config *c,
                             lrl_dtype dtype, int64_t n_pages, struct lrl_arena *arena);

/* A sequence's part of the cache; page and used are the owner's, max_pages long. */
struct lrl_kv_seq {
  int32_t *page, *used;
  int64_t max_pages, n_pages, length; /* length: tokens */
  bool sealed;                        /* the last page takes no more tokens */
};
/* Pages that `length` tokens behind a sealed sequence need. */
static inline int64_t lrl_kv_pages_for(int64_t length) {
  return (length + LRL_KV_PAGE - 1) / LRL_KV_PAGE;
}
/* `child` (empty, with its own list) continues `parent`, which is sealed. */
lrl_status lrl_kv_fork(struct lrl_kv_cache *cache, struct lrl_kv_seq *parent,
                       struct lrl_kv_seq *child);
/* Gives the pages back; those shared live on in the other sequences. The sequence is empty then. */
void lrl_kv_release(struct lrl_kv_cache *cache, struct lrl_kv_seq *seq);

/* What a forward pass writes to the cache and what it attends to; made by lrl_kv_pass. */
struct lrl_kv_step {
  const struct lrl_kv_cache *cache;
  const int32_t *slot;                     /* [n_tokens] */
  const int32_t *page_start, *page, *used; /* see lrl_attention_decode_args; NULL: prefill */
};
struct lrl_kv_view lrl_kv_layer(const struct lrl_kv_step *step, int64_t layer);

/* Appends n_new[i] tokens to seq[i] and fills in->layout and in->kv for the pass that computes them
 * (memory of the tape); the caller adds ids and images, packed in the same order. Sequences that
 * were all empty are prefilled: they attend by the layout, in large tiles. Otherwise every token
 * attends to the cache. Errors: the cache or a sequence's list is full. */
lrl_status lrl_kv_pass(struct lrl_tape *tape, struct lrl_kv_cache *cache,
                       struct lrl_kv_seq *const *seq, int64_t n_seqs, const int32_t *n_new,
                       struct lrl_decoder_input *in);

#ifdef __cplusplus
}
#endif
#endif
