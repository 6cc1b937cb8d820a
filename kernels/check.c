/* The checked public wrappers lrl_<op>(): one check_<op>() per op, then the dispatch. A check that
 * fails names the op and the value; nothing was computed then. */
#include "kernels/check.h"
#include "kernels/check_generate.h"
#include "kernels/check_rl.h"

static lrl_status check_gemm(const struct lrl_gemm_args *a) {
  SIZES("gemm", a->m, a->n, a->k);
  LRL_TRY(lrl_check_dtype("gemm", a->dtype));
  if (a->c_dtype != LRL_F32 && a->c_dtype != a->dtype)
    return LRL_FAIL(LRL_ERR_DTYPE, "op gemm: a %s result needs %s operands",
                    lrl_dtype_name(a->c_dtype), lrl_dtype_name(a->c_dtype));
  LRL_TRY(lrl_check_beta("gemm", a->beta));
  if (a->ld_a < (a->trans_a ? a->m : a->k) || a->ld_b < (a->trans_b ? a->k : a->n) ||
      a->ld_c < a->n)
    return LRL_FAIL(LRL_ERR_SHAPE, "op gemm: a row stride is smaller than its row");
  NEED("gemm", a->m * a->n, a->c);
  NEED("gemm", a->m * a->n * a->k, a->a, a->b);
  const int64_t c_bytes = lrl_span(a->m, a->n, a->ld_c) * lrl_dtype_bytes(a->c_dtype);
  const int64_t one = lrl_dtype_bytes(a->dtype);
  const int64_t a_bytes =
      one * (a->trans_a ? lrl_span(a->k, a->m, a->ld_a) : lrl_span(a->m, a->k, a->ld_a));
  const int64_t b_bytes =
      one * (a->trans_b ? lrl_span(a->n, a->k, a->ld_b) : lrl_span(a->k, a->n, a->ld_b));
  LRL_TRY(lrl_check_apart("gemm", a->c, c_bytes, a->a, a_bytes));
  LRL_TRY(lrl_check_apart("gemm", a->c, c_bytes, a->bias, a->n * one));
  return lrl_check_apart("gemm", a->c, c_bytes, a->b, b_bytes);
}

static lrl_status check_embedding_fwd(const struct lrl_embedding_fwd_args *a) {
  SIZES("embedding_fwd", a->n_tokens, a->width, a->n_vocab);
  LRL_TRY(lrl_check_dtype("embedding_fwd", a->dtype));
  NEED("embedding_fwd", a->n_tokens, a->ids);
  NEED("embedding_fwd", a->n_tokens * a->width, a->out);
  NEED("embedding_fwd", a->n_tokens * a->width * a->n_vocab, a->table);
  return lrl_check_ids("embedding_fwd", a->ids, a->n_tokens, -1, a->n_vocab);
}

static lrl_status check_embedding_bwd(const struct lrl_embedding_bwd_args *a) {
  SIZES("embedding_bwd", a->n_tokens, a->width, a->n_vocab);
  LRL_TRY(lrl_check_dtype("embedding_bwd", a->dtype));
  NEED("embedding_bwd", a->n_tokens, a->ids);
  NEED("embedding_bwd", a->n_tokens * a->width, a->d_out);
  NEED("embedding_bwd", a->n_tokens * a->width * a->n_vocab, a->d_table);
  return lrl_check_ids("embedding_bwd", a->ids, a->n_tokens, -1, a->n_vocab);
}

static lrl_status check_gather_rows(const struct lrl_gather_rows_args *a) {
  SIZES("gather_rows", a->n, a->n_x, a->width);
  LRL_TRY(lrl_check_dtype("gather_rows", a->dtype));
  LRL_TRY(lrl_check_beta("gather_rows", a->beta));
  NEED("gather_rows", a->n, a->index);
  NEED("gather_rows", a->n * a->width, a->out);
  NEED("gather_rows", a->n * a->n_x * a->width, a->x);
  const int64_t row = a->width * lrl_dtype_bytes(a->dtype);
  LRL_TRY(lrl_check_apart("gather_rows", a->out, a->n * row, a->x, a->n_x * row));
  return lrl_check_ids("gather_rows", a->index, a->n, -1, a->n_x);
}

