/* Copies operands of the matrix product into panels (kernels/cpu/gemm_tile.h). */
#include "kernels/cpu/gemm.h"

typedef uint32_t quad __attribute__((vector_size(16)));
typedef uint16_t half_quad __attribute__((vector_size(8)));

/* Four lanes of a panel's row k; a widened pair makes two rows. */
CPU_INLINE void put(uint32_t *panel, int width, int64_t k, int lane, quad w, bool widen) {
  uint32_t *to = panel + (widen ? 2 * k : k) * width + lane;
  if (!widen) {
    memcpy(to, &w, sizeof w);
    return;
  }
  const quad first = w << 16, second = w & 0xffff0000u;
  memcpy(to, &first, sizeof first);
  memcpy(to + width, &second, sizeof second);
}
CPU_INLINE void put_one(uint32_t *panel, int width, int64_t k, int lane, uint32_t w, bool widen) {
  uint32_t *to = panel + (widen ? 2 * k : k) * width + lane;
  to[0] = widen ? w << 16 : w;
  if (widen)
    to[width] = w & 0xffff0000u;
}

/* Lanes are walked in fours; the last four overlap the ones before when lanes is no multiple. */
#define EACH_QUAD(lane, lanes)                                                                     \
  for (int lane = 0; lane < (lanes);                                                               \
       lane = lane + 4 < (lanes) && lane + 8 > (lanes) ? (lanes)-4 : lane + 4)

/* A lane of the panel is a row of x, whose depth is contiguous: words turn by 4 x 4. */
CPU_INLINE void from_rows(const struct gemm_source *x, uint32_t *panel, int width, int lanes,
                          int64_t depth, bool widen) {
  const int64_t e = x->half ? 2 : 4, words = depth * e / 4;
  const char *at = x->data;
  int64_t k = 0;
  for (; lanes >= 4 && k + 4 <= words; k += 4)
    EACH_QUAD(l, lanes) {
      quad r[4];
      for (int i = 0; i < 4; i++)
        memcpy(&r[i], at + (l + i) * x->ld * e + k * 4, sizeof r[i]);
      const quad a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
      const quad b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
      const quad c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      const quad d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      put(panel, width, k, l, __builtin_shufflevector(a, b, 0, 1, 4, 5), widen);
      put(panel, width, k + 1, l, __builtin_shufflevector(a, b, 2, 3, 6, 7), widen);
      put(panel, width, k + 2, l, __builtin_shufflevector(c, d, 0, 1, 4, 5), widen);
      put(panel, width, k + 3, l, __builtin_shufflevector(c, d, 2, 3, 6, 7), widen);
    }
  for (; k * 4 < depth * e; k++) /* the last word of an odd depth is half a word */
    for (int l = 0; l < lanes; l++) {
      uint32_t w = 0;
      memcpy(&w, at + l * x->ld * e + k * 4, k < words ? 4 : 2);
      put_one(panel, width, k, l, w, widen);
    }
}

/* A lane of the panel is a column of x: rows of x are copied, two bf16 rows are zipped. Words k to
 * `end` of the depth. */
CPU_INLINE void from_columns(const struct gemm_source *x, uint32_t *panel, int width, int lanes,
                             int64_t depth, int64_t k, int64_t end, bool widen) {
  if (!x->half) {
    const uint32_t *at = (const uint32_t *)x->data + k * x->ld;
    for (; k < end; k++, at += x->ld) {
      if (lanes < 4)
        memcpy(panel + k * width, at, (size_t)lanes * 4);
      else
        EACH_QUAD(l, lanes) memcpy(panel + k * width + l, at + l, 16);
    }
    return;
  }
  const uint16_t *at = (const uint16_t *)x->data + 2 * k * x->ld;
  for (; k < end; k++, at += 2 * x->ld) {
    const bool odd = 2 * k + 1 == depth;
    if (lanes < 4) {
      for (int l = 0; l < lanes; l++)
        put_one(panel, width, k, l, at[l] | (odd ? 0 : (uint32_t)at[x->ld + l] << 16), widen);
      continue;
    }
    EACH_QUAD(l, lanes) {
      half_quad first, second = {0};
      memcpy(&first, at + l, sizeof first);
      if (!odd)
        memcpy(&second, at + x->ld + l, sizeof second);
      put(panel, width, k, l,
          __builtin_convertvector(first, quad) | __builtin_convertvector(second, quad) << 16,
          widen);
    }
  }
}

/* The next `lanes` lanes of x. */
CPU_INLINE struct gemm_source shift(const struct gemm_source *x, int64_t lanes) {
  struct gemm_source y = *x;
  y.data = (const char *)x->data + lanes * (x->by_columns ? 1 : x->ld) * (x->half ? 2 : 4);
  return y;
}

/* Whole panels. By columns a few rows of x are spread over all panels before the next ones: read
 * along x, because rows of x often lie a power of two apart and would evict each other. */
CPU_INLINE void whole(const struct gemm_source *x, uint32_t *to, int width, int64_t panels,
                      int64_t depth, bool widen) {
  enum { STEP = 8 };
  const int64_t size = gemm_words(x->half, widen, depth) * width;
  const int64_t words = gemm_words(x->half, false, depth);
  if (!x->by_columns)
    for (int64_t i = 0; i < panels; i++) {
      const struct gemm_source y = shift(x, i * width);
      from_rows(&y, to + i * size, width, width, depth, widen);
    }
  for (int64_t k = 0; x->by_columns && k < words; k += STEP)
    for (int64_t i = 0; i < panels; i++) {
      const struct gemm_source y = shift(x, i * width);
      from_columns(&y, to + i * size, width, width, depth, k, k + STEP < words ? k + STEP : words,
                   widen);
    }
}

void CPU_FN(gemm_pack)(const struct gemm_source *x, void *panels, int width, int last_width,
                       int64_t lanes, int64_t depth, bool widen) {
  const int64_t n = lanes / width, size = gemm_words(x->half, widen, depth) * width;
  if (width == GEMM_COLS && !widen)
    whole(x, panels, GEMM_COLS, n, depth, false);
  else if (width == GEMM_ROWS && widen)
    whole(x, panels, GEMM_ROWS, n, depth, true);
  else if (width == GEMM_ROWS)
    whole(x, panels, GEMM_ROWS, n, depth, false);
  const int rest = (int)(lanes - n * width);
  if (rest == 0)
    return;
  uint32_t *last = (uint32_t *)panels + n * size;
  const struct gemm_source y = shift(x, n * width);
  memset(last, 0, (size_t)(gemm_words(x->half, widen, depth) * last_width) * 4);
  if (x->by_columns)
    from_columns(&y, last, last_width, rest, depth, 0, gemm_words(x->half, false, depth), widen);
  else
    from_rows(&y, last, last_width, rest, depth, widen);
}
