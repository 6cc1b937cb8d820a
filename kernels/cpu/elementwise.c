#include "kernels/cpu/simd.h"
#include "kernels/philox.h"

#define CHUNK 4096 /* elements per unit of work */

CPU_INLINE void add_chunk(const struct lrl_add_args *a, int64_t c, bool bf) {
  const int64_t end = (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n;
  for (int64_t i = c * CHUNK; i < end; i += CPU_LANES) {
    int n = cpu_lanes(end, i);
    cpu_store(a->y, i, n, bf, cpu_load(a->a, i, n, bf) + cpu_load(a->b, i, n, bf));
  }
}
lrl_status CPU_FN(add)(struct lrl_ctx *ctx, const struct lrl_add_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, cpu_blocks(a->n, CHUNK), CHUNK, add_chunk, a);
  return LRL_OK;
}

lrl_status CPU_FN(scale)(struct lrl_ctx *ctx, const struct lrl_scale_args *a) {
  const int threads = a->n >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
  float *x = a->x;
  const float alpha = a->alpha;
#pragma omp parallel for simd schedule(static) num_threads(threads)
  for (int64_t i = 0; i < a->n; i++)
    x[i] *= alpha;
  return LRL_OK;
}

CPU_INLINE void cast_chunk(const struct lrl_cast_args *a, int64_t c, bool from, bool to) {
  const int64_t end = (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n;
  for (int64_t i = c * CHUNK; i < end; i += CPU_LANES) {
    int n = cpu_lanes(end, i);
    cpu_store(a->y, i, n, to, cpu_load(a->x, i, n, from));
  }
}
CPU_INLINE void cast_row(const struct lrl_cast_args *a, int64_t c, bool to) {
  if (a->from == LRL_BF16)
    cast_chunk(a, c, true, to);
  else
    cast_chunk(a, c, false, to);
}
lrl_status CPU_FN(cast)(struct lrl_ctx *ctx, const struct lrl_cast_args *a) {
  if (a->from == a->to && a->x == a->y)
    return LRL_OK;
  CPU_EACH_ROW(ctx, a->to, cpu_blocks(a->n, CHUNK), CHUNK, cast_row, a);
  return LRL_OK;
}

CPU_INLINE void dropout_row(const struct lrl_dropout_args *a, int64_t t, bool bf) {
  const float keep = 1.0f / (1.0f - a->p);
  uint32_t r[4];
  for (int64_t i = 0; i < a->width; i++) {
    if (i % 4 == 0)
      lrl_philox(a->seed, LRL_RNG_DROPOUT, a->row_key[t], (uint32_t)(i / 4), r);
    float u = (float)(r[i % 4] >> 8) * 0x1p-24f;
    float x = cpu_get(a->x, t * a->width + i, bf);
    cpu_put(a->y, t * a->width + i, bf, u < a->p ? 0.0f : x * keep);
  }
}
lrl_status CPU_FN(dropout)(struct lrl_ctx *ctx, const struct lrl_dropout_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, dropout_row, a);
  return LRL_OK;
}

CPU_INLINE void colsum_block(const struct lrl_colsum_args *a, int64_t b, float *p, bool bf) {
  for (int64_t t = b * CPU_SUM_ROWS; t < (b + 1) * CPU_SUM_ROWS && t < a->n_tokens; t++)
    for (int64_t i = 0; i < a->width; i += CPU_LANES) {
      int n = cpu_lanes(a->width, i);
      cpu_vf x = cpu_load(a->x, t * a->width + i, n, bf);
      cpu_store(p, i, n, false, cpu_load(p, i, n, false) + x);
    }
}
lrl_status CPU_FN(colsum)(struct lrl_ctx *ctx, const struct lrl_colsum_args *a) {
  const int64_t blocks = cpu_blocks(a->n_tokens, CPU_SUM_ROWS);
  const size_t mark = lrl_arena_mark(&ctx->scratch), bytes = (size_t)(blocks * a->width) * 4;
  float *partials = lrl_arena_alloc(&ctx->scratch, bytes);
  if (partials == NULL)
    return LRL_ERR_MEMORY;
  memset(partials, 0, bytes);
  const int threads = a->n_tokens * a->width >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++) {
    if (a->dtype == LRL_BF16)
      colsum_block(a, b, partials + b * a->width, true);
    else
      colsum_block(a, b, partials + b * a->width, false);
  }
  cpu_add_partials(partials, blocks, a->width, a->out);
  lrl_arena_reset(&ctx->scratch, mark);
  return LRL_OK;
}
