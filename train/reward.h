/* The Bradley-Terry reward trainer (SPEC 5): pairs of text and images, any number of ranks. */
#ifndef LRL_REWARD_H
#define LRL_REWARD_H
#include "train/reward_config.h"

/* Collective. Trains and evaluates as the config says; the run's folder is described in
 * train/run.h. config_text: "key: value" lines, kept in config.yaml and in checkpoints. Log lines
 * go through kernels/log.h. Failures that all ranks see are returned by all; a rank that fails
 * alone says so and ends the whole job. An interrupted run saves, returns LRL_OK and says how to go
 * on. */
lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, struct lrl_comm *comm,
                            const char *config_text);
#endif
