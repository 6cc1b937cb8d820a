#include "kernels/ref/ref.h"

#include <string.h>

/* Index of the pixel that is element e of patch r. */
static int64_t pixel_index(int64_t channels, int64_t size, int64_t patch, int64_t r, int64_t e) {
  const int64_t grid = size / patch, image = r / (grid * grid), cell = r % (grid * grid);
  const int64_t c = e / (patch * patch), y = cell / grid * patch + e / patch % patch,
                x = cell % grid * patch + e % patch;
  return ((image * channels + c) * size + y) * size + x;
}
#define PIXEL(r, e) pixel_index(a->channels, a->size, a->patch, r, e)

lrl_status REF_FN(patch_embed_fwd)(struct lrl_ctx *ctx, const struct lrl_patch_embed_fwd_args *a) {
  (void)ctx;
  const int64_t grid = a->size / a->patch, k = a->channels * a->patch * a->patch;
#pragma omp parallel for
  for (int64_t r = 0; r < a->n * grid * grid; r++)
    for (int64_t o = 0; o < a->width; o++) {
      double sum = 0.0;
      for (int64_t e = 0; e < k; e++)
        sum += lrl_ref_round(a->dtype, (double)a->pixels[PIXEL(r, e)]) *
               lrl_ref_load(a->dtype, a->weight, o * k + e);
      lrl_ref_store(a->dtype, a->out, r * a->width + o, sum);
    }
  return LRL_OK;
}

lrl_status REF_FN(patch_embed_bwd)(struct lrl_ctx *ctx, const struct lrl_patch_embed_bwd_args *a) {
  (void)ctx;
  const int64_t grid = a->size / a->patch, k = a->channels * a->patch * a->patch;
  const int64_t rows = a->n * grid * grid, n_pixels = a->n * a->channels * a->size * a->size;
  if (a->d_pixels != NULL && n_pixels > 0) {
    memset(a->d_pixels, 0, (size_t)n_pixels * sizeof(float));
    for (int64_t r = 0; r < rows; r++)
      for (int64_t e = 0; e < k; e++) {
        double sum = 0.0;
        for (int64_t o = 0; o < a->width; o++)
          sum += lrl_ref_load(a->dtype, a->d_out, r * a->width + o) *
                 lrl_ref_load(a->dtype, a->weight, o * k + e);
        a->d_pixels[PIXEL(r, e)] = (float)sum;
      }
  }
  if (a->d_weight == NULL)
    return LRL_OK;
#pragma omp parallel for
  for (int64_t o = 0; o < a->width; o++)
    for (int64_t e = 0; e < k; e++) {
      double sum = (double)a->d_weight[o * k + e];
      for (int64_t r = 0; r < rows; r++)
        sum += lrl_ref_load(a->dtype, a->d_out, r * a->width + o) *
               lrl_ref_round(a->dtype, (double)a->pixels[PIXEL(r, e)]);
      a->d_weight[o * k + e] = (float)sum;
    }
  return LRL_OK;
}
