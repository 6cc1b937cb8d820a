/* Norms, activations, rows and heads. Linear layers: nn_linear.c; attention: nn_attention.c. */
#include "model/nn.h"

#include <string.h>

/* ---- embedding, gather, splice, reshape ---- */

struct rows_saved {
  struct lrl_tensor *x, *y;
  const int32_t *index;
  int64_t n;
  int32_t padding_idx;
};

static struct rows_saved *record_rows(struct lrl_tape *tape, lrl_back *back, struct lrl_tensor *out,
                                      struct rows_saved value) {
  struct rows_saved *s = lrl_tape_record(tape, back, sizeof *s, out, NULL, NULL);
  if (s != NULL)
    *s = value;
  return s;
}

static lrl_status embedding_back(struct lrl_tape *tape, void *saved) {
  struct rows_saved *s = saved;
  return lrl_embedding_bwd(tape->ctx,
                           &(struct lrl_embedding_bwd_args){.n_tokens = s->n,
                                                            .width = s->x->cols,
                                                            .n_vocab = s->x->rows,
                                                            .dtype = s->x->dtype,
                                                            .ids = s->index,
                                                            .padding_idx = s->padding_idx,
                                                            .d_out = s->y->grad,
                                                            .d_table = lrl_param_grad(tape, s->x)});
}

struct lrl_tensor *lrl_nn_embedding(struct lrl_tape *tape, struct lrl_tensor *table,
                                    const int32_t *ids, int64_t n, int32_t padding_idx) {
  struct lrl_tensor *y = lrl_tensor_new(tape, table->dtype, n, table->cols);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape,
              lrl_embedding_fwd(tape->ctx, &(struct lrl_embedding_fwd_args){.n_tokens = n,
                                                                            .width = table->cols,
                                                                            .n_vocab = table->rows,
                                                                            .dtype = table->dtype,
                                                                            .ids = ids,
                                                                            .table = table->data,
                                                                            .out = y->data}));
  if (table->needs_grad)
    record_rows(
        tape, embedding_back, y,
        (struct rows_saved){.x = table, .y = y, .index = ids, .n = n, .padding_idx = padding_idx});
  return y;
}

static lrl_status gather_back(struct lrl_tape *tape, void *saved) {
  struct rows_saved *s = saved;
  float beta;
  void *dx = lrl_grad_target(tape, s->x, &beta);
  if (dx == NULL)
    return tape->status;
  if (beta == 0.0f)
    lrl_zero(tape->ctx, dx, (size_t)(s->x->rows * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
  return lrl_scatter_rows(tape->ctx, &(struct lrl_scatter_rows_args){.n = s->n,
                                                                     .n_out = s->x->rows,
                                                                     .width = s->x->cols,
                                                                     .dtype = s->x->dtype,
                                                                     .index = s->index,
                                                                     .x = s->y->grad,
                                                                     .out = dx,
                                                                     .beta = 1.0f});
}

struct lrl_tensor *lrl_nn_gather(struct lrl_tape *tape, struct lrl_tensor *x, const int32_t *index,
                                 int64_t n) {
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, n, x->cols);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_gather_rows(tape->ctx, &(struct lrl_gather_rows_args){.n = n,
                                                                              .n_x = x->rows,
                                                                              .width = x->cols,
                                                                              .dtype = x->dtype,
                                                                              .index = index,
                                                                              .x = x->data,
                                                                              .out = y->data}));
  if (x->needs_grad)
    record_rows(tape, gather_back, y, (struct rows_saved){.x = x, .y = y, .index = index, .n = n});
  return y;
}

