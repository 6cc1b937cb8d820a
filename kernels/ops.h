/* The op table: everything a device can do. LRL_OPS lists each op once; the list makes the backend
 * tables (kernels/backend.h), the checked public wrappers lrl_<op>() (kernels/check.c) and the rows
 * of tests/unit/test_ops.c, so an op cannot lack a check or a test.
 *
 * Common rules. Operands are caller-owned and may not overlap unless said. Shapes are row-major;
 * ld_* is a row stride in elements. `dtype` (LRL_F32 or LRL_BF16) is the type of activations and
 * weights; f32 accumulation inside (the ref backend: f64). Statistics, losses and gradients of
 * parameters are f32. Gradients of activations have the activation's dtype. `beta` is 0 or 1: with
 * 0 the output is overwritten and never read, with 1 it is accumulated into. Gradients of
 * parameters are always accumulated (+=). A NULL gradient output means "not needed" and costs
 * nothing. Results do not depend on the number of threads; rows of different sequences never
 * influence each other's bits in forward passes (batch invariance). Zero-sized operands are valid.
 */
#ifndef LRL_OPS_H
#define LRL_OPS_H
#include "kernels/dtype.h"
#include "kernels/layout.h"
#include "kernels/ops_generate.h"
#include "kernels/ops_rl.h"
#ifdef __cplusplus
extern "C" {
#endif

/* X(name): struct lrl_<name>_args below (or in kernels/ops_*.h), wrapper lrl_<name>(ctx, &args).
 */
#define LRL_OPS(X)                                                                                 \
  X(gemm)                                                                                          \
  X(embedding_fwd)                                                                                 \
  X(embedding_bwd)                                                                                 \
  X(gather_rows)                                                                                   \
  X(scatter_rows)                                                                                  \
  X(rms_norm_fwd)                                                                                  \
  X(rms_norm_bwd)                                                                                  \
  X(layer_norm_fwd)                                                                                \
  X(layer_norm_bwd)                                                                                \
  X(rope_qkv_fwd)                                                                                  \
  X(rope_qkv_bwd)                                                                                  \
  X(attention_fwd)                                                                                 \
  X(attention_bwd)                                                                                 \
  X(kv_write)                                                                                      \
  X(attention_decode)                                                                              \
  X(sample)                                                                                        \
  X(swiglu_fwd)                                                                                    \
  X(swiglu_bwd)                                                                                    \
  X(gelu_fwd)                                                                                      \
  X(gelu_bwd)                                                                                      \
  X(add)                                                                                           \
  X(colsum)                                                                                        \
  X(dropout)                                                                                       \
  X(patch_embed_fwd)                                                                               \
  X(patch_embed_bwd)                                                                               \
  X(vit_embed_fwd)                                                                                 \
  X(vit_embed_bwd)                                                                                 \
  X(cross_entropy)                                                                                 \
  X(mean_pool_fwd)                                                                                 \
  X(mean_pool_bwd)                                                                                 \
  X(head_fwd)                                                                                      \
  X(head_bwd)                                                                                      \
  X(bradley_terry)                                                                                 \
  X(logprob_fwd)                                                                                   \
  X(logprob_bwd)                                                                                   \
  X(approx_kl)                                                                                     \
  X(ppo_policy)                                                                                    \
  X(ppo_value)                                                                                     \
  X(gae)                                                                                           \
  X(moments)                                                                                       \
  X(whiten)                                                                                        \
  X(adamw)                                                                                         \
  X(sumsq)                                                                                         \
  X(scale)                                                                                         \
  X(ema)                                                                                           \
  X(cast)

/* C = beta*C + op(A) op(B) + bias.  op(A) [m,k], op(B) [k,n], C [m,n], bias [n] or NULL (dtype).
 * trans_a: A is stored [k,m]; trans_b: B is stored [n,k] (a PyTorch weight [out,in] used forward).
 * b_version != 0 says that B is a weight that changes only when its version changes: a backend may
 * keep a re-laid copy keyed by (b, trans_b, sizes) and re-make it when the version differs.
 * Row i of C depends on row i of A, B and bias only, with the same bits for every m. */
struct lrl_gemm_args {
  int64_t m, n, k;
  bool trans_a, trans_b;
  lrl_dtype dtype;   /* of A, B and bias */
  lrl_dtype c_dtype; /* LRL_F32, or LRL_BF16 when dtype is */
  const void *a, *b, *bias;
  int64_t ld_a, ld_b, ld_c;
  void *c;
  float beta;
  uint64_t b_version;
};

/* out[t,:] = table[ids[t],:]; an id of -1 (an image token) gives a zero row. */
struct lrl_embedding_fwd_args {
  int64_t n_tokens, width, n_vocab;
  lrl_dtype dtype;
  const int32_t *ids;
  const void *table;
  void *out;
};
/* d_table[ids[t],:] += d_out[t,:] in order of t; ids of -1 and of padding_idx get nothing
 * (padding_idx -1: none). */
struct lrl_embedding_bwd_args {
  int64_t n_tokens, width, n_vocab;
  lrl_dtype dtype;
  const int32_t *ids;
  int32_t padding_idx;
  const void *d_out;
  float *d_table;
};

/* out[i,:] = x[index[i],:] (+ out when beta 1); index -1 gives a zero row. x has n_x rows. */
struct lrl_gather_rows_args {
  int64_t n, n_x, width;
  lrl_dtype dtype;
  const int32_t *index;
  const void *x;
  void *out;
  float beta;
};
/* out[index[i],:] = x[i,:] (beta 0) or += (beta 1, in order of i); index -1 is skipped; other rows
 * of out stay as they are. With beta 0 indices must be distinct. */
struct lrl_scatter_rows_args {
  int64_t n, n_out, width;
  lrl_dtype dtype;
  const int32_t *index;
  const void *x;
  void *out;
  float beta;
};

/* s = x + residual (rounded to dtype; s = x when residual is NULL);
 * y = weight * cast(s * rstd), rstd = 1/sqrt(mean(s^2) + eps)   (SPEC 1.2: cast, then multiply).
 * sum_out [t,w] receives s when residual is given (may alias x or residual). rstd [t] f32. */
struct lrl_rms_norm_fwd_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  float eps;
  const void *x, *residual, *weight;
  void *sum_out, *y;
  float *rstd;
};
/* dx = rstd*(w*dy - s_hat*mean(w*dy*s_hat)) (+ d_sum, the gradient that arrives at s from
 * elsewhere, may be NULL); s_hat = s*rstd.  d_weight += sum_t dy*s_hat.  dx may alias dy or d_sum.
 */
