#include "train/reward_config.h"

#define AT(f) offsetof(struct lrl_reward_config, f)

const struct lrl_option lrl_reward_options[] = {
    LRL_TRAINER_MODEL_ROWS(struct lrl_reward_config, common),
    LRL_ROW_ENUM("loss.rank", AT(rank_loss), "logsigmoid", "logsigmoid|focal", "preference loss"),
    LRL_ROW_NUM("loss.focal_gamma", AT(focal_gamma), "2", 0, 100, "exponent of the focal loss"),
    LRL_ROW_ENUM("loss.penalty", AT(penalty), "none", "none|l2|log_barrier",
                 "penalty on each score"),
    LRL_ROW_NUM("loss.penalty_weight", AT(penalty_weight), "0.01", 0, 1e6, "factor of the penalty"),
    LRL_ROW_NUM("loss.barrier", AT(barrier), "5", 0.01, 1e6, "log-barrier keeps scores in (-b, b)"),
    LRL_ROW_NUM("loss.center_rewards_coefficient", AT(center_rewards_coefficient), "0", 0, 1e6,
                "factor of (chosen + rejected)^2"),
    LRL_TRAINER_LOOP_ROWS(struct lrl_reward_config, common, "pairs", "runs/reward"),
};
const int lrl_n_reward_options = sizeof lrl_reward_options / sizeof lrl_reward_options[0];