static lrl_status check_scatter_rows(const struct lrl_scatter_rows_args *a) {
  SIZES("scatter_rows", a->n, a->n_out, a->width);
  LRL_TRY(lrl_check_dtype("scatter_rows", a->dtype));
  LRL_TRY(lrl_check_beta("scatter_rows", a->beta));
  NEED("scatter_rows", a->n, a->index);
  NEED("scatter_rows", a->n * a->width, a->x);
  NEED("scatter_rows", a->n * a->n_out * a->width, a->out);
  const int64_t row = a->width * lrl_dtype_bytes(a->dtype);
  LRL_TRY(lrl_check_apart("scatter_rows", a->out, a->n_out * row, a->x, a->n * row));
  return lrl_check_ids("scatter_rows", a->index, a->n, -1, a->n_out);
}

static lrl_status check_rms_norm_fwd(const struct lrl_rms_norm_fwd_args *a) {
  SIZES("rms_norm_fwd", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("rms_norm_fwd", a->dtype));
  NEED("rms_norm_fwd", a->n_tokens * a->width, a->x, a->weight, a->y, a->rstd);
  if (a->residual != NULL)
    NEED("rms_norm_fwd", a->n_tokens * a->width, a->sum_out);
  return LRL_OK;
}

static lrl_status check_rms_norm_bwd(const struct lrl_rms_norm_bwd_args *a) {
  SIZES("rms_norm_bwd", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("rms_norm_bwd", a->dtype));
  NEED("rms_norm_bwd", a->n_tokens * a->width, a->s, a->weight, a->dy, a->rstd);
  return LRL_OK;
}

static lrl_status check_layer_norm_fwd(const struct lrl_layer_norm_fwd_args *a) {
  SIZES("layer_norm_fwd", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("layer_norm_fwd", a->dtype));
  NEED("layer_norm_fwd", a->n_tokens * a->width, a->x, a->weight, a->bias, a->y, a->mean, a->rstd);
  return LRL_OK;
}

static lrl_status check_layer_norm_bwd(const struct lrl_layer_norm_bwd_args *a) {
  SIZES("layer_norm_bwd", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("layer_norm_bwd", a->dtype));
  NEED("layer_norm_bwd", a->n_tokens * a->width, a->x, a->weight, a->dy, a->mean, a->rstd);
  return LRL_OK;
}

static lrl_status check_rope_qkv_fwd(const struct lrl_rope_qkv_fwd_args *a) {
  const int64_t n = a->n_tokens * a->n_heads * a->head_dim;
  LRL_TRY(lrl_check_heads("rope_qkv_fwd", a->n_tokens, a->n_heads, a->n_kv_heads, a->head_dim));
  LRL_TRY(lrl_check_even("rope_qkv_fwd", a->head_dim));
  LRL_TRY(lrl_check_dtype("rope_qkv_fwd", a->dtype));
  NEED("rope_qkv_fwd", n, a->positions, a->cos, a->sin, a->qkv, a->q, a->k, a->v);
  return lrl_check_ids("rope_qkv_fwd", a->positions, n > 0 ? a->n_tokens : 0, 0, a->n_positions);
}

static lrl_status check_rope_qkv_bwd(const struct lrl_rope_qkv_bwd_args *a) {
  const int64_t n = a->n_tokens * a->n_heads * a->head_dim;
  LRL_TRY(lrl_check_heads("rope_qkv_bwd", a->n_tokens, a->n_heads, a->n_kv_heads, a->head_dim));
  LRL_TRY(lrl_check_even("rope_qkv_bwd", a->head_dim));
  LRL_TRY(lrl_check_dtype("rope_qkv_bwd", a->dtype));
  NEED("rope_qkv_bwd", n, a->positions, a->cos, a->sin, a->dqkv, a->dq, a->dk, a->dv);
  return lrl_check_ids("rope_qkv_bwd", a->positions, n > 0 ? a->n_tokens : 0, 0, a->n_positions);
}

static lrl_status check_strides(const char *op, int64_t wq, int64_t wk, int64_t ld_q, int64_t ld_k,
                                int64_t ld_v, int64_t ld_o) {
  if (ld_q < wq || ld_o < wq || ld_k < wk || ld_v < wk)
    return LRL_FAIL(LRL_ERR_SHAPE, "op %s: a row stride is smaller than its row", op);
  return LRL_OK;
}

static lrl_status check_attention_fwd(const struct lrl_attention_fwd_args *a) {
  LRL_TRY(lrl_check_layout("attention_fwd", a->layout));
  LRL_TRY(lrl_check_heads("attention_fwd", a->layout->n_tokens, a->n_heads, a->n_kv_heads,
                          a->head_dim));
  LRL_TRY(lrl_check_dtype("attention_fwd", a->dtype));
  LRL_TRY(check_strides("attention_fwd", a->n_heads * a->head_dim, a->n_kv_heads * a->head_dim,
                        a->ld_q, a->ld_k, a->ld_v, a->ld_o));
  NEED("attention_fwd", a->layout->n_tokens * a->n_heads * a->head_dim, a->q, a->k, a->v, a->o,
       a->lse);
  return LRL_OK;
}

