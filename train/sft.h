/* Supervised fine-tuning: a language model learns the answers of chats (SPEC 4.7), or whole texts
 * (data.template=text). A preference pair counts as a chat with the chosen answer, or as two. */
#ifndef LRL_SFT_H
#define LRL_SFT_H
#include "train/trainer_options.h"

struct lrl_sft_config {
  struct lrl_trainer_options common;
  int answers; /* of a pair: the chosen one, or both */
};
extern const struct lrl_option lrl_sft_options[];
extern const int lrl_n_sft_options;

/* Collective; see lrl_trainer_run. The checkpoints are language models (train/saved_model.h). */
lrl_status lrl_sft_train(const struct lrl_sft_config *cfg, struct lrl_comm *comm,
                         const char *config_text);
#endif
