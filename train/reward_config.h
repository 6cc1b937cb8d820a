/* Options of `laurel reward`; names follow the field. */
#ifndef LRL_REWARD_CONFIG_H
#define LRL_REWARD_CONFIG_H
#include "train/trainer_options.h"

struct lrl_reward_config {
  struct lrl_trainer_options common;
  int rank_loss, penalty;
  double focal_gamma, penalty_weight, barrier, center_rewards_coefficient;
};
extern const struct lrl_option lrl_reward_options[];
extern const int lrl_n_reward_options;
#endif
