/* Plans of PPO. Its configs name checkpoints, which a plan can do without. */
#include "launch/plan.h"
#include "train/checkpoint.h"
#include "train/reward_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What describes the networks. */
struct networks {
  struct lrl_model_options model;
  char tokenizer[LRL_OPTION_TEXT];
  int64_t hd_num;
};

static lrl_status of_config(const char *path, struct networks *n) {
  const struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  struct lrl_reward_config *c = calloc(1, sizeof *c);
  if (c == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a config");
  lrl_config_defaults(&t, c);
  const lrl_status s = lrl_config_load(&t, c, path);
  n->model = c->common.model;
  n->hd_num = c->common.data.hd_num;
  memcpy(n->tokenizer, c->common.tokenizer, sizeof n->tokenizer);
  free(c);
  return s;
}

static lrl_status of_checkpoint(const char *from, struct networks *n) {
  char path[LRL_OPTION_TEXT + 96], *text = NULL;
  struct lrl_checkpoint *c = NULL;
  struct lrl_tokenizer *tokenizer = NULL;
  lrl_status status;
  LRL_TRY_GOTO(lrl_checkpoint_find(from, path, sizeof path));
  LRL_TRY_GOTO(lrl_checkpoint_open(path, NULL, &c));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &text));
  LRL_TRY_GOTO(lrl_model_options_parse(&n->model, text, path));
  LRL_TRY_GOTO(lrl_checkpoint_get_tokenizer(c, &tokenizer));
  if (n->model.vocab_size == 0)
    n->model.vocab_size = lrl_tokenizer_info(tokenizer)->n_vocab;
  n->hd_num = 9;
done:
  free(text);
  lrl_tokenizer_close(tokenizer);
  lrl_checkpoint_close(c);
  return status;
}

static lrl_status find_networks(const struct lrl_plan_request *q, const struct lrl_ppo_config *c,
                                struct networks *n) {
  if (q->options->model[0] != '\0')
    return of_config(q->options->model, n);
  if (c->policy[0] != '\0')
    return of_checkpoint(c->policy, n);
  return LRL_FAIL(LRL_ERR_ARG,
                  "which networks? --model CONFIG.yaml names a config whose model.* and "
                  "vision.* keys describe them, or actor.init_from a checkpoint");
}

static lrl_status plan(const struct lrl_plan_request *q, const void *cfg,
                       struct lrl_plan_outcome *out) {
  const struct lrl_plan_options *a = q->options;
  const struct lrl_ppo_config *c = cfg;
  struct networks n = {.tokenizer = ""};
  struct lrl_plan_setting s = {
      .device = "plan", .machine = lrl_gpu_machine(q->gpu), .ranks = (int)a->ranks};
  struct lrl_plan_batch *b = &s.batch;
  LRL_TRY(find_networks(q, c, &n));
  const struct lrl_vit_config vit = lrl_model_options_tower(&n.model);
  if (n.model.vision != 0)
    lrl_plan_grid(a->tiles >= 0 ? a->tiles : n.hd_num, b);
  const int64_t image = b->rows > 0 ? lrl_vlm_image_tokens(&vit, b->rows, b->cols) : 0;
  const int64_t longest = c->max_prompt_length > 0 ? c->max_prompt_length : 1024;
  b->n = 1;
  b->prompt = a->prompt > 0 ? a->prompt : longest > image ? longest : image;
  b->answer = a->answer > 0 ? a->answer : c->max_new_tokens;
  struct lrl_ppo_config as_long = *c;
  as_long.max_new_tokens = b->answer;
  LRL_TRY(lrl_plan_ppo(&as_long, &(struct lrl_plan_ppo){&n.model, n.tokenizer}, &s, &out->report));
  char seen[60] = "";
  if (b->rows > 0)
    snprintf(seen, sizeof seen, " with an image of %lld x %lld tiles", (long long)b->rows,
             (long long)b->cols);
  snprintf(out->batch, sizeof out->batch,
           "networks       policy%s%s%s%s, all of the policy's size\n"
           "iteration      %lld prompts of %lld tokens%s, %lld response%s of %lld tokens each\n",
           c->actor_lora_r > 0 && c->reference[0] == '\0' ? " (also the reference)" : ", reference",
           c->estimator == 0 ? ", critic" : "",
           c->reward_source != LRL_REWARD_SOURCE_GOLD ? ", reward model" : "",
           c->ema_beta > 0 ? ", the policy's average in f32" : "", (long long)c->rollout_batch_size,
           (long long)b->prompt, seen, (long long)c->samples_per_prompt,
           c->samples_per_prompt == 1 ? "" : "s", (long long)b->answer);
  return LRL_OK;
}

static const char *const remedies[] = {"train.gradient_checkpointing=true",
                                       "train.zero_stage=1",
                                       "train.zero_stage=2",
                                       "rollout.max_samples=8",
                                       "train.micro_batch_tokens=/2",
                                       "data.max_prompt_length=/2 train.micro_batch_tokens=/2",
                                       "actor.lora_r=64",
                                       "actor.lora_r=64 critic.lora_r=64",
                                       NULL};
struct lrl_planner lrl_planner_ppo(void) {
  return (struct lrl_planner){
      "ppo", {lrl_ppo_options, lrl_n_ppo_options}, sizeof(struct lrl_ppo_config), plan, remedies};
}
