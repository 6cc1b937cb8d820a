/* What the wrappers of kernels/check.c use; nothing else includes it.
 * Every lrl_check_* returns LRL_OK or records one sentence that names the op. */
#ifndef LRL_CHECK_H
#define LRL_CHECK_H
#include "kernels/backend.h"

/* Three sizes that may not be negative. */
lrl_status lrl_check_sizes(const char *op, int64_t a, int64_t b, int64_t c);
/* Activations are f32 or bf16. */
lrl_status lrl_check_dtype(const char *op, lrl_dtype t);
/* beta is 0 or 1. */
lrl_status lrl_check_beta(const char *op, float beta);
/* None of the `count` pointers is NULL, unless `elements` is 0. */
lrl_status lrl_check_pointers(const char *op, int64_t elements, const void *const *p, int count);
/* lo <= ids[i] < hi for i < n. */
lrl_status lrl_check_ids(const char *op, const int32_t *ids, int64_t n, int64_t lo, int64_t hi);
/* 0 <= target[t] < n_vocab, or -100. */
lrl_status lrl_check_targets(const char *op, const int32_t *target, int64_t n, int64_t n_vocab);
/* Two byte ranges do not overlap; a NULL or empty one never does. */
lrl_status lrl_check_apart(const char *op, const void *x, int64_t x_bytes, const void *y,
                           int64_t y_bytes);
/* Sizes >= 0 and query heads a multiple of kv heads. */
lrl_status lrl_check_heads(const char *op, int64_t n_tokens, int64_t n_heads, int64_t n_kv_heads,
                           int64_t head_dim);
/* A rotated head has an even number of elements. */
lrl_status lrl_check_even(const char *op, int64_t head_dim);
/* The layout is there and keeps the rules of kernels/layout.h. */
lrl_status lrl_check_layout(const char *op, const struct lrl_layout *layout);
/* Elements from the first to the last of a [rows, width] matrix with row stride ld. */
static inline int64_t lrl_span(int64_t rows, int64_t width, int64_t ld) {
  return rows > 0 && width > 0 ? (rows - 1) * ld + width : 0;
}

#define SIZES(op, a, b, c) LRL_TRY(lrl_check_sizes(op, a, b, c))
#define NEED(op, elements, ...)                                                                    \
  do {                                                                                             \
    const void *const need_[] = {__VA_ARGS__};                                                     \
    LRL_TRY(lrl_check_pointers(op, elements, need_, (int)(sizeof need_ / sizeof *need_)));         \
  } while (0)

#endif
