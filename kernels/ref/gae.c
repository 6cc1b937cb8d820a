#include "kernels/ref/ref.h"

lrl_status REF_FN(gae)(struct lrl_ctx *ctx, const struct lrl_gae_args *a) {
  (void)ctx;
  for (int64_t s = 0; s < a->layout->n_seqs; s++) {
    const int64_t begin = a->layout->start[s], end = begin + a->layout->length[s];
    double next_value = 0.0, next_advantage = 0.0;
    for (int64_t t = end - 1; t >= begin; t--) {
      const bool live = a->mask == NULL || a->mask[t] != 0;
      if (live) {
        const double v = a->values == NULL ? 0.0 : (double)a->values[t];
        const double delta = (double)a->rewards[t] + a->gamma * next_value - v;
        next_advantage = delta + a->gamma * a->lam * next_advantage;
        next_value = v;
      }
      a->advantages[t] = live ? (float)next_advantage : 0.0f;
      if (a->returns != NULL)
        a->returns[t] = live ? (float)(next_advantage + next_value) : 0.0f;
    }
  }
  return LRL_OK;
}
