#include "kernels/cost.h"

#include <stdlib.h>

static double of(lrl_dtype t, int64_t n) { return (double)n * (double)lrl_dtype_bytes(t); }
static double f32(int64_t n) { return 4.0 * (double)n; }
static struct lrl_cost moves(double bytes) { return (struct lrl_cost){.bytes = bytes}; }
/* n elements of a type, and m 32-bit numbers */
static struct lrl_cost moves_of(lrl_dtype t, int64_t n, int64_t m) {
  return moves(of(t, n) + f32(m));
}
#define COST(op) struct lrl_cost lrl_##op##_cost(const struct lrl_##op##_args *a)

/* ---- products ---- */

COST(gemm) {
  const double c = of(a->c_dtype, a->m * a->n) * (a->beta != 0.0f ? 2 : 1);
  return (struct lrl_cost){2.0 * (double)a->m * (double)a->n * (double)a->k, a->dtype,
                           of(a->dtype, a->m * a->k + a->k * a->n + (a->bias ? a->n : 0)) + c};
}

/* Of a patch embedding: flops of one product, elements of its operands. */
struct patch_work {
  double flops;
  int64_t pixels, weight, out;
};
static struct patch_work patch_work(int64_t n, int64_t channels, int64_t size, int64_t patch,
                                    int64_t width) {
  const int64_t rows = n * (size / patch) * (size / patch), k = channels * patch * patch;
  return (struct patch_work){2.0 * (double)rows * (double)k * (double)width, rows * k, k * width,
                             rows * width};
}
COST(patch_embed_fwd) {
  const struct patch_work w = patch_work(a->n, a->channels, a->size, a->patch, a->width);
  return (struct lrl_cost){w.flops, a->dtype, f32(w.pixels) + of(a->dtype, w.weight + w.out)};
}
COST(patch_embed_bwd) {
  const struct patch_work w = patch_work(a->n, a->channels, a->size, a->patch, a->width);
  struct lrl_cost cost = {0, a->dtype, of(a->dtype, w.out)};
  if (a->d_weight != NULL) {
    cost.flops += w.flops;
    cost.bytes += f32(w.pixels + 2 * w.weight);
  }
  if (a->d_pixels != NULL) {
    cost.flops += w.flops;
    cost.bytes += of(a->dtype, w.weight) + f32(a->n * a->channels * a->size * a->size);
  }
  return cost;
}

double lrl_attention_pairs(const struct lrl_layout *l, bool causal) {
  double pairs = 0;
  for (int64_t s = 0; s < l->n_seqs; s++) {
    const double n = (double)l->length[s];
    const int32_t p = l->parent == NULL ? -1 : l->parent[s];
    pairs += causal ? n * (n + 1) / 2 : n * n;
    pairs += p < 0 ? 0 : n * (double)l->length[p];
  }
  return pairs;
}
/* q k^T and p v */
COST(attention_fwd) {
  const int64_t n = a->layout->n_tokens, h = a->n_heads, kv = a->n_kv_heads;
  return (struct lrl_cost){4.0 * (double)(h * a->head_dim) *
                               lrl_attention_pairs(a->layout, a->causal),
                           a->dtype, of(a->dtype, 2 * n * (h + kv) * a->head_dim) + f32(n * h)};
}
/* q k^T again, d_o v^T, and the sums of dq, dk and dv */
COST(attention_bwd) {
  const int64_t n = a->layout->n_tokens, h = a->n_heads, kv = a->n_kv_heads;
  return (struct lrl_cost){10.0 * (double)(h * a->head_dim) *
                               lrl_attention_pairs(a->layout, a->causal),
                           a->dtype, of(a->dtype, 4 * n * (h + kv) * a->head_dim) + f32(n * h)};
}
/* A page that several tokens see comes from memory once. */
COST(attention_decode) {
  unsigned char *seen = calloc((size_t)a->n_pages + 1, 1);
  int64_t slots = 0, read = 0;
  for (int64_t i = 0; a->n_tokens > 0 && i < a->page_start[a->n_tokens]; i++) {
    slots += a->used[i];
    if (seen == NULL || !seen[a->page[i]])
      read += a->used[i];
    if (seen != NULL)
      seen[a->page[i]] = 1;
  }
  free(seen);
  const int64_t d = a->head_dim;
  return (struct lrl_cost){
      4.0 * (double)(slots * a->n_heads * d), a->dtype,
      of(a->dtype, 2 * a->n_tokens * a->n_heads * d + 2 * read * a->n_kv_heads * d)};
}
COST(head_fwd) {
  return (struct lrl_cost){2.0 * (double)(a->n * a->width), a->dtype,
                           of(a->dtype, (a->n + 1) * a->width) + f32(a->n)};
}
COST(head_bwd) {
  const int64_t w = a->width, n = a->n;
  const int products = (a->dx != NULL) + (a->d_weight != NULL);
  return (struct lrl_cost){2.0 * products * (double)(n * w), a->dtype,
                           of(a->dtype, (a->d_weight ? n * w : 0) + (a->dx ? (n + 1) * w : 0)) +
                               f32(n + (a->d_weight ? 2 * w : 0))};
}

/* ---- rows ---- */

