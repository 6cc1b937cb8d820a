/* Options of `laurel ppo`; names follow the field (FIELD 2). */
#ifndef LRL_PPO_CONFIG_H
#define LRL_PPO_CONFIG_H
#include "train/trainer_options.h"

struct lrl_ppo_config {
  /* Models: checkpoints or folders of runs. */
  char policy[LRL_OPTION_TEXT], reference[LRL_OPTION_TEXT], critic[LRL_OPTION_TEXT],
      reward_model[LRL_OPTION_TEXT];
  int64_t actor_lora_r, critic_lora_r;
  double actor_lora_alpha, critic_lora_alpha;

  char train[LRL_OPTION_TEXT], eval[LRL_OPTION_TEXT];
  int64_t max_prompt_length;
  int prompt_overflow;
  bool raw;

  /* rollout.* */
  int64_t rollout_batch_size, samples_per_prompt, max_new_tokens, top_k, max_samples, eval_samples,
      show;
  double temperature, top_p, repetition_penalty;
  bool dump;

  /* reward.* */
  int reward_source;
  double gold_coef, reward_clip_low, reward_clip_high, missing_eos_penalty, overlong_buffer,
      overlong_penalty;
  bool reward_normalize;

  /* kl.* */
  int kl_in, kl_estimator, kl_ctrl;
  double kl_coef, target_kl, kl_horizon, kl_diff_clamp, kl_clamp;

  /* ppo.* */
  int estimator, whiten_advantages, whiten_kind, ratio, ratio_ref, loss_agg;
  double gamma, lam, std_eps, cliprange, cliprange_high, dual_clip, log_ratio_clamp, entropy_coef,
      norm_length, cliprange_value, vf_coef, target_kl_stop, ema_beta;
  bool norm_adv_by_std, whiten_rewards, critic_reset_head;
  int64_t num_ppo_epochs, mini_batch_size, critic_warmup;

  char ptx_data[LRL_OPTION_TEXT];
  double ptx_coef;
  int64_t ptx_batch_size, ptx_max_length;

  struct lrl_optim_options actor, value;
  struct lrl_run_options run;
  int64_t seed, max_steps, micro_batch_tokens, eval_steps, threads, max_nonfinite, zero_stage;
  double epochs;
  bool gradient_checkpointing, save_optimizer, nccl;
  int device, attention, patch_embed;
};
enum { LRL_REWARD_SOURCE_MODEL, LRL_REWARD_SOURCE_GOLD, LRL_REWARD_SOURCE_BOTH };
enum { LRL_KL_IN_REWARD, LRL_KL_IN_LOSS };

extern const struct lrl_option lrl_ppo_options[];
extern const int lrl_n_ppo_options;
#endif
