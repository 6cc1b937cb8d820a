/* Options of `laurel reward`; names follow the field. */
#ifndef LRL_REWARD_CONFIG_H
#define LRL_REWARD_CONFIG_H
#include "train/data_options.h"
#include "train/model_options.h"
#include "train/run.h"

struct lrl_reward_config {
  char tokenizer[LRL_OPTION_TEXT];
  char init_from[LRL_OPTION_TEXT];
  struct lrl_model_options model;
  struct lrl_data_options data;
  struct lrl_run_options run;
  int rank_loss, penalty;
  double focal_gamma, penalty_weight, barrier, center_rewards_coefficient;
  double lr, beta1, beta2, eps, weight_decay, max_grad_norm, warmup_ratio, lr_end, power,
      min_lr_ratio;
  int schedule;
  int64_t num_cycles;
  int64_t seed, max_steps, batch_size, micro_batch_tokens, log_steps, eval_steps, threads,
      max_nonfinite;
  double epochs;
  bool gradient_checkpointing, save_optimizer;
  int64_t zero_stage;
  int device;
};
extern const struct lrl_option lrl_reward_options[];
extern const int lrl_n_reward_options;
#endif
