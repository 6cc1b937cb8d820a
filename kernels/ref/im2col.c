#include "kernels/ref/ref.h"

#include <string.h>

/* Index of the pixel that is element e of column row `r`. */
static int64_t pixel_index(int64_t channels, int64_t size, int64_t patch, int64_t r, int64_t e) {
  const int64_t grid = size / patch, image = r / (grid * grid), cell = r % (grid * grid);
  const int64_t c = e / (patch * patch), y = cell / grid * patch + e / patch % patch,
                x = cell % grid * patch + e % patch;
  return ((image * channels + c) * size + y) * size + x;
}

lrl_status REF_FN(im2col_fwd)(struct lrl_ctx *ctx, const struct lrl_im2col_fwd_args *a) {
  (void)ctx;
  const int64_t grid = a->size / a->patch, width = a->channels * a->patch * a->patch;
  for (int64_t r = 0; r < a->n * grid * grid; r++)
    for (int64_t e = 0; e < width; e++)
      lrl_ref_store(a->dtype, a->cols, r * width + e,
                    (double)a->pixels[pixel_index(a->channels, a->size, a->patch, r, e)]);
  return LRL_OK;
}

lrl_status REF_FN(im2col_bwd)(struct lrl_ctx *ctx, const struct lrl_im2col_bwd_args *a) {
  (void)ctx;
  const int64_t grid = a->size / a->patch, width = a->channels * a->patch * a->patch;
  const int64_t n_pixels = a->n * a->channels * a->size * a->size;
  if (n_pixels > 0)
    memset(a->d_pixels, 0, (size_t)n_pixels * sizeof(float));
  for (int64_t r = 0; r < a->n * grid * grid; r++)
    for (int64_t e = 0; e < width; e++)
      a->d_pixels[pixel_index(a->channels, a->size, a->patch, r, e)] =
          (float)lrl_ref_load(a->dtype, a->d_cols, r * width + e);
  return LRL_OK;
}
