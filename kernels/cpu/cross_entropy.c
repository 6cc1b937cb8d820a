#include "kernels/cpu/simd.h"

#include <math.h>

CPU_INLINE void zero_row(const struct lrl_cross_entropy_args *a, int64_t t, bool bf) {
  a->loss[t] = 0.0f;
  if (a->d_logits != NULL)
    memset(cpu_at_mut(a->d_logits, t * a->n_vocab, bf), 0, (size_t)a->n_vocab * (bf ? 2 : 4));
}
/* The row stays in cache over the passes: maximum, sum, gradient. */
CPU_INLINE void row(const struct lrl_cross_entropy_args *a, int64_t t, bool bf) {
  const int64_t v = a->n_vocab, o = t * v;
  if (a->target[t] < 0 && a->lse == NULL) {
    zero_row(a, t, bf);
    return;
  }
  cpu_vf top = cpu_set(-INFINITY), sum = {0};
  int64_t i = 0;
  for (; i + CPU_LANES <= v; i += CPU_LANES) {
    cpu_vf x = cpu_load(a->logits, o + i, CPU_LANES, false);
    top = cpu_select(x > top, x, top);
  }
  float max = cpu_hmax(top);
  for (int64_t j = i; j < v; j++)
    max = a->logits[o + j] > max ? a->logits[o + j] : max;
  for (int64_t j = 0; j < i; j += CPU_LANES)
    sum += cpu_exp(cpu_load(a->logits, o + j, CPU_LANES, false) - max);
  if (i < v) {
    cpu_vf tail = cpu_exp(cpu_load(a->logits, o + i, cpu_lanes(v, i), false) - max);
    cpu_vi id = CPU_IDS;
    sum += cpu_select(id < cpu_lanes(v, i), tail, (cpu_vf){0});
  }
  const float total = cpu_hsum(sum), lse = max + logf(total);
  if (a->lse != NULL)
    a->lse[t] = lse;
  if (a->target[t] < 0) {
    zero_row(a, t, bf);
    return;
  }
  const float weight = a->weight == NULL ? 1.0f : a->weight[t];
  const float own = a->logits[o + a->target[t]];
  a->loss[t] = weight * (lse - own);
  if (a->d_logits == NULL)
    return;
  const float f = weight / total;
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    int n = cpu_lanes(v, j);
    cpu_store(a->d_logits, o + j, n, bf, f * cpu_exp(cpu_load(a->logits, o + j, n, false) - max));
  }
  cpu_put(a->d_logits, o + a->target[t], bf, weight * (expf(own - lse) - 1.0f));
}
lrl_status CPU_FN(cross_entropy)(struct lrl_ctx *ctx, const struct lrl_cross_entropy_args *a) {
  CPU_EACH_ROW(ctx, a->d_dtype, a->n_tokens, a->n_vocab, row, a);
  return LRL_OK;
}
