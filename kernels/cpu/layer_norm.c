#include "kernels/cpu/simd.h"

#include <math.h>

/* x - mean with the lanes beyond the row kept at 0. */
CPU_INLINE cpu_vf centered(cpu_vf x, float mean, int lanes) {
  cpu_vi id = CPU_IDS;
  return cpu_select(id < lanes, x - mean, (cpu_vf){0});
}
CPU_INLINE void fwd_row(const struct lrl_layer_norm_fwd_args *a, int64_t t, bool bf) {
  const int64_t w = a->width, o = t * w;
  cpu_vf sum = {0}, sq = {0};
  for (int64_t i = 0; i < w; i += CPU_LANES)
    sum += cpu_load(a->x, o + i, cpu_lanes(w, i), bf);
  const float mean = cpu_hsum(sum) / (float)w;
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf d = centered(cpu_load(a->x, o + i, n, bf), mean, n);
    sq += d * d;
  }
  const float r = 1.0f / sqrtf(cpu_hsum(sq) / (float)w + a->eps);
  a->mean[t] = mean;
  a->rstd[t] = r;
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf h = (cpu_load(a->x, o + i, n, bf) - mean) * r;
    cpu_store(a->y, o + i, n, bf, h * cpu_load(a->weight, i, n, bf) + cpu_load(a->bias, i, n, bf));
  }
}
lrl_status CPU_FN(layer_norm_fwd)(struct lrl_ctx *ctx, const struct lrl_layer_norm_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, fwd_row, a);
  return LRL_OK;
}

CPU_INLINE void bwd_row(const struct lrl_layer_norm_bwd_args *a, int64_t t, float *dw, float *db,
                        bool bf) {
  const int64_t w = a->width, o = t * w;
  const float r = a->rstd[t], mean = a->mean[t];
  cpu_vf dot = {0}, sum = {0};
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf dy = cpu_load(a->dy, o + i, n, bf), h = (cpu_load(a->x, o + i, n, bf) - mean) * r;
    cpu_vf g = dy * cpu_load(a->weight, i, n, bf);
    sum += g;
    dot += g * h;
    cpu_store(dw, i, n, false, cpu_load(dw, i, n, false) + dy * h);
    cpu_store(db, i, n, false, cpu_load(db, i, n, false) + dy);
  }
  if (a->dx == NULL)
    return;
  const float mg = cpu_hsum(sum) / (float)w, mgh = cpu_hsum(dot) / (float)w;
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_vf h = (cpu_load(a->x, o + i, n, bf) - mean) * r;
    cpu_vf g = cpu_load(a->dy, o + i, n, bf) * cpu_load(a->weight, i, n, bf);
    cpu_vf d = r * (g - mg - h * mgh);
    if (a->d_add != NULL)
      d += cpu_load(a->d_add, o + i, n, bf);
    cpu_store(a->dx, o + i, n, bf, d);
  }
}
lrl_status CPU_FN(layer_norm_bwd)(struct lrl_ctx *ctx, const struct lrl_layer_norm_bwd_args *a) {
  const int64_t w = a->width, blocks = cpu_blocks(a->n_tokens, CPU_SUM_ROWS);
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  float *partials = lrl_arena_alloc(&ctx->scratch, (size_t)(2 * blocks * w) * sizeof *partials);
  if (partials == NULL)
    return LRL_ERR_MEMORY;
  memset(partials, 0, (size_t)(2 * blocks * w) * sizeof *partials);
  const int threads = a->n_tokens * w >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++) {
    float *dw = partials + b * w, *db = partials + (blocks + b) * w;
    for (int64_t t = b * CPU_SUM_ROWS; t < (b + 1) * CPU_SUM_ROWS && t < a->n_tokens; t++) {
      if (a->dtype == LRL_BF16)
        bwd_row(a, t, dw, db, true);
      else
        bwd_row(a, t, dw, db, false);
    }
  }
  if (a->d_weight != NULL)
    cpu_add_partials(partials, blocks, w, a->d_weight);
  if (a->d_bias != NULL)
    cpu_add_partials(partials + blocks * w, blocks, w, a->d_bias);
  lrl_arena_reset(&ctx->scratch, mark);
  return LRL_OK;
}
