#include "kernels/cpu/simd.h"

#include <math.h>

#define CHUNK 4096 /* elements per unit of work */

/* erf(x / sqrt 2) lane by lane. */
CPU_INLINE cpu_vf erf_scaled(cpu_vf x) {
  cpu_vf y;
  for (int l = 0; l < CPU_LANES; l++)
    y[l] = erff(x[l] * 0.70710678118654752f);
  return y;
}
CPU_INLINE void fwd_chunk(const struct lrl_gelu_fwd_args *a, int64_t c, bool bf) {
  const int64_t end = (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n;
  for (int64_t i = c * CHUNK; i < end; i += CPU_LANES) {
    int n = cpu_lanes(end, i);
    cpu_vf x = cpu_load(a->x, i, n, bf);
    cpu_vf y =
        a->kind == LRL_GELU_QUICK ? x * cpu_sigmoid(1.702f * x) : 0.5f * x * (1.0f + erf_scaled(x));
    cpu_store(a->y, i, n, bf, y);
  }
}
lrl_status CPU_FN(gelu_fwd)(struct lrl_ctx *ctx, const struct lrl_gelu_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, cpu_blocks(a->n, CHUNK), CHUNK, fwd_chunk, a);
  return LRL_OK;
}
CPU_INLINE void bwd_chunk(const struct lrl_gelu_bwd_args *a, int64_t c, bool bf) {
  const int64_t end = (c + 1) * CHUNK < a->n ? (c + 1) * CHUNK : a->n;
  for (int64_t i = c * CHUNK; i < end; i += CPU_LANES) {
    int n = cpu_lanes(end, i);
    cpu_vf x = cpu_load(a->x, i, n, bf), d;
    if (a->kind == LRL_GELU_QUICK) {
      cpu_vf s = cpu_sigmoid(1.702f * x);
      d = s + 1.702f * x * s * (1.0f - s);
    } else {
      d = 0.5f * (1.0f + erf_scaled(x)) + x * 0.39894228040143268f * cpu_exp(-0.5f * x * x);
    }
    cpu_store(a->dx, i, n, bf, d * cpu_load(a->dy, i, n, bf));
  }
}
lrl_status CPU_FN(gelu_bwd)(struct lrl_ctx *ctx, const struct lrl_gelu_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, cpu_blocks(a->n, CHUNK), CHUNK, bwd_chunk, a);
  return LRL_OK;
}
