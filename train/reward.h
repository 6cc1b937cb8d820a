/* The Bradley-Terry reward trainer (SPEC 5): text pairs, one rank. */
#ifndef LRL_REWARD_H
#define LRL_REWARD_H
#include "train/reward_config.h"

/* Trains and evaluates as the config says; writes output_dir/metrics.jsonl and
 * output_dir/config.yaml (config_text). Log lines go through kernels/log.h. */
lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, const char *config_text);
#endif
