/* Compiled without fused multiply-add (CMakeLists.txt): the bits are those of every other backend.
 * Memory is the bound all the same. */
#include "kernels/cpu/simd.h"

#define CHUNK 4096 /* elements per unit of work */

CPU_INLINE void chunk(const struct lrl_ema_args *a, int64_t c, bool bf) {
  const int64_t end = (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n;
  const double beta = a->beta, rest = 1.0 - beta;
  const void *x = a->x;
  float *y = a->y;
#pragma omp simd
  for (int64_t i = c * CHUNK; i < end; i++)
    y[i] = (float)(beta * (double)y[i] + rest * (double)cpu_get(x, i, bf));
}
lrl_status CPU_FN(ema)(struct lrl_ctx *ctx, const struct lrl_ema_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, cpu_blocks(a->n, CHUNK), CHUNK, chunk, a);
  return LRL_OK;
}
