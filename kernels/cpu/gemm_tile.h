/* The inner part of the CPU's matrix product: a tile of C, at most GEMM_ROWS x GEMM_COLS, summed in
 * registers over one chunk of the depth.
 *
 * Operands are panels of 32-bit words, [depth][width]: A panels are up to GEMM_ROWS wide, B panels
 * GEMM_COLS. A word is an f32, or a pair of bf16 of consecutive depth (the first in the low half).
 * Where the hardware has no bf16 dot product (GEMM_DOT 0), A is widened to f32 when it is packed;
 * B stays bf16 in memory and is widened a panel at a time, or in registers for a few rows.
 *
 * Every element of C is one chain of multiply-adds in the order of the depth, cut into chunks whose
 * size depends on the depth alone. So its bits depend on its row of A and its column of B, and not
 * on m, on n, on how the work is shared between threads or on whether B was packed beforehand. */
#ifndef LRL_CPU_GEMM_TILE_H
#define LRL_CPU_GEMM_TILE_H
#include "kernels/cpu/simd.h"

#if LRL_ISA_AVX512
#include <immintrin.h>
#define GEMM_LANES 16
enum { GEMM_ROWS = 14, GEMM_DOT = 1 }; /* 28 sums, 2 of B, 1 of A: 31 of 32 registers */
#elif LRL_ISA_AVX2
#define GEMM_LANES 8
enum { GEMM_ROWS = 6, GEMM_DOT = 0 }; /* 12 + 2 + 1 of 16 */
#else
#define GEMM_LANES 4
enum { GEMM_ROWS = 6, GEMM_DOT = 0 };
#endif
enum {
  GEMM_COLS = 2 * GEMM_LANES,
  /* Most depth of a chunk: panels of A and B stay in the first-level cache (24 + 9 KiB, and 32 +
   * 14 KiB with AVX-512). */
  GEMM_DEPTH = GEMM_LANES == 16 ? 256 : 384,
  GEMM_AHEAD = 1024, /* words of B fetched ahead: a product of few rows waits for memory */
};

typedef float gemm_vf __attribute__((vector_size(GEMM_LANES * 4)));
typedef uint32_t gemm_vu __attribute__((vector_size(GEMM_LANES * 4)));
typedef uint16_t gemm_vh __attribute__((vector_size(GEMM_LANES * 2)));

/* Where a tile goes. c = sums [+ bias] [+ what is added]. */
struct gemm_tile {
  int rows, cols;         /* that exist */
  const float *bias;      /* [GEMM_COLS] or NULL */
  const float *add;       /* f32 [rows, cols], row stride ld_add, or NULL */
  const uint16_t *add_bf; /* the same in bf16; not both */
  float *c;               /* f32, or NULL: */
  uint16_t *c_bf;
  int64_t ld_add, ld_c;
};

