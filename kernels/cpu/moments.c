#include "kernels/cpu/simd.h"

#define BLOCK 16384 /* elements of one part; parts are merged in order */

static struct lrl_moments part_of(const struct lrl_moments_args *a, int64_t begin, int64_t end) {
  double n = 0.0, sum = 0.0, m2 = 0.0;
  for (int64_t i = begin; i < end; i++) {
    const bool live = a->mask == NULL || a->mask[i] != 0;
    const double x = live ? (double)a->x[i] - (a->y == NULL ? 0.0 : (double)a->y[i]) : 0.0;
    n += live ? 1.0 : 0.0;
    sum += x;
  }
  const double mean = n > 0.0 ? sum / n : 0.0;
  for (int64_t i = begin; i < end; i++)
    if (a->mask == NULL || a->mask[i] != 0) {
      const double d = (double)a->x[i] - (a->y == NULL ? 0.0 : (double)a->y[i]) - mean;
      m2 += d * d;
    }
  return (struct lrl_moments){n, mean, m2};
}

lrl_status CPU_FN(moments)(struct lrl_ctx *ctx, const struct lrl_moments_args *a) {
  const int64_t blocks = cpu_blocks(a->n, BLOCK);
  struct lrl_moments *part = lrl_arena_alloc(&ctx->scratch, (size_t)blocks * sizeof *part);
  if (part == NULL)
    return LRL_ERR_MEMORY;
  const int threads = blocks > 1 ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++)
    part[b] = part_of(a, b * BLOCK, (b + 1) * BLOCK < a->n ? (b + 1) * BLOCK : a->n);
  struct lrl_moments all = {0};
  for (int64_t b = 0; b < blocks; b++)
    lrl_moments_merge(&all, &part[b]);
  *a->out = all;
  return LRL_OK;
}
