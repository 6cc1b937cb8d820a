#include "kernels/cpu/simd.h"

#include <math.h>

CPU_INLINE void fwd_row(const struct lrl_rms_norm_fwd_args *a, int64_t t, bool bf) {
  const int64_t w = a->width, o = t * w;
  const void *s = a->residual != NULL ? a->sum_out : a->x;
  cpu_vf sq = {0};
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf x = cpu_load(a->x, o + i, n, bf);
    if (a->residual != NULL) {
      x = cpu_round(x + cpu_load(a->residual, o + i, n, bf), bf);
      cpu_store(a->sum_out, o + i, n, bf, x);
    }
    sq += x * x;
  }
  const float r = 1.0f / sqrtf(cpu_hsum(sq) / (float)w + a->eps);
  a->rstd[t] = r;
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf y = cpu_round(cpu_load(s, o + i, n, bf) * r, bf); /* SPEC 1.2: cast, then weigh */
    cpu_store(a->y, o + i, n, bf, y * cpu_load(a->weight, i, n, bf));
  }
}
lrl_status CPU_FN(rms_norm_fwd)(struct lrl_ctx *ctx, const struct lrl_rms_norm_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, fwd_row, a);
  return LRL_OK;
}

/* dw may be NULL. */
CPU_INLINE void bwd_row(const struct lrl_rms_norm_bwd_args *a, int64_t t, float *dw, bool bf) {
  const int64_t w = a->width, o = t * w;
  const float r = a->rstd[t];
  cpu_vf dot = {0};
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf dy = cpu_load(a->dy, o + i, n, bf), h = cpu_load(a->s, o + i, n, bf) * r;
    dot += dy * cpu_load(a->weight, i, n, bf) * h;
    if (dw != NULL)
      cpu_store(dw, i, n, false, cpu_load(dw, i, n, false) + dy * h);
  }
  if (a->dx == NULL)
    return;
  const float mean = cpu_hsum(dot) / (float)w;
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf h = cpu_load(a->s, o + i, n, bf) * r;
    cpu_vf d = r * (cpu_load(a->dy, o + i, n, bf) * cpu_load(a->weight, i, n, bf) - h * mean);
    if (a->d_sum != NULL)
      d += cpu_load(a->d_sum, o + i, n, bf);
    cpu_store(a->dx, o + i, n, bf, d);
  }
}
lrl_status CPU_FN(rms_norm_bwd)(struct lrl_ctx *ctx, const struct lrl_rms_norm_bwd_args *a) {
  const int64_t blocks = cpu_blocks(a->n_tokens, CPU_SUM_ROWS);
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  float *partials = NULL;
  if (a->d_weight != NULL) {
    partials = lrl_arena_alloc(&ctx->scratch, (size_t)(blocks * a->width) * sizeof *partials);
    if (partials == NULL)
      return LRL_ERR_MEMORY;
  }
  const int threads = a->n_tokens * a->width >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++) {
    float *dw = partials == NULL ? NULL : partials + b * a->width;
    if (dw != NULL)
      memset(dw, 0, (size_t)a->width * sizeof *dw);
    for (int64_t t = b * CPU_SUM_ROWS; t < (b + 1) * CPU_SUM_ROWS && t < a->n_tokens; t++) {
      if (a->dtype == LRL_BF16)
        bwd_row(a, t, dw, true);
      else
        bwd_row(a, t, dw, false);
    }
  }
  if (partials != NULL)
    cpu_add_partials(partials, blocks, a->width, a->d_weight);
  lrl_arena_reset(&ctx->scratch, mark);
  return LRL_OK;
}
