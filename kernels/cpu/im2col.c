#include "kernels/cpu/simd.h"

/* One row of cols: the patch with index r over all images. */
CPU_INLINE void fwd_row(const struct lrl_im2col_fwd_args *a, int64_t r, bool bf) {
  const int64_t p = a->patch, side = a->size / p, z = a->size;
  const int64_t img = r / (side * side), py = r / side % side, px = r % side;
  for (int64_t c = 0; c < a->channels; c++)
    for (int64_t y = 0; y < p; y++) {
      const int64_t from = ((img * a->channels + c) * z + py * p + y) * z + px * p;
      const int64_t to = ((r * a->channels + c) * p + y) * p;
      for (int64_t x = 0; x < p; x += CPU_LANES) {
        int n = cpu_lanes(p, x);
        cpu_store(a->cols, to + x, n, bf, cpu_load(a->pixels, from + x, n, false));
      }
    }
}
lrl_status CPU_FN(im2col_fwd)(struct lrl_ctx *ctx, const struct lrl_im2col_fwd_args *a) {
  const int64_t side = a->size / a->patch;
  CPU_EACH_ROW(ctx, a->dtype, a->n * side * side, a->channels * a->patch * a->patch, fwd_row, a);
  return LRL_OK;
}
/* Row r of the pixels: image, channel, y. */
CPU_INLINE void bwd_row(const struct lrl_im2col_bwd_args *a, int64_t r, bool bf) {
  const int64_t p = a->patch, side = a->size / p, z = a->size;
  const int64_t y = r % z, c = r / z % a->channels, img = r / (z * a->channels);
  memset(a->d_pixels + r * z, 0, (size_t)z * sizeof *a->d_pixels);
  if (y >= side * p)
    return;
  for (int64_t px = 0; px < side; px++) {
    const int64_t row = (img * side + y / p) * side + px;
    const int64_t from = ((row * a->channels + c) * p + y % p) * p;
    for (int64_t x = 0; x < p; x += CPU_LANES) {
      int n = cpu_lanes(p, x);
      cpu_store(a->d_pixels, r * z + px * p + x, n, false, cpu_load(a->d_cols, from + x, n, bf));
    }
  }
}
lrl_status CPU_FN(im2col_bwd)(struct lrl_ctx *ctx, const struct lrl_im2col_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n * a->channels * a->size, a->size, bwd_row, a);
  return LRL_OK;
}
