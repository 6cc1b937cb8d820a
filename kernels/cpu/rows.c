#include "kernels/cpu/simd.h"

CPU_INLINE void gather_row(const struct lrl_gather_rows_args *a, int64_t r, bool bf) {
  int32_t from = a->index[r];
  size_t bytes = (size_t)a->width * (bf ? 2 : 4);
  void *out = cpu_at_mut(a->out, r * a->width, bf);
  if (a->beta == 0.0f) {
    if (from < 0)
      memset(out, 0, bytes);
    else
      memcpy(out, cpu_at(a->x, from * a->width, bf), bytes);
    return;
  }
  if (from < 0)
    return;
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_store(out, i, n, bf, cpu_load(out, i, n, bf) + cpu_load(a->x, from * a->width + i, n, bf));
  }
}
lrl_status CPU_FN(gather_rows)(struct lrl_ctx *ctx, const struct lrl_gather_rows_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n, a->width, gather_row, a);
  return LRL_OK;
}

CPU_INLINE void scatter_row(const struct lrl_scatter_rows_args *a, int64_t r, bool bf) {
  if (a->index[r] < 0)
    return;
  void *out = cpu_at_mut(a->out, a->index[r] * a->width, bf);
  if (a->beta == 0.0f) {
    memcpy(out, cpu_at(a->x, r * a->width, bf), (size_t)a->width * (bf ? 2 : 4));
    return;
  }
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_store(out, i, n, bf, cpu_load(out, i, n, bf) + cpu_load(a->x, r * a->width + i, n, bf));
  }
}
lrl_status CPU_FN(scatter_rows)(struct lrl_ctx *ctx, const struct lrl_scatter_rows_args *a) {
  if (a->beta == 0.0f) {
    CPU_EACH_ROW(ctx, a->dtype, a->n, a->width, scatter_row, a);
    return LRL_OK;
  }
  for (int64_t r = 0; r < a->n; r++) /* rows may meet the same target: in order */
    scatter_row(a, r, a->dtype == LRL_BF16);
  return LRL_OK;
}
