/* The public wrappers lrl_<op>(): validate once, then dispatch. A check looks at sizes, dtypes, strides,
 * pointers and indices; it costs nothing beside the op. */
#include "kernels/backend.h"

#define BAD(code, ...) return LRL_FAIL(code, __VA_ARGS__)

static lrl_status sizes(const char *op, int64_t a, int64_t b, int64_t c) {
  if (a < 0 || b < 0 || c < 0)
    BAD(LRL_ERR_SHAPE, "%s: negative size (%lld, %lld, %lld)", op, (long long)a, (long long)b,
        (long long)c);
  return LRL_OK;
}

static lrl_status float_dtype(const char *op, lrl_dtype t) {
  if (t != LRL_F32 && t != LRL_BF16)
    BAD(LRL_ERR_DTYPE, "%s takes f32 or bf16, not %s", op, lrl_dtype_name(t));
  return LRL_OK;
}

/* Every pointer in the list must be given when there is anything to do. */
static lrl_status pointers(const char *op, int64_t work, int n, const void *const *p) {
  for (int i = 0; i < n && work > 0; i++)
    if (p[i] == NULL)
      BAD(LRL_ERR_ARG, "%s: operand %d is missing", op, i);
  return LRL_OK;
}
#define POINTERS(op, work, ...)                                                                    \
  do {                                                                                             \
    const void *const list_[] = {__VA_ARGS__};                                                     \
    LRL_TRY(pointers(op, work, (int)(sizeof list_ / sizeof list_[0]), list_));                     \
  } while (0)

static lrl_status indices(const char *op, const int32_t *index, int64_t n, int64_t lo, int64_t limit) {
  for (int64_t i = 0; i < n; i++)
    if (index[i] < lo || index[i] >= limit)
      BAD(LRL_ERR_ARG, "%s: index %d at %lld is outside [%lld, %lld)", op, index[i], (long long)i,
          (long long)lo, (long long)limit);
  return LRL_OK;
}

/* Sizes, dtype and operands of an op over [rows, cols]. */
#define MATRIX(op, rows, cols, dt, ...)                                                            \
  do {                                                                                             \
    LRL_TRY(sizes(op, rows, cols, 0));                                                             \
    LRL_TRY(float_dtype(op, dt));                                                                  \
    POINTERS(op, (rows) * (cols), __VA_ARGS__);                                                    \
  } while (0)
#define CHECK(op) static lrl_status check_##op(const struct lrl_##op##_args *a)