static lrl_status splice_back(struct lrl_tape *tape, void *saved) {
  struct rows_saved *s = saved;
  if (!s->y->has_grad)
    return LRL_OK;
  float beta;
  void *dx = lrl_grad_target(tape, s->x, &beta);
  if (dx != NULL)
    LRL_TRY(lrl_gather_rows(tape->ctx, &(struct lrl_gather_rows_args){.n = s->n,
                                                                      .n_x = s->y->rows,
                                                                      .width = s->y->cols,
                                                                      .dtype = s->y->dtype,
                                                                      .index = s->index,
                                                                      .x = s->y->grad,
                                                                      .out = dx,
                                                                      .beta = beta}));
  int64_t row = s->y->cols * lrl_dtype_bytes(s->y->dtype);
  for (int64_t i = 0; i < s->n; i++)
    lrl_zero(tape->ctx, (char *)s->y->grad + s->index[i] * row, (size_t)row);
  return tape->status;
}

void lrl_nn_splice(struct lrl_tape *tape, struct lrl_tensor *y, struct lrl_tensor *x,
                   const int32_t *index, int64_t n) {
  if (tape->status != LRL_OK || n == 0)
    return;
  lrl_tape_ok(tape, lrl_scatter_rows(tape->ctx, &(struct lrl_scatter_rows_args){.n = n,
                                                                                .n_out = y->rows,
                                                                                .width = y->cols,
                                                                                .dtype = y->dtype,
                                                                                .index = index,
                                                                                .x = x->data,
                                                                                .out = y->data}));
  if (!x->needs_grad && !y->needs_grad)
    return;
  y->needs_grad = true;
  record_rows(tape, splice_back, NULL, (struct rows_saved){.x = x, .y = y, .index = index, .n = n});
}

static lrl_status reshape_back(struct lrl_tape *tape, void *saved) {
  struct rows_saved *s = saved;
  lrl_grad_seed(tape, s->x, s->y->grad);
  return tape->status;
}

struct lrl_tensor *lrl_nn_reshape(struct lrl_tape *tape, struct lrl_tensor *x, int64_t rows,
                                  int64_t cols) {
  LRL_ASSERT(tape->status != LRL_OK || rows * cols == x->rows * x->cols);
  struct lrl_tensor *y = lrl_tensor_wrap(tape, x->dtype, rows, cols, x->data);
  if (tape->status == LRL_OK && x->needs_grad)
    record_rows(tape, reshape_back, y, (struct rows_saved){.x = x, .y = y});
  return y;
}

/* ---- norms ---- */

struct norm_saved {
  struct lrl_tensor *x, *residual, *sum, *y, *w, *b;
  float *mean, *rstd;
};

