/* Argument structs of the reinforcement-learning ops; part of kernels/ops.h, which says the common
 * rules. All numbers are f32 arrays over packed tokens, sums are f64.
 *
 * A layout's sequences are responses, or prompts and responses: `mask` (u8 [n_tokens]; NULL: all 1)
 * says which tokens count. Zeros may lie anywhere, in the middle of a sequence too (tool output).
 * Nothing at a masked token is ever used, so it may be NaN; outputs there are 0. A sequence with no
 * live token contributes nothing.
 *
 * Losses are sums over live tokens of seq_weight[sequence] * loss(token). seq_weight holds the
 * aggregation mode and the global counts (train/loss_weight.h), so that neither the micro-batch
 * size nor the number of ranks changes a gradient. */
#ifndef LRL_OPS_RL_H
#define LRL_OPS_RL_H
#include "kernels/dtype.h"
#include "kernels/layout.h"
#ifdef __cplusplus
extern "C" {
#endif

/* z = logits / temperature; logprobs[t] = z[target[t]] - lse(z) (never above 0);
 * entropy[t] = lse(z) - sum_j softmax(z)[j] z[j]; lse [t] for the backward. Rows with target -100
 * give logprob and entropy 0. A logit may be -inf (probability 0), not all of a row.
 * logits f32 [n_tokens, n_vocab]. Rollout and training use this same op, so that a ratio is exactly
 * 1 before the first update. */
struct lrl_logprob_fwd_args {
  int64_t n_tokens, n_vocab;
  float temperature; /* > 0 */
  const float *logits;
  const int32_t *target;
  float *logprobs, *entropy, *lse; /* entropy, lse may be NULL */
  /* target is what lrl_sample draws: on a device it is not there yet, so it is not checked, and
   * any negative one is as -100. */
  bool drawn;
};
/* d_logits = (d_logprob * (onehot - p) - d_entropy * p * (log p + entropy)) / temperature.
 * d_entropy NULL: 0 (entropy is not read then). d_logits (d_dtype) may alias logits when d_dtype is
 * f32. */
struct lrl_logprob_bwd_args {
  int64_t n_tokens, n_vocab;
  float temperature;
  const float *logits;
  const int32_t *target;
  const float *lse, *entropy, *d_logprobs, *d_entropy;
  lrl_dtype d_dtype;
  void *d_logits;
};

/* Estimates of KL(policy || reference) from one sample, d = logprobs - ref_logprobs: k1 d; abs |d|;
 * k2 d^2/2; k3 exp(-d) - 1 + d (Schulman). d is clamped to +-diff_clamp, the result to +-kl_clamp
 * (0: no clamp); a clamp passes no gradient outside. verl and NeMo clamp k3 to 20 and 10, OpenRLHF
 * every result to 10.
 * With seq_weight: *loss = sum w kl, and d_logprobs += coef * w * dkl/dlogprobs. */
enum lrl_kl_estimator { LRL_KL_K1 = 0, LRL_KL_ABS = 1, LRL_KL_K2 = 2, LRL_KL_K3 = 3 };
struct lrl_approx_kl_args {
  const struct lrl_layout *layout;
  const uint8_t *mask;
  enum lrl_kl_estimator estimator;
  double diff_clamp, kl_clamp;
  const float *logprobs, *ref_logprobs;
  float *kl; /* may be NULL */
  double coef;
  const float *seq_weight; /* [n_seqs] or NULL: loss and d_logprobs are not touched */
  double *loss;
  float *d_logprobs; /* may be NULL */
};

/* The importance ratio of a token, D = logprobs - old_logprobs. TOKEN: exp(D[t]). SEQUENCE (GSPO):
 * exp(mean of D over the live tokens), differentiated through the mean. SEQUENCE_TOKEN
 * (GSPO-token): the same value, differentiated as if it were the token's own. The exponent is
 * clamped to +-log_ratio_clamp (0: not) and passes no gradient outside. */
enum lrl_ratio { LRL_RATIO_TOKEN = 0, LRL_RATIO_SEQUENCE = 1, LRL_RATIO_SEQUENCE_TOKEN = 2 };
/* Sums over live tokens; add them over micro-batches and ranks (ratio_dev_max: take the maximum),
 * divide by tokens. KL estimates are of old against new with the D before its clamp. */
struct lrl_ppo_policy_stats {
  double loss;                   /* weighted, entropy bonus included */
  double tokens;                 /* live */
  double clipped, clipped_lower; /* tokens where the clip, the dual clip took the loss */
  double kl1, kl2, kl3;          /* -D, D^2/2, exp(D) - 1 - D */
  double ratio, entropy;
  double ratio_dev_max; /* largest |ratio - 1|: 0 before the first update */
};
/* Clipped surrogate: l = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); where A < 0 and
 * dual_clip c > 0: l = min(l, -c A) (arXiv 1912.09729). loss = sum w (l - entropy_coef * entropy).
 * d_logprobs, d_entropy [n_tokens] overwritten. entropy NULL: no bonus. */
struct lrl_ppo_policy_args {
  const struct lrl_layout *layout;
  const uint8_t *mask;
  enum lrl_ratio ratio;
  double clip_low, clip_high, dual_clip, log_ratio_clamp; /* the last two: 0 is off */
  double entropy_coef;
  const float *logprobs, *old_logprobs, *advantages, *entropy, *seq_weight;
  struct lrl_ppo_policy_stats *stats;
  float *d_logprobs, *d_entropy; /* may be NULL */
};

struct lrl_ppo_value_stats {
  double loss, tokens; /* weighted; live */
  double clipped;      /* tokens where the clipped error was the larger */
  double sq_error;     /* sum of (value - return)^2 */
};
/* loss = sum w/2 max((v - R)^2, (v_old + clip(v - v_old, +-cliprange) - R)^2); cliprange 0: no
 * clip, old_values not read. d_values overwritten; where both are equal outside the clip they share
 * the gradient, as torch.max does. */
struct lrl_ppo_value_args {
  const struct lrl_layout *layout;
  const uint8_t *mask;
  double cliprange;
  const float *values, *old_values, *returns, *seq_weight;
  struct lrl_ppo_value_stats *stats;
  float *d_values; /* may be NULL */
};

/* Going back over the live tokens of a sequence (masked ones are skipped as if absent; the value
 * after the last is 0): delta = r[t] + gamma V[next] - V[t]; A[t] = delta + gamma lam A[next];
 * returns = A + V. values NULL: V = 0, so that with lam 1 both are discounted rewards-to-go. f64
 * inside. values[t] is of the prefix before token t. */
struct lrl_gae_args {
  const struct lrl_layout *layout;
  const uint8_t *mask;
  double gamma, lam;
  const float *rewards, *values;
  float *advantages, *returns; /* returns may be NULL */
};

/* Count, mean and sum of squared deviations; {0, 0, 0} is empty. */
struct lrl_moments {
  double n, mean, m2;
};
/* Of x - y over the live elements (y NULL: 0), in two passes over fixed blocks. NaN at a live
 * element gives NaN. Merge the parts of several ranks with lrl_moments_merge in rank order. */
struct lrl_moments_args {
  int64_t n;
  const uint8_t *mask;
  const float *x, *y;
  struct lrl_moments *out;
};
/* out = (x - mean) * rstd, + mean again unless shift_mean; 0 at masked elements. out may alias x.
 */
struct lrl_whiten_args {
  int64_t n;
  const uint8_t *mask;
  const float *x;
  double mean, rstd;
  bool shift_mean;
  float *out;
};

/* a becomes the moments of both sets (Chan, Golub, LeVeque). */
static inline void lrl_moments_merge(struct lrl_moments *a, const struct lrl_moments *b) {
  if (b->n == 0.0)
    return;
  const double n = a->n + b->n, d = b->mean - a->mean;
  a->mean += d * (b->n / n);
  a->m2 += b->m2 + d * d * (a->n * b->n / n);
  a->n = n;
}

static inline void lrl_ppo_policy_stats_add(struct lrl_ppo_policy_stats *a,
                                            const struct lrl_ppo_policy_stats *b) {
  a->loss += b->loss;
  a->tokens += b->tokens;
  a->clipped += b->clipped;
  a->clipped_lower += b->clipped_lower;
  a->kl1 += b->kl1;
  a->kl2 += b->kl2;
  a->kl3 += b->kl3;
  a->ratio += b->ratio;
  a->entropy += b->entropy;
  a->ratio_dev_max = b->ratio_dev_max > a->ratio_dev_max ? b->ratio_dev_max : a->ratio_dev_max;
}
static inline void lrl_ppo_value_stats_add(struct lrl_ppo_value_stats *a,
                                           const struct lrl_ppo_value_stats *b) {
  a->loss += b->loss;
  a->tokens += b->tokens;
  a->clipped += b->clipped;
  a->sq_error += b->sq_error;
}

#ifdef __cplusplus
}
#endif
#endif
