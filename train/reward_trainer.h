/* The reward trainer's parts: reward.c (set-up and the loop), reward_eval.c (evaluation and
 * metrics), reward_state.c (checkpoints). Private to these files. */
#ifndef LRL_REWARD_TRAINER_H
#define LRL_REWARD_TRAINER_H
#include "data/loader.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/reward.h"
#include "train/reward_step.h"

struct lrl_reward_trainer {
  const struct lrl_reward_config *cfg;
  struct lrl_comm *comm;
  struct lrl_run run;
  struct lrl_tokenizer *tokenizer;
  struct lrl_image_ops image_ops;
  const struct lrl_image_ops *images; /* NULL without a vision tower */
  struct lrl_corpus *train, *eval;
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm model;
  struct lrl_optimizer optimizer;
  struct lrl_reward_objective objective;
  struct lrl_metrics metrics;
  int64_t *step_pairs; /* corpus indices of the pairs this rank had in the present step */
  int64_t n_step_pairs;

  /* What a checkpoint keeps besides weights and optimizer. */
  struct {
    int64_t step;           /* optimizer steps done */
    struct lrl_tally since; /* sums over all ranks since the last log line */
    double grad_norm;       /* of the last step */
    int64_t skipped;        /* steps without an update so far */
    double best_accuracy;   /* on data.eval; -1 before the first */
    int64_t best_step;      /* -1: none */
  } at;
  int64_t n_steps;
  double t_log;         /* wall clock of the last log line */
  uint64_t fingerprint; /* of the training corpus */
};

/* reward_eval.c */
lrl_status lrl_reward_evaluate(struct lrl_reward_trainer *t);
lrl_status lrl_reward_log_step(struct lrl_reward_trainer *t, double lr);

/* reward_state.c. save is collective and rotates older checkpoints away. */
lrl_status lrl_reward_save(struct lrl_reward_trainer *t);
lrl_status lrl_reward_resume(struct lrl_reward_trainer *t, int64_t *values_bytes,
                             int64_t *timing_bytes);
/* Weights of model.init_from; before the optimizer is made. */
lrl_status lrl_reward_init_from(struct lrl_reward_trainer *t);
#endif
