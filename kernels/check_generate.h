/* Checks of the ops of kernels/ops_generate.h; only kernels/check.c includes it. */
#ifndef LRL_CHECK_GENERATE_H
#define LRL_CHECK_GENERATE_H
#include "kernels/check.h"

static lrl_status check_kv_write(const struct lrl_kv_write_args *a) {
  const int64_t n = a->n_tokens * a->n_kv_heads * a->head_dim;
  SIZES("kv_write", a->n_tokens, a->n_kv_heads, a->head_dim);
  SIZES("kv_write", a->n_pages, 0, 0);
  LRL_TRY(lrl_check_dtype("kv_write", a->dtype));
  NEED("kv_write", n, a->slot, a->k, a->v, a->k_pages, a->v_pages);
  return lrl_check_ids("kv_write", a->slot, n > 0 ? a->n_tokens : 0, -1, a->n_pages * LRL_KV_PAGE);
}

static lrl_status check_attention_decode(const struct lrl_attention_decode_args *a) {
  const char *op = "attention_decode";
  const int64_t n = a->n_tokens * a->n_heads * a->head_dim;
  LRL_TRY(lrl_check_heads(op, a->n_tokens, a->n_heads, a->n_kv_heads, a->head_dim));
  SIZES(op, a->n_pages, 0, 0);
  LRL_TRY(lrl_check_dtype(op, a->dtype));
  NEED(op, n, a->page_start, a->q, a->o);
  if (n == 0)
    return LRL_OK;
  if (a->page_start[0] != 0)
    return LRL_FAIL(LRL_ERR_ARG, "op %s: the page lists start at %d, not at 0", op,
                    a->page_start[0]);
  for (int64_t t = 0; t < a->n_tokens; t++)
    if (a->page_start[t + 1] < a->page_start[t])
      return LRL_FAIL(LRL_ERR_ARG, "op %s: token %lld has a negative number of pages", op,
                      (long long)t);
  const int64_t listed = a->page_start[a->n_tokens];
  NEED(op, listed, a->page, a->used, a->k_pages, a->v_pages);
  LRL_TRY(lrl_check_ids(op, a->page, listed, 0, a->n_pages));
  return lrl_check_ids(op, a->used, listed, 1, LRL_KV_PAGE + 1);
}

static lrl_status check_sample(const struct lrl_sample_args *a) {
  SIZES("sample", a->n_tokens, a->n_vocab, 0);
  NEED("sample", a->n_tokens, a->token, a->logprobs, a->uniform);
  NEED("sample", a->n_tokens * a->n_vocab, a->logits);
  if (!(a->temperature >= 0.0))
    return LRL_FAIL(LRL_ERR_ARG, "op sample: the temperature is %g, it may not be negative",
                    a->temperature);
  if (!(a->top_p >= 0.0 && a->top_p <= 1.0))
    return LRL_FAIL(LRL_ERR_ARG, "op sample: top_p is %g, allowed is [0, 1]", a->top_p);
  if (a->top_k < 0)
    return LRL_FAIL(LRL_ERR_ARG, "op sample: top_k is %lld, it may not be negative",
                    (long long)a->top_k);
  if (!(a->repetition_penalty > 0.0))
    return LRL_FAIL(LRL_ERR_ARG, "op sample: the repetition penalty is %g, it must be above 0",
                    a->repetition_penalty);
  for (int64_t t = 0; t < a->n_tokens; t++)
    if (!(a->uniform[t] >= 0.0 && a->uniform[t] < 1.0))
      return LRL_FAIL(LRL_ERR_ARG, "op sample: the uniform number %g is outside [0, 1)",
                      a->uniform[t]);
  if (a->seen_start == NULL || a->n_tokens == 0)
    return LRL_OK;
  for (int64_t t = 0; t < a->n_tokens; t++)
    if (a->seen_start[t + 1] < a->seen_start[t])
      return LRL_FAIL(LRL_ERR_ARG, "op sample: row %lld has a negative number of seen ids",
                      (long long)t);
  const int64_t n = a->seen_start[a->n_tokens] - a->seen_start[0];
  NEED("sample", n, a->seen);
  return lrl_check_ids("sample", a->seen + a->seen_start[0], n, -1, a->n_vocab);
}

#endif
