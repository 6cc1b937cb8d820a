/* Linear layers, LoRA paths and the fused linear cross-entropy. */
#include "model/nn.h"

#include <string.h>

static const char *at(const struct lrl_tensor *t, int64_t col) {
  return (const char *)t->data + col * lrl_dtype_bytes(t->dtype);
}

static lrl_status matmul(struct lrl_tape *tape, struct lrl_gemm_args a) {
  return lrl_gemm(tape->ctx, &a);
}

struct linears_saved {
  struct lrl_tensor *x, *y, *w[3], *b[3];
  int n;
};

/* One part of a side-by-side linear: y[:, col : col+out] and its way back. */
static lrl_status part_fwd(struct lrl_tape *tape, const struct lrl_tensor *x,
                           const struct lrl_tensor *w, const void *bias, int64_t out,
                           struct lrl_tensor *y, int64_t col) {
  return matmul(tape, (struct lrl_gemm_args){.m = x->rows,
                                             .n = out,
                                             .k = x->cols,
                                             .trans_b = true,
                                             .dtype = x->dtype,
                                             .c_dtype = y->dtype,
                                             .a = x->data,
                                             .b = w->data,
                                             .bias = bias,
                                             .ld_a = x->cols,
                                             .ld_b = x->cols,
                                             .ld_c = y->cols,
                                             .c = (void *)(uintptr_t)at(y, col),
                                             .b_version = w->is_param ? w->version : 0});
}

static lrl_status part_bwd(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w,
                           float *dw, int64_t out, const struct lrl_tensor *y, int64_t col) {
  const char *dy = (const char *)y->grad + col * lrl_dtype_bytes(y->dtype);
  float beta;
  void *dx = lrl_grad_target(tape, x, &beta);
  if (dx != NULL)
    LRL_TRY(matmul(tape, (struct lrl_gemm_args){.m = x->rows,
                                                .n = x->cols,
                                                .k = out,
                                                .dtype = y->dtype,
                                                .c_dtype = x->dtype,
                                                .a = dy,
                                                .b = w->data,
                                                .ld_a = y->cols,
                                                .ld_b = x->cols,
                                                .ld_c = x->cols,
                                                .c = dx,
                                                .beta = beta,
                                                .b_version = w->is_param ? w->version : 0}));
  if (dw != NULL)
    LRL_TRY(matmul(tape, (struct lrl_gemm_args){.m = out,
                                                .n = x->cols,
                                                .k = x->rows,
                                                .trans_a = true,
                                                .dtype = y->dtype,
                                                .c_dtype = LRL_F32,
                                                .a = dy,
                                                .b = x->data,
                                                .ld_a = y->cols,
                                                .ld_b = x->cols,
                                                .ld_c = x->cols,
                                                .c = dw,
                                                .beta = 1.0f}));
  return LRL_OK;
}

/* Whether the n matrices follow each other in memory, so that they are one matrix. */
static bool adjacent(int n, struct lrl_tensor *const *w) {
  for (int i = 1; i < n; i++)
    if (at(w[i - 1], w[i - 1]->rows * w[i - 1]->cols) != (const char *)w[i]->data)
      return false;
  return true;
}

