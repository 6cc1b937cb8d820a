#include "kernels/cpu/simd.h"

#include <math.h>

static void sequence(const struct lrl_ppo_value_args *a, int64_t s,
                     struct lrl_ppo_value_stats *out) {
  const int64_t begin = a->layout->start[s], end = begin + a->layout->length[s];
  const double w = (double)a->seq_weight[s], range = a->cliprange;
  struct lrl_ppo_value_stats sum = {0};
  for (int64_t t = begin; t < end; t++) {
    double grad = 0.0;
    if (a->mask == NULL || a->mask[t] != 0) {
      const double v = (double)a->values[t], target = (double)a->returns[t];
      double loss = (v - target) * (v - target);
      grad = w * (v - target);
      sum.tokens += 1.0;
      sum.sq_error += loss;
      const double old = range > 0.0 ? (double)a->old_values[t] : v, step = v - old;
      if (fabs(step) > range && range > 0.0) {
        const double far = old + (step > 0.0 ? range : -range) - target;
        if (far * far > loss) {
          loss = far * far;
          grad = 0.0;
          sum.clipped += 1.0;
        } else if (!(far * far < loss)) {
          grad *= 0.5;
        }
      }
      sum.loss += loss;
    }
    if (a->d_values != NULL)
      a->d_values[t] = (float)grad;
  }
  sum.loss = sum.tokens > 0.0 ? 0.5 * w * sum.loss : 0.0;
  *out = sum;
}

lrl_status CPU_FN(ppo_value)(struct lrl_ctx *ctx, const struct lrl_ppo_value_args *a) {
  const int64_t n = a->layout->n_seqs;
  struct lrl_ppo_value_stats *part = lrl_arena_alloc(&ctx->scratch, (size_t)n * sizeof *part);
  if (part == NULL)
    return LRL_ERR_MEMORY;
  const int threads = a->layout->n_tokens >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t s = 0; s < n; s++)
    sequence(a, s, &part[s]);
  struct lrl_ppo_value_stats sum = {0};
  for (int64_t s = 0; s < n; s++)
    lrl_ppo_value_stats_add(&sum, &part[s]);
  *a->stats = sum;
  return LRL_OK;
}
