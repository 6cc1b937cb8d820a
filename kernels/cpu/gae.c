#include "kernels/cpu/simd.h"

static void sequence(const struct lrl_gae_args *a, int64_t s) {
  const int64_t begin = a->layout->start[s];
  const double decay = a->gamma * a->lam;
  double value = 0.0, advantage = 0.0; /* of the live token behind */
  for (int64_t t = begin + a->layout->length[s] - 1; t >= begin; t--) {
    float adv = 0.0f, ret = 0.0f;
    if (a->mask == NULL || a->mask[t] != 0) {
      const double v = a->values == NULL ? 0.0 : (double)a->values[t];
      advantage = (double)a->rewards[t] + a->gamma * value - v + decay * advantage;
      value = v;
      adv = (float)advantage;
      ret = (float)(advantage + v);
    }
    a->advantages[t] = adv;
    if (a->returns != NULL)
      a->returns[t] = ret;
  }
}

lrl_status CPU_FN(gae)(struct lrl_ctx *ctx, const struct lrl_gae_args *a) {
  const int threads = a->layout->n_tokens >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t s = 0; s < a->layout->n_seqs; s++)
    sequence(a, s);
  return LRL_OK;
}