COST(embedding_fwd) { return moves_of(a->dtype, 2 * a->n_tokens * a->width, a->n_tokens); }
COST(embedding_bwd) {
  const int64_t n = a->n_tokens * a->width;
  return a->d_table == NULL ? moves(0) : moves_of(a->dtype, n, 2 * n + a->n_tokens);
}
COST(gather_rows) { return moves_of(a->dtype, (a->beta != 0 ? 3 : 2) * a->n * a->width, a->n); }
COST(scatter_rows) { return moves_of(a->dtype, (a->beta != 0 ? 3 : 2) * a->n * a->width, a->n); }
COST(rms_norm_fwd) {
  const int64_t n = a->n_tokens * a->width;
  return moves_of(a->dtype, (a->residual != NULL ? 4 : 2) * n + a->width, a->n_tokens);
}
COST(rms_norm_bwd) {
  const int64_t n = a->n_tokens * a->width;
  return moves_of(a->dtype, (a->d_sum != NULL ? 4 : 3) * n + a->width,
                  a->n_tokens + (a->d_weight != NULL ? 2 * a->width : 0));
}
COST(layer_norm_fwd) {
  return moves_of(a->dtype, 2 * (a->n_tokens + 1) * a->width, 2 * a->n_tokens);
}
COST(layer_norm_bwd) {
  const int64_t n = a->n_tokens * a->width;
  return moves_of(a->dtype, (a->d_add != NULL ? 4 : 3) * n + a->width,
                  2 * a->n_tokens + (a->d_weight != NULL ? 2 * a->width : 0) +
                      (a->d_bias != NULL ? 2 * a->width : 0));
}
static struct lrl_cost rope(lrl_dtype t, int64_t n, int64_t heads, int64_t d, int64_t positions) {
  return moves_of(t, 2 * n * heads * d, n + positions * d);
}
COST(rope_qkv_fwd) {
  return rope(a->dtype, a->n_tokens, a->n_heads + 2 * a->n_kv_heads, a->head_dim, a->n_positions);
}
COST(rope_qkv_bwd) {
  return rope(a->dtype, a->n_tokens, a->n_heads + 2 * a->n_kv_heads, a->head_dim, a->n_positions);
}
COST(kv_write) {
  return moves_of(a->dtype, 4 * a->n_tokens * a->n_kv_heads * a->head_dim, a->n_tokens);
}
COST(swiglu_fwd) { return moves_of(a->dtype, 3 * a->n_tokens * a->width, 0); }
COST(swiglu_bwd) { return moves_of(a->dtype, 5 * a->n_tokens * a->width, 0); }
COST(gelu_fwd) { return moves_of(a->dtype, 2 * a->n, 0); }
COST(gelu_bwd) { return moves_of(a->dtype, 3 * a->n, 0); }
COST(add) { return moves_of(a->dtype, 3 * a->n, 0); }
COST(colsum) { return moves_of(a->dtype, a->n_tokens * a->width, 2 * a->width); }
COST(dropout) { return moves_of(a->dtype, 2 * a->n_tokens * a->width, 2 * a->n_tokens); }
COST(vit_embed_fwd) {
  const int64_t rows = 1 + a->n_patches;
  return moves_of(a->dtype, (a->n * (a->n_patches + rows) + 1 + rows) * a->width, 0);
}
COST(vit_embed_bwd) {
  const int64_t rows = 1 + a->n_patches;
  return moves_of(a->dtype, a->n * (a->d_patches ? a->n_patches + rows : rows) * a->width,
                  2 * a->width * ((a->d_cls ? 1 : 0) + (a->d_pos ? rows : 0)));
}
COST(mean_pool_fwd) { return moves_of(a->dtype, (a->layout->n_tokens + a->n) * a->width, a->n); }
COST(mean_pool_bwd) { return moves_of(a->dtype, (a->layout->n_tokens + a->n) * a->width, a->n); }

/* ---- the vocabulary ---- */

COST(cross_entropy) {
  const int64_t n = a->n_tokens * a->n_vocab;
  return moves(f32(n + 3 * a->n_tokens) + (a->d_logits != NULL ? of(a->d_dtype, n) : 0));
}
COST(logprob_fwd) { return moves(f32(a->n_tokens * a->n_vocab + 4 * a->n_tokens)); }
COST(logprob_bwd) {
  const int64_t n = a->n_tokens * a->n_vocab;
  return moves(f32(n + 4 * a->n_tokens) + of(a->d_dtype, n));
}
COST(sample) {
  const int64_t n = a->n_tokens * a->n_vocab;
  return moves(f32(n + (a->probs != NULL ? n : 0) + 4 * a->n_tokens));
}

/* ---- losses: arrays of a few tokens or pairs ---- */

static int64_t given(const void *p) { return p != NULL; }
COST(bradley_terry) {
  return moves(f32(a->n * (4 + given(a->margin) + given(a->d_chosen) + given(a->d_rejected))));
}
COST(approx_kl) {
  return moves(f32(a->layout->n_tokens * (2 + given(a->kl) + 2 * given(a->d_logprobs))));
}
COST(ppo_policy) {
  return moves(f32(a->layout->n_tokens *
                   (3 + given(a->entropy) + given(a->d_logprobs) + given(a->d_entropy))));
}
COST(ppo_value) {
  return moves(f32(a->layout->n_tokens * (2 + (a->cliprange > 0 ? 1 : 0) + given(a->d_values))));
}
COST(gae) { return moves(f32(a->layout->n_tokens * (2 + given(a->values) + given(a->returns)))); }
COST(moments) { return moves(f32(a->n * (1 + given(a->y)))); }
COST(whiten) { return moves(f32(2 * a->n)); }

/* ---- the optimizer ---- */

/* gradient, and master and both moments in and out; the rounded copy where there is one */
COST(adamw) {
  return moves(f32(7 * a->n) + (a->param_dtype == LRL_F32 ? 0 : of(a->param_dtype, a->n)));
}
COST(sumsq) { return moves(f32(a->n)); }
COST(scale) { return moves(f32(2 * a->n)); }
COST(ema) { return moves_of(a->dtype, a->n, 2 * a->n); }
COST(cast) { return moves(of(a->from, a->n) + of(a->to, a->n)); }