static lrl_status rms_norm_back(struct lrl_tape *tape, void *saved) {
  struct norm_saved *s = saved;
  struct lrl_tensor *first = s->residual != NULL && s->residual->needs_grad ? s->residual : s->x;
  void *dx = lrl_grad_begin(tape, first);
  size_t mark = lrl_arena_mark(tape->arena);
  if (dx == NULL) /* only the weight wants a gradient */
    dx = lrl_tape_alloc(tape, (size_t)(s->x->rows * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
  bool through_y = s->y->has_grad;
  if (tape->status != LRL_OK)
    return tape->status;
  const void *d_sum = s->sum != s->x && s->sum->has_grad ? s->sum->grad : NULL;
  if (through_y) {
    LRL_TRY(lrl_rms_norm_bwd(
        tape->ctx, &(struct lrl_rms_norm_bwd_args){.n_tokens = s->x->rows,
                                                   .width = s->x->cols,
                                                   .dtype = s->x->dtype,
                                                   .s = s->sum->data,
                                                   .weight = s->w->data,
                                                   .dy = s->y->grad,
                                                   .d_sum = d_sum,
                                                   .rstd = s->rstd,
                                                   .dx = dx,
                                                   .d_weight = lrl_param_grad(tape, s->w)}));
  } else if (d_sum != NULL) {
    lrl_move(tape->ctx, dx, d_sum,
             (size_t)(s->x->rows * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
  }
  if (!first->needs_grad) {
    lrl_arena_reset(tape->arena, mark);
    return LRL_OK;
  }
  bool fresh = dx == first->grad;
  if (first == s->x)
    return lrl_grad_end(tape, first, dx);
  /* The same gradient goes to both summands. x usually has no other use, so it borrows the buffer;
   * the residual is the older of the two, so that its buffer is recycled after x used it. */
  if (s->x->needs_grad && !s->x->has_grad && fresh) {
    s->x->grad = dx;
    s->x->has_grad = true;
    s->x->grad_borrowed = true;
  } else if (s->x->needs_grad) {
    lrl_grad_seed(tape, s->x, dx);
  }
  return lrl_grad_end(tape, first, dx);
}

struct lrl_tensor *lrl_nn_rms_norm(struct lrl_tape *tape, struct lrl_tensor *x,
                                   struct lrl_tensor *residual, struct lrl_tensor *w, float eps,
                                   struct lrl_tensor **sum) {
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, x->rows, x->cols);
  struct lrl_tensor *total =
      residual == NULL ? x : lrl_tensor_new(tape, x->dtype, x->rows, x->cols);
  float *rstd = lrl_tape_alloc(tape, (size_t)x->rows * sizeof *rstd);
  *sum = total;
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_rms_norm_fwd(tape->ctx, &(struct lrl_rms_norm_fwd_args){
                                                    .n_tokens = x->rows,
                                                    .width = x->cols,
                                                    .dtype = x->dtype,
                                                    .eps = eps,
                                                    .x = x->data,
                                                    .residual = residual ? residual->data : NULL,
                                                    .weight = w->data,
                                                    .sum_out = residual ? total->data : NULL,
                                                    .y = y->data,
                                                    .rstd = rstd}));
  if (!x->needs_grad && !w->needs_grad && (residual == NULL || !residual->needs_grad))
    return y;
  struct norm_saved *s =
      lrl_tape_record(tape, rms_norm_back, sizeof *s, y, residual == NULL ? NULL : total, NULL);
  if (s != NULL)
    *s = (struct norm_saved){
        .x = x, .residual = residual, .sum = total, .y = y, .w = w, .rstd = rstd};
  return y;
}

static lrl_status layer_norm_back(struct lrl_tape *tape, void *saved) {
  struct norm_saved *s = saved;
  void *dx = lrl_grad_begin(tape, s->x), *to = dx;
  size_t mark = lrl_arena_mark(tape->arena);
  if (dx == NULL)
    to = lrl_tape_alloc(tape, (size_t)(s->x->rows * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
  if (tape->status != LRL_OK)
    return tape->status;
  LRL_TRY(lrl_layer_norm_bwd(
      tape->ctx, &(struct lrl_layer_norm_bwd_args){.n_tokens = s->x->rows,
                                                   .width = s->x->cols,
                                                   .dtype = s->x->dtype,
                                                   .x = s->x->data,
                                                   .weight = s->w->data,
                                                   .dy = s->y->grad,
                                                   .mean = s->mean,
                                                   .rstd = s->rstd,
                                                   .dx = to,
                                                   .d_weight = lrl_param_grad(tape, s->w),
                                                   .d_bias = lrl_param_grad(tape, s->b)}));
  if (dx == NULL)
    lrl_arena_reset(tape->arena, mark);
  return lrl_grad_end(tape, s->x, dx);
}

struct lrl_tensor *lrl_nn_layer_norm(struct lrl_tape *tape, struct lrl_tensor *x,
                                     struct lrl_tensor *w, struct lrl_tensor *b, float eps) {
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, x->rows, x->cols);
  float *mean = lrl_tape_alloc(tape, (size_t)x->rows * 2 * sizeof *mean);
  if (tape->status != LRL_OK)
    return y;
  float *rstd = mean + x->rows;
  lrl_tape_ok(tape,
              lrl_layer_norm_fwd(tape->ctx, &(struct lrl_layer_norm_fwd_args){.n_tokens = x->rows,
                                                                              .width = x->cols,
                                                                              .dtype = x->dtype,
                                                                              .eps = eps,
                                                                              .x = x->data,
                                                                              .weight = w->data,
                                                                              .bias = b->data,
                                                                              .y = y->data,
                                                                              .mean = mean,
                                                                              .rstd = rstd}));
  if (!x->needs_grad && !w->needs_grad && !b->needs_grad)
    return y;
  struct norm_saved *s = lrl_tape_record(tape, layer_norm_back, sizeof *s, y, NULL, NULL);
  if (s != NULL)
    *s = (struct norm_saved){.x = x, .y = y, .w = w, .b = b, .mean = mean, .rstd = rstd};
  return y;
}

/* ---- element-wise ---- */

struct pair_saved {
  struct lrl_tensor *a, *b, *y;
  enum lrl_gelu_kind kind;
};

static struct lrl_tensor *record_pair(struct lrl_tape *tape, lrl_back *back, struct lrl_tensor *y,
                                      struct lrl_tensor *a, struct lrl_tensor *b,
                                      enum lrl_gelu_kind kind) {
  if (!a->needs_grad && (b == NULL || !b->needs_grad))
    return y;
  struct pair_saved *s = lrl_tape_record(tape, back, sizeof *s, y, NULL, NULL);
  if (s != NULL)
    *s = (struct pair_saved){.a = a, .b = b, .y = y, .kind = kind};
  return y;
}

static lrl_status add_back(struct lrl_tape *tape, void *saved) {
  struct pair_saved *s = saved;
  lrl_grad_seed(tape, s->a, s->y->grad);
  lrl_grad_seed(tape, s->b, s->y->grad);
  return tape->status;
}

struct lrl_tensor *lrl_nn_add(struct lrl_tape *tape, struct lrl_tensor *a, struct lrl_tensor *b) {
  struct lrl_tensor *y = lrl_tensor_new(tape, a->dtype, a->rows, a->cols);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_add(tape->ctx, &(struct lrl_add_args){.n = a->rows * a->cols,
                                                              .dtype = a->dtype,
                                                              .a = a->data,
                                                              .b = b->data,
                                                              .y = y->data}));
  return record_pair(tape, add_back, y, a, b, LRL_GELU_ERF);
}

static lrl_status gelu_back(struct lrl_tape *tape, void *saved) {
  struct pair_saved *s = saved;
  void *dx = lrl_grad_begin(tape, s->a);
  if (dx == NULL)
    return tape->status;
  LRL_TRY(lrl_gelu_bwd(tape->ctx, &(struct lrl_gelu_bwd_args){.n = s->a->rows * s->a->cols,
                                                              .kind = s->kind,
                                                              .dtype = s->a->dtype,
                                                              .x = s->a->data,
                                                              .dy = s->y->grad,
                                                              .dx = dx}));
  return lrl_grad_end(tape, s->a, dx);
}

struct lrl_tensor *lrl_nn_gelu(struct lrl_tape *tape, struct lrl_tensor *x,
                               enum lrl_gelu_kind kind) {
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, x->rows, x->cols);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_gelu_fwd(tape->ctx, &(struct lrl_gelu_fwd_args){.n = x->rows * x->cols,
                                                                        .kind = kind,
                                                                        .dtype = x->dtype,
                                                                        .x = x->data,
                                                                        .y = y->data}));
  return record_pair(tape, gelu_back, y, x, NULL, kind);
}

