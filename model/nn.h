/* Differentiable operations on a tape: each runs the backend op and records its backward. All
 * return a new activation (never NULL; check tape->status once). Shapes as in kernels/ops.h. */
#ifndef LRL_NN_H
#define LRL_NN_H
#include "model/tape.h"
#ifdef __cplusplus
extern "C" {
#endif

/* y = x W^T + b.  x [t,in], W [out,in], b [1,out] or NULL. */
struct lrl_tensor *lrl_nn_linear(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w,
                                 struct lrl_tensor *b);
/* The outputs of n <= 3 linears of the same x side by side in one [t, sum of outs] tensor; one GEMM
 * when the weights (and biases) lie next to each other. b NULL or n biases. */
struct lrl_tensor *lrl_nn_linears(struct lrl_tape *tape, struct lrl_tensor *x, int n,
                                  struct lrl_tensor *const *w, struct lrl_tensor *const *b);
/* Adds scale * B(A(dropout(x[rows]))) in place to columns [col, col + B.rows) of y[rows] (Partial
 * LoRA, SPEC 1.5; LoRA when rows lists every row). */
struct lrl_lora_rows {
  const int32_t *index; /* [n], rows of x and y, distinct; NULL: all n rows */
  int64_t n;
  float scale, dropout;
  uint64_t seed;           /* of the dropout */
  const uint64_t *row_key; /* [n], see lrl_dropout_args; NULL when dropout is 0 */
};
void lrl_nn_lora_add(struct lrl_tape *tape, struct lrl_tensor *y, int64_t col, struct lrl_tensor *x,
                     struct lrl_tensor *a, struct lrl_tensor *b, const struct lrl_lora_rows *rows);

struct lrl_tensor *lrl_nn_embedding(struct lrl_tape *tape, struct lrl_tensor *table,
                                    const int32_t *ids, int64_t n, int32_t padding_idx);
/* out[i] = x[index[i]] (zero row at -1), width x->cols; and rows of `width` cols when the caller
 * wants to see x as [rows*cols/width, width]. */
struct lrl_tensor *lrl_nn_gather(struct lrl_tape *tape, struct lrl_tensor *x, const int32_t *index,
                                 int64_t n);
/* Overwrites y[index[i]] = x[i] in place; the overwritten rows pass no gradient to y's producer. */
void lrl_nn_splice(struct lrl_tape *tape, struct lrl_tensor *y, struct lrl_tensor *x,
                   const int32_t *index, int64_t n);
/* The same memory seen as [rows, cols] with rows*cols unchanged. */
struct lrl_tensor *lrl_nn_reshape(struct lrl_tape *tape, struct lrl_tensor *x, int64_t rows,
                                  int64_t cols);

/* y = norm(x + residual) * w; *sum receives x + residual (== x when residual is NULL). */
struct lrl_tensor *lrl_nn_rms_norm(struct lrl_tape *tape, struct lrl_tensor *x,
                                   struct lrl_tensor *residual, struct lrl_tensor *w, float eps,
                                   struct lrl_tensor **sum);
struct lrl_tensor *lrl_nn_layer_norm(struct lrl_tape *tape, struct lrl_tensor *x,
                                     struct lrl_tensor *w, struct lrl_tensor *b, float eps);
struct lrl_tensor *lrl_nn_add(struct lrl_tape *tape, struct lrl_tensor *a, struct lrl_tensor *b);
struct lrl_tensor *lrl_nn_gelu(struct lrl_tape *tape, struct lrl_tensor *x,
                               enum lrl_gelu_kind kind);
/* gate_up [t, 2f] -> [t, f]. */
struct lrl_tensor *lrl_nn_swiglu(struct lrl_tape *tape, struct lrl_tensor *gate_up);

/* One layer of a key/value cache, and what the tokens of a forward pass have to do with it
 * (model/kv_cache.h). page_start, page and used as in lrl_attention_decode_args. */
struct lrl_kv_view {
  int64_t n_pages;
  void *k_pages, *v_pages;
  const int32_t *slot;                     /* [t]: where each token's key and value go */
  const int32_t *page_start, *page, *used; /* NULL: the tokens attend by the layout alone */
};
struct lrl_attention_shape {
  const struct lrl_layout *layout;
  int64_t n_heads, n_kv_heads, head_dim;
  bool causal;
  const struct lrl_kv_view *kv; /* NULL: no cache; else for lrl_nn_rope_attention, no gradients */
};
/* Rotary tables and the row of each token in them (model/rope.h). */
struct lrl_rope {
  int64_t n_positions;
  const float *cos, *sin;   /* [n_positions, head_dim/2] */
  const int32_t *positions; /* [t] */
};
/* InternLM2's packed projection -> rotated q, k, v -> attention -> [t, n_heads*head_dim]. */
struct lrl_tensor *lrl_nn_rope_attention(struct lrl_tape *tape, struct lrl_tensor *qkv,
                                         const struct lrl_rope *rope,
                                         const struct lrl_attention_shape *shape);
/* qkv [t, 3w] as q | k | v -> [t, w] (CLIP). */
struct lrl_tensor *lrl_nn_attention(struct lrl_tape *tape, struct lrl_tensor *qkv,
                                    const struct lrl_attention_shape *shape);

/* Patch embedding: pixels f32 [n, channels, size, size] (caller-owned, and read again by the
 * backward; d_pixels overwritten when not NULL), weight [w, channels*patch*patch] -> [n * (1 +
 * n_patches), w] with class token and positions. */
struct lrl_tensor *lrl_nn_patch_embed(struct lrl_tape *tape, const float *pixels, float *d_pixels,
                                      int64_t n, int64_t channels, int64_t size, int64_t patch,
                                      struct lrl_tensor *weight, struct lrl_tensor *cls,
                                      struct lrl_tensor *pos);

/* f32 scores [n, 1] = x w. */
struct lrl_tensor *lrl_nn_head(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w);
struct lrl_tensor *lrl_nn_mean_pool(struct lrl_tape *tape, struct lrl_tensor *x,
                                    const struct lrl_layout *layout, const int32_t *seq, int64_t n);

/* Cross-entropy of x W^T against targets (-100: ignored), in chunks of rows so that the logits of
 * the whole batch never exist. Returns weight*loss of each row, f32 [x->rows]; the gradients of x
 * and W are made at once with the factor `weight`, so backward costs nothing more. */
const float *lrl_nn_linear_cross_entropy(struct lrl_tape *tape, struct lrl_tensor *x,
                                         struct lrl_tensor *w, const int32_t *target, float weight);

/* f32 log-probabilities [t, 1] of target[t] (-100: 0, no gradient) under softmax(x W^T /
 * temperature), and with `entropy` not NULL the entropies of those distributions [t, 1]; see
 * lrl_logprob_fwd_args. In chunks of rows, recomputed going back: 8 t h V flops in all. A row's
 * bits do not depend on the other rows, so that rollout and training agree exactly. `target` must
 * live until the tape has gone back. */
struct lrl_tensor *lrl_nn_linear_logprob(struct lrl_tape *tape, struct lrl_tensor *x,
                                         struct lrl_tensor *w, const int32_t *target,
                                         float temperature, struct lrl_tensor **entropy);

#ifdef __cplusplus
}
#endif
#endif