struct lrl_rms_norm_bwd_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  const void *s, *weight, *dy, *d_sum;
  const float *rstd;
  void *dx;
  float *d_weight;
};

/* y = (x - mean)*rstd*weight + bias, variance biased.  mean, rstd [t] f32. */
struct lrl_layer_norm_fwd_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  float eps;
  const void *x, *weight, *bias;
  void *y;
  float *mean, *rstd;
};
/* dx = rstd*(g - mean(g) - x_hat*mean(g*x_hat)), g = w*dy (+ d_add, may be NULL); d_weight, d_bias
 * += . dx may alias dy or d_add. */
struct lrl_layer_norm_bwd_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  const void *x, *weight, *dy, *d_add;
  const float *mean, *rstd;
  void *dx;
  float *d_weight, *d_bias;
};

/* InternLM2's fused projection, split and rotated (SPEC 1.3, 1.4): qkv [t, hk, g+2, d] with g =
 * hq/hk query heads, then k, then v -> q [t,hq,d], k [t,hk,d], v [t,hk,d]. Half rotation with angle
 * row positions[t]: out[i] = x[i]c[i] - x[i+d/2]s[i], out[i+d/2] = x[i+d/2]c[i] + x[i]s[i]. cos,
 * sin f32 [n_positions, d/2]. */
struct lrl_rope_qkv_fwd_args {
  int64_t n_tokens, n_heads, n_kv_heads, head_dim, n_positions;
  lrl_dtype dtype;
  const int32_t *positions;
  const float *cos, *sin;
  const void *qkv;
  void *q, *k, *v;
};
/* The inverse permutation with the transposed rotation. */
struct lrl_rope_qkv_bwd_args {
  int64_t n_tokens, n_heads, n_kv_heads, head_dim, n_positions;
  lrl_dtype dtype;
  const int32_t *positions;
  const float *cos, *sin;
  const void *dq, *dk, *dv;
  void *dqkv;
};

/* o = softmax(scale * q k^T + mask) v per head; query head h uses kv head h / (n_heads/n_kv_heads).
 * causal: token i of a sequence sees its parent's tokens and tokens 0..i of its own; otherwise the
 * parent's and all of its own. q,o [t, n_heads, d], k,v [t, n_kv_heads, d] with row strides ld_*.
 * lse [n_heads, t] f32, natural log of the softmax denominator (incl. the max). Never materialises
 * S x S. The bits of a sequence depend on its own (and its parent's) tokens only. */
struct lrl_attention_fwd_args {
  const struct lrl_layout *layout;
  int64_t n_heads, n_kv_heads, head_dim;
  lrl_dtype dtype;
  bool causal;
  float scale;
  const void *q, *k, *v;
  int64_t ld_q, ld_k, ld_v, ld_o;
  void *o;
  float *lse;
};
/* Overwrites dq, dk, dv (strides as q, k, v). A parent's dk, dv are summed over its own queries and
 * all of its children's in a fixed order. */