CHECK(gemm) {
  LRL_TRY(sizes("gemm", a->m, a->n, a->k));
  LRL_TRY(float_dtype("gemm", a->dtype));
  if (a->c_dtype != LRL_F32 && a->c_dtype != a->dtype)
    BAD(LRL_ERR_DTYPE, "gemm: the result of %s operands cannot be %s", lrl_dtype_name(a->dtype),
        lrl_dtype_name(a->c_dtype));
  if (a->ld_a < (a->trans_a ? a->m : a->k) || a->ld_b < (a->trans_b ? a->k : a->n) || a->ld_c < a->n)
    BAD(LRL_ERR_SHAPE, "gemm: a row stride is shorter than its row");
  if (a->beta != 0.0f && a->beta != 1.0f)
    BAD(LRL_ERR_ARG, "gemm: beta must be 0 or 1");
  POINTERS("gemm", a->m * a->n, a->c);
  POINTERS("gemm", a->m * a->n * a->k, a->a, a->b);
  return LRL_OK;
}
CHECK(embedding_fwd) {
  MATRIX("embedding", a->n_tokens, a->width, a->dtype, a->ids, a->table, a->out);
  return indices("embedding", a->ids, a->n_tokens, -1, a->n_vocab);
}
CHECK(embedding_bwd) {
  MATRIX("embedding", a->n_tokens, a->width, a->dtype, a->ids, a->d_out, a->d_table);
  return indices("embedding", a->ids, a->n_tokens, -1, a->n_vocab);
}
CHECK(gather_rows) {
  MATRIX("gather_rows", a->n, a->width, a->dtype, a->index, a->out);
  return indices("gather_rows", a->index, a->n, -1, a->n_x);
}
CHECK(scatter_rows) {
  MATRIX("scatter_rows", a->n, a->width, a->dtype, a->index, a->x, a->out);
  return indices("scatter_rows", a->index, a->n, -1, a->n_out);
}
CHECK(rms_norm_fwd) {
  MATRIX("rms_norm", a->n_tokens, a->width, a->dtype, a->x, a->weight, a->y, a->rstd);
  if (a->residual != NULL && a->sum_out == NULL)
    BAD(LRL_ERR_ARG, "rms_norm: a residual needs sum_out");
  return LRL_OK;
}
CHECK(rms_norm_bwd) {
  MATRIX("rms_norm", a->n_tokens, a->width, a->dtype, a->s, a->weight, a->dy, a->rstd, a->dx);
  return LRL_OK;
}
CHECK(layer_norm_fwd) {
  MATRIX("layer_norm", a->n_tokens, a->width, a->dtype, a->x, a->weight, a->bias, a->y, a->mean,
         a->rstd);
  return LRL_OK;
}
CHECK(layer_norm_bwd) {
  MATRIX("layer_norm", a->n_tokens, a->width, a->dtype, a->x, a->weight, a->dy, a->mean, a->rstd,
         a->dx);
  return LRL_OK;
}

static lrl_status heads(const char *op, int64_t hq, int64_t hk, int64_t d) {
  if (hk < 1 || hq < hk || hq % hk != 0 || d < 1)
    BAD(LRL_ERR_SHAPE, "%s: %lld query heads, %lld key heads of size %lld do not fit together", op,
        (long long)hq, (long long)hk, (long long)d);
  return LRL_OK;
}
CHECK(rope_qkv_fwd) {
  LRL_TRY(heads("rope_qkv", a->n_heads, a->n_kv_heads, a->head_dim));
  if (a->head_dim % 2 != 0)
    BAD(LRL_ERR_SHAPE, "rope_qkv: the head size %lld is odd", (long long)a->head_dim);
  MATRIX("rope_qkv", a->n_tokens, a->head_dim, a->dtype, a->positions, a->cos, a->sin, a->qkv, a->q,
         a->k, a->v);
  return indices("rope_qkv", a->positions, a->n_tokens, 0, a->n_positions);
}
CHECK(rope_qkv_bwd) {
  LRL_TRY(heads("rope_qkv", a->n_heads, a->n_kv_heads, a->head_dim));
  if (a->head_dim % 2 != 0)
    BAD(LRL_ERR_SHAPE, "rope_qkv: the head size %lld is odd", (long long)a->head_dim);
  MATRIX("rope_qkv", a->n_tokens, a->head_dim, a->dtype, a->positions, a->cos, a->sin, a->dq, a->dk,
         a->dv, a->dqkv);
  return indices("rope_qkv", a->positions, a->n_tokens, 0, a->n_positions);
}

