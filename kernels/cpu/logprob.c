#include "kernels/cpu/simd.h"

#include <math.h>

/* Maximum, then sum of e^(z - max) and of its product with z - max in one pass. */
CPU_INLINE void row_fwd(const struct lrl_logprob_fwd_args *a, int64_t t, bool bf) {
  (void)bf;
  const int64_t v = a->n_vocab, o = t * v;
  const float inverse = 1.0f / a->temperature;
  const cpu_vi id = CPU_IDS;
  cpu_vf top = cpu_set(-INFINITY), sum = {0}, dot = {0};
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const int n = cpu_lanes(v, j);
    const cpu_vf z = cpu_load(a->logits, o + j, n, false) * inverse;
    top = cpu_select((z > top) & (id < n), z, top);
  }
  const float max = cpu_hmax(top);
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const int n = cpu_lanes(v, j);
    const cpu_vf d = cpu_load(a->logits, o + j, n, false) * inverse - max;
    const cpu_vf e = cpu_select(id < n, cpu_exp(d), (cpu_vf){0});
    sum += e;
    dot += cpu_select(e > 0.0f, e * d, (cpu_vf){0}); /* -inf has probability 0 */
  }
  const float total = cpu_hsum(sum), log_total = logf(total);
  const bool used = a->target[t] >= 0;
  const float own = used ? a->logits[o + a->target[t]] * inverse - max - log_total : 0.0f;
  a->logprobs[t] = own > 0.0f ? 0.0f : own;
  if (a->entropy != NULL)
    a->entropy[t] = used ? log_total - cpu_hsum(dot) / total : 0.0f;
  if (a->lse != NULL)
    a->lse[t] = max + log_total;
}
lrl_status CPU_FN(logprob_fwd)(struct lrl_ctx *ctx, const struct lrl_logprob_fwd_args *a) {
  CPU_EACH_ROW(ctx, LRL_F32, a->n_tokens, a->n_vocab, row_fwd, a);
  return LRL_OK;
}

CPU_INLINE void row_bwd(const struct lrl_logprob_bwd_args *a, int64_t t, bool bf) {
  const int64_t v = a->n_vocab, o = t * v;
  if (a->target[t] < 0) {
    memset(cpu_at_mut(a->d_logits, o, bf), 0, (size_t)v * (bf ? 2 : 4));
    return;
  }
  const float inverse = 1.0f / a->temperature, lse = a->lse[t];
  const float own = a->logits[o + a->target[t]] * inverse - lse; /* before an alias overwrites it */
  const float dl = a->d_logprobs[t] * inverse;
  const float dh = a->d_entropy == NULL ? 0.0f : a->d_entropy[t] * inverse;
  const float h = a->d_entropy == NULL ? 0.0f : a->entropy[t];
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const int n = cpu_lanes(v, j);
    const cpu_vf log_p = cpu_load(a->logits, o + j, n, false) * inverse - lse;
    const cpu_vf p = cpu_exp(log_p);
    const cpu_vf g = cpu_select(p > 0.0f, p * (dl + dh * (log_p + h)), (cpu_vf){0});
    cpu_store(a->d_logits, o + j, n, bf, -g);
  }
  const float p = expf(own);
  cpu_put(a->d_logits, o + a->target[t], bf,
          dl * (1.0f - p) - (p > 0.0f ? p * dh * (own + h) : 0.0f));
}
lrl_status CPU_FN(logprob_bwd)(struct lrl_ctx *ctx, const struct lrl_logprob_bwd_args *a) {
  CPU_EACH_ROW(ctx, a->d_dtype, a->n_tokens, a->n_vocab, row_bwd, a);
  return LRL_OK;
}
