#include "train/reward_config.h"

#include "train/schedule.h"

#define AT(f) offsetof(struct lrl_reward_config, f)
#define INT(key, f, def, lo, hi, unit, help) LRL_ROW_INT(key, AT(f), def, lo, hi, unit, help)
#define NUM(key, f, def, lo, hi, help) LRL_ROW_NUM(key, AT(f), def, lo, hi, help)
#define BOOL(key, f, def, help) LRL_ROW_BOOL(key, AT(f), def, help)
#define TEXT(key, f, def, help) LRL_ROW_TEXT(key, AT(f), def, help)
#define ENUM(key, f, def, choices, help) LRL_ROW_ENUM(key, AT(f), def, choices, help)

const struct lrl_option lrl_reward_options[] = {
    TEXT("model.tokenizer", tokenizer, "", "SentencePiece model file; its size is the vocabulary"),
    TEXT("model.init_from", init_from, "",
         "checkpoint or run of the same shape whose weights to begin with"),
    LRL_MODEL_OPTION_ROWS(struct lrl_reward_config, model),
    LRL_DATA_OPTION_ROWS(struct lrl_reward_config, data),
    ENUM("loss.rank", rank_loss, "logsigmoid", "logsigmoid|focal", "preference loss"),
    NUM("loss.focal_gamma", focal_gamma, "2", 0, 100, "exponent of the focal loss"),
    ENUM("loss.penalty", penalty, "none", "none|l2|log_barrier", "penalty on each score"),
    NUM("loss.penalty_weight", penalty_weight, "0.01", 0, 1e6, "factor of the penalty"),
    NUM("loss.barrier", barrier, "5", 0.01, 1e6, "log-barrier keeps scores in (-b, b)"),
    NUM("loss.center_rewards_coefficient", center_rewards_coefficient, "0", 0, 1e6,
        "factor of (chosen + rejected)^2"),
    NUM("optim.lr", lr, "3e-4", 0, 100, "peak learning rate"),
    NUM("optim.beta1", beta1, "0.9", 0, 0.99999, "AdamW"),
    NUM("optim.beta2", beta2, "0.95", 0, 0.999999, "AdamW"),
    NUM("optim.eps", eps, "1e-8", 0, 1, "AdamW"),
    NUM("optim.weight_decay", weight_decay, "0.1", 0, 100, "AdamW; not on biases and LayerNorms"),
    NUM("optim.max_grad_norm", max_grad_norm, "1", 0, 1e9, "clip the global norm; 0: do not"),
    NUM("optim.warmup_ratio", warmup_ratio, "0.01", 0, 1, "share of the steps that warm up"),
    ENUM("optim.schedule", schedule, "cosine", LRL_SCHEDULE_NAMES, "learning-rate schedule"),
    NUM("optim.lr_end", lr_end, "1e-7", 0, 100, "polynomial: the rate at the end"),
    NUM("optim.power", power, "1", 0.01, 100, "polynomial: the power"),
    INT("optim.num_cycles", num_cycles, "1", 1, 1e6, "", "cosine_with_restarts: cycles"),
    NUM("optim.min_lr_ratio", min_lr_ratio, "0.1", 0, 1, "cosine_with_min_lr: last rate / peak"),
    INT("train.seed", seed, "42", 0, 1e15, "", "of initialisation and order"),
    NUM("train.epochs", epochs, "1", 0, 1e6, "passes over the mixture"),
    INT("train.max_steps", max_steps, "0", 0, 1e12, "steps", "stop here; 0: by epochs"),
    INT("train.batch_size", batch_size, "32", 1, 1e6, "pairs", "pairs of an optimizer step"),
    INT("train.micro_batch_tokens", micro_batch_tokens, "8192", 0, 1e9, "tokens",
        "largest micro-batch; changes memory, not the loss; 0: no limit"),
    BOOL("train.gradient_checkpointing", gradient_checkpointing, "false",
         "recompute each layer going back"),
    INT("train.log_steps", log_steps, "10", 1, 1e9, "steps", "between log lines"),
    INT("train.eval_steps", eval_steps, "0", 0, 1e12, "steps",
        "between evaluations; 0: at the end"),
    INT("train.threads", threads, "0", 0, 1024, "", "0: as many as the machine has"),
    INT("train.max_nonfinite", max_nonfinite, "5", 0, 1e9, "steps",
        "stop after this many skipped steps"),
    LRL_RUN_OPTION_ROWS(struct lrl_reward_config, run, "runs/reward"),
    BOOL("train.save_optimizer", save_optimizer, "true",
         "false: checkpoints hold the weights only and cannot be resumed"),
    INT("train.zero_stage", zero_stage, "0", 0, 2, "",
        "ZeRO over ranks: 1 shards the optimizer, 2 the gradients too"),
    ENUM("train.device", device, "cpu", "cpu|ref", "backend"),
};
const int lrl_n_reward_options = sizeof lrl_reward_options / sizeof lrl_reward_options[0];
