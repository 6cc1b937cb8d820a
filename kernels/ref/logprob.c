#include "kernels/ref/ref.h"

#include <math.h>

static double lse_of(const float *x, int64_t n, double inverse) {
  double max = -INFINITY, sum = 0.0;
  for (int64_t j = 0; j < n; j++)
    max = fmax(max, (double)x[j] * inverse);
  for (int64_t j = 0; j < n; j++)
    sum += exp((double)x[j] * inverse - max);
  return max + log(sum);
}

lrl_status REF_FN(logprob_fwd)(struct lrl_ctx *ctx, const struct lrl_logprob_fwd_args *a) {
  (void)ctx;
  const double inverse = 1.0 / (double)a->temperature;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const float *x = a->logits + t * a->n_vocab;
    const double lse = lse_of(x, a->n_vocab, inverse);
    double entropy = 0.0;
    for (int64_t j = 0; j < a->n_vocab; j++) {
      const double log_p = (double)x[j] * inverse - lse, p = exp(log_p);
      entropy -= p > 0.0 ? p * log_p : 0.0;
    }
    const bool used = a->target[t] >= 0;
    const double logprob = used ? (double)x[a->target[t]] * inverse - lse : 0.0;
    a->logprobs[t] = logprob > 0.0 ? 0.0f : (float)logprob;
    if (a->entropy != NULL)
      a->entropy[t] = used ? (float)entropy : 0.0f;
    if (a->lse != NULL)
      a->lse[t] = (float)lse;
  }
  return LRL_OK;
}

lrl_status REF_FN(logprob_bwd)(struct lrl_ctx *ctx, const struct lrl_logprob_bwd_args *a) {
  (void)ctx;
  const double inverse = 1.0 / (double)a->temperature;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const int32_t target = a->target[t];
    for (int64_t j = 0; j < a->n_vocab; j++) {
      const int64_t i = t * a->n_vocab + j;
      double g = 0.0;
      if (target >= 0) {
        const double log_p = (double)a->logits[i] * inverse - (double)a->lse[t], p = exp(log_p);
        g = (double)a->d_logprobs[t] * ((j == target ? 1.0 : 0.0) - p);
        if (a->d_entropy != NULL && p > 0.0)
          g -= (double)a->d_entropy[t] * p * (log_p + (double)a->entropy[t]);
      }
      lrl_ref_store(a->d_dtype, a->d_logits, i, g * inverse);
    }
  }
  return LRL_OK;
}
