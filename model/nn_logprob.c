/* Log-probabilities and entropies of a linear onto the vocabulary, in chunks of rows: the logits of
 * the whole batch never exist. A loss needs all of them (a sequence's ratio, say) before their
 * gradients are known, so going back computes each chunk's logits again. */
#include "model/nn.h"

#include <string.h>

enum { CHUNK = 512 }; /* rows of logits alive at a time: 64 MiB at a vocabulary of 32k */

struct logprob_saved {
  struct lrl_tensor *x, *w, *logprobs, *entropy; /* entropy NULL: not wanted */
  const int32_t *target;
  float temperature;
  float *lse; /* [rows] */
};

static char *row_of(const struct lrl_tensor *x, void *data, int64_t row) {
  return (char *)data + row * x->cols * lrl_dtype_bytes(x->dtype);
}
static float *from(const struct lrl_tensor *t, int64_t row) {
  return t == NULL ? NULL : (float *)t->data + row;
}

/* logits f32 [n, vocab] of rows row .. row + n. */
static lrl_status chunk_logits(struct lrl_tape *tape, const struct logprob_saved *s, int64_t row,
                               int64_t n, float *logits) {
  const struct lrl_tensor *x = s->x, *w = s->w;
  return lrl_gemm(tape->ctx, &(struct lrl_gemm_args){.m = n,
                                                     .n = w->rows,
                                                     .k = x->cols,
                                                     .trans_b = true,
                                                     .dtype = x->dtype,
                                                     .c_dtype = LRL_F32,
                                                     .a = row_of(x, x->data, row),
                                                     .b = w->data,
                                                     .ld_a = x->cols,
                                                     .ld_b = x->cols,
                                                     .ld_c = w->rows,
                                                     .c = logits,
                                                     .b_version = w->is_param ? w->version : 0});
}

/* dx (rows row .. row + n of it) = beta dx + dl W;  dw += dl^T x. */
static lrl_status chunk_back(struct lrl_tape *tape, const struct logprob_saved *s, int64_t row,
                             int64_t n, const void *dl, void *dx, float beta, float *dw) {
  const struct lrl_tensor *x = s->x, *w = s->w;
  struct lrl_gemm_args g = {.dtype = x->dtype, .a = dl, .ld_a = w->rows};
  g.n = g.ld_b = g.ld_c = x->cols;
  if (dx != NULL) {
    g.m = n;
    g.k = w->rows;
    g.b = w->data;
    g.b_version = w->is_param ? w->version : 0;
    g.c = row_of(x, dx, row);
    g.c_dtype = x->dtype;
    g.beta = beta;
    LRL_TRY(lrl_gemm(tape->ctx, &g));
  }
  if (dw == NULL)
    return LRL_OK;
  g.m = w->rows;
  g.k = n;
  g.trans_a = true;
  g.b = row_of(x, x->data, row);
  g.b_version = 0;
  g.c = dw;
  g.c_dtype = LRL_F32;
  g.beta = 1.0f;
  return lrl_gemm(tape->ctx, &g);
}

static lrl_status logprob_back(struct lrl_tape *tape, void *saved) {
  struct logprob_saved *s = saved;
  const int64_t rows = s->x->rows, vocab = s->w->rows, chunk = rows < CHUNK ? rows : CHUNK;
  float beta_x, beta_w;
  void *dx = lrl_grad_target(tape, s->x, &beta_x);
  float *dw = lrl_grad_target(tape, s->w, &beta_w);
  const size_t mark = lrl_arena_mark(tape->arena);
  float *logits = lrl_tape_alloc(tape, (size_t)(chunk * vocab) * sizeof *logits), *zero = NULL;
  void *dl = logits;
  if (s->x->dtype != LRL_F32)
    dl = lrl_tape_alloc(tape, (size_t)(chunk * vocab * lrl_dtype_bytes(s->x->dtype)));
  if (!s->logprobs->has_grad)
    zero = lrl_tape_alloc(tape, (size_t)rows * sizeof *zero);
  if (tape->status != LRL_OK)
    return tape->status;
  if (zero != NULL)
    lrl_zero(tape->ctx, zero, (size_t)rows * sizeof *zero);
  const float *d_logprobs = zero != NULL ? zero : s->logprobs->grad;
  const bool entropy = s->entropy != NULL && s->entropy->has_grad;
  for (int64_t row = 0; row < rows; row += chunk) {
    const int64_t n = rows - row < chunk ? rows - row : chunk;
    LRL_TRY(chunk_logits(tape, s, row, n, logits));
    LRL_TRY(lrl_logprob_bwd(tape->ctx,
                            &(struct lrl_logprob_bwd_args){
                                .n_tokens = n,
                                .n_vocab = vocab,
                                .temperature = s->temperature,
                                .logits = logits,
                                .target = s->target + row,
                                .lse = s->lse + row,
                                .entropy = entropy ? from(s->entropy, row) : NULL,
                                .d_logprobs = d_logprobs + row,
                                .d_entropy = entropy ? (const float *)s->entropy->grad + row : NULL,
                                .d_dtype = s->x->dtype,
                                .d_logits = dl}));
    LRL_TRY(chunk_back(tape, s, row, n, dl, dx, beta_x, dw));
  }
  lrl_arena_reset(tape->arena, mark);
  return LRL_OK;
}

struct lrl_tensor *lrl_nn_linear_logprob(struct lrl_tape *tape, struct lrl_tensor *x,
                                         struct lrl_tensor *w, const int32_t *target,
                                         float temperature, struct lrl_tensor **entropy) {
  const int64_t rows = x->rows, vocab = w->rows, chunk = rows < CHUNK ? rows : CHUNK;
  struct logprob_saved s = {.x = x, .w = w, .target = target, .temperature = temperature};
  s.logprobs = lrl_tensor_new(tape, LRL_F32, rows, 1);
  if (entropy != NULL)
    *entropy = s.entropy = lrl_tensor_new(tape, LRL_F32, rows, 1);
  s.lse = lrl_tape_alloc(tape, (size_t)rows * sizeof *s.lse);
  if (tape->record && (x->needs_grad || w->needs_grad)) {
    struct logprob_saved *kept =
        lrl_tape_record(tape, logprob_back, sizeof s, s.logprobs, s.entropy, NULL);
    if (kept != NULL)
      *kept = s;
  }
  const size_t mark = lrl_arena_mark(tape->arena);
  float *logits = lrl_tape_alloc(tape, (size_t)(chunk * vocab) * sizeof *logits);
  for (int64_t row = 0; row < rows && tape->status == LRL_OK; row += chunk) {
    const int64_t n = rows - row < chunk ? rows - row : chunk;
    if (lrl_tape_ok(tape, chunk_logits(tape, &s, row, n, logits)))
      lrl_tape_ok(tape, lrl_logprob_fwd(tape->ctx, &(struct lrl_logprob_fwd_args){
                                                       .n_tokens = n,
                                                       .n_vocab = vocab,
                                                       .temperature = temperature,
                                                       .logits = logits,
                                                       .target = target + row,
                                                       .logprobs = from(s.logprobs, row),
                                                       .entropy = from(s.entropy, row),
                                                       .lse = s.lse + row}));
  }
  lrl_arena_reset(tape->arena, mark);
  return s.logprobs;
}
