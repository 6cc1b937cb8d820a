/* The options that all trainers share: "optim.*", "train.*", the files and the network. */
#ifndef LRL_TRAINER_OPTIONS_H
#define LRL_TRAINER_OPTIONS_H
#include "train/cudnn.h"
#include "train/data_options.h"
#include "train/model_options.h"
#include "train/optimizer.h"
#include "train/run.h"
#include "train/schedule.h"

/* One optimizer and its learning rate. */
struct lrl_optim_options {
  double lr, beta1, beta2, eps, weight_decay, max_grad_norm, warmup_ratio, lr_end, power,
      min_lr_ratio;
  int schedule;
  int64_t num_cycles;
};
struct lrl_schedule lrl_optim_schedule(const struct lrl_optim_options *o, int64_t n_steps);
struct lrl_optimizer_options lrl_optim_adamw(const struct lrl_optim_options *o, int64_t zero_stage,
                                             bool nccl);

#define LRL_OPTIM_AT(S, m, f) (offsetof(S, m) + offsetof(struct lrl_optim_options, f))
/* Rows of a member `m`; keys begin with `prefix` ("optim."), `rate` is the default of lr. */
#define LRL_OPTIM_OPTION_ROWS(S, m, prefix, rate)                                                  \
  LRL_ROW_NUM(prefix "lr", LRL_OPTIM_AT(S, m, lr), rate, 0, 100, "peak learning rate"),            \
      LRL_ROW_NUM(prefix "beta1", LRL_OPTIM_AT(S, m, beta1), "0.9", 0, 0.99999, "AdamW"),          \
      LRL_ROW_NUM(prefix "beta2", LRL_OPTIM_AT(S, m, beta2), "0.95", 0, 0.999999, "AdamW"),        \
      LRL_ROW_NUM(prefix "eps", LRL_OPTIM_AT(S, m, eps), "1e-8", 0, 1, "AdamW"),                   \
      LRL_ROW_NUM(prefix "weight_decay", LRL_OPTIM_AT(S, m, weight_decay), "0.1", 0, 100,          \
                  "AdamW; not on biases and LayerNorms"),                                          \
      LRL_ROW_NUM(prefix "max_grad_norm", LRL_OPTIM_AT(S, m, max_grad_norm), "1", 0, 1e9,          \
                  "clip the global norm; 0: do not"),                                              \
      LRL_ROW_NUM(prefix "warmup_ratio", LRL_OPTIM_AT(S, m, warmup_ratio), "0.01", 0, 1,           \
                  "share of the steps that warm up"),                                              \
      LRL_ROW_ENUM(prefix "schedule", LRL_OPTIM_AT(S, m, schedule), "cosine", LRL_SCHEDULE_NAMES,  \
                   "learning-rate schedule"),                                                      \
      LRL_ROW_NUM(prefix "lr_end", LRL_OPTIM_AT(S, m, lr_end), "1e-7", 0, 100,                     \
                  "polynomial: the rate at the end"),                                              \
      LRL_ROW_NUM(prefix "power", LRL_OPTIM_AT(S, m, power), "1", 0.01, 100,                       \
                  "polynomial: the power"),                                                        \
      LRL_ROW_INT(prefix "num_cycles", LRL_OPTIM_AT(S, m, num_cycles), "1", 1, 1e6, "",            \
                  "cosine_with_restarts: cycles"),                                                 \
      LRL_ROW_NUM(prefix "min_lr_ratio", LRL_OPTIM_AT(S, m, min_lr_ratio), "0.1", 0, 1,            \
                  "cosine_with_min_lr: last rate / peak")

#define LRL_NCCL_HELP                                                                              \
  "on several GPUs: sums over ranks by NCCL, which needs a GPU for each rank; false: through the " \
  "host"

