#include "kernels/ref/ref.h"

lrl_status REF_FN(vit_embed_fwd)(struct lrl_ctx *ctx, const struct lrl_vit_embed_fwd_args *a) {
  (void)ctx;
  const int64_t w = a->width, np = a->n_patches;
  for (int64_t i = 0; i < a->n; i++)
    for (int64_t t = 0; t <= np; t++)
      for (int64_t j = 0; j < w; j++) {
        double x = t == 0 ? lrl_ref_load(a->dtype, a->cls, j)
                          : lrl_ref_load(a->dtype, a->patches, (i * np + t - 1) * w + j);
        lrl_ref_store(a->dtype, a->out, (i * (np + 1) + t) * w + j,
                      x + lrl_ref_load(a->dtype, a->pos, t * w + j));
      }
  return LRL_OK;
}

lrl_status REF_FN(vit_embed_bwd)(struct lrl_ctx *ctx, const struct lrl_vit_embed_bwd_args *a) {
  (void)ctx;
  const int64_t w = a->width, np = a->n_patches;
  for (int64_t t = 0; t <= np; t++)
    for (int64_t j = 0; j < w; j++) {
      double sum = 0.0;
      for (int64_t i = 0; i < a->n; i++) {
        double d = lrl_ref_load(a->dtype, a->d_out, (i * (np + 1) + t) * w + j);
        sum += d;
        if (t > 0 && a->d_patches != NULL)
          lrl_ref_store(a->dtype, a->d_patches, (i * np + t - 1) * w + j, d);
      }
      if (a->d_pos != NULL)
        a->d_pos[t * w + j] += (float)sum;
      if (t == 0 && a->d_cls != NULL)
        a->d_cls[j] += (float)sum;
    }
  return LRL_OK;
}
