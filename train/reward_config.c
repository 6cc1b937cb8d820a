#include "train/reward_config.h"

#include "train/schedule.h"

#define AT(f) offsetof(struct lrl_reward_config, f)
#define INT(key, f, def, lo, hi, unit, help)                                                       \
  { key, LRL_OPTION_INT, AT(f), def, lo, hi, NULL, unit, help }
#define NUM(key, f, def, lo, hi, help)                                                             \
  { key, LRL_OPTION_FLOAT, AT(f), def, lo, hi, NULL, "", help }
#define BOOL(key, f, def, help)                                                                    \
  { key, LRL_OPTION_BOOL, AT(f), def, 0, 0, NULL, "", help }
#define TEXT(key, f, def, help)                                                                    \
  { key, LRL_OPTION_STRING, AT(f), def, 0, 0, NULL, "", help }
#define ENUM(key, f, def, choices, help)                                                           \
  { key, LRL_OPTION_ENUM, AT(f), def, 0, 0, choices, "", help }

const struct lrl_option lrl_reward_options[] = {
    TEXT("model.tokenizer", tokenizer, "", "SentencePiece model file; its size is the vocabulary"),
    INT("model.hidden_size", hidden_size, "128", 2, 65536, "", "width of the decoder"),
    INT("model.intermediate_size", intermediate_size, "352", 1, 1e6, "", "width of SwiGLU"),
    INT("model.num_hidden_layers", num_hidden_layers, "4", 1, 250, "", "decoder layers"),
    INT("model.num_attention_heads", num_attention_heads, "4", 1, 1024, "", "query heads"),
    INT("model.num_key_value_heads", num_key_value_heads, "2", 1, 1024, "", "key/value heads"),
    INT("model.max_position_embeddings", max_position_embeddings, "8192", 1, 1e8, "tokens",
        "positions before rotary scaling would apply"),
    NUM("model.rms_norm_eps", rms_norm_eps, "1e-5", 0, 1, "epsilon of RMSNorm"),
    NUM("model.rope_theta", rope_theta, "1000000", 1, 1e12, "base of the rotary frequencies"),
    NUM("model.initializer_range", initializer_range, "0.02", 0, 1, "std of new weights"),
    ENUM("model.dtype", dtype, "f32", "f32|bf16",
         "weights and activations; master weights are f32"),
    ENUM("model.pooling", pooling, "last", "last|mean", "where the score is read"),
    TEXT("data.train", train, "", "preference files, separated by commas"),
    TEXT("data.eval", eval, "", "held-out preference files, separated by commas"),
    ENUM("data.order", order, "shuffle", "shuffle|proportional|official", "how steps draw pairs"),
    INT("data.max_length", max_length, "1024", 8, 1e6, "tokens", "longer conversations are cut"),
    BOOL("data.check_data", check_data, "true", "the official filter of answers"),
    BOOL("data.share_prefix", share_prefix, "true", "compute a pair's prompt once"),
    NUM("data.length_ratio", length_ratio, "0", 0, 1e6,
        "keep a pair if len(chosen) <= ratio * len(rejected); 0: keep all"),
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
    TEXT("train.output_dir", output_dir, "runs/reward", "metrics.jsonl and config.yaml go here"),
    ENUM("train.device", device, "cpu", "cpu|ref", "backend"),
};
const int lrl_n_reward_options = sizeof lrl_reward_options / sizeof lrl_reward_options[0];
