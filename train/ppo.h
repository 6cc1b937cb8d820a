/* The PPO trainer (SPEC 6): a policy answers prompts, a reward model or the gold rules score the
 * answers, and policy and critic are updated. Any number of ranks. */
#ifndef LRL_PPO_H
#define LRL_PPO_H
#include "train/ppo_config.h"

/* Collective. As lrl_trainer_run: the run's folder is described in train/run.h; config_text:
 * "key: value" lines, kept in config.yaml and in checkpoints. A checkpoint is a language model
 * (train/saved_model.h) that laurel generate reads, with the trainer's state beside it. */
lrl_status lrl_ppo_train(const struct lrl_ppo_config *cfg, struct lrl_comm *comm,
                         const char *config_text);
#endif
