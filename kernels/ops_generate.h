/* Argument structs of the ops of text generation; part of kernels/ops.h, which says the common
 * rules. None has a backward. */
#ifndef LRL_OPS_GENERATE_H
#define LRL_OPS_GENERATE_H
#include "kernels/kv_page.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Puts keys and values of new tokens into the pages of a cache (kernels/kv_page.h): token t goes to
 * slot[t] = page * LRL_KV_PAGE + place in the page, -1 is skipped; slots are distinct and a
 * sequence fills its pages in order. k, v [t, n_kv_heads, d] dense; k_pages, v_pages [n_pages,
 * n_kv_heads, lrl_kv_head_size(d)]. */
struct lrl_kv_write_args {
  int64_t n_tokens, n_kv_heads, head_dim, n_pages;
  lrl_dtype dtype;
  const int32_t *slot;
  const void *k, *v;
  void *k_pages, *v_pages;
};
/* o = softmax(scale * q k^T) v per head over cached keys: token t sees the first used[i] slots of
 * page[i], i in [page_start[t], page_start[t+1]), in that order; without pages its row is 0. Heads
 * as attention_fwd; q, o [t, n_heads, d] dense. The bits of a row depend on its own q and keys
 * only; on the cpu they are those that attention_fwd gives when its key blocks hold the same tokens
 * as the pages: own tokens start a new page where a sequence continues a parent. */
struct lrl_attention_decode_args {
  int64_t n_tokens, n_heads, n_kv_heads, head_dim, n_pages;
  lrl_dtype dtype;
  float scale;
  const int32_t *page_start;  /* [n_tokens + 1] */
  const int32_t *page, *used; /* [page_start[n_tokens]]; used is 1..LRL_KV_PAGE */
  const void *q, *k_pages, *v_pages;
  void *o;
};

/* Draws a token from each row of logits, processed as Hugging Face's generate does, in its order:
 *  1. repetition penalty: a logit x of every id of the row's `seen` list becomes x < 0 ? x*penalty
 * : x/penalty, once however often it is listed (-1, an image token, is skipped);
 *  2. division by temperature; 0 is greedy: the largest logit, the lowest id of equal ones, and the
 *     rest does not apply;
 *  3. top_k > 0 keeps every logit >= the k-th largest, ties included;
 *  4. top_p < 1 drops the least probable ids while the probability dropped is <= 1 - top_p; one
 *     always stays, and of equal ids the higher go first.
 * token[t] is the first id at which the probability of the kept ids up to it exceeds uniform[t], in
 * [0, 1); logprobs[t] is its log-probability among the kept, 0 when greedy. probs [t, v] receives
 * the distribution drawn from when not NULL. A row with NaN, +infinity or nothing finite gives
 * token -1 and logprob NaN. Softmax in f32 with the maximum subtracted, sums in f64. */
struct lrl_sample_args {
  int64_t n_tokens, n_vocab;
  const float *logits;              /* [t, v] */
  const int32_t *seen_start, *seen; /* [t + 1], [seen_start[t]]; both NULL: no penalty */
  const double *uniform;            /* [t] */
  double temperature, top_p, repetition_penalty;
  int64_t top_k;
  int32_t *token;
  float *logprobs, *probs;
};

#ifdef __cplusplus
}
#endif
#endif
