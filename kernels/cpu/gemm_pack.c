/* Copies operands of the matrix product into panels (kernels/cpu/gemm_tile.h). */
#include "kernels/cpu/gemm.h"

typedef uint32_t quad __attribute__((vector_size(16)));
typedef uint64_t pair __attribute__((vector_size(16)));
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
      put(panel, width, k, l, (quad)__builtin_shufflevector((pair)a, (pair)b, 0, 2), widen);
      put(panel, width, k + 1, l, (quad)__builtin_shufflevector((pair)a, (pair)b, 1, 3), widen);
      put(panel, width, k + 2, l, (quad)__builtin_shufflevector((pair)c, (pair)d, 0, 2), widen);
      put(panel, width, k + 3, l, (quad)__builtin_shufflevector((pair)c, (pair)d, 1, 3), widen);
    }
  for (; k * 4 < depth * e; k++) /* the last word of an odd depth is half a word */
    for (int l = 0; l < lanes; l++) {
      uint32_t w = 0;
      memcpy(&w, at + l * x->ld * e + k * 4, k < words ? 4 : 2);
      put_one(panel, width, k, l, w, widen);
    }
}

/* A lane of the panel is a column of x: rows of x are copied, two bf16 rows are zipped. */
CPU_INLINE void from_columns(const struct gemm_source *x, uint32_t *panel, int width, int lanes,
                             int64_t depth, bool widen) {
  if (!x->half) {
    const uint32_t *at = x->data;
    for (int64_t k = 0; k < depth; k++, at += x->ld) {
      if (lanes < 4)
        memcpy(panel + k * width, at, (size_t)lanes * 4);
      else
        EACH_QUAD(l, lanes) memcpy(panel + k * width + l, at + l, 16);
    }
    return;
  }
  const uint16_t *at = x->data;
  for (int64_t k = 0; 2 * k < depth; k++, at += 2 * x->ld) {
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

CPU_INLINE void copy(const struct gemm_source *x, uint32_t *panel, int width, int lanes,
                     int64_t depth, bool widen) {
  if (x->by_columns)
    from_columns(x, panel, width, lanes, depth, widen);
  else
    from_rows(x, panel, width, lanes, depth, widen);
}

void CPU_FN(gemm_pack)(const struct gemm_source *x, void *panel, int width, int lanes,
                       int64_t depth, bool widen) {
  if (lanes < width)
    memset(panel, 0, (size_t)(gemm_words(x->half, widen, depth) * width) * 4);
  if (width == GEMM_COLS && lanes == GEMM_COLS && !widen)
    copy(x, panel, GEMM_COLS, GEMM_COLS, depth, false);
  else if (width == GEMM_ROWS && lanes == GEMM_ROWS && widen)
    copy(x, panel, GEMM_ROWS, GEMM_ROWS, depth, true);
  else if (width == GEMM_ROWS && lanes == GEMM_ROWS)
    copy(x, panel, GEMM_ROWS, GEMM_ROWS, depth, false);
  else
    copy(x, panel, width, lanes, depth, widen);
}