CPU_INLINE gemm_vf gemm_load(const float *p) {
  gemm_vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
CPU_INLINE gemm_vu gemm_load_words(const uint32_t *p) {
  gemm_vu v;
  memcpy(&v, p, sizeof v);
  return v;
}
/* The first and the second bf16 of each pair as f32. */
CPU_INLINE gemm_vf gemm_first(const uint32_t *p) { return (gemm_vf)(gemm_load_words(p) << 16); }
CPU_INLINE gemm_vf gemm_second(const uint32_t *p) {
  return (gemm_vf)(gemm_load_words(p) & 0xffff0000u);
}

/* One vector of a full tile: the same operations, in the same order, as emit_one. */
CPU_INLINE void gemm_emit(const struct gemm_tile *t, int r, int v, gemm_vf x) {
  const int64_t j = v * GEMM_LANES;
  if (t->bias != NULL)
    x += gemm_load(t->bias + j);
  if (t->add != NULL)
    x += gemm_load(t->add + r * t->ld_add + j);
  if (t->add_bf != NULL) {
    gemm_vh h;
    memcpy(&h, t->add_bf + r * t->ld_add + j, sizeof h);
    x += (gemm_vf)(__builtin_convertvector(h, gemm_vu) << 16);
  }
  if (t->c != NULL) {
    memcpy(t->c + r * t->ld_c + j, &x, sizeof x);
    return;
  }
  const gemm_vu u = (gemm_vu)x, nan = (gemm_vu)((u & 0x7fffffffu) > 0x7f800000u);
  const gemm_vu near = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const gemm_vh h = __builtin_convertvector((nan & ((u >> 16) | 0x40u)) | (~nan & near), gemm_vh);
  memcpy(t->c_bf + r * t->ld_c + j, &h, sizeof h);
}
CPU_INLINE void gemm_emit_one(const struct gemm_tile *t, int r, int j, float x) {
  if (t->bias != NULL)
    x += t->bias[j];
  if (t->add != NULL)
    x += t->add[r * t->ld_add + j];
  if (t->add_bf != NULL)
    x += lrl_bf16_to_f32(t->add_bf[r * t->ld_add + j]);
  if (t->c != NULL)
    t->c[r * t->ld_c + j] = x;
  else
    t->c_bf[r * t->ld_c + j] = lrl_f32_to_bf16(x);
}

/* s[rows][2] += one depth of A (at a) times b0, b1. */
#define GEMM_STEP(s, rows, a, b0, b1)                                                              \
  do {                                                                                             \
    const gemm_vf b0_ = (b0), b1_ = (b1);                                                          \
    _Pragma("GCC unroll 16") for (int r_ = 0; r_ < (rows); r_++) {                                 \
      const float x_ = (a)[r_];                                                                    \
      (s)[r_][0] += x_ * b0_;                                                                      \
      (s)[r_][1] += x_ * b1_;                                                                      \
    }                                                                                              \
  } while (0)

/* `words` words of depth; half and rows are constants at every call. */
CPU_INLINE void gemm_run(bool half, int rows, int64_t words, const float *a, const uint32_t *b,
                         const struct gemm_tile *t) {
  gemm_vf s[GEMM_ROWS][2];
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
    s[r][0] = s[r][1] = (gemm_vf){0};
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
    if (r < t->rows)
      __builtin_prefetch(
          t->c != NULL ? (void *)(t->c + r * t->ld_c) : (void *)(t->c_bf + r * t->ld_c), 1);
  for (int64_t k = 0; k < words; k++, b += GEMM_COLS) {
    __builtin_prefetch(b + GEMM_AHEAD);
#if LRL_ISA_AVX512
    if (half) {
      const __m512bh w0 = (__m512bh)gemm_load_words(b),
                     w1 = (__m512bh)gemm_load_words(b + GEMM_LANES);
#pragma GCC unroll 16
      for (int r = 0; r < rows; r++) {
        int32_t pair;
        memcpy(&pair, a + r, sizeof pair);
        const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
        s[r][0] = (gemm_vf)_mm512_dpbf16_ps((__m512)s[r][0], x, w0);
        s[r][1] = (gemm_vf)_mm512_dpbf16_ps((__m512)s[r][1], x, w1);
      }
      a += rows;
      continue;
    }
#endif
    if (half) {
      GEMM_STEP(s, rows, a, gemm_first(b), gemm_first(b + GEMM_LANES));
      a += rows;
      GEMM_STEP(s, rows, a, gemm_second(b), gemm_second(b + GEMM_LANES));
    } else {
      GEMM_STEP(s, rows, a, (gemm_vf)gemm_load_words(b), (gemm_vf)gemm_load_words(b + GEMM_LANES));
    }
    a += rows;
  }
  if (t->rows == rows && t->cols == GEMM_COLS) {
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
      gemm_emit(t, r, 0, s[r][0]);
      gemm_emit(t, r, 1, s[r][1]);
    }
    return;
  }
  float x[GEMM_ROWS][GEMM_COLS];
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++)
    memcpy(x[r], s[r], sizeof x[r]);
  for (int r = 0; r < t->rows; r++)
    for (int j = 0; j < t->cols; j++)
      gemm_emit_one(t, r, j, x[r][j]);
}
#endif
