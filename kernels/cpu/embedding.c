#include "kernels/cpu/simd.h"

CPU_INLINE void embed_row(const struct lrl_embedding_fwd_args *a, int64_t t, bool bf) {
  size_t bytes = (size_t)a->width * (bf ? 2 : 4);
  void *out = cpu_at_mut(a->out, t * a->width, bf);
  if (a->ids[t] < 0)
    memset(out, 0, bytes);
  else
    memcpy(out, cpu_at(a->table, a->ids[t] * a->width, bf), bytes);
}
lrl_status CPU_FN(embedding_fwd)(struct lrl_ctx *ctx, const struct lrl_embedding_fwd_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->width, embed_row, a);
  return LRL_OK;
}

CPU_INLINE void add_row(const struct lrl_embedding_bwd_args *a, int64_t t, int64_t lo, int64_t hi,
                        bool bf) {
  if (a->ids[t] < 0 || a->ids[t] == a->padding_idx)
    return;
  float *d = a->d_table + a->ids[t] * a->width;
  for (int64_t i = lo; i < hi; i += CPU_LANES) {
    int n = cpu_lanes(hi, i);
    cpu_vf g = cpu_load(a->d_out, t * a->width + i, n, bf);
    cpu_store(d, i, n, false, cpu_load(d, i, n, false) + g);
  }
}
/* Threads own columns, so every element of d_table is summed in order of t. */
lrl_status CPU_FN(embedding_bwd)(struct lrl_ctx *ctx, const struct lrl_embedding_bwd_args *a) {
  const int64_t slice = 64, slices = cpu_blocks(a->width, slice);
  const int threads = a->n_tokens * a->width >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
  const int64_t per = cpu_blocks(slices, threads) * slice;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int j = 0; j < threads; j++) {
    int64_t lo = j * per, hi = lo + per < a->width ? lo + per : a->width;
    for (int64_t t = 0; t < a->n_tokens && lo < hi; t++) {
      if (a->dtype == LRL_BF16)
        add_row(a, t, lo, hi, true);
      else
        add_row(a, t, lo, hi, false);
    }
  }
  return LRL_OK;
}
