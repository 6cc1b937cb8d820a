#include "kernels/cpu/simd.h"

/* Rotates one head of dimension d; sign +1 forward, -1 backward (the transpose). */
CPU_INLINE void rotate(const void *in, void *out, int64_t d, const float *c, const float *s,
                       float sign, bool bf) {
  const int64_t h = d / 2;
  for (int64_t i = 0; i < h; i += CPU_LANES) {
    int n = cpu_lanes(h, i);
    cpu_vf x = cpu_load(in, i, n, bf), y = cpu_load(in, i + h, n, bf);
    cpu_vf co = cpu_load(c, i, n, false), si = cpu_load(s, i, n, false) * sign;
    cpu_store(out, i, n, bf, x * co - y * si);
    cpu_store(out, i + h, n, bf, y * co + x * si);
  }
}
CPU_INLINE void fwd_row(const struct lrl_rope_qkv_fwd_args *a, int64_t t, bool bf) {
  const int64_t d = a->head_dim, hk = a->n_kv_heads, g = a->n_heads / hk;
  const float *c = a->cos + a->positions[t] * (d / 2), *s = a->sin + a->positions[t] * (d / 2);
  for (int64_t j = 0; j < hk; j++) {
    const int64_t in = (t * hk + j) * (g + 2) * d;
    for (int64_t i = 0; i < g; i++)
      rotate(cpu_at(a->qkv, in + i * d, bf), cpu_at_mut(a->q, ((t * hk + j) * g + i) * d, bf), d, c,
             s, 1.0f, bf);
    rotate(cpu_at(a->qkv, in + g * d, bf), cpu_at_mut(a->k, (t * hk + j) * d, bf), d, c, s, 1.0f,
           bf);
    memcpy(cpu_at_mut(a->v, (t * hk + j) * d, bf), cpu_at(a->qkv, in + (g + 1) * d, bf),
           (size_t)d * (bf ? 2 : 4));
  }
}
lrl_status CPU_FN(rope_qkv_fwd)(struct lrl_ctx *ctx, const struct lrl_rope_qkv_fwd_args *a) {
  const int64_t width = (a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, width, fwd_row, a);
  return LRL_OK;
}
CPU_INLINE void bwd_row(const struct lrl_rope_qkv_bwd_args *a, int64_t t, bool bf) {
  const int64_t d = a->head_dim, hk = a->n_kv_heads, g = a->n_heads / hk;
  const float *c = a->cos + a->positions[t] * (d / 2), *s = a->sin + a->positions[t] * (d / 2);
  for (int64_t j = 0; j < hk; j++) {
    const int64_t out = (t * hk + j) * (g + 2) * d;
    for (int64_t i = 0; i < g; i++)
      rotate(cpu_at(a->dq, ((t * hk + j) * g + i) * d, bf), cpu_at_mut(a->dqkv, out + i * d, bf), d,
             c, s, -1.0f, bf);
    rotate(cpu_at(a->dk, (t * hk + j) * d, bf), cpu_at_mut(a->dqkv, out + g * d, bf), d, c, s,
           -1.0f, bf);
    memcpy(cpu_at_mut(a->dqkv, out + (g + 1) * d, bf), cpu_at(a->dv, (t * hk + j) * d, bf),
           (size_t)d * (bf ? 2 : 4));
  }
}
lrl_status CPU_FN(rope_qkv_bwd)(struct lrl_ctx *ctx, const struct lrl_rope_qkv_bwd_args *a) {
  const int64_t width = (a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, width, bwd_row, a);
  return LRL_OK;
}