struct lrl_trainer_options {
  char tokenizer[LRL_OPTION_TEXT], init_from[LRL_OPTION_TEXT];
  struct lrl_model_options model;
  struct lrl_data_options data;
  struct lrl_run_options run;
  struct lrl_optim_options optim;
  int64_t seed, max_steps, batch_size, micro_batch_tokens, log_steps, eval_steps, threads,
      max_nonfinite, zero_stage;
  double epochs;
  bool gradient_checkpointing, save_optimizer, nccl;
  int device, attention, patch_embed;
};
#define LRL_TRAINER_AT(S, m, f) (offsetof(S, m) + offsetof(struct lrl_trainer_options, f))
/* Rows of a member `m` of that type: what is trained on what. */
#define LRL_TRAINER_MODEL_ROWS(S, m)                                                               \
  LRL_ROW_TEXT("model.tokenizer", LRL_TRAINER_AT(S, m, tokenizer), "",                             \
               "SentencePiece model file, its size is the vocabulary; empty: that of init_from"),  \
      LRL_ROW_TEXT("model.init_from", LRL_TRAINER_AT(S, m, init_from), "",                         \
                   "checkpoint or run to begin with: its weights, and its network where the "      \
                   "config does not say otherwise; a head of another kind begins anew, and all "   \
                   "but the vision tower for a tower alone"),                                      \
      LRL_MODEL_OPTION_ROWS(S, m.model), LRL_DATA_OPTION_ROWS(S, m.data)
/* And how: `unit` is what batch_size counts, `folder` the default of train.output_dir. */
#define LRL_TRAINER_LOOP_ROWS(S, m, unit, folder)                                                  \
  LRL_OPTIM_OPTION_ROWS(S, m.optim, "optim.", "3e-4"),                                             \
      LRL_ROW_INT("train.seed", LRL_TRAINER_AT(S, m, seed), "42", 0, 1e15, "",                     \
                  "of initialisation and order"),                                                  \
      LRL_ROW_NUM("train.epochs", LRL_TRAINER_AT(S, m, epochs), "1", 0, 1e6,                       \
                  "passes over the mixture"),                                                      \
      LRL_ROW_INT("train.max_steps", LRL_TRAINER_AT(S, m, max_steps), "0", 0, 1e12, "steps",       \
                  "stop here; 0: by epochs"),                                                      \
      LRL_ROW_INT("train.batch_size", LRL_TRAINER_AT(S, m, batch_size), "32", 1, 1e6, unit,        \
                  unit " of an optimizer step"),                                                   \
      LRL_ROW_INT("train.micro_batch_tokens", LRL_TRAINER_AT(S, m, micro_batch_tokens), "8192", 0, \
                  1e9, "tokens",                                                                   \
                  "largest micro-batch; changes memory, not the loss; 0: no limit"),               \
      LRL_ROW_BOOL("train.gradient_checkpointing", LRL_TRAINER_AT(S, m, gradient_checkpointing),   \
                   "false", "recompute each layer going back"),                                    \
      LRL_ROW_INT("train.log_steps", LRL_TRAINER_AT(S, m, log_steps), "10", 1, 1e9, "steps",       \
                  "between log lines"),                                                            \
      LRL_ROW_INT("train.eval_steps", LRL_TRAINER_AT(S, m, eval_steps), "0", 0, 1e12, "steps",     \
                  "between evaluations; 0: at the end"),                                           \
      LRL_ROW_INT("train.threads", LRL_TRAINER_AT(S, m, threads), "0", 0, 1024, "",                \
                  "0: as many as the machine has"),                                                \
      LRL_ROW_INT("train.max_nonfinite", LRL_TRAINER_AT(S, m, max_nonfinite), "5", 0, 1e9,         \
                  "steps", "stop after this many skipped steps"),                                  \
      LRL_RUN_OPTION_ROWS(S, m.run, folder),                                                       \
      LRL_ROW_BOOL("train.save_optimizer", LRL_TRAINER_AT(S, m, save_optimizer), "true",           \
                   "false: checkpoints hold the weights only and cannot be resumed"),              \
      LRL_ROW_INT("train.zero_stage", LRL_TRAINER_AT(S, m, zero_stage), "0", 0, 2, "",             \
                  "ZeRO over ranks: 1 shards the optimizer, 2 the gradients too"),                 \
      LRL_ROW_BOOL("train.nccl", LRL_TRAINER_AT(S, m, nccl), "true", LRL_NCCL_HELP),               \
      LRL_ROW_ENUM("train.device", LRL_TRAINER_AT(S, m, device), "cpu", LRL_DEVICES, "backend"),   \
      LRL_ROW_ENUM("train.attention", LRL_TRAINER_AT(S, m, attention), "native", LRL_KERNELS,      \
                   LRL_ATTENTION_HELP),                                                            \
      LRL_ROW_ENUM("train.patch_embed", LRL_TRAINER_AT(S, m, patch_embed), "native", LRL_KERNELS,  \
                   LRL_PATCH_EMBED_HELP)
#endif