static lrl_status swiglu_back(struct lrl_tape *tape, void *saved) {
  struct pair_saved *s = saved;
  char *dx = lrl_grad_begin(tape, s->a);
  if (dx == NULL)
    return tape->status;
  int64_t f = s->y->cols, half = f * lrl_dtype_bytes(s->a->dtype);
  LRL_TRY(lrl_swiglu_bwd(tape->ctx, &(struct lrl_swiglu_bwd_args){.n_tokens = s->y->rows,
                                                                  .width = f,
                                                                  .ld_in = 2 * f,
                                                                  .dtype = s->a->dtype,
                                                                  .gate = s->a->data,
                                                                  .up = (char *)s->a->data + half,
                                                                  .dy = s->y->grad,
                                                                  .d_gate = dx,
                                                                  .d_up = dx + half}));
  return lrl_grad_end(tape, s->a, dx);
}

struct lrl_tensor *lrl_nn_swiglu(struct lrl_tape *tape, struct lrl_tensor *x) {
  int64_t f = x->cols / 2;
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, x->rows, f);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape,
              lrl_swiglu_fwd(tape->ctx, &(struct lrl_swiglu_fwd_args){
                                            .n_tokens = x->rows,
                                            .width = f,
                                            .ld_in = 2 * f,
                                            .dtype = x->dtype,
                                            .gate = x->data,
                                            .up = (char *)x->data + f * lrl_dtype_bytes(x->dtype),
                                            .y = y->data}));
  return record_pair(tape, swiglu_back, y, x, NULL, LRL_GELU_ERF);
}

