#include "kernels/cpu/simd.h"

CPU_INLINE void fwd_row(const struct lrl_swiglu_fwd_args *a, int64_t t, bool bf) {
  const int64_t in = t * a->ld_in, out = t * a->width;
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_vf g = cpu_load(a->gate, in + i, n, bf);
    cpu_store(a->y, out + i, n, bf, g * cpu_sigmoid(g) * cpu_load(a->up, in + i, n, bf));
  }
}
lrl_status CPU_FN(swiglu_fwd)(struct lrl_ctx *ctx, const struct lrl_swiglu_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, fwd_row, a);
  return LRL_OK;
}
CPU_INLINE void bwd_row(const struct lrl_swiglu_bwd_args *a, int64_t t, bool bf) {
  const int64_t in = t * a->ld_in, out = t * a->width;
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_vf g = cpu_load(a->gate, in + i, n, bf), u = cpu_load(a->up, in + i, n, bf);
    cpu_vf dy = cpu_load(a->dy, out + i, n, bf), s = cpu_sigmoid(g);
    cpu_store(a->d_gate, in + i, n, bf, dy * u * s * (1.0f + g * (1.0f - s)));
    cpu_store(a->d_up, in + i, n, bf, dy * (g * s));
  }
}
lrl_status CPU_FN(swiglu_bwd)(struct lrl_ctx *ctx, const struct lrl_swiglu_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, bwd_row, a);
  return LRL_OK;
}
