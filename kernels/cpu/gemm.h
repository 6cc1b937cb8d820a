/* Between the files of the CPU's matrix product. */
#ifndef LRL_CPU_GEMM_H
#define LRL_CPU_GEMM_H
#include "kernels/cpu/gemm_tile.h"

/* The corner of a matrix that a panel is copied from. */
struct gemm_source {
  const void *data;
  int64_t ld;      /* elements between stored rows */
  bool half;       /* bf16, else f32 */
  bool by_columns; /* panel lanes are columns of the stored matrix, else its rows */
};

/* 32-bit words of a panel's lane that holds `depth` elements: one per f32, also when a bf16 is
 * widened (then an even number), one per pair of bf16. */
CPU_INLINE int64_t gemm_words(bool half, bool widen, int64_t depth) {
  return !half ? depth : widen ? (depth + 1) / 2 * 2 : (depth + 1) / 2;
}

/* Copies the first `lanes` lanes of x into panels of `width` (GEMM_ROWS or GEMM_COLS), one behind
 * the other, [gemm_words(...)][width] each. What does not fill a panel goes into a last one that is
 * `last_width` wide; its missing lanes, and the second half of an odd depth, become 0. */
void CPU_FN(gemm_pack)(const struct gemm_source *x, void *panels, int width, int last_width,
                       int64_t lanes, int64_t depth, bool widen);
#endif
