#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* scale * q . key of the token in a slot of a page's head. */
static double score(const struct lrl_attention_decode_args *a, int64_t q, int64_t head,
                    int64_t slot) {
  double sum = 0.0;
  for (int64_t i = 0; i < a->head_dim; i++)
    sum += lrl_ref_load(a->dtype, a->q, q + i) *
           lrl_ref_load(a->dtype, a->k_pages, head + lrl_kv_key_at(a->dtype, a->head_dim, slot, i));
  return (double)a->scale * sum;
}

static void decode_row(const struct lrl_attention_decode_args *a, int64_t t, int64_t h,
                       double *acc) {
  const int64_t d = a->head_dim, kv = h / (a->n_heads / a->n_kv_heads);
  const int64_t q = (t * a->n_heads + h) * d, size = lrl_kv_head_size(d);
  double max = -INFINITY, sum = 0.0;
  for (int64_t p = a->page_start[t]; p < a->page_start[t + 1]; p++)
    for (int64_t s = 0; s < a->used[p]; s++)
      max = fmax(max, score(a, q, (a->page[p] * a->n_kv_heads + kv) * size, s));
  memset(acc, 0, (size_t)d * sizeof *acc);
  for (int64_t p = a->page_start[t]; p < a->page_start[t + 1]; p++) {
    const int64_t head = (a->page[p] * a->n_kv_heads + kv) * size;
    for (int64_t s = 0; s < a->used[p]; s++) {
      const double w = exp(score(a, q, head, s) - max);
      sum += w;
      for (int64_t i = 0; i < d; i++)
        acc[i] += w * lrl_ref_load(a->dtype, a->v_pages, head + lrl_kv_value_at(a->dtype, s, i));
    }
  }
  for (int64_t i = 0; i < d; i++)
    lrl_ref_store(a->dtype, a->o, q + i,
                  a->page_start[t] < a->page_start[t + 1] ? acc[i] / sum : 0.0);
}

lrl_status REF_FN(attention_decode)(struct lrl_ctx *ctx,
                                    const struct lrl_attention_decode_args *a) {
  double *acc = lrl_arena_alloc(&ctx->scratch, (size_t)a->head_dim * sizeof *acc);
  if (acc == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t h = 0; h < a->n_heads; h++)
      decode_row(a, t, h, acc);
  return LRL_OK;
}
