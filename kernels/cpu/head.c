#include "kernels/cpu/simd.h"

CPU_INLINE void fwd_row(const struct lrl_head_fwd_args *a, int64_t r, bool bf) {
  cpu_vf sum = {0};
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    sum += cpu_load(a->x, r * a->width + i, n, bf) * cpu_load(a->weight, i, n, bf);
  }
  a->score[r] = cpu_hsum(sum);
}
lrl_status CPU_FN(head_fwd)(struct lrl_ctx *ctx, const struct lrl_head_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n, a->width, fwd_row, a);
  return LRL_OK;
}
CPU_INLINE void bwd_row(const struct lrl_head_bwd_args *a, int64_t r, bool bf) {
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_store(a->dx, r * a->width + i, n, bf, a->d_score[r] * cpu_load(a->weight, i, n, bf));
  }
}
/* 16 columns of d_weight, rows in order. */
CPU_INLINE void weight_columns(const struct lrl_head_bwd_args *a, int64_t c, bool bf) {
  const int64_t i = c * CPU_LANES;
  int n = cpu_lanes(a->width, i);
  cpu_vf sum = {0};
  for (int64_t r = 0; r < a->n; r++)
    sum += a->d_score[r] * cpu_load(a->x, r * a->width + i, n, bf);
  cpu_store(a->d_weight, i, n, false, cpu_load(a->d_weight, i, n, false) + sum);
}
lrl_status CPU_FN(head_bwd)(struct lrl_ctx *ctx, const struct lrl_head_bwd_args *a) {
  if (a->dx != NULL)
    CPU_EACH_ROW(ctx, a->dtype, a->n, a->width, bwd_row, a);
  if (a->d_weight != NULL)
    CPU_EACH_ROW(ctx, a->dtype, cpu_blocks(a->width, CPU_LANES), a->n * CPU_LANES, weight_columns,
                 a);
  return LRL_OK;
}
