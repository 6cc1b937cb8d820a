/* One micro-batch of PPO: log-probs and values of responses, and the two losses with their
 * gradients. Whoever trains (train/ppo_update.c, the golden case I2) adds up micro-batches and
 * steps the optimizers.
 *
 * A response is a sequence of tokens that continues a prompt. Token t is predicted, and valued, at
 * the state of the prefix before it: the row of the token before. The last token of a response is
 * therefore never fed. */
#ifndef LRL_PPO_STEP_H
#define LRL_PPO_STEP_H
#include "model/vlm.h"
#include "train/loss_weight.h"

struct lrl_ppo_batch {
  /* What the networks compute: prompts, and responses as their children (or one sequence for
   * both). */
  const int32_t *ids; /* [layout.n_tokens], -1 at image tokens */
  struct lrl_layout layout;
  const int32_t *image_rows; /* [n_image_rows], ascending */
  int64_t n_image_rows;
  /* The response tokens, packed: a sequence a response. */
  struct lrl_layout responses;
  const uint8_t *mask;  /* [responses.n_tokens] or NULL: tokens that count */
  const int32_t *row;   /* [responses.n_tokens]: row of `layout` before the token */
  const int32_t *token; /* [responses.n_tokens] */
};

/* How a network runs over a batch. */
struct lrl_ppo_pass {
  void *images;      /* [n_image_rows, hidden] in the model's dtype: projected image tokens */
  float temperature; /* of the log-probs: what the responses were drawn at */
  bool without_lora; /* the base model: the reference of a LoRA policy */
  bool recompute;    /* activation recomputation */
};
/* f32 [responses.n_tokens, 1]; see lrl_nn_linear_logprob. entropy may be NULL. Dropout is off.
 * Errors go to tape->status. */
struct lrl_tensor *lrl_ppo_logprobs(struct lrl_tape *tape, struct lrl_vlm *policy,
                                    const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                                    struct lrl_tensor **entropy);
/* f32 [responses.n_tokens, 1] of a model with a scalar head. */
struct lrl_tensor *lrl_ppo_values(struct lrl_tape *tape, struct lrl_vlm *critic,
                                  const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass);

struct lrl_ppo_objective {
  enum lrl_ratio ratio;
  bool ratio_to_ref; /* pi / pi_ref, as the paper prints it, instead of pi / pi_old */
  double cliprange, cliprange_high, dual_clip, log_ratio_clamp, entropy_coef;
  bool kl_loss; /* adds kl_coef * KL(pi || pi_ref) to the policy loss */
  enum lrl_kl_estimator kl_estimator;
  double kl_coef, kl_diff_clamp, kl_clamp;
  double cliprange_value, vf_coef;
  enum lrl_loss_agg loss_agg;
  double norm_length; /* seq-mean-token-sum-norm */
};
/* Of the response tokens of a batch, f32 each. */
struct lrl_ppo_targets {
  const float *old_logprobs, *ref_logprobs, *advantages; /* policy */
  const float *old_values, *returns;                     /* critic */
};

/* Sums over micro-batches and ranks (policy.ratio_dev_max: the maximum). */
struct lrl_ppo_policy_sums {
  struct lrl_ppo_policy_stats policy;
  double kl_loss; /* weighted like the loss, without kl_coef */
};
/* Adds this micro-batch to the sums and, when the tape records, its gradient to the policy. `step`
 * counts the live tokens and responses of the whole optimizer step. The caller has initialised the
 * tape and resets its arena. */
lrl_status
lrl_ppo_policy_micro_batch(struct lrl_tape *tape, struct lrl_vlm *policy,
                           const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                           const struct lrl_ppo_targets *targets, const struct lrl_ppo_objective *o,
                           const struct lrl_loss_count *step, struct lrl_ppo_policy_sums *sums);
lrl_status lrl_ppo_value_micro_batch(struct lrl_tape *tape, struct lrl_vlm *critic,
                                     const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                                     const struct lrl_ppo_targets *targets,
                                     const struct lrl_ppo_objective *o,
                                     const struct lrl_loss_count *step,
                                     struct lrl_ppo_value_stats *sums);
#endif
