/* The networks of PPO, each from a checkpoint: the policy that is trained, the frozen reference (a
 * LoRA policy without its adapters, or a network of its own), the critic, and the reward model. All
 * but the reward model read the policy's tokens.
 *
 * Vision towers, projectors and separators are frozen. What of them equals the policy's is in
 * memory once, and computed once for a prompt. */
#ifndef LRL_PPO_MODELS_H
#define LRL_PPO_MODELS_H
#include "train/ppo_config.h"
#include "train/reward_model.h"

struct lrl_ppo_network {
  bool present;
  enum lrl_vision_share vision; /* with the policy */
  struct lrl_model_options options;
  struct lrl_data_options data; /* image geometry */
  struct lrl_vlm model;
};
struct lrl_ppo_models {
  struct lrl_tokenizer *tokenizer; /* the policy's */
  struct lrl_ppo_network policy, reference, critic;
  struct lrl_ppo_network ema;     /* f32 average of the policy; present when ppo.ema_beta > 0 */
  bool reference_without_lora;    /* the reference is the policy without its adapters */
  struct lrl_saved_model *reward; /* NULL: the gold rules score */
  bool reward_same_tiles;         /* it cuts images as the policy does, so it sees each once */
  enum lrl_vision_share reward_vision;
};

/* Zeroed m. Every rank reads for itself. Errors: a checkpoint of the wrong kind, another tokenizer,
 * a model that the options need but do not name. Free with lrl_ppo_models_close, also after a
 * failure. */
lrl_status lrl_ppo_models_open(struct lrl_ppo_models *m, const struct lrl_ppo_config *c,
                               struct lrl_ctx *ctx);
/* See lrl_arena_settle; once everything is loaded. */
void lrl_ppo_models_settle(struct lrl_ppo_models *m);
void lrl_ppo_models_close(struct lrl_ppo_models *m);

/* The network of one of them, its weights not yet set: only the decoder and the head may train. */
lrl_status lrl_ppo_network_build(const struct lrl_tokenizer_info *tokenizer,
                                 const struct lrl_model_options *o, enum lrl_vlm_head head,
                                 bool train, struct lrl_vlm *m);

/* The network of the average, f32, at the policy's weights: queued on ctx. */
lrl_status lrl_ppo_ema_build(const struct lrl_tokenizer_info *tokenizer,
                             const struct lrl_ppo_network *policy, struct lrl_ctx *ctx,
                             struct lrl_ppo_network *ema);

/* "key: value" lines that describe the policy's network and images. malloc'ed; NULL without
 * memory. */
char *lrl_ppo_policy_config(const struct lrl_ppo_network *policy);
/* A number that changes with any weight of the reference. */
uint64_t lrl_ppo_reference_hash(const struct lrl_ppo_models *m);
#endif
