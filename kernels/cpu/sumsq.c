#include "kernels/cpu/simd.h"

#define BLOCK 65536 /* elements of one partial sum */

static double block_sum(const float *x, int64_t n) {
  double acc[8] = {0};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; l++)
      acc[l] += (double)x[i + l] * (double)x[i + l];
  for (; i < n; i++)
    acc[i % 8] += (double)x[i] * (double)x[i];
  return ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]));
}
lrl_status CPU_FN(sumsq)(struct lrl_ctx *ctx, const struct lrl_sumsq_args *a) {
  const int64_t blocks = cpu_blocks(a->n, BLOCK);
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  double *partial = lrl_arena_alloc(&ctx->scratch, (size_t)blocks * sizeof *partial);
  if (partial == NULL)
    return LRL_ERR_MEMORY;
  const int threads = blocks > 1 ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++)
    partial[b] = block_sum(a->x + b * BLOCK, a->n - b * BLOCK < BLOCK ? a->n - b * BLOCK : BLOCK);
  double sum = 0.0;
  for (int64_t b = 0; b < blocks; b++)
    sum += partial[b];
  a->out[0] = sum;
  lrl_arena_reset(&ctx->scratch, mark);
  return LRL_OK;
}
