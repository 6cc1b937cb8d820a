#include "kernels/cpu/simd.h"

struct span {
  int64_t start[2], length[2]; /* the parent's rows, then the sequence's own */
};
CPU_INLINE struct span rows_of(const struct lrl_layout *l, int64_t s) {
  int64_t p = l->parent == NULL ? -1 : l->parent[s];
  return (struct span){{p < 0 ? 0 : l->start[p], l->start[s]},
                       {p < 0 ? 0 : l->length[p], l->length[s]}};
}
CPU_INLINE float inverse_count(struct span s) {
  int64_t n = s.length[0] + s.length[1];
  return n > 0 ? 1.0f / (float)n : 0.0f;
}
CPU_INLINE void fwd_row(const struct lrl_mean_pool_fwd_args *a, int64_t r, bool bf) {
  const struct span s = rows_of(a->layout, a->seq[r]);
  const float f = inverse_count(s);
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_vf sum = {0};
    for (int part = 0; part < 2; part++)
      for (int64_t t = s.start[part]; t < s.start[part] + s.length[part]; t++)
        sum += cpu_load(a->x, t * a->width + i, n, bf);
    cpu_store(a->out, r * a->width + i, n, bf, sum * f);
  }
}
lrl_status CPU_FN(mean_pool_fwd)(struct lrl_ctx *ctx, const struct lrl_mean_pool_fwd_args *a) {
  const int64_t work = a->n > 0 ? a->layout->n_tokens * a->width / a->n : 0;
  CPU_EACH_ROW(ctx, a->dtype, a->n, work, fwd_row, a);
  return LRL_OK;
}

/* Row t of dx: the pooled sequences that contain t, in order. */
CPU_INLINE void bwd_row(const struct lrl_mean_pool_bwd_args *a, int64_t t, bool bf) {
  for (int64_t i = 0; i < a->width; i += CPU_LANES) {
    int n = cpu_lanes(a->width, i);
    cpu_vf sum = {0};
    for (int64_t r = 0; r < a->n; r++) {
      const struct span s = rows_of(a->layout, a->seq[r]);
      for (int part = 0; part < 2; part++)
        if (t >= s.start[part] && t < s.start[part] + s.length[part])
          sum += cpu_load(a->d_out, r * a->width + i, n, bf) * inverse_count(s);
    }
    cpu_store(a->dx, t * a->width + i, n, bf, sum);
  }
}
lrl_status CPU_FN(mean_pool_bwd)(struct lrl_ctx *ctx, const struct lrl_mean_pool_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->layout->n_tokens, a->width, bwd_row, a);
  return LRL_OK;
}
