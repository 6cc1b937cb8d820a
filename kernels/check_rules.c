#include "kernels/check.h"

lrl_status lrl_check_sizes(const char *op, int64_t a, int64_t b, int64_t c) {
  if (a < 0 || b < 0 || c < 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "op %s: a size is negative or a stride is too small", op);
  return LRL_OK;
}

lrl_status lrl_check_dtype(const char *op, lrl_dtype t) {
  if (t != LRL_F32 && t != LRL_BF16)
    return LRL_FAIL(LRL_ERR_DTYPE, "op %s: element type %d is neither f32 nor bf16", op, (int)t);
  return LRL_OK;
}

lrl_status lrl_check_beta(const char *op, float beta) {
  if (!(beta >= 0.0f && beta <= 1.0f) || (beta > 0.0f && beta < 1.0f))
    return LRL_FAIL(LRL_ERR_ARG, "op %s: beta is %g, allowed are 0 and 1", op, (double)beta);
  return LRL_OK;
}

lrl_status lrl_check_pointers(const char *op, int64_t elements, const void *const *p, int count) {
  for (int i = 0; elements != 0 && i < count; i++)
    if (p[i] == NULL)
      return LRL_FAIL(LRL_ERR_ARG, "op %s: a required operand (number %d of its group) is NULL", op,
                      i + 1);
  return LRL_OK;
}

lrl_status lrl_check_ids(const char *op, const int32_t *ids, int64_t n, int64_t lo, int64_t hi) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < lo || ids[i] >= hi)
      return LRL_FAIL(LRL_ERR_ARG, "op %s: index %d at row %lld is outside [%lld, %lld)", op,
                      ids[i], (long long)i, (long long)lo, (long long)hi);
  return LRL_OK;
}

lrl_status lrl_check_targets(const char *op, const int32_t *target, int64_t n, int64_t n_vocab) {
  for (int64_t t = 0; t < n; t++)
    if (target[t] != -100)
      LRL_TRY(lrl_check_ids(op, target + t, 1, 0, n_vocab));
  return LRL_OK;
}

lrl_status lrl_check_apart(const char *op, const void *x, int64_t x_bytes, const void *y,
                           int64_t y_bytes) {
  const uintptr_t px = (uintptr_t)x, py = (uintptr_t)y;
  if (x == NULL || y == NULL || x_bytes <= 0 || y_bytes <= 0)
    return LRL_OK;
  if (px < py + (uintptr_t)y_bytes && py < px + (uintptr_t)x_bytes)
    return LRL_FAIL(LRL_ERR_ARG, "op %s: the output overlaps an input", op);
  return LRL_OK;
}

lrl_status lrl_check_heads(const char *op, int64_t n_tokens, int64_t n_heads, int64_t n_kv_heads,
                           int64_t head_dim) {
  LRL_TRY(lrl_check_sizes(op, n_tokens, n_heads, n_kv_heads));
  LRL_TRY(lrl_check_sizes(op, head_dim, 0, 0));
  if (n_kv_heads == 0 ? n_heads != 0 : n_heads % n_kv_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "op %s: %lld query heads are not a multiple of %lld kv heads",
                    op, (long long)n_heads, (long long)n_kv_heads);
  return LRL_OK;
}

lrl_status lrl_check_even(const char *op, int64_t head_dim) {
  if (head_dim % 2 != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "op %s: the head size %lld is odd", op, (long long)head_dim);
  return LRL_OK;
}

lrl_status lrl_check_layout(const char *op, const struct lrl_layout *layout) {
  if (layout == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "op %s: the layout is NULL", op);
  if (layout->n_seqs < 0 || layout->n_tokens < 0 ||
      (layout->n_seqs > 0 && (layout->start == NULL || layout->length == NULL)))
    return LRL_FAIL(LRL_ERR_ARG, "op %s: the layout lacks its sizes or arrays", op);
  return lrl_layout_check(layout);
}
