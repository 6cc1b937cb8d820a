#include "kernels/cpu/simd.h"

/* Patches as the rows of a matrix, columns in the order of the weight: channel, row, column. What
 * only lives until the next product is made for some rows at a time, so that it stays in cache. */
enum { ROWS_AT_ONCE = 1024 };
struct patches {
  int64_t channels, size, patch, first; /* first: index of row 0 */
  const float *pixels;
  float *d_pixels;
  void *rows;
};

CPU_INLINE void gather_row(const struct patches *a, int64_t row, bool bf) {
  const int64_t p = a->patch, side = a->size / p, z = a->size, r = a->first + row;
  const int64_t img = r / (side * side), py = r / side % side, px = r % side;
  for (int64_t c = 0; c < a->channels; c++)
    for (int64_t y = 0; y < p; y++) {
      const int64_t from = ((img * a->channels + c) * z + py * p + y) * z + px * p;
      const int64_t to = ((row * a->channels + c) * p + y) * p;
      if (!bf)
        memcpy((float *)a->rows + to, a->pixels + from, (size_t)p * sizeof(float));
      for (int64_t i = 0; bf && i < p; i += CPU_LANES) { /* the last vector overlaps: no tail */
        const int64_t x = i + CPU_LANES > p && p >= CPU_LANES ? p - CPU_LANES : i;
        const int n = cpu_lanes(p, x);
        cpu_store(a->rows, to + x, n, bf, cpu_load(a->pixels, from + x, n, false));
      }
    }
}
CPU_INLINE void scatter_row(const struct patches *a, int64_t row, bool bf) {
  (void)bf;
  const int64_t p = a->patch, side = a->size / p, z = a->size, r = a->first + row;
  const int64_t img = r / (side * side), py = r / side % side, px = r % side;
  for (int64_t c = 0; c < a->channels; c++)
    for (int64_t y = 0; y < p; y++)
      memcpy(a->d_pixels + ((img * a->channels + c) * z + py * p + y) * z + px * p,
             (const float *)a->rows + ((row * a->channels + c) * p + y) * p,
             (size_t)p * sizeof(float));
}
static int64_t at_once(int64_t rows) { return rows < ROWS_AT_ONCE ? rows : ROWS_AT_ONCE; }

lrl_status CPU_FN(patch_embed_fwd)(struct lrl_ctx *ctx, const struct lrl_patch_embed_fwd_args *a) {
  const int64_t side = a->size / a->patch, k = a->channels * a->patch * a->patch;
  const int64_t rows = a->n * side * side;
  const bool bf = a->dtype == LRL_BF16;
  struct patches p = {a->channels, a->size, a->patch, 0, a->pixels, NULL, NULL};
  p.rows = lrl_arena_alloc(&ctx->scratch, (size_t)(at_once(rows) * k * lrl_dtype_bytes(a->dtype)));
  if (p.rows == NULL)
    return LRL_ERR_MEMORY;
  for (; p.first < rows; p.first += ROWS_AT_ONCE) {
    const int64_t m = at_once(rows - p.first);
    CPU_EACH_ROW(ctx, a->dtype, m, k, gather_row, &p);
    LRL_TRY(
        CPU_FN(gemm)(ctx, &(struct lrl_gemm_args){.m = m,
                                                  .n = a->width,
                                                  .k = k,
                                                  .trans_b = true,
                                                  .dtype = a->dtype,
                                                  .c_dtype = a->dtype,
                                                  .a = p.rows,
                                                  .b = a->weight,
                                                  .ld_a = k,
                                                  .ld_b = k,
                                                  .ld_c = a->width,
                                                  .c = cpu_at_mut(a->out, p.first * a->width, bf),
                                                  .b_version = a->weight_version}));
  }
  return LRL_OK;
}

static lrl_status weight_gradient(struct lrl_ctx *ctx, const struct lrl_patch_embed_bwd_args *a,
                                  struct patches p, int64_t rows, int64_t k) {
  p.rows = lrl_arena_alloc(&ctx->scratch, (size_t)(rows * k * lrl_dtype_bytes(a->dtype)));
  if (p.rows == NULL)
    return LRL_ERR_MEMORY;
  CPU_EACH_ROW(ctx, a->dtype, rows, k, gather_row, &p);
  return CPU_FN(gemm)(ctx, &(struct lrl_gemm_args){.m = a->width,
                                                   .n = k,
                                                   .k = rows,
                                                   .trans_a = true,
                                                   .dtype = a->dtype,
                                                   .c_dtype = LRL_F32,
                                                   .a = a->d_out,
                                                   .b = p.rows,
                                                   .ld_a = a->width,
                                                   .ld_b = k,
                                                   .ld_c = k,
                                                   .c = a->d_weight,
                                                   .beta = 1.0f});
}
static lrl_status pixel_gradient(struct lrl_ctx *ctx, const struct lrl_patch_embed_bwd_args *a,
                                 struct patches p, int64_t rows, int64_t k) {
  p.rows = lrl_arena_alloc(&ctx->scratch, (size_t)(at_once(rows) * k) * sizeof(float));
  if (p.rows == NULL)
    return LRL_ERR_MEMORY;
  memset(a->d_pixels, 0, (size_t)(a->n * a->channels * a->size * a->size) * sizeof(float));
  for (; p.first < rows; p.first += ROWS_AT_ONCE) {
    const int64_t m = at_once(rows - p.first);
    LRL_TRY(CPU_FN(gemm)(ctx, &(struct lrl_gemm_args){
                                  .m = m,
                                  .n = k,
                                  .k = a->width,
                                  .dtype = a->dtype,
                                  .c_dtype = LRL_F32,
                                  .a = cpu_at(a->d_out, p.first * a->width, a->dtype == LRL_BF16),
                                  .b = a->weight,
                                  .ld_a = a->width,
                                  .ld_b = k,
                                  .ld_c = k,
                                  .c = p.rows,
                                  .b_version = a->weight_version}));
    CPU_EACH_ROW(ctx, LRL_F32, m, k, scatter_row, &p);
  }
  return LRL_OK;
}
lrl_status CPU_FN(patch_embed_bwd)(struct lrl_ctx *ctx, const struct lrl_patch_embed_bwd_args *a) {
  const int64_t side = a->size / a->patch, k = a->channels * a->patch * a->patch;
  const int64_t rows = a->n * side * side;
  const struct patches p = {a->channels, a->size, a->patch, 0, a->pixels, a->d_pixels, NULL};
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  if (a->d_weight != NULL)
    LRL_TRY(weight_gradient(ctx, a, p, rows, k));
  lrl_arena_reset(&ctx->scratch, mark);
  if (a->d_pixels != NULL)
    LRL_TRY(pixel_gradient(ctx, a, p, rows, k));
  return LRL_OK;
}
