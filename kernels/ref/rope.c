#include "kernels/ref/ref.h"

/* out = x rotated by the angles at c, s; sign -1 is the transpose. Heads of d elements. */
static void rotate(lrl_dtype t, const void *x, int64_t ix, void *out, int64_t io, int64_t d,
                   const float *c, const float *s, double sign) {
  for (int64_t i = 0; i < d / 2; i++) {
    double lo = lrl_ref_load(t, x, ix + i), hi = lrl_ref_load(t, x, ix + i + d / 2);
    lrl_ref_store(t, out, io + i, lo * (double)c[i] - sign * hi * (double)s[i]);
    lrl_ref_store(t, out, io + i + d / 2, hi * (double)c[i] + sign * lo * (double)s[i]);
  }
}

static void copy(lrl_dtype t, const void *x, int64_t ix, void *out, int64_t io, int64_t d) {
  for (int64_t i = 0; i < d; i++)
    lrl_ref_store(t, out, io + i, lrl_ref_load(t, x, ix + i));
}

lrl_status REF_FN(rope_qkv_fwd)(struct lrl_ctx *ctx, const struct lrl_rope_qkv_fwd_args *a) {
  (void)ctx;
  const int64_t d = a->head_dim, hk = a->n_kv_heads, g = hk > 0 ? a->n_heads / hk : 0;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const float *c = a->cos + a->positions[t] * (d / 2), *s = a->sin + a->positions[t] * (d / 2);
    for (int64_t h = 0; h < hk; h++) {
      const int64_t in = (t * hk + h) * (g + 2) * d;
      for (int64_t i = 0; i < g; i++)
        rotate(a->dtype, a->qkv, in + i * d, a->q, (t * a->n_heads + h * g + i) * d, d, c, s, 1.0);
      rotate(a->dtype, a->qkv, in + g * d, a->k, (t * hk + h) * d, d, c, s, 1.0);
      copy(a->dtype, a->qkv, in + (g + 1) * d, a->v, (t * hk + h) * d, d);
    }
  }
  return LRL_OK;
}

lrl_status REF_FN(rope_qkv_bwd)(struct lrl_ctx *ctx, const struct lrl_rope_qkv_bwd_args *a) {
  (void)ctx;
  const int64_t d = a->head_dim, hk = a->n_kv_heads, g = hk > 0 ? a->n_heads / hk : 0;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const float *c = a->cos + a->positions[t] * (d / 2), *s = a->sin + a->positions[t] * (d / 2);
    for (int64_t h = 0; h < hk; h++) {
      const int64_t out = (t * hk + h) * (g + 2) * d;
      for (int64_t i = 0; i < g; i++)
        rotate(a->dtype, a->dq, (t * a->n_heads + h * g + i) * d, a->dqkv, out + i * d, d, c, s,
               -1.0);
      rotate(a->dtype, a->dk, (t * hk + h) * d, a->dqkv, out + g * d, d, c, s, -1.0);
      copy(a->dtype, a->dv, (t * hk + h) * d, a->dqkv, out + (g + 1) * d, d);
    }
  }
  return LRL_OK;
}
