#include "kernels/plan_scratch.h"

#include "kernels/plan.h"

static void take(struct lrl_plan_need *need, int64_t n, int64_t size) {
  if (need->status == LRL_OK && lrl_arena_alloc(&need->ctx->scratch, (size_t)(n * size)) == NULL)
    need->status = LRL_ERR_MEMORY;
}
/* An operand; most lie in arenas, which a device reaches. In parts that repeat, what is read from
 * the host has a place of its own (kernels/cuda/graph.cu), and nothing is written there. */
static void stage(struct lrl_plan_need *need, const void *p, int64_t n, int64_t size) {
  if (p != NULL && n > 0 && !need->ctx->repeated && !lrl_plan_reachable(p))
    take(need, n, size);
}
#define WORK(type, n) take(need, n, (int64_t)sizeof(type))
#define STAGE(p, n) stage(need, p, n, (int64_t)sizeof *(p))
static void layout(struct lrl_plan_need *need, const struct lrl_layout *l) {
  WORK(int32_t, 3 * l->n_seqs);
}
static int64_t pieces(int64_t n, int64_t of) { return (n + of - 1) / of; }
/* Blocks of a backward of norms: two for each multiprocessor. */
static int64_t norm_blocks(const struct lrl_plan_need *need, int64_t rows) {
  const int64_t most = 2 * (int64_t)lrl_plan_of(need->ctx)->machine.n_sm;
  return rows < most ? rows : most;
}

#define SCRATCH(op)                                                                                \
  void lrl_##op##_scratch(struct lrl_plan_need *need, const struct lrl_##op##_args *a)
/* All operands of these are in arenas wherever the program calls them. */
#define NONE(op)                                                                                   \
  SCRATCH(op) {                                                                                    \
    (void)need;                                                                                    \
    (void)a;                                                                                       \
  }
NONE(gemm)
NONE(gelu_fwd)
NONE(gelu_bwd)
NONE(swiglu_fwd)
NONE(swiglu_bwd)
NONE(add)
NONE(scale)
NONE(ema)
NONE(cast)
NONE(rms_norm_fwd)
NONE(layer_norm_fwd)
NONE(vit_embed_fwd)
NONE(vit_embed_bwd)
NONE(head_fwd)
NONE(head_bwd)
NONE(adamw)

/* ---- index lists and pixels, which come from the loader ---- */

static void groups(struct lrl_plan_need *need, int64_t n) {
  WORK(int32_t, n);
  WORK(int32_t, n + 1);
}
SCRATCH(embedding_fwd) {
  if (a->n_tokens > 0 && a->width > 0)
    STAGE(a->ids, a->n_tokens);
}
SCRATCH(embedding_bwd) {
  if (a->n_tokens == 0 || a->width == 0)
    return;
  STAGE(a->ids, a->n_tokens);
  groups(need, a->n_tokens);
}
SCRATCH(gather_rows) {
  if (a->n > 0 && a->width > 0)
    STAGE(a->index, a->n);
}
SCRATCH(scatter_rows) {
  if (a->n == 0 || a->width == 0)
    return;
  STAGE(a->index, a->n);
  if (a->beta != 0.0f)
    groups(need, a->n);
}
SCRATCH(dropout) { STAGE(a->row_key, a->n_tokens); }
static int64_t patch_elements(int64_t n, int64_t channels, int64_t size, int64_t patch) {
  return n * channels * (size / patch * patch) * (size / patch * patch);
}
SCRATCH(patch_embed_fwd) {
  STAGE(a->pixels, a->n * a->channels * a->size * a->size);
  take(need, patch_elements(a->n, a->channels, a->size, a->patch), lrl_dtype_bytes(a->dtype));
}
SCRATCH(patch_embed_bwd) {
  const int64_t n = patch_elements(a->n, a->channels, a->size, a->patch);
  if (a->d_weight != NULL) {
    STAGE(a->pixels, a->n * a->channels * a->size * a->size);
    take(need, n, lrl_dtype_bytes(a->dtype));
  }
  if (a->d_pixels != NULL) {
    STAGE(a->d_pixels, a->n * a->channels * a->size * a->size);
    WORK(float, n);
  }
}
static void rope(struct lrl_plan_need *need, const int32_t *positions, int64_t n) {
  if (n > 0)
    STAGE(positions, n);
}
SCRATCH(rope_qkv_fwd) { rope(need, a->positions, a->n_tokens); }
SCRATCH(rope_qkv_bwd) { rope(need, a->positions, a->n_tokens); }
SCRATCH(kv_write) { STAGE(a->slot, a->n_tokens); }
SCRATCH(attention_decode) {
  if (a->n_tokens * a->n_heads * a->head_dim == 0)
    return;
  STAGE(a->page_start, a->n_tokens + 1);
  STAGE(a->page, a->page_start[a->n_tokens]);
  STAGE(a->used, a->page_start[a->n_tokens]);
  /* Tokens of more than 4 pages are split, and then there is room for the parts of all. */
  enum { SPLIT = 4 };
  bool split = false;
  for (int64_t t = 0; t < a->n_tokens; t++)
    split = split || a->page_start[t + 1] - a->page_start[t] > SPLIT;
  const int64_t parts = lrl_kv_room(a->page_start[a->n_tokens] / SPLIT + a->n_tokens);
  if (!split)
    return;
  WORK(float, parts * a->n_heads * a->head_dim);
  WORK(float, 2 * parts * a->n_heads);
}
SCRATCH(cross_entropy) {
  STAGE(a->target, a->n_tokens);
  STAGE(a->weight, a->n_tokens);
  STAGE(a->loss, a->n_tokens);
}
SCRATCH(logprob_fwd) { STAGE(a->target, a->n_tokens); }
SCRATCH(logprob_bwd) { STAGE(a->target, a->n_tokens); }
SCRATCH(sample) {
  if (a->n_tokens == 0)
    return;
  STAGE(a->seen_start, a->n_tokens + 1);
  if (a->seen_start != NULL)
    STAGE(a->seen, a->seen_start[a->n_tokens]);
  STAGE(a->uniform, a->n_tokens);
  WORK(float, a->n_tokens * a->n_vocab);
  STAGE(a->token, a->n_tokens);
  STAGE(a->logprobs, a->n_tokens);
  STAGE(a->probs, a->n_tokens * a->n_vocab);
}