static lrl_status bias_bwd(struct lrl_tape *tape, const struct linears_saved *s, int64_t col,
                           struct lrl_tensor *b) {
  struct lrl_tensor *y = s->y;
  if (b == NULL || !b->needs_grad)
    return LRL_OK;
  if (b->cols == y->cols)
    return lrl_colsum(tape->ctx, &(struct lrl_colsum_args){.n_tokens = y->rows,
                                                           .width = y->cols,
                                                           .dtype = y->dtype,
                                                           .x = y->grad,
                                                           .out = b->grad});
  /* A column slice: sum all columns aside, then add the slice. */
  size_t mark = lrl_arena_mark(tape->arena);
  float *all = lrl_tape_alloc(tape, (size_t)y->cols * sizeof *all);
  if (all == NULL)
    return LRL_ERR_MEMORY;
  memset(all, 0, (size_t)y->cols * sizeof *all);
  LRL_TRY(lrl_colsum(
      tape->ctx,
      &(struct lrl_colsum_args){
          .n_tokens = y->rows, .width = y->cols, .dtype = y->dtype, .x = y->grad, .out = all}));
  for (int64_t i = 0; i < b->cols; i++)
    ((float *)b->grad)[i] += all[col + i];
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

static lrl_status linears_back(struct lrl_tape *tape, void *saved) {
  struct linears_saved *s = saved;
  bool one = adjacent(s->n, s->w) && s->n > 1;
  int64_t col = 0;
  if (one)
    LRL_TRY(part_bwd(tape, s->x, s->w[0], s->w[0]->needs_grad ? s->w[0]->grad : NULL, s->y->cols,
                     s->y, 0));
  for (int i = 0; i < s->n; i++) {
    if (!one)
      LRL_TRY(part_bwd(tape, s->x, s->w[i], s->w[i]->needs_grad ? s->w[i]->grad : NULL,
                       s->w[i]->rows, s->y, col));
    LRL_TRY(bias_bwd(tape, s, col, s->b[i]));
    col += s->w[i]->rows;
  }
  return LRL_OK;
}

struct lrl_tensor *lrl_nn_linears(struct lrl_tape *tape, struct lrl_tensor *x, int n,
                                  struct lrl_tensor *const *w, struct lrl_tensor *const *b) {
  int64_t out = 0;
  bool grads = x->needs_grad;
  for (int i = 0; i < n; i++) {
    out += w[i]->rows;
    grads = grads || w[i]->needs_grad || (b != NULL && b[i] != NULL && b[i]->needs_grad);
  }
  struct lrl_tensor *y = lrl_tensor_new(tape, x->dtype, x->rows, out);
  if (tape->status != LRL_OK)
    return y;
  bool has_bias = b != NULL && b[0] != NULL;
  if (adjacent(n, w) && (!has_bias || adjacent(n, b))) {
    lrl_tape_ok(tape, part_fwd(tape, x, w[0], has_bias ? b[0]->data : NULL, out, y, 0));
  } else {
    int64_t col = 0;
    for (int i = 0; i < n; i++) {
      lrl_tape_ok(tape, part_fwd(tape, x, w[i], has_bias ? b[i]->data : NULL, w[i]->rows, y, col));
      col += w[i]->rows;
    }
  }
  struct linears_saved *s =
      grads ? lrl_tape_record(tape, linears_back, sizeof *s, y, NULL, NULL) : NULL;
  if (s != NULL) {
    s->x = x;
    s->y = y;
    s->n = n;
    for (int i = 0; i < n; i++) {
      s->w[i] = w[i];
      s->b[i] = has_bias ? b[i] : NULL;
    }
  }
  return y;
}

struct lrl_tensor *lrl_nn_linear(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w,
                                 struct lrl_tensor *b) {
  return lrl_nn_linears(tape, x, 1, &w, &b);
}

/* ---- LoRA ---- */

struct lora_saved {
  struct lrl_tensor *x, *y, *a, *b;
  void *xi, *h; /* gathered (and dropped) rows of x; scale * (xi A^T), both in dtype */
  int64_t col;
  struct lrl_lora_rows rows;
};

/* h [n, k] in dtype = scale * (src [n, in] times m or m^T). */
static lrl_status scaled_matmul(struct lrl_tape *tape, int64_t n, int64_t in, int64_t out,
                                const void *src, const struct lrl_tensor *m, bool trans,
                                float scale, void *h) {
  size_t mark = lrl_arena_mark(tape->arena);
  bool direct = m->dtype == LRL_F32;
  float *tmp = direct ? h : lrl_tape_alloc(tape, (size_t)(n * out) * sizeof *tmp);
  if (tmp == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY(matmul(tape, (struct lrl_gemm_args){.m = n,
                                              .n = out,
                                              .k = in,
                                              .trans_b = trans,
                                              .dtype = m->dtype,
                                              .c_dtype = LRL_F32,
                                              .a = src,
                                              .b = m->data,
                                              .ld_a = in,
                                              .ld_b = m->cols,
                                              .ld_c = out,
                                              .c = tmp,
                                              .b_version = m->is_param ? m->version : 0}));
  if (scale != 1.0f)
    LRL_TRY(lrl_scale(tape->ctx, &(struct lrl_scale_args){.n = n * out, .x = tmp, .alpha = scale}));
  if (!direct)
    LRL_TRY(lrl_cast(
        tape->ctx,
        &(struct lrl_cast_args){.n = n * out, .from = LRL_F32, .to = m->dtype, .x = tmp, .y = h}));
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

/* Adds src [n, b_rows] into y[index, col:]: through a full-width scatter when it is the whole
 * width. */
static lrl_status scatter_cols(struct lrl_tape *tape, const struct lora_saved *s, const void *src,
                               void *y) {
  int64_t width = s->b->rows, n = s->rows.n, cols = s->y->cols, size = lrl_dtype_bytes(s->y->dtype);
  if (width == cols)
    return lrl_scatter_rows(tape->ctx, &(struct lrl_scatter_rows_args){.n = n,
                                                                       .n_out = s->y->rows,
                                                                       .width = cols,
                                                                       .dtype = s->y->dtype,
                                                                       .index = s->rows.index,
                                                                       .x = src,
                                                                       .out = y,
                                                                       .beta = 1.0f});
  for (int64_t i = 0; i < n; i++) {
    char *to = (char *)y + (s->rows.index[i] * cols + s->col) * size;
    LRL_TRY(lrl_add(tape->ctx, &(struct lrl_add_args){.n = width,
                                                      .dtype = s->y->dtype,
                                                      .a = to,
                                                      .b = (const char *)src + i * width * size,
                                                      .y = to}));
  }
  return LRL_OK;
}

static lrl_status dropped(struct lrl_tape *tape, const struct lora_saved *s, void *x) {
  if (s->rows.dropout <= 0.0f)
    return LRL_OK;
  return lrl_dropout(tape->ctx, &(struct lrl_dropout_args){.n_tokens = s->rows.n,
                                                           .width = s->x->cols,
                                                           .dtype = s->x->dtype,
                                                           .p = s->rows.dropout,
                                                           .seed = s->rows.seed,
                                                           .row_key = s->rows.row_key,
                                                           .x = x,
                                                           .y = x});
}

static lrl_status lora_back(struct lrl_tape *tape, void *saved) {
  struct lora_saved *s = saved;
  if (!s->y->has_grad)
    return LRL_OK;
  size_t mark = lrl_arena_mark(tape->arena);
  float beta;
  void *dx = lrl_grad_target(tape, s->x, &beta);
  if (dx != NULL && beta == 0.0f) { /* rows outside the list get no contribution from here */
    memset(dx, 0, (size_t)(s->x->rows * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
    mark = lrl_arena_mark(tape->arena);
  }
  int64_t n = s->rows.n, r = s->a->rows, out = s->b->rows, in = s->x->cols;
  lrl_dtype dt = s->y->dtype;
  char *dyi = lrl_tape_alloc(tape, (size_t)(n * out * lrl_dtype_bytes(dt)));
  void *dh = lrl_tape_alloc(tape, (size_t)(n * r * lrl_dtype_bytes(dt)));
  void *dxi = lrl_tape_alloc(tape, (size_t)(n * in * lrl_dtype_bytes(dt)));
  if (tape->status != LRL_OK)
    return tape->status;
  for (int64_t i = 0; i < n; i++)
    memcpy(dyi + i * out * lrl_dtype_bytes(dt),
           (const char *)s->y->grad +
               (s->rows.index[i] * s->y->cols + s->col) * lrl_dtype_bytes(dt),
           (size_t)(out * lrl_dtype_bytes(dt)));
  struct lrl_gemm_args g = {.trans_a = true, .dtype = dt, .c_dtype = LRL_F32, .k = n, .beta = 1.0f};
  if (s->b->needs_grad) { /* dB += dy^T (scale h) */
    g.m = g.ld_a = out;
    g.n = g.ld_b = g.ld_c = r;
    g.a = dyi;
    g.b = s->h;
    g.c = s->b->grad;
    LRL_TRY(matmul(tape, g));
  }
  LRL_TRY(scaled_matmul(tape, n, out, r, dyi, s->b, false, s->rows.scale, dh));
  if (s->a->needs_grad) { /* dA += dh^T xi */
    g.m = g.ld_a = r;
    g.n = g.ld_b = g.ld_c = in;
    g.a = dh;
    g.b = s->xi;
    g.c = s->a->grad;
    LRL_TRY(matmul(tape, g));
  }
  if (dx != NULL) {
    LRL_TRY(scaled_matmul(tape, n, r, in, dh, s->a, false, 1.0f, dxi));
    LRL_TRY(dropped(tape, s, dxi));
    LRL_TRY(lrl_scatter_rows(tape->ctx, &(struct lrl_scatter_rows_args){.n = n,
                                                                        .n_out = s->x->rows,
                                                                        .width = in,
                                                                        .dtype = dt,
                                                                        .index = s->rows.index,
                                                                        .x = dxi,
                                                                        .out = dx,
                                                                        .beta = 1.0f}));
  }
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

void lrl_nn_lora_add(struct lrl_tape *tape, struct lrl_tensor *y, int64_t col, struct lrl_tensor *x,
                     struct lrl_tensor *a, struct lrl_tensor *b, const struct lrl_lora_rows *rows) {
  if (tape->status != LRL_OK || rows->n == 0)
    return;
  int64_t size = lrl_dtype_bytes(x->dtype);
  struct lora_saved s = {.x = x, .y = y, .a = a, .b = b, .col = col, .rows = *rows};
  s.xi = lrl_tape_alloc(tape, (size_t)(rows->n * x->cols * size));
  s.h = lrl_tape_alloc(tape, (size_t)(rows->n * a->rows * size));
  void *out = lrl_tape_alloc(tape, (size_t)(rows->n * b->rows * size));
  if (tape->status != LRL_OK)
    return;
  if (lrl_tape_ok(tape,
                  lrl_gather_rows(tape->ctx, &(struct lrl_gather_rows_args){.n = rows->n,
                                                                            .n_x = x->rows,
                                                                            .width = x->cols,
                                                                            .dtype = x->dtype,
                                                                            .index = rows->index,
                                                                            .x = x->data,
                                                                            .out = s.xi})) &&
      lrl_tape_ok(tape, dropped(tape, &s, s.xi)) &&
      lrl_tape_ok(
          tape, scaled_matmul(tape, rows->n, x->cols, a->rows, s.xi, a, true, rows->scale, s.h)) &&
      lrl_tape_ok(tape, scaled_matmul(tape, rows->n, a->rows, b->rows, s.h, b, true, 1.0f, out)))
    lrl_tape_ok(tape, scatter_cols(tape, &s, out, y->data));
  if (!x->needs_grad && !a->needs_grad && !b->needs_grad)
    return;
  y->needs_grad = true;
  struct lora_saved *kept = lrl_tape_record(tape, lora_back, sizeof s, NULL, NULL, NULL);
  if (kept != NULL)
    *kept = s;
}

/* ---- fused linear + cross-entropy ---- */

void lrl_nn_linear_cross_entropy(struct lrl_tape *tape, struct lrl_tensor *x, struct lrl_tensor *w,
                                 const int32_t *target, float weight, double *loss_sum) {
  enum { CHUNK = 512 }; /* rows of logits alive at a time: 64 MiB at a vocabulary of 32k */
  int64_t vocab = w->rows, chunk = x->rows < CHUNK ? x->rows : CHUNK;
  *loss_sum = 0;
  bool grads = tape->record && (x->needs_grad || w->needs_grad);
  float beta = 0;
  char *dx = grads ? lrl_grad_target(tape, x, &beta) : NULL;
  size_t mark = lrl_arena_mark(tape->arena);
  float *logits = lrl_tape_alloc(tape, (size_t)(chunk * vocab) * sizeof *logits);
  void *dl = x->dtype == LRL_F32
                 ? logits
                 : lrl_tape_alloc(tape, (size_t)(chunk * vocab * lrl_dtype_bytes(x->dtype)));
  float *loss = lrl_tape_alloc(tape, (size_t)chunk * sizeof *loss);
  float *row_weight = lrl_tape_alloc(tape, (size_t)chunk * sizeof *row_weight);
  for (int64_t i = 0; i < chunk && tape->status == LRL_OK; i++)
    row_weight[i] = weight;
  for (int64_t at_row = 0; at_row < x->rows && tape->status == LRL_OK; at_row += chunk) {
    int64_t n = x->rows - at_row < chunk ? x->rows - at_row : chunk, h = x->cols;
    struct lrl_tensor xs = *x, y = {.rows = n, .cols = vocab, .dtype = LRL_F32, .data = logits};
    xs.rows = n;
    xs.data = (char *)x->data + at_row * h * lrl_dtype_bytes(x->dtype);
    lrl_tape_ok(tape, part_fwd(tape, &xs, w, NULL, vocab, &y, 0));
    struct lrl_cross_entropy_args ce = {.n_tokens = n,
                                        .n_vocab = vocab,
                                        .logits = logits,
                                        .weight = row_weight,
                                        .target = target + at_row,
                                        .loss = loss,
                                        .d_dtype = x->dtype,
                                        .d_logits = grads ? dl : NULL};
    if (tape->status == LRL_OK && lrl_tape_ok(tape, lrl_cross_entropy(tape->ctx, &ce)))
      for (int64_t i = 0; i < n; i++)
        *loss_sum += loss[i];
    if (!grads || tape->status != LRL_OK)
      continue;
    y.dtype = x->dtype;
    y.grad = dl;
    xs.is_param = false;
    xs.needs_grad = dx != NULL;
    xs.has_grad = beta != 0.0f;
    xs.grad = dx == NULL ? NULL : dx + at_row * h * lrl_dtype_bytes(x->dtype);
    /* has_grad false would make a new buffer; the slice of x's own buffer is overwritten instead.
     */
    if (dx != NULL && beta == 0.0f) {
      memset(xs.grad, 0, (size_t)(n * h * lrl_dtype_bytes(x->dtype)));
      xs.has_grad = true;
    }
    lrl_tape_ok(tape, part_bwd(tape, &xs, w, w->needs_grad ? w->grad : NULL, vocab, &y, 0));
  }
  lrl_arena_reset(tape->arena, mark);
}