static lrl_status attention(const struct lrl_layout *l, int64_t hq, int64_t hk, int64_t d,
                            lrl_dtype dtype, int64_t ld_q, int64_t ld_k, int64_t ld_v, int64_t ld_o) {
  if (l == NULL)
    BAD(LRL_ERR_ARG, "attention: the layout is missing");
  LRL_TRY(lrl_layout_check(l));
  LRL_TRY(heads("attention", hq, hk, d));
  LRL_TRY(float_dtype("attention", dtype));
  if (ld_q < hq * d || ld_o < hq * d || ld_k < hk * d || ld_v < hk * d)
    BAD(LRL_ERR_SHAPE, "attention: a row stride is shorter than its row");
  return LRL_OK;
}
CHECK(attention_fwd) {
  LRL_TRY(attention(a->layout, a->n_heads, a->n_kv_heads, a->head_dim, a->dtype, a->ld_q, a->ld_k,
                    a->ld_v, a->ld_o));
  POINTERS("attention", a->layout->n_tokens, a->q, a->k, a->v, a->o, a->lse);
  return LRL_OK;
}
CHECK(attention_bwd) {
  LRL_TRY(attention(a->layout, a->n_heads, a->n_kv_heads, a->head_dim, a->dtype, a->ld_q, a->ld_k,
                    a->ld_v, a->ld_o));
  POINTERS("attention", a->layout->n_tokens, a->q, a->k, a->v, a->o, a->d_o, a->lse, a->dq, a->dk,
           a->dv);
  return LRL_OK;
}
CHECK(swiglu_fwd) {
  MATRIX("swiglu", a->n_tokens, a->width, a->dtype, a->gate, a->up, a->y);
  if (a->ld_in < a->width)
    BAD(LRL_ERR_SHAPE, "swiglu: the row stride is shorter than the row");
  return LRL_OK;
}
CHECK(swiglu_bwd) {
  MATRIX("swiglu", a->n_tokens, a->width, a->dtype, a->gate, a->up, a->dy, a->d_gate, a->d_up);
  if (a->ld_in < a->width)
    BAD(LRL_ERR_SHAPE, "swiglu: the row stride is shorter than the row");
  return LRL_OK;
}
CHECK(gelu_fwd) {
  MATRIX("gelu", a->n, (int64_t)1, a->dtype, a->x, a->y);
  return LRL_OK;
}
CHECK(gelu_bwd) {
  MATRIX("gelu", a->n, (int64_t)1, a->dtype, a->x, a->dy, a->dx);
  return LRL_OK;
}
CHECK(add) {
  MATRIX("add", a->n, (int64_t)1, a->dtype, a->a, a->b, a->y);
  return LRL_OK;
}
CHECK(colsum) {
  MATRIX("colsum", a->n_tokens, a->width, a->dtype, a->x, a->out);
  return LRL_OK;
}
CHECK(dropout) {
  MATRIX("dropout", a->n_tokens, a->width, a->dtype, a->row_key, a->x, a->y);
  if (!(a->p >= 0.0f && a->p < 1.0f))
    BAD(LRL_ERR_ARG, "dropout: p must be in [0, 1), not %g", (double)a->p);
  return LRL_OK;
}

