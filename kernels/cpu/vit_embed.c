#include "kernels/cpu/simd.h"

CPU_INLINE void fwd_row(const struct lrl_vit_embed_fwd_args *a, int64_t r, bool bf) {
  const int64_t w = a->width, img = r / (1 + a->n_patches), j = r % (1 + a->n_patches);
  const void *x = j == 0 ? a->cls : cpu_at(a->patches, (img * a->n_patches + j - 1) * w, bf);
  for (int64_t i = 0; i < w; i += CPU_LANES) {
    int n = cpu_lanes(w, i);
    cpu_store(a->out, r * w + i, n, bf, cpu_load(x, i, n, bf) + cpu_load(a->pos, j * w + i, n, bf));
  }
}
lrl_status CPU_FN(vit_embed_fwd)(struct lrl_ctx *ctx, const struct lrl_vit_embed_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n * (1 + a->n_patches), a->width, fwd_row, a);
  return LRL_OK;
}
/* Position j over all images in order; a thread owns whole positions. */
CPU_INLINE void bwd_row(const struct lrl_vit_embed_bwd_args *a, int64_t j, bool bf) {
  const int64_t w = a->width, rows = 1 + a->n_patches;
  for (int64_t img = 0; img < a->n; img++)
    for (int64_t i = 0; i < w; i += CPU_LANES) {
      int n = cpu_lanes(w, i);
      cpu_vf g = cpu_load(a->d_out, (img * rows + j) * w + i, n, bf);
      if (a->d_pos != NULL)
        cpu_store(a->d_pos, j * w + i, n, false, cpu_load(a->d_pos, j * w + i, n, false) + g);
      if (j == 0 && a->d_cls != NULL)
        cpu_store(a->d_cls, i, n, false, cpu_load(a->d_cls, i, n, false) + g);
      if (j > 0 && a->d_patches != NULL)
        cpu_store(a->d_patches, (img * a->n_patches + j - 1) * w + i, n, bf, g);
    }
}
lrl_status CPU_FN(vit_embed_bwd)(struct lrl_ctx *ctx, const struct lrl_vit_embed_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, 1 + a->n_patches, a->n * a->width, bwd_row, a);
  return LRL_OK;
}