struct lrl_attention_bwd_args {
  const struct lrl_layout *layout;
  int64_t n_heads, n_kv_heads, head_dim;
  lrl_dtype dtype;
  bool causal;
  float scale;
  const void *q, *k, *v, *o, *d_o;
  int64_t ld_q, ld_k, ld_v, ld_o;
  const float *lse;
  void *dq, *dk, *dv;
};

/* y = silu(gate) * up.  gate, up [t, width] with row stride ld_in; y [t, width] dense. */
struct lrl_swiglu_fwd_args {
  int64_t n_tokens, width, ld_in;
  lrl_dtype dtype;
  const void *gate, *up;
  void *y;
};
/* d_gate = dy*up*sig(g)(1+g(1-sig(g))), d_up = dy*silu(g); strides ld_in. */
struct lrl_swiglu_bwd_args {
  int64_t n_tokens, width, ld_in;
  lrl_dtype dtype;
  const void *gate, *up, *dy;
  void *d_gate, *d_up;
};

enum lrl_gelu_kind { LRL_GELU_ERF = 0, LRL_GELU_QUICK = 1 }; /* x*Phi(x); x*sigmoid(1.702x) */
struct lrl_gelu_fwd_args {
  int64_t n;
  enum lrl_gelu_kind kind;
  lrl_dtype dtype;
  const void *x;
  void *y;
};
struct lrl_gelu_bwd_args { /* dx may alias dy */
  int64_t n;
  enum lrl_gelu_kind kind;
  lrl_dtype dtype;
  const void *x, *dy;
  void *dx;
};

/* y = a + b; y may alias a or b. */
struct lrl_add_args {
  int64_t n;
  lrl_dtype dtype;
  const void *a, *b;
  void *y;
};
/* out[n] += sum_t x[t,n], t in a fixed tree that depends on n_tokens only. */
struct lrl_colsum_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  const void *x;
  float *out;
};
/* y[t,:] = keep ? x[t,:]/(1-p) : 0, decided by Philox(seed, LRL_RNG_DROPOUT, row_key[t], column);
 * its own backward (pass dy as x). y may alias x. */
struct lrl_dropout_args {
  int64_t n_tokens, width;
  lrl_dtype dtype;
  float p;
  uint64_t seed;
  const uint64_t *row_key; /* [t]: names the row independently of batch and rank */
  const void *x;
  void *y;
};

/* The convolution that makes patches of images into tokens, stride = kernel = patch (SPEC 2.1):
 * out[(i*g + y)*g + x, o] = sum_{c,u,v} weight[o,c,u,v] * pixels[i, c, y*patch + u, x*patch + v]
 * with g = size/patch; pixels beyond the last whole patch are not read. pixels f32
 * [n, channels, size, size] are rounded to dtype, weight [width, channels*patch*patch], out
 * [n*g*g, width]. weight_version: b_version of gemm. */
struct lrl_patch_embed_fwd_args {
  int64_t n, channels, size, patch, width;
  lrl_dtype dtype;
  const float *pixels;
  const void *weight;
  uint64_t weight_version;
  void *out;
};
/* d_weight += ; d_pixels f32 overwritten, 0 in the border that no patch covers. */
struct lrl_patch_embed_bwd_args {
  int64_t n, channels, size, patch, width;
  lrl_dtype dtype;
  const float *pixels; /* for d_weight */
  const void *weight;  /* for d_pixels */
  uint64_t weight_version;
  const void *d_out;
  float *d_weight, *d_pixels;
};
/* out[i,0,:] = cls + pos[0]; out[i,1+j,:] = patches[i,j,:] + pos[1+j].  out [n, 1+n_patches,
 * width]. */
struct lrl_vit_embed_fwd_args {
  int64_t n, n_patches, width;
  lrl_dtype dtype;
  const void *patches, *cls, *pos;
  void *out;
};
struct lrl_vit_embed_bwd_args {
  int64_t n, n_patches, width;
  lrl_dtype dtype;
  const void *d_out;
  void *d_patches;
  float *d_cls, *d_pos;
};

/* Per row: loss[t] = weight[t] * (lse(logits[t,:]) - logits[t,target[t]]), and, when d_logits is
 * given, d_logits = weight[t] * (softmax - onehot). Rows with target -100 give 0. weight NULL: 1.
 * logits f32 [t, n_vocab]; d_logits (d_dtype) may alias logits when d_dtype is f32. */
struct lrl_cross_entropy_args {
  int64_t n_tokens, n_vocab;
  const float *logits, *weight;
  const int32_t *target;
  float *loss, *lse; /* [t]; lse may be NULL */
  lrl_dtype d_dtype;
  void *d_logits;
};

/* out[i,:] = mean of x over the tokens of sequence seq[i] and of its parent. out in dtype [n,
 * width]. */
