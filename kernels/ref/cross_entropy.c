#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(cross_entropy)(struct lrl_ctx *ctx, const struct lrl_cross_entropy_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const float *x = a->logits + t * a->n_vocab;
    const int32_t target = a->target[t];
    const double weight = target < 0 ? 0.0 : a->weight == NULL ? 1.0 : (double)a->weight[t];
    double max = -INFINITY, sum = 0.0;
    for (int64_t j = 0; j < a->n_vocab; j++)
      max = fmax(max, (double)x[j]);
    for (int64_t j = 0; j < a->n_vocab; j++)
      sum += exp((double)x[j] - max);
    const double lse = max + log(sum);
    if (a->lse != NULL)
      a->lse[t] = (float)lse;
    a->loss[t] = target < 0 ? 0.0f : (float)(weight * (lse - (double)x[target]));
    for (int64_t j = 0; a->d_logits != NULL && j < a->n_vocab; j++)
      lrl_ref_store(a->d_dtype, a->d_logits, t * a->n_vocab + j,
                    target < 0 ? 0.0
                               : weight * (exp((double)x[j] - lse) - (j == target ? 1.0 : 0.0)));
  }
  return LRL_OK;
}
