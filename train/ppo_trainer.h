/* The PPO trainer's parts: ppo.c (set-up and the loop), ppo_rollout.c (images, responses, scores),
 * ppo_score.c, ppo_experience.c (log-probs, values, advantages), ppo_pack.c (micro-batches),
 * ppo_update.c (the optimizer steps), ppo_ptx.c, ppo_report.c and ppo_eval.c (metrics, with
 * ppo_figures.c), ppo_dump.c,
 * ppo_state.c (checkpoints). Private to these files. */
#ifndef LRL_PPO_TRAINER_H
#define LRL_PPO_TRAINER_H
#include "data/loader.h"
#include "data/prompts.h"
#include "model/generate.h"
#include "train/advantages.h"
#include "train/judge.h"
#include "train/kl_controller.h"
#include "train/metrics.h"
#include "train/ppo.h"
#include "train/ppo_models.h"
#include "train/ppo_step.h"
#include "train/rewards.h"

/* A prompt of this rank in an iteration. */
struct lrl_ppo_prompt {
  int64_t position; /* in the iteration, over all ranks */
  struct lrl_prompt data;
  int64_t first_image, n_images; /* rows of the image tokens */
  int64_t first, n;              /* responses */
};
/* What an iteration of this rank is made of; lives in an arena that is reset for the next, on the
 * host but for the image tokens. A response's tokens are [start, start + length) of the token
 * arrays. */
struct lrl_ppo_experience {
  int64_t n_prompts, n_responses, n_tokens, n_image_rows, n_aside;
  struct lrl_ppo_prompt *prompt;
  void *images[2]; /* image tokens [n_image_rows, hidden]: the policy's, the critic's */
  void *reference_images, *reward_images; /* NULL: as the policy's; the judge looks itself */
  /* [n_responses] */
  int32_t *group; /* its prompt */
  int32_t *start, *length;
  bool *finished;                /* ended by itself */
  double *score, *gold, *shaped; /* of the reward model; by the rules; what is optimised */
  double *baseline;              /* ReMax: score of the greedy response */
  /* [n_tokens] */
  int32_t *token;
  float *rollout_logprobs, *sampling_logprobs, *old_logprobs, *entropy, *ref_logprobs;
  float *values, *kl, *rewards, *advantages, *returns;
  int64_t new_tokens, prefill_tokens; /* of the generation */
};
static inline struct lrl_layout lrl_ppo_responses(const struct lrl_ppo_experience *e) {
  struct lrl_layout l = {e->n_tokens, e->n_responses, e->start, e->length, NULL, NULL};
  return l;
}

/* What the minibatches of an iteration did, over all ranks. */
struct lrl_ppo_update_report {
  struct lrl_ppo_policy_sums policy; /* sums of all minibatches; loss, kl_loss: to be averaged */
  struct lrl_ppo_value_stats value;
  double first_ratio_dev; /* largest |ratio - 1| of the first minibatch, before its update */
  double actor_grad_norm, critic_grad_norm; /* sums over steps */
  int64_t actor_steps, critic_steps;
  double ptx[2]; /* loss of the mixed-in answers, their tokens */
  bool stopped;  /* by target_kl_stop */
};

struct lrl_ppo_seconds {
  double gen, score, old, ref, values, adv, update_actor, update_critic, step;
};

struct lrl_ppo_trainer {
  const struct lrl_ppo_config *cfg;
  struct lrl_comm *comm;
  struct lrl_run run;
  struct lrl_ppo_models models;
  struct lrl_judge judge; /* when there is a reward model */
  struct lrl_image_ops image_ops;
  const struct lrl_image_ops *images; /* NULL without a vision tower */
  struct lrl_prompts *train, *eval;
  struct lrl_ctx ctx;
  struct lrl_arena steps, state, memory; /* a pass; optimizers; an iteration */
  struct lrl_optimizer actor, value;
  struct lrl_metrics metrics;
  struct lrl_ppo_objective objective;
  struct lrl_estimator_options estimator;
  struct lrl_score_options scores;
  struct lrl_ppo_seconds seconds; /* of the present iteration */
  int32_t stop[2];
  int n_stop;
  char *policy_config;
  int64_t *order; /* a permutation of the prompts: of order_epoch */
  int64_t order_epoch;
  struct lrl_corpus *ptx;
  int32_t *ptx_weight; /* its chats' tokens with a loss */
  struct lrl_loader *ptx_loader;
  /* The next micro-batch of answers; NULL: nothing is mixed in. */
  lrl_status (*ptx_next)(struct lrl_ppo_trainer *t, const struct lrl_batch **b);

  /* What a checkpoint keeps besides weights and optimizers. */
  struct {
    int64_t step;    /* iterations done */
    int64_t skipped; /* optimizer steps without an update */
    int64_t ptx_steps;
    struct lrl_kl_controller kl;
    struct lrl_moments running; /* of scores */
  } at;
  int64_t n_steps;
  uint64_t fingerprint; /* of the prompts and the reference */
};

