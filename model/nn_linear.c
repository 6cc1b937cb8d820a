/* Linear layers and the fused linear cross-entropy. LoRA: nn_lora.c. */
#include "model/nn.h"

#include <string.h>

static char *at(const struct lrl_tensor *t, int64_t col) {
  return (char *)t->data + col * lrl_dtype_bytes(t->dtype);
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
                                             .c = at(y, col),
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
  float *db = lrl_param_grad(tape, b);
  if (db == NULL)
    return tape->status;
  if (b->cols == y->cols)
    return lrl_colsum(
        tape->ctx,
        &(struct lrl_colsum_args){
            .n_tokens = y->rows, .width = y->cols, .dtype = y->dtype, .x = y->grad, .out = db});
  /* A column slice: sum all columns aside, then add the slice. */
  size_t mark = lrl_arena_mark(tape->arena);
  float *all = lrl_tape_alloc(tape, (size_t)y->cols * sizeof *all);
  if (all == NULL)
    return LRL_ERR_MEMORY;
  lrl_zero(tape->ctx, all, (size_t)y->cols * sizeof *all);
  LRL_TRY(lrl_colsum(
      tape->ctx,
      &(struct lrl_colsum_args){
          .n_tokens = y->rows, .width = y->cols, .dtype = y->dtype, .x = y->grad, .out = all}));
  lrl_arena_reset(tape->arena, mark);
  return lrl_add(tape->ctx, &(struct lrl_add_args){
                                .n = b->cols, .dtype = LRL_F32, .a = db, .b = all + col, .y = db});
}

static lrl_status linears_back(struct lrl_tape *tape, void *saved) {
  struct linears_saved *s = saved;
  bool one = adjacent(s->n, s->w) && s->n > 1;
  int64_t col = 0;
  if (one)
    LRL_TRY(part_bwd(tape, s->x, s->w[0], lrl_param_grad(tape, s->w[0]), s->y->cols, s->y, 0));
  for (int i = 0; i < s->n; i++) {
    if (!one)
      LRL_TRY(
          part_bwd(tape, s->x, s->w[i], lrl_param_grad(tape, s->w[i]), s->w[i]->rows, s->y, col));
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

/* ---- fused linear + cross-entropy ---- */

const float *lrl_nn_linear_cross_entropy(struct lrl_tape *tape, struct lrl_tensor *x,
                                         struct lrl_tensor *w, const int32_t *target,
                                         float weight) {
  enum { CHUNK = 512 }; /* rows of logits alive at a time: 64 MiB at a vocabulary of 32k */
  int64_t vocab = w->rows, chunk = x->rows < CHUNK ? x->rows : CHUNK;
  bool grads = tape->record && (x->needs_grad || w->needs_grad);
  float beta = 0;
  char *dx = grads ? lrl_grad_target(tape, x, &beta) : NULL;
  float *loss = lrl_tape_alloc(tape, (size_t)x->rows * sizeof *loss);
  size_t mark = lrl_arena_mark(tape->arena);
  float *logits = lrl_tape_alloc(tape, (size_t)(chunk * vocab) * sizeof *logits);
  void *dl = x->dtype == LRL_F32
                 ? logits
                 : lrl_tape_alloc(tape, (size_t)(chunk * vocab * lrl_dtype_bytes(x->dtype)));
  float *row_weight = lrl_tape_host(tape, (size_t)chunk * sizeof *row_weight);
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
                                        .loss = loss + at_row,
                                        .d_dtype = x->dtype,
                                        .d_logits = grads ? dl : NULL};
    if (tape->status == LRL_OK)
      lrl_tape_ok(tape, lrl_cross_entropy(tape->ctx, &ce));
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
      lrl_zero(tape->ctx, xs.grad, (size_t)(n * h * lrl_dtype_bytes(x->dtype)));
      xs.has_grad = true;
    }
    lrl_tape_ok(tape, part_bwd(tape, &xs, w, lrl_param_grad(tape, w), vocab, &y, 0));
  }
  lrl_arena_reset(tape->arena, mark);
  return loss;
}
