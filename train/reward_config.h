/* Options of `laurel reward`; names follow the field. */
#ifndef LRL_REWARD_CONFIG_H
#define LRL_REWARD_CONFIG_H
#include "train/options.h"

struct lrl_reward_config {
  char tokenizer[LRL_OPTION_TEXT];
  int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
      num_key_value_heads, max_position_embeddings;
  double rms_norm_eps, rope_theta, initializer_range;
  int dtype, pooling;
  char train[LRL_OPTION_TEXT], eval[LRL_OPTION_TEXT];
  int order;
  int64_t max_length;
  bool check_data, share_prefix;
  double length_ratio;
  int rank_loss, penalty;
  double focal_gamma, penalty_weight, barrier, center_rewards_coefficient;
  double lr, beta1, beta2, eps, weight_decay, max_grad_norm, warmup_ratio, lr_end, power,
      min_lr_ratio;
  int schedule;
  int64_t num_cycles;
  int64_t seed, max_steps, batch_size, micro_batch_tokens, log_steps, eval_steps, threads,
      max_nonfinite;
  double epochs;
  bool gradient_checkpointing;
  char output_dir[LRL_OPTION_TEXT];
  int device;
};
extern const struct lrl_option lrl_reward_options[];
extern const int lrl_n_reward_options;
#endif