static lrl_status patches(int64_t n, int64_t channels, int64_t size, int64_t patch) {
  if (n < 0 || channels < 1 || patch < 1 || size < patch)
    BAD(LRL_ERR_SHAPE, "im2col: patches of %lld do not fit images of %lld", (long long)patch,
        (long long)size);
  return LRL_OK;
}
CHECK(im2col_fwd) {
  LRL_TRY(patches(a->n, a->channels, a->size, a->patch));
  MATRIX("im2col", a->n, a->channels, a->dtype, a->pixels, a->cols);
  return LRL_OK;
}
CHECK(im2col_bwd) {
  LRL_TRY(patches(a->n, a->channels, a->size, a->patch));
  MATRIX("im2col", a->n, a->channels, a->dtype, a->d_cols, a->d_pixels);
  return LRL_OK;
}
CHECK(vit_embed_fwd) {
  LRL_TRY(sizes("vit_embed", a->n, a->n_patches, a->width));
  MATRIX("vit_embed", a->n, a->width, a->dtype, a->cls, a->pos, a->out);
  POINTERS("vit_embed", a->n * a->n_patches, a->patches);
  return LRL_OK;
}
CHECK(vit_embed_bwd) {
  LRL_TRY(sizes("vit_embed", a->n, a->n_patches, a->width));
  MATRIX("vit_embed", a->n, a->width, a->dtype, a->d_out);
  return LRL_OK;
}
CHECK(cross_entropy) {
  LRL_TRY(sizes("cross_entropy", a->n_tokens, a->n_vocab, 0));
  POINTERS("cross_entropy", a->n_tokens * a->n_vocab, a->logits, a->target, a->loss);
  for (int64_t i = 0; i < a->n_tokens; i++)
    if (a->target[i] != -100 && (a->target[i] < 0 || a->target[i] >= a->n_vocab))
      BAD(LRL_ERR_ARG, "cross_entropy: target %d at %lld is outside the vocabulary of %lld",
          a->target[i], (long long)i, (long long)a->n_vocab);
  return a->d_logits != NULL ? float_dtype("cross_entropy", a->d_dtype) : LRL_OK;
}
CHECK(mean_pool_fwd) {
  MATRIX("mean_pool", a->n, a->width, a->dtype, a->layout, a->seq, a->x, a->out);
  return a->n > 0 ? indices("mean_pool", a->seq, a->n, 0, a->layout->n_seqs) : LRL_OK;
}
CHECK(mean_pool_bwd) {
  MATRIX("mean_pool", a->n, a->width, a->dtype, a->layout, a->seq, a->d_out, a->dx);
  return a->n > 0 ? indices("mean_pool", a->seq, a->n, 0, a->layout->n_seqs) : LRL_OK;
}
CHECK(head_fwd) {
  MATRIX("head", a->n, a->width, a->dtype, a->x, a->weight, a->score);
  return LRL_OK;
}
CHECK(head_bwd) {
  MATRIX("head", a->n, a->width, a->dtype, a->x, a->weight, a->d_score);
  return LRL_OK;
}
CHECK(bradley_terry) {
  LRL_TRY(sizes("bradley_terry", a->n, 0, 0));
  POINTERS("bradley_terry", a->n, a->chosen, a->rejected, a->loss);
  if ((a->d_chosen == NULL) != (a->d_rejected == NULL))
    BAD(LRL_ERR_ARG, "bradley_terry: give both gradients or none");
  if (a->penalty == LRL_PENALTY_LOG_BARRIER &&
      !(a->barrier_lo + a->barrier_eps < a->barrier_hi - a->barrier_eps))
    BAD(LRL_ERR_ARG, "bradley_terry: the barrier's bounds %g and %g leave no room",
        (double)a->barrier_lo, (double)a->barrier_hi);
  return LRL_OK;
}
CHECK(adamw) {
  MATRIX("adamw", a->n, (int64_t)1, a->param_dtype, a->param, a->master, a->m, a->v, a->grad);
  if (a->step < 1)
    BAD(LRL_ERR_ARG, "adamw: steps count from 1, not %lld", (long long)a->step);
  return LRL_OK;
}
CHECK(sumsq) {
  LRL_TRY(sizes("sumsq", a->n, 0, 0));
  POINTERS("sumsq", a->n, a->x);
  POINTERS("sumsq", (int64_t)1, a->out);
  return LRL_OK;
}
CHECK(scale) {
  LRL_TRY(sizes("scale", a->n, 0, 0));
  POINTERS("scale", a->n, a->x);
  return LRL_OK;
}
CHECK(cast) {
  MATRIX("cast", a->n, (int64_t)1, a->from, a->x, a->y);
  return float_dtype("cast", a->to);
}

#define WRAPPER(op)                                                                                \
  lrl_status lrl_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args) {                   \
    LRL_TRY(check_##op(args));                                                                     \
    if (ctx->backend->op == NULL)                                                                  \
      BAD(LRL_ERR_ARG, "op %s is not available on device %s", #op, ctx->backend->name);            \
    size_t mark = lrl_arena_mark(&ctx->scratch);                                                   \
    lrl_status status = ctx->backend->op(ctx, args);                                               \
    lrl_arena_reset(&ctx->scratch, mark);                                                          \
    return status;                                                                                 \
  }
LRL_OPS(WRAPPER)