struct lrl_mean_pool_fwd_args {
  const struct lrl_layout *layout;
  int64_t n, width;
  lrl_dtype dtype;
  const int32_t *seq;
  const void *x;
  void *out;
};
struct lrl_mean_pool_bwd_args { /* dx [n_tokens, width] overwritten */
  const struct lrl_layout *layout;
  int64_t n, width;
  lrl_dtype dtype;
  const int32_t *seq;
  const void *d_out;
  void *dx;
};

/* score[i] = x[i,:] . weight, f32 (reward and value heads). */
struct lrl_head_fwd_args {
  int64_t n, width;
  lrl_dtype dtype;
  const void *x, *weight;
  float *score;
};
struct lrl_head_bwd_args { /* dx overwritten; d_weight += */
  int64_t n, width;
  lrl_dtype dtype;
  const void *x, *weight;
  const float *d_score;
  void *dx;
  float *d_weight;
};

/* Preference losses on score pairs (SPEC 5.3, FIELD 5), in f64 inside. With D = c - r - margin:
 * ranking: -log sig(D) (stable softplus); focal: (1 - 2 max(0, sig(D) - 1/2))^gamma * -log sig(D),
 * the weight differentiated through. penalty, per score x: L2: x^2;  log-barrier: -(log(x - lo) +
 * log(hi - x)) with x clamped to [lo+eps, hi-eps] for the value; outside the clamp the gradient is
 * that of the nearest inside point (pushes back) when barrier_gradient_outside, else 0 (XTuner).
 * centering: (c + r)^2 (TRL).
 * loss[i] = rank + penalty_weight*(pen(c)+pen(r)) + center_weight*centering; d_* = weight * dloss.
 */
enum lrl_rank_loss { LRL_RANK_LOGSIGMOID = 0, LRL_RANK_FOCAL = 1 };
enum lrl_penalty { LRL_PENALTY_NONE = 0, LRL_PENALTY_L2 = 1, LRL_PENALTY_LOG_BARRIER = 2 };
struct lrl_bradley_terry_args {
  int64_t n;
  enum lrl_rank_loss rank;
  enum lrl_penalty penalty;
  float focal_gamma, penalty_weight, center_weight;
  float barrier_lo, barrier_hi, barrier_eps;
  bool barrier_gradient_outside;
  float weight; /* scales the gradients: 1/pairs of the whole optimizer step */
  const float *chosen, *rejected, *margin; /* [n]; margin may be NULL (0) */
  double *loss;                            /* [n], unscaled */
  float *d_chosen, *d_rejected;            /* [n]; both may be NULL */
};

/* Decoupled weight decay Adam (torch.optim.AdamW), gradients read as grad_scale*g:
 * p *= 1 - lr*wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p -= lr/(1-b1^step) * m / (sqrt(v)/sqrt(1-b2^step) + eps).  step counts from 1.
 * master f32 [n] holds p; `param` (param_dtype) receives the rounded copy; when param_dtype is f32
 * pass param == master. */
struct lrl_adamw_args {
  int64_t n;
  lrl_dtype param_dtype;
  void *param;
  float *master, *m, *v;
  const float *grad;
  double lr, beta1, beta2, eps, weight_decay, grad_scale;
  int64_t step;
};
/* out[0] = sum x^2 in f64 over fixed blocks in a fixed order; NaN or infinite input gives a
 * non-finite result. */
struct lrl_sumsq_args {
  int64_t n;
  const float *x;
  double *out;
};
struct lrl_scale_args { /* x *= alpha */
  int64_t n;
  float *x;
  float alpha;
};
/* y = beta*y + (1 - beta)*x, the moving average of a network's weights (ppo.ema_beta; OpenRLHF's
 * train.ema_beta). x [n] of dtype, y [n] f32, apart; beta within (0, 1): an average begins with
 * lrl_cast. In f64, both products and the sum rounded each by itself and the result once more to
 * f32: every backend gives the same bits, but for those of NaN. Bytes: 8 of y and the size of x an
 * element. */
struct lrl_ema_args {
  int64_t n;
  lrl_dtype dtype; /* of x */
  double beta;
  const void *x;
  float *y;
};
struct lrl_cast_args { /* y = (type) x between f32 and bf16; y may not alias x unless types are
                          equal */
  int64_t n;
  lrl_dtype from, to;
  const void *x;
  void *y;
};

struct lrl_ctx;
#define LRL_OP_WRAPPER(name)                                                                       \
  lrl_status lrl_##name(struct lrl_ctx *ctx, const struct lrl_##name##_args *args);
LRL_OPS(LRL_OP_WRAPPER)
#undef LRL_OP_WRAPPER

#ifdef __cplusplus
}
#endif
#endif