/* ---- heads ---- */

struct head_saved {
  struct lrl_tensor *x, *w, *y;
  const struct lrl_layout *layout;
  const int32_t *seq;
  int64_t n;
};

static lrl_status head_back(struct lrl_tape *tape, void *saved) {
  struct head_saved *s = saved;
  void *dx = lrl_grad_begin(tape, s->x);
  LRL_TRY(
      lrl_head_bwd(tape->ctx, &(struct lrl_head_bwd_args){.n = s->x->rows,
                                                          .width = s->x->cols,
                                                          .dtype = s->x->dtype,
                                                          .x = s->x->data,
                                                          .weight = s->w->data,
                                                          .d_score = s->y->grad,
                                                          .dx = dx,
                                                          .d_weight = lrl_param_grad(tape, s->w)}));
  return lrl_grad_end(tape, s->x, dx);
}

struct lrl_tensor *lrl_nn_head(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w) {
  struct lrl_tensor *y = lrl_tensor_new(tape, LRL_F32, x->rows, 1);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_head_fwd(tape->ctx, &(struct lrl_head_fwd_args){.n = x->rows,
                                                                        .width = x->cols,
                                                                        .dtype = x->dtype,
                                                                        .x = x->data,
                                                                        .weight = w->data,
                                                                        .score = y->data}));
  if (!x->needs_grad && !w->needs_grad)
    return y;
  struct head_saved *s = lrl_tape_record(tape, head_back, sizeof *s, y, NULL, NULL);
  if (s != NULL)
    *s = (struct head_saved){.x = x, .w = w, .y = y};
  return y;
}

static lrl_status mean_pool_back(struct lrl_tape *tape, void *saved) {
  struct head_saved *s = saved;
  void *dx = lrl_grad_begin(tape, s->x);
  if (dx == NULL)
    return tape->status;
  LRL_TRY(lrl_mean_pool_bwd(tape->ctx, &(struct lrl_mean_pool_bwd_args){.layout = s->layout,
                                                                        .n = s->n,
                                                                        .width = s->x->cols,
                                                                        .dtype = s->x->dtype,
                                                                        .seq = s->seq,
                                                                        .d_out = s->y->grad,
                                                                        .dx = dx}));
  return lrl_grad_end(tape, s->x, dx);
}

struct lrl_tensor *lrl_nn_mean_pool(struct lrl_tape *tape, struct lrl_tensor *x,
                                    const struct lrl_layout *layout, const int32_t *seq,
                                    int64_t n) {
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, n, x->cols);
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(tape, lrl_mean_pool_fwd(tape->ctx, &(struct lrl_mean_pool_fwd_args){.layout = layout,
                                                                                  .n = n,
                                                                                  .width = x->cols,
                                                                                  .dtype = x->dtype,
                                                                                  .seq = seq,
                                                                                  .x = x->data,
                                                                                  .out = y->data}));
  if (!x->needs_grad)
    return y;
  struct head_saved *s = lrl_tape_record(tape, mean_pool_back, sizeof *s, y, NULL, NULL);
  if (s != NULL)
    *s = (struct head_saved){.x = x, .y = y, .layout = layout, .seq = seq, .n = n};
  return y;
}