static lrl_status check_attention_bwd(const struct lrl_attention_bwd_args *a) {
  LRL_TRY(lrl_check_layout("attention_bwd", a->layout));
  LRL_TRY(lrl_check_heads("attention_bwd", a->layout->n_tokens, a->n_heads, a->n_kv_heads,
                          a->head_dim));
  LRL_TRY(lrl_check_dtype("attention_bwd", a->dtype));
  LRL_TRY(check_strides("attention_bwd", a->n_heads * a->head_dim, a->n_kv_heads * a->head_dim,
                        a->ld_q, a->ld_k, a->ld_v, a->ld_o));
  NEED("attention_bwd", a->layout->n_tokens * a->n_heads * a->head_dim, a->q, a->k, a->v, a->o,
       a->lse, a->d_o, a->dq, a->dk, a->dv);
  return LRL_OK;
}

static lrl_status check_swiglu_fwd(const struct lrl_swiglu_fwd_args *a) {
  SIZES("swiglu_fwd", a->n_tokens, a->width, a->ld_in - a->width);
  LRL_TRY(lrl_check_dtype("swiglu_fwd", a->dtype));
  NEED("swiglu_fwd", a->n_tokens * a->width, a->gate, a->up, a->y);
  return LRL_OK;
}

static lrl_status check_swiglu_bwd(const struct lrl_swiglu_bwd_args *a) {
  SIZES("swiglu_bwd", a->n_tokens, a->width, a->ld_in - a->width);
  LRL_TRY(lrl_check_dtype("swiglu_bwd", a->dtype));
  NEED("swiglu_bwd", a->n_tokens * a->width, a->gate, a->up, a->dy, a->d_gate, a->d_up);
  return LRL_OK;
}

static lrl_status check_gelu_kind(const char *op, enum lrl_gelu_kind kind) {
  if (kind != LRL_GELU_ERF && kind != LRL_GELU_QUICK)
    return LRL_FAIL(LRL_ERR_ARG, "op %s: unknown kind of GELU %d", op, (int)kind);
  return LRL_OK;
}

static lrl_status check_gelu_fwd(const struct lrl_gelu_fwd_args *a) {
  SIZES("gelu_fwd", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("gelu_fwd", a->dtype));
  NEED("gelu_fwd", a->n, a->x, a->y);
  return check_gelu_kind("gelu_fwd", a->kind);
}

static lrl_status check_gelu_bwd(const struct lrl_gelu_bwd_args *a) {
  SIZES("gelu_bwd", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("gelu_bwd", a->dtype));
  NEED("gelu_bwd", a->n, a->x, a->dy, a->dx);
  return check_gelu_kind("gelu_bwd", a->kind);
}

static lrl_status check_add(const struct lrl_add_args *a) {
  SIZES("add", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("add", a->dtype));
  NEED("add", a->n, a->a, a->b, a->y);
  return LRL_OK;
}

static lrl_status check_colsum(const struct lrl_colsum_args *a) {
  SIZES("colsum", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("colsum", a->dtype));
  NEED("colsum", a->n_tokens * a->width, a->x, a->out);
  return LRL_OK;
}

static lrl_status check_dropout(const struct lrl_dropout_args *a) {
  SIZES("dropout", a->n_tokens, a->width, 0);
  LRL_TRY(lrl_check_dtype("dropout", a->dtype));
  if (!(a->p >= 0.0f && a->p < 1.0f))
    return LRL_FAIL(LRL_ERR_ARG, "op dropout: p is %g, allowed is [0, 1)", (double)a->p);
  NEED("dropout", a->n_tokens * a->width, a->row_key, a->x, a->y);
  return LRL_OK;
}

static lrl_status check_patches(const char *op, int64_t n, int64_t channels, int64_t size,
                                int64_t patch, int64_t width) {
  SIZES(op, n, channels, size);
  SIZES(op, width, 0, 0);
  if (patch < 1)
    return LRL_FAIL(LRL_ERR_SHAPE, "op %s: the patch size %lld is not positive", op,
                    (long long)patch);
  return LRL_OK;
}

