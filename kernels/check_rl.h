/* Checks of the ops of kernels/ops_rl.h; only kernels/check.c includes it. */
#ifndef LRL_CHECK_RL_H
#define LRL_CHECK_RL_H
#include "kernels/check.h"

static lrl_status check_temperature(const char *op, float temperature) {
  if (!(temperature > 0.0f))
    return LRL_FAIL(LRL_ERR_ARG, "op %s: the temperature is %g, it must be above 0", op,
                    (double)temperature);
  return LRL_OK;
}
/* A clamp or clip range: 0 or more. */
static lrl_status check_range(const char *op, const char *what, double x) {
  if (!(x >= 0.0))
    return LRL_FAIL(LRL_ERR_ARG, "op %s: %s is %g, it may not be negative", op, what, x);
  return LRL_OK;
}

static lrl_status check_logprob_fwd(const struct lrl_logprob_fwd_args *a) {
  SIZES("logprob_fwd", a->n_tokens, a->n_vocab, 0);
  LRL_TRY(check_temperature("logprob_fwd", a->temperature));
  NEED("logprob_fwd", a->n_tokens, a->target, a->logprobs);
  NEED("logprob_fwd", a->n_tokens * a->n_vocab, a->logits);
  return a->drawn ? LRL_OK : lrl_check_targets("logprob_fwd", a->target, a->n_tokens, a->n_vocab);
}

static lrl_status check_logprob_bwd(const struct lrl_logprob_bwd_args *a) {
  SIZES("logprob_bwd", a->n_tokens, a->n_vocab, 0);
  LRL_TRY(check_temperature("logprob_bwd", a->temperature));
  LRL_TRY(lrl_check_dtype("logprob_bwd", a->d_dtype));
  NEED("logprob_bwd", a->n_tokens, a->target, a->lse, a->d_logprobs);
  if (a->d_entropy != NULL)
    NEED("logprob_bwd", a->n_tokens, a->entropy);
  NEED("logprob_bwd", a->n_tokens * a->n_vocab, a->logits, a->d_logits);
  if (a->d_dtype != LRL_F32 || a->d_logits != a->logits) {
    const int64_t n = a->n_tokens * a->n_vocab;
    LRL_TRY(lrl_check_apart("logprob_bwd", a->d_logits, n * lrl_dtype_bytes(a->d_dtype), a->logits,
                            n * 4));
  }
  return lrl_check_targets("logprob_bwd", a->target, a->n_tokens, a->n_vocab);
}

static lrl_status check_approx_kl(const struct lrl_approx_kl_args *a) {
  LRL_TRY(lrl_check_layout("approx_kl", a->layout));
  LRL_TRY(check_range("approx_kl", "diff_clamp", a->diff_clamp));
  LRL_TRY(check_range("approx_kl", "kl_clamp", a->kl_clamp));
  if (a->estimator != LRL_KL_K1 && a->estimator != LRL_KL_ABS && a->estimator != LRL_KL_K2 &&
      a->estimator != LRL_KL_K3)
    return LRL_FAIL(LRL_ERR_ARG, "op approx_kl: unknown estimator %d", (int)a->estimator);
  NEED("approx_kl", a->layout->n_tokens, a->logprobs, a->ref_logprobs);
  if (a->seq_weight != NULL)
    NEED("approx_kl", 1, a->loss);
  return LRL_OK;
}

static lrl_status check_ppo_policy(const struct lrl_ppo_policy_args *a) {
  LRL_TRY(lrl_check_layout("ppo_policy", a->layout));
  LRL_TRY(check_range("ppo_policy", "clip_low", a->clip_low));
  LRL_TRY(check_range("ppo_policy", "clip_high", a->clip_high));
  LRL_TRY(check_range("ppo_policy", "log_ratio_clamp", a->log_ratio_clamp));
  if (a->dual_clip < 0.0 || (a->dual_clip > 0.0 && a->dual_clip <= 1.0))
    return LRL_FAIL(LRL_ERR_ARG, "op ppo_policy: dual_clip is %g, it must be above 1 or 0 for off",
                    a->dual_clip);
  if (a->ratio != LRL_RATIO_TOKEN && a->ratio != LRL_RATIO_SEQUENCE &&
      a->ratio != LRL_RATIO_SEQUENCE_TOKEN)
    return LRL_FAIL(LRL_ERR_ARG, "op ppo_policy: unknown ratio %d", (int)a->ratio);
  NEED("ppo_policy", 1, a->stats);
  NEED("ppo_policy", a->layout->n_tokens, a->logprobs, a->old_logprobs, a->advantages,
       a->seq_weight);
  if (a->d_entropy != NULL)
    NEED("ppo_policy", a->layout->n_tokens, a->entropy);
  return LRL_OK;
}

static lrl_status check_ppo_value(const struct lrl_ppo_value_args *a) {
  LRL_TRY(lrl_check_layout("ppo_value", a->layout));
  LRL_TRY(check_range("ppo_value", "cliprange", a->cliprange));
  NEED("ppo_value", 1, a->stats);
  NEED("ppo_value", a->layout->n_tokens, a->values, a->returns, a->seq_weight);
  if (a->cliprange > 0.0)
    NEED("ppo_value", a->layout->n_tokens, a->old_values);
  return LRL_OK;
}

static lrl_status check_gae(const struct lrl_gae_args *a) {
  LRL_TRY(lrl_check_layout("gae", a->layout));
  NEED("gae", a->layout->n_tokens, a->rewards, a->advantages);
  return LRL_OK;
}

static lrl_status check_moments(const struct lrl_moments_args *a) {
  SIZES("moments", a->n, 0, 0);
  NEED("moments", a->n, a->x);
  NEED("moments", 1, a->out);
  return LRL_OK;
}

static lrl_status check_whiten(const struct lrl_whiten_args *a) {
  SIZES("whiten", a->n, 0, 0);
  NEED("whiten", a->n, a->x, a->out);
  return LRL_OK;
}
#endif