/* ppo.c: t->objective and the like from t->cfg; the optimizers of the networks that train. */
void lrl_ppo_objectives(struct lrl_ppo_trainer *t);
lrl_status lrl_ppo_optimizers(struct lrl_ppo_trainer *t);

/* ppo_rollout.c: fills everything up to sampling_logprobs, scores and gold; prompts of global
 * positions first, first + 1, ... (n of them) of `from`. key0 + position names a prompt's random
 * stream. */
struct lrl_ppo_rollout {
  const struct lrl_prompts *from;
  bool shuffled; /* positions count through the shuffled epochs of the training prompts */
  int64_t first, n, samples;
  uint64_t seed;
};
lrl_status lrl_ppo_rollout(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                           struct lrl_ppo_experience *e);

/* The part of it between the choice of prompts, which are in e, and the scores. */
lrl_status lrl_ppo_respond(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                           struct lrl_ppo_experience *e, struct lrl_generation *g);

/* ppo_score.c: scores[n], gold[n] of the samples of a generation over e's prompts. NaN where there
 * is no reward model, no gold. */
lrl_status lrl_ppo_score(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                         const struct lrl_generation *g, double *scores, double *gold);
/* What is optimised of both, before shaping. */
double lrl_ppo_objective_score(const struct lrl_ppo_config *c, double score, double gold);

/* ppo_experience.c: log-probs of policy and reference (and values); then rewards and advantages. */
lrl_status lrl_ppo_logprobs_of(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e);
lrl_status lrl_ppo_advantages(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e);

/* ppo_pack.c: cuts a list of prompts into micro-batches of at most max_tokens packed tokens. A
 * prompt with more responses than fit is repeated. */
struct lrl_ppo_slice {
  int64_t prompt, first, n; /* responses [first, first + n) of the experience */
};
struct lrl_ppo_cursor {
  const int64_t *prompts; /* indices into e->prompt */
  int64_t n, at, done;    /* next prompt, and how many of its responses were taken */
};
/* slices has room for cursor->n. *n_slices 0: the list is at its end. */
void lrl_ppo_next(const struct lrl_ppo_experience *e, struct lrl_ppo_cursor *cursor,
                  int64_t max_tokens, struct lrl_ppo_slice *slices, int64_t *n_slices);
struct lrl_ppo_packed {
  struct lrl_ppo_batch batch;
  void *images;
  struct lrl_ppo_targets targets; /* copies; all fields that e has */
};
/* In the tape's memory. images: e->images[..] or e->reference_images, of that network's width. */
lrl_status lrl_ppo_pack(struct lrl_tape *tape, const struct lrl_ppo_experience *e,
                        const struct lrl_ppo_slice *slices, int64_t n, const struct lrl_vlm *model,
                        const void *images, struct lrl_ppo_packed *out);
/* A packed array back to the experience's place of it; both are operands of ops. */
void lrl_ppo_unpack(struct lrl_ctx *ctx, const struct lrl_ppo_experience *e,
                    const struct lrl_ppo_slice *slices, int64_t n, const float *packed, float *to);

/* ppo_update.c: all epochs and minibatches of an iteration. */
lrl_status lrl_ppo_update(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                          double actor_lr, double critic_lr, struct lrl_ppo_update_report *report);
/* ema = beta * ema + (1 - beta) * policy, of the units that train; beta within (0, 1). Queued. */
lrl_status lrl_ppo_average(struct lrl_ctx *ctx, struct lrl_vlm *ema, struct lrl_vlm *policy,
                           double beta);

/* ppo_ptx.c: reads ptx.data when ptx.coef is not 0; then, as the last part of an optimizer step of
 * the policy, adds the gradient of ptx_coef * mean loss of a batch of answers. sums: this rank's
 * loss and tokens. */
lrl_status lrl_ppo_ptx_open(struct lrl_ppo_trainer *t);
lrl_status lrl_ppo_ptx_step(struct lrl_ppo_trainer *t, double sums[2]);
void lrl_ppo_ptx_close(struct lrl_ppo_trainer *t);

/* ppo_report.c, ppo_eval.c */
lrl_status lrl_ppo_log(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                       const struct lrl_ppo_update_report *u, double actor_lr, double critic_lr);
lrl_status lrl_ppo_evaluate(struct lrl_ppo_trainer *t);

/* ppo_dump.c: writes the experience of the iteration that just ended. */
lrl_status lrl_ppo_dump(const struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e);

/* ppo_state.c. save is collective and rotates older checkpoints away. */
lrl_status lrl_ppo_save(struct lrl_ppo_trainer *t);
lrl_status lrl_ppo_resume(struct lrl_ppo_trainer *t, int64_t *values_bytes, int64_t *timing_bytes);
#endif
