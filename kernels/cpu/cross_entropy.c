#include "kernels/cpu/simd.h"

#include <math.h>

CPU_INLINE void zero_row(const struct lrl_cross_entropy_args *a, int64_t t, bool bf) {
  a->loss[t] = 0.0f;
  if (a->d_logits != NULL)
    memset(cpu_at_mut(a->d_logits, t * a->n_vocab, bf), 0, (size_t)a->n_vocab * (bf ? 2 : 4));
}
/* The row stays in cache over the passes: maximum, sum, gradient. An f32 gradient holds e^(x - max)
 * in between; bf16 would round it, and computes it twice. */
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
  const bool used = a->target[t] >= 0, keep = used && !bf && a->d_logits != NULL;
  const float own = used ? a->logits[o + a->target[t]] : 0.0f; /* before an alias overwrites it */
  for (int64_t j = 0; j < i; j += CPU_LANES) {
    const cpu_vf e = cpu_exp(cpu_load(a->logits, o + j, CPU_LANES, false) - max);
    sum += e;
    if (keep)
      cpu_store(a->d_logits, o + j, CPU_LANES, false, e);
  }
  if (i < v) {
    const int n = cpu_lanes(v, i);
    const cpu_vf e = cpu_exp(cpu_load(a->logits, o + i, n, false) - max);
    const cpu_vi id = CPU_IDS;
    sum += cpu_select(id < n, e, (cpu_vf){0});
    if (keep)
      cpu_store(a->d_logits, o + i, n, false, e);
  }
  const float total = cpu_hsum(sum), lse = max + logf(total);
  if (a->lse != NULL)
    a->lse[t] = lse;
  if (!used) {
    zero_row(a, t, bf);
    return;
  }
  const float weight = a->weight == NULL ? 1.0f : a->weight[t];
  a->loss[t] = weight * (lse - own);
  if (a->d_logits == NULL)
    return;
  const float f = weight / total;
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const int n = cpu_lanes(v, j);
    const cpu_vf e = keep ? cpu_load(a->d_logits, o + j, n, false)
                          : cpu_exp(cpu_load(a->logits, o + j, n, false) - max);
    cpu_store(a->d_logits, o + j, n, bf, f * e);
  }
  cpu_put(a->d_logits, o + a->target[t], bf, weight * (expf(own - lse) - 1.0f));
}
lrl_status CPU_FN(cross_entropy)(struct lrl_ctx *ctx, const struct lrl_cross_entropy_args *a) {
  CPU_EACH_ROW(ctx, a->d_dtype, a->n_tokens, a->n_vocab, row, a);
  return LRL_OK;
}