static lrl_status check_patch_embed_fwd(const struct lrl_patch_embed_fwd_args *a) {
  const int64_t patches = a->n * (a->patch > 0 ? a->size / a->patch : 0);
  LRL_TRY(check_patches("patch_embed_fwd", a->n, a->channels, a->size, a->patch, a->width));
  LRL_TRY(lrl_check_dtype("patch_embed_fwd", a->dtype));
  NEED("patch_embed_fwd", patches * a->width, a->out);
  NEED("patch_embed_fwd", patches * a->width * a->channels, a->pixels, a->weight);
  return LRL_OK;
}

static lrl_status check_patch_embed_bwd(const struct lrl_patch_embed_bwd_args *a) {
  const int64_t patches = a->n * (a->patch > 0 ? a->size / a->patch : 0);
  LRL_TRY(check_patches("patch_embed_bwd", a->n, a->channels, a->size, a->patch, a->width));
  LRL_TRY(lrl_check_dtype("patch_embed_bwd", a->dtype));
  NEED("patch_embed_bwd", patches * a->width, a->d_out);
  if (a->d_weight != NULL)
    NEED("patch_embed_bwd", patches * a->width * a->channels, a->pixels);
  if (a->d_pixels != NULL)
    NEED("patch_embed_bwd", patches * a->width * a->channels, a->weight);
  return LRL_OK;
}

static lrl_status check_vit_embed_fwd(const struct lrl_vit_embed_fwd_args *a) {
  SIZES("vit_embed_fwd", a->n, a->n_patches, a->width);
  LRL_TRY(lrl_check_dtype("vit_embed_fwd", a->dtype));
  NEED("vit_embed_fwd", a->n * a->width, a->cls, a->pos, a->out);
  NEED("vit_embed_fwd", a->n * a->n_patches * a->width, a->patches);
  return LRL_OK;
}

static lrl_status check_vit_embed_bwd(const struct lrl_vit_embed_bwd_args *a) {
  SIZES("vit_embed_bwd", a->n, a->n_patches, a->width);
  LRL_TRY(lrl_check_dtype("vit_embed_bwd", a->dtype));
  NEED("vit_embed_bwd", a->n * a->width, a->d_out);
  return LRL_OK;
}

static lrl_status check_cross_entropy(const struct lrl_cross_entropy_args *a) {
  SIZES("cross_entropy", a->n_tokens, a->n_vocab, 0);
  LRL_TRY(lrl_check_dtype("cross_entropy", a->d_dtype));
  NEED("cross_entropy", a->n_tokens, a->target, a->loss);
  NEED("cross_entropy", a->n_tokens * a->n_vocab, a->logits);
  return lrl_check_targets("cross_entropy", a->target, a->n_tokens, a->n_vocab);
}

static lrl_status check_mean_pool_fwd(const struct lrl_mean_pool_fwd_args *a) {
  LRL_TRY(lrl_check_layout("mean_pool_fwd", a->layout));
  SIZES("mean_pool_fwd", a->n, a->width, 0);
  LRL_TRY(lrl_check_dtype("mean_pool_fwd", a->dtype));
  NEED("mean_pool_fwd", a->n * a->width, a->seq, a->out);
  NEED("mean_pool_fwd", a->n * a->width * a->layout->n_tokens, a->x);
  return lrl_check_ids("mean_pool_fwd", a->seq, a->width > 0 ? a->n : 0, 0, a->layout->n_seqs);
}

static lrl_status check_mean_pool_bwd(const struct lrl_mean_pool_bwd_args *a) {
  LRL_TRY(lrl_check_layout("mean_pool_bwd", a->layout));
  SIZES("mean_pool_bwd", a->n, a->width, 0);
  LRL_TRY(lrl_check_dtype("mean_pool_bwd", a->dtype));
  NEED("mean_pool_bwd", a->n * a->width, a->seq, a->d_out);
  NEED("mean_pool_bwd", a->width * a->layout->n_tokens, a->dx);
  return lrl_check_ids("mean_pool_bwd", a->seq, a->width > 0 ? a->n : 0, 0, a->layout->n_seqs);
}

static lrl_status check_head_fwd(const struct lrl_head_fwd_args *a) {
  SIZES("head_fwd", a->n, a->width, 0);
  LRL_TRY(lrl_check_dtype("head_fwd", a->dtype));
  NEED("head_fwd", a->n, a->score);
  NEED("head_fwd", a->n * a->width, a->x, a->weight);
  return LRL_OK;
}

