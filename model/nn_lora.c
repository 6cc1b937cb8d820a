/* The low-rank path beside a linear layer: LoRA on every row, Partial LoRA on the rows of image
 * tokens. */
#include "model/nn.h"

#include <string.h>

struct lora_saved {
  struct lrl_tensor *x, *y, *a, *b;
  void *xi, *h; /* the path's input (x itself when nothing changes it); scale * (xi A^T) */
  int64_t col;
  struct lrl_lora_rows rows;
};

/* out [n, n_out] = scale * (src [n, n_in] times m, or m^T), rounded once to m's dtype. */
static lrl_status scaled_matmul(struct lrl_tape *tape, int64_t n, const void *src, int64_t ld_src,
                                const struct lrl_tensor *m, bool trans, float scale, void *out) {
  size_t mark = lrl_arena_mark(tape->arena);
  bool direct = m->dtype == LRL_F32;
  int64_t n_in = trans ? m->cols : m->rows, n_out = trans ? m->rows : m->cols;
  float *tmp = direct ? out : lrl_tape_alloc(tape, (size_t)(n * n_out) * sizeof *tmp);
  if (tmp == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY(lrl_gemm(tape->ctx, &(struct lrl_gemm_args){.m = n,
                                                      .n = n_out,
                                                      .k = n_in,
                                                      .trans_b = trans,
                                                      .dtype = m->dtype,
                                                      .c_dtype = LRL_F32,
                                                      .a = src,
                                                      .b = m->data,
                                                      .ld_a = ld_src,
                                                      .ld_b = m->cols,
                                                      .ld_c = n_out,
                                                      .c = tmp,
                                                      .b_version = m->is_param ? m->version : 0}));
  if (scale != 1.0f)
    LRL_TRY(
        lrl_scale(tape->ctx, &(struct lrl_scale_args){.n = n * n_out, .x = tmp, .alpha = scale}));
  if (!direct)
    LRL_TRY(lrl_cast(tape->ctx,
                     &(struct lrl_cast_args){
                         .n = n * n_out, .from = LRL_F32, .to = m->dtype, .x = tmp, .y = out}));
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

/* y[rows, col:] += h B^T, one product for each run of neighbouring rows: an image's tokens are
 * neighbours. */
static lrl_status add_product(struct lrl_tape *tape, const struct lora_saved *s) {
  const int32_t *index = s->rows.index;
  int64_t size = lrl_dtype_bytes(s->y->dtype), r = s->b->cols;
  for (int64_t i = 0, n; i < s->rows.n; i += n) {
    int64_t first = index == NULL ? 0 : index[i];
    for (n = index == NULL ? s->rows.n : 1; i + n < s->rows.n && index[i + n] == first + n;)
      n++;
    LRL_TRY(lrl_gemm(tape->ctx, &(struct lrl_gemm_args){
                                    .m = n,
                                    .n = s->b->rows,
                                    .k = r,
                                    .trans_b = true,
                                    .dtype = s->b->dtype,
                                    .c_dtype = s->y->dtype,
                                    .a = (const char *)s->h + i * r * size,
                                    .b = s->b->data,
                                    .ld_a = r,
                                    .ld_b = r,
                                    .ld_c = s->y->cols,
                                    .c = (char *)s->y->data + (first * s->y->cols + s->col) * size,
                                    .beta = 1.0f,
                                    .b_version = s->b->is_param ? s->b->version : 0}));
  }
  return LRL_OK;
}

static lrl_status dropped(struct lrl_tape *tape, const struct lora_saved *s, const void *x,
                          void *y) {
  return lrl_dropout(tape->ctx, &(struct lrl_dropout_args){.n_tokens = s->rows.n,
                                                           .width = s->x->cols,
                                                           .dtype = s->x->dtype,
                                                           .p = s->rows.dropout,
                                                           .seed = s->rows.seed,
                                                           .row_key = s->rows.row_key,
                                                           .x = x,
                                                           .y = y});
}

/* d_weight [m, n] += scale-free product of two row lists over the path's rows. */
static lrl_status weight_grad(struct lrl_tape *tape, const struct lora_saved *s,
                              struct lrl_tensor *weight, const void *d_out, int64_t ld_d_out,
                              const void *in) {
  float *d_weight = lrl_param_grad(tape, weight);
  if (d_weight == NULL)
    return tape->status;
  return lrl_gemm(tape->ctx, &(struct lrl_gemm_args){.m = weight->rows,
                                                     .n = weight->cols,
                                                     .k = s->rows.n,
                                                     .trans_a = true,
                                                     .dtype = s->x->dtype,
                                                     .c_dtype = LRL_F32,
                                                     .a = d_out,
                                                     .b = in,
                                                     .ld_a = ld_d_out,
                                                     .ld_b = weight->cols,
                                                     .ld_c = weight->cols,
                                                     .c = d_weight,
                                                     .beta = 1.0f});
}

/* dx[rows] += dropout(dh A). */
static lrl_status input_grad(struct lrl_tape *tape, const struct lora_saved *s, const void *dh,
                             void *dx) {
  int64_t n = s->rows.n, in = s->x->cols;
  void *dxi = lrl_tape_alloc(tape, (size_t)(n * in * lrl_dtype_bytes(s->x->dtype)));
  if (dxi == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY(scaled_matmul(tape, n, dh, s->a->rows, s->a, false, 1.0f, dxi));
  if (s->rows.dropout > 0.0f)
    LRL_TRY(dropped(tape, s, dxi, dxi));
  if (s->rows.index == NULL)
    return lrl_add(tape->ctx, &(struct lrl_add_args){
                                  .n = n * in, .dtype = s->x->dtype, .a = dx, .b = dxi, .y = dx});
  return lrl_scatter_rows(tape->ctx, &(struct lrl_scatter_rows_args){.n = n,
                                                                     .n_out = s->x->rows,
                                                                     .width = in,
                                                                     .dtype = s->x->dtype,
                                                                     .index = s->rows.index,
                                                                     .x = dxi,
                                                                     .out = dx,
                                                                     .beta = 1.0f});
}

static lrl_status lora_back(struct lrl_tape *tape, void *saved) {
  struct lora_saved *s = saved;
  if (!s->y->has_grad)
    return LRL_OK;
  int64_t n = s->rows.n, r = s->a->rows, out = s->b->rows, size = lrl_dtype_bytes(s->y->dtype);
  float beta;
  void *dx = lrl_grad_target(tape, s->x, &beta);
  if (dx != NULL && beta == 0.0f) /* rows outside the list get no contribution from here */
    lrl_zero(tape->ctx, dx, (size_t)(s->x->rows * s->x->cols * size));
  size_t mark = lrl_arena_mark(tape->arena);
  const char *dy = (const char *)s->y->grad + s->col * size;
  int64_t ld_dy = s->y->cols;
  void *dh = lrl_tape_alloc(tape, (size_t)(n * r * size));
  if (s->rows.index != NULL) {
    char *rows = lrl_tape_alloc(tape, (size_t)(n * out * size));
    for (int64_t i = 0; i < n && tape->status == LRL_OK; i++)
      lrl_move(tape->ctx, rows + i * out * size, dy + s->rows.index[i] * ld_dy * size,
               (size_t)(out * size));
    dy = rows;
    ld_dy = out;
  }
  if (tape->status != LRL_OK)
    return tape->status;
  LRL_TRY(weight_grad(tape, s, s->b, dy, ld_dy, s->h));
  LRL_TRY(scaled_matmul(tape, n, dy, ld_dy, s->b, false, s->rows.scale, dh));
  LRL_TRY(weight_grad(tape, s, s->a, dh, r, s->xi));
  if (dx != NULL)
    LRL_TRY(input_grad(tape, s, dh, dx));
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

/* The rows of x that go through the path, after dropout. */
static void *path_input(struct lrl_tape *tape, const struct lora_saved *s) {
  const struct lrl_lora_rows *rows = &s->rows;
  bool drop = rows->dropout > 0.0f;
  if (rows->index == NULL && !drop)
    return s->x->data;
  void *xi = lrl_tape_alloc(tape, (size_t)(rows->n * s->x->cols * lrl_dtype_bytes(s->x->dtype)));
  if (xi != NULL && rows->index != NULL)
    lrl_tape_ok(tape,
                lrl_gather_rows(tape->ctx, &(struct lrl_gather_rows_args){.n = rows->n,
                                                                          .n_x = s->x->rows,
                                                                          .width = s->x->cols,
                                                                          .dtype = s->x->dtype,
                                                                          .index = rows->index,
                                                                          .x = s->x->data,
                                                                          .out = xi}));
  if (drop && tape->status == LRL_OK)
    lrl_tape_ok(tape, dropped(tape, s, rows->index == NULL ? s->x->data : xi, xi));
  return xi;
}

void lrl_nn_lora_add(struct lrl_tape *tape, struct lrl_tensor *y, int64_t col, struct lrl_tensor *x,
                     struct lrl_tensor *a, struct lrl_tensor *b, const struct lrl_lora_rows *rows) {
  if (tape->status != LRL_OK || rows->n == 0)
    return;
  LRL_ASSERT(rows->index != NULL || rows->n == x->rows);
  struct lora_saved s = {.x = x, .y = y, .a = a, .b = b, .col = col, .rows = *rows};
  s.xi = path_input(tape, &s);
  s.h = lrl_tape_alloc(tape, (size_t)(rows->n * a->rows * lrl_dtype_bytes(x->dtype)));
  if (tape->status != LRL_OK ||
      !lrl_tape_ok(tape, scaled_matmul(tape, rows->n, s.xi, x->cols, a, true, rows->scale, s.h)) ||
      !lrl_tape_ok(tape, add_product(tape, &s)))
    return;
  if (!x->needs_grad && !a->needs_grad && !b->needs_grad)
    return;
  /* Beside a frozen linear of a frozen input this is what made y's gradient necessary. */
  struct lora_saved *kept =
      lrl_tape_record(tape, lora_back, sizeof s, y->needs_grad ? NULL : y, NULL, NULL);
  y->needs_grad = true;
  if (kept != NULL)
    *kept = s;
}
