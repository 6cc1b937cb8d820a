/* The Bradley-Terry reward trainer (SPEC 5): pairs of text and images, any number of ranks. */
#ifndef LRL_REWARD_H
#define LRL_REWARD_H
#include "train/reward_config.h"

/* Collective; see lrl_trainer_run. */
lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, struct lrl_comm *comm,
                            const char *config_text);
#endif