/* ---- attention: whose token each row is; in bf16 with heads of 64 or 128 a list of tiles ---- */

/* Whether the matrix units' kernels take it. Arenas and rows of such heads are aligned. */
static bool flash(lrl_dtype t, int64_t d, const int64_t ld[4]) {
  bool aligned = true;
  for (int i = 0; i < 4; i++)
    aligned = aligned && ld[i] % 8 == 0;
  return t == LRL_BF16 && (d == 64 || d == 128) && aligned;
}
static void tiles(struct lrl_plan_need *need, const struct lrl_layout *l) {
  int64_t n = 0;
  for (int64_t s = 0; s < l->n_seqs; s++)
    n += pieces(l->length[s], 64);
  WORK(int32_t, 2 * n);
}
SCRATCH(attention_fwd) {
  if (a->layout->n_tokens == 0 || a->n_heads * a->head_dim == 0)
    return;
  WORK(int32_t, a->layout->n_tokens);
  layout(need, a->layout);
  if (flash(a->dtype, a->head_dim, (const int64_t[4]){a->ld_q, a->ld_k, a->ld_v, a->ld_o}))
    tiles(need, a->layout);
}
SCRATCH(attention_bwd) {
  if (a->layout->n_tokens == 0 || a->n_heads * a->head_dim == 0)
    return;
  WORK(float, a->n_heads * a->layout->n_tokens);
  WORK(int32_t, a->layout->n_tokens);
  layout(need, a->layout);
  if (flash(a->dtype, a->head_dim, (const int64_t[4]){a->ld_q, a->ld_k, a->ld_v, a->ld_o}))
    tiles(need, a->layout);
}

/* ---- sums over rows, in parts ---- */

SCRATCH(rms_norm_bwd) {
  if (a->n_tokens > 0 && a->d_weight != NULL)
    WORK(float, norm_blocks(need, a->n_tokens) * a->width);
}
SCRATCH(layer_norm_bwd) {
  for (int i = 0; i < 2 && a->n_tokens > 0; i++)
    WORK(float, norm_blocks(need, a->n_tokens) * a->width);
}
SCRATCH(colsum) { WORK(float, pieces(a->n_tokens, 256) * a->width); }
SCRATCH(mean_pool_fwd) {
  layout(need, a->layout);
  STAGE(a->seq, a->n);
}
SCRATCH(mean_pool_bwd) {
  layout(need, a->layout);
  STAGE(a->seq, a->n);
}
SCRATCH(sumsq) {
  WORK(double, pieces(a->n, 8192));
  STAGE(a->out, 1);
}
SCRATCH(moments) {
  STAGE(a->mask, a->n);
  STAGE(a->x, a->n);
  STAGE(a->y, a->n);
  WORK(struct lrl_moments, pieces(a->n, 16384));
  STAGE(a->out, 1);
}
SCRATCH(whiten) {
  STAGE(a->mask, a->n);
  STAGE(a->x, a->n);
  STAGE(a->out, a->n);
}

/* ---- losses ---- */

SCRATCH(bradley_terry) { STAGE(a->margin, a->n); }
SCRATCH(approx_kl) {
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  layout(need, a->layout);
  STAGE(a->mask, n);
  STAGE(a->logprobs, n);
  STAGE(a->ref_logprobs, n);
  STAGE(a->seq_weight, seqs);
  STAGE(a->kl, n);
  if (a->seq_weight != NULL)
    STAGE(a->d_logprobs, n);
  WORK(double, seqs);
  STAGE(a->loss, 1);
}
SCRATCH(ppo_policy) {
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  layout(need, a->layout);
  STAGE(a->mask, n);
  STAGE(a->logprobs, n);
  STAGE(a->old_logprobs, n);
  STAGE(a->advantages, n);
  STAGE(a->entropy, n);
  STAGE(a->seq_weight, seqs);
  STAGE(a->d_logprobs, n);
  STAGE(a->d_entropy, n);
  WORK(struct lrl_ppo_policy_stats, seqs);
  STAGE(a->stats, 1);
}
SCRATCH(ppo_value) {
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  layout(need, a->layout);
  STAGE(a->mask, n);
  STAGE(a->values, n);
  if (a->cliprange > 0.0)
    STAGE(a->old_values, n);
  STAGE(a->returns, n);
  STAGE(a->seq_weight, seqs);
  STAGE(a->d_values, n);
  WORK(struct lrl_ppo_value_stats, seqs);
  STAGE(a->stats, 1);
}
SCRATCH(gae) {
  const int64_t n = a->layout->n_tokens;
  if (a->layout->n_seqs == 0)
    return;
  layout(need, a->layout);
  STAGE(a->mask, n);
  STAGE(a->rewards, n);
  STAGE(a->values, n);
  STAGE(a->advantages, n);
  STAGE(a->returns, n);
}