static lrl_status check_head_bwd(const struct lrl_head_bwd_args *a) {
  SIZES("head_bwd", a->n, a->width, 0);
  LRL_TRY(lrl_check_dtype("head_bwd", a->dtype));
  NEED("head_bwd", a->n * a->width, a->x, a->weight, a->d_score);
  return LRL_OK;
}

static lrl_status check_bradley_terry(const struct lrl_bradley_terry_args *a) {
  SIZES("bradley_terry", a->n, 0, 0);
  NEED("bradley_terry", a->n, a->chosen, a->rejected, a->loss);
  if ((a->rank != LRL_RANK_LOGSIGMOID && a->rank != LRL_RANK_FOCAL) ||
      (a->penalty != LRL_PENALTY_NONE && a->penalty != LRL_PENALTY_L2 &&
       a->penalty != LRL_PENALTY_LOG_BARRIER))
    return LRL_FAIL(LRL_ERR_ARG, "op bradley_terry: unknown loss %d or penalty %d", (int)a->rank,
                    (int)a->penalty);
  if (a->penalty == LRL_PENALTY_LOG_BARRIER &&
      !(a->barrier_eps > 0.0f && a->barrier_lo + a->barrier_eps <= a->barrier_hi - a->barrier_eps))
    return LRL_FAIL(LRL_ERR_ARG, "op bradley_terry: the barrier [%g, %g] has no room for eps %g",
                    (double)a->barrier_lo, (double)a->barrier_hi, (double)a->barrier_eps);
  return LRL_OK;
}

static lrl_status check_adamw(const struct lrl_adamw_args *a) {
  SIZES("adamw", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("adamw", a->param_dtype));
  NEED("adamw", a->n, a->param, a->master, a->m, a->v, a->grad);
  if (a->step < 1)
    return LRL_FAIL(LRL_ERR_ARG, "op adamw: step is %lld, it counts from 1", (long long)a->step);
  if (!(a->beta1 >= 0.0 && a->beta1 < 1.0 && a->beta2 >= 0.0 && a->beta2 < 1.0))
    return LRL_FAIL(LRL_ERR_ARG, "op adamw: betas %g and %g are outside [0, 1)", a->beta1,
                    a->beta2);
  return LRL_OK;
}

static lrl_status check_sumsq(const struct lrl_sumsq_args *a) {
  SIZES("sumsq", a->n, 0, 0);
  NEED("sumsq", 1, a->out);
  NEED("sumsq", a->n, a->x);
  return LRL_OK;
}

static lrl_status check_scale(const struct lrl_scale_args *a) {
  SIZES("scale", a->n, 0, 0);
  NEED("scale", a->n, a->x);
  return LRL_OK;
}

static lrl_status check_ema(const struct lrl_ema_args *a) {
  SIZES("ema", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("ema", a->dtype));
  NEED("ema", a->n, a->x, a->y);
  if (!(a->beta > 0.0 && a->beta < 1.0))
    return LRL_FAIL(LRL_ERR_ARG, "op ema: beta is %g, allowed is (0, 1)", a->beta);
  return lrl_check_apart("ema", a->y, a->n * lrl_dtype_bytes(LRL_F32), a->x,
                         a->n * lrl_dtype_bytes(a->dtype));
}

static lrl_status check_cast(const struct lrl_cast_args *a) {
  SIZES("cast", a->n, 0, 0);
  LRL_TRY(lrl_check_dtype("cast", a->from));
  LRL_TRY(lrl_check_dtype("cast", a->to));
  NEED("cast", a->n, a->x, a->y);
  if (a->from == a->to)
    return LRL_OK;
  return lrl_check_apart("cast", a->y, a->n * lrl_dtype_bytes(a->to), a->x,
                         a->n * lrl_dtype_bytes(a->from));
}

/* An op may use scratch above the mark it found; the wrapper gives it back. */
#define WRAPPER(op)                                                                                \
  lrl_status lrl_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args) {                   \
    LRL_TRY(check_##op(args));                                                                     \
    if (ctx->backend->op == NULL)                                                                  \
      return LRL_FAIL(LRL_ERR_ARG, "op " #op " is not available on backend %s",                    \
                      ctx->backend->name);                                                         \
    const size_t mark = lrl_arena_mark(&ctx->scratch);                                             \
    const lrl_status status = ctx->backend->op(ctx, args);                                         \
    lrl_arena_reset(&ctx->scratch, mark);                                                          \
    return status;                                                                                 \
  }
LRL_OPS(WRAPPER)
