#include "train/ppo.h"

#include "kernels/log.h"
#include "model/param_build.h"
#include "train/cudnn.h"
#include "train/ppo_trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- set-up ---- */

static lrl_status read_prompts(struct lrl_ppo_trainer *t, const char *key, const char *list,
                               struct lrl_prompts **out) {
  const struct lrl_ppo_config *c = t->cfg;
  const char *why;
  if (list[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "%s names no file", key);
  LRL_TRY(lrl_prompts_read(list,
                           &(struct lrl_prompts_options){.tokenizer = t->models.tokenizer,
                                                         .images = t->images,
                                                         .max_length = c->max_prompt_length,
                                                         .cut_left = c->prompt_overflow == 1,
                                                         .raw = c->raw},
                           out));
  const int64_t aside = lrl_prompts_n_aside(*out, &why);
  lrl_log(LRL_LOG_INFO, "data", "%s: %lld prompts; %lld rows set aside%s%s", key,
          (long long)lrl_prompts_n(*out), (long long)aside, aside > 0 ? ": " : "", why);
  return LRL_OK;
}

static uint64_t fingerprint(const struct lrl_prompts *p, uint64_t h) {
  for (int64_t i = 0; i < lrl_prompts_n(p); i++) {
    struct lrl_prompt x;
    lrl_prompts_get(p, i, &x);
    h = XXH64(x.ids, (size_t)x.n_ids * sizeof *x.ids, h);
    h = x.gold == NULL ? h : XXH64(x.gold, strlen(x.gold), h);
    for (int64_t k = 0; k < x.n_images; k++)
      h = XXH64(x.images[k], strlen(x.images[k]), h);
  }
  return h;
}

static lrl_status read_data(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t->models.tokenizer);
  const struct lrl_ppo_network *policy = &t->models.policy;
  if (!c->raw && info->im_start < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the policy's tokenizer knows no chat template; set data.raw");
  if (policy->model.cfg.has_vision) {
    const struct lrl_image_ops_options o =
        lrl_reward_image_options(&policy->options, &policy->data);
    LRL_TRY(lrl_image_ops_init(&t->image_ops, &o));
    t->images = &t->image_ops;
  }
  LRL_TRY(read_prompts(t, "data.train", c->train, &t->train));
  if (c->eval[0] != '\0')
    LRL_TRY(read_prompts(t, "data.eval", c->eval, &t->eval));
  t->order = calloc((size_t)lrl_prompts_n(t->train), sizeof *t->order);
  t->order_epoch = -1;
  t->fingerprint = fingerprint(t->train, lrl_ppo_reference_hash(&t->models));
  LRL_TRY(lrl_ppo_ptx_open(t));
  const int32_t stop[2] = {info->eos, c->raw ? info->bos : info->im_end};
  for (int i = 0; i < 2; i++)
    if (stop[i] >= 0)
      t->stop[t->n_stop++] = stop[i];
  return t->order != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the prompts' order");
}

void lrl_ppo_objectives(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  t->objective = (struct lrl_ppo_objective){
      .ratio = (enum lrl_ratio)c->ratio,
      .ratio_to_ref = c->ratio_ref == 1,
      .cliprange = c->cliprange,
      .cliprange_high = c->cliprange_high > 0 ? c->cliprange_high : c->cliprange,
      .dual_clip = c->dual_clip,
      .log_ratio_clamp = c->log_ratio_clamp,
      .entropy_coef = c->entropy_coef,
      .kl_loss = c->kl_in == LRL_KL_IN_LOSS && c->kl_coef > 0,
      .kl_estimator = (enum lrl_kl_estimator)c->kl_estimator,
      .kl_diff_clamp = c->kl_diff_clamp,
      .kl_clamp = c->kl_clamp,
      .cliprange_value = c->cliprange_value,
      .vf_coef = c->vf_coef,
      .loss_agg = (enum lrl_loss_agg)c->loss_agg,
      .norm_length = c->norm_length};
  t->estimator = (struct lrl_estimator_options){
      .estimator = (enum lrl_estimator)c->estimator,
      .norm_adv_by_std_in_grpo = c->norm_adv_by_std,
      .std_eps = c->std_eps,
      .gamma = c->gamma,
      .lam = c->lam,
      .whiten = c->whiten_advantages == 0 ? lrl_estimator_whitens((enum lrl_estimator)c->estimator)
                                          : c->whiten_advantages == 1,
      .whiten_kind = (enum lrl_whiten_kind)c->whiten_kind};
  t->scores = (struct lrl_score_options){.clip_low = c->reward_clip_low,
                                         .clip_high = c->reward_clip_high,
                                         .normalize = c->reward_normalize,
                                         .missing_eos_penalty = c->missing_eos_penalty,
                                         .overlong_buffer = c->overlong_buffer,
                                         .overlong_penalty = c->overlong_penalty,
                                         .max_length = (double)c->max_new_tokens};
  t->at.kl = (struct lrl_kl_controller){.type = (enum lrl_kl_ctrl)c->kl_ctrl,
                                        .kl_coef = c->kl_coef,
                                        .target_kl = c->target_kl,
                                        .horizon = c->kl_horizon};
}

static lrl_status read_models(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  LRL_TRY(lrl_ctx_init(&t->ctx, lrl_device_name(c->device), (int)c->threads));
  LRL_TRY(lrl_cudnn_choose(&t->ctx, c->attention, c->patch_embed));
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&t->memory, "responses and cache", (size_t)256 << 30));
  LRL_TRY(lrl_ppo_models_open(&t->models, c, &t->ctx));
  if (t->models.reward != NULL)
    LRL_TRY(lrl_judge_init(&t->judge, t->models.reward, &(struct lrl_judge_options){0}));
  t->policy_config = lrl_ppo_policy_config(&t->models.policy);
  if (t->policy_config == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the policy's config");
  return read_data(t);
}

lrl_status lrl_ppo_optimizers(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  const struct lrl_optimizer_options actor = lrl_optim_adamw(&c->actor, c->zero_stage, c->nccl);
  const struct lrl_optimizer_options value = lrl_optim_adamw(&c->value, c->zero_stage, c->nccl);
  LRL_TRY(lrl_optimizer_init(&t->actor, &actor, &t->ctx, &t->models.policy.model.params, t->comm,
                             &t->state));
  if (!t->models.critic.present)
    return LRL_OK;
  return lrl_optimizer_init(&t->value, &value, &t->ctx, &t->models.critic.model.params, t->comm,
                            &t->state);
}

static lrl_status set_up(struct lrl_ppo_trainer *t, const char *config_text) {
  lrl_ppo_objectives(t);
  LRL_TRY(lrl_comm_agree(t->comm, read_models(t)));
  LRL_TRY(lrl_run_open(&t->run, &t->cfg->run, t->comm, config_text));
  LRL_TRY(lrl_comm_agree(t->comm, lrl_ppo_optimizers(t)));
  int64_t values = 0, timing = 0;
  if (t->run.resume[0] != '\0')
    LRL_TRY(lrl_comm_agree(t->comm, lrl_ppo_resume(t, &values, &timing)));
  lrl_ppo_models_settle(&t->models);
  lrl_arena_settle(&t->state);
  lrl_status s = LRL_OK;
  if (lrl_comm_rank(t->comm) == 0)
    s = lrl_metrics_open(&t->metrics, t->cfg->run.output_dir, values, timing);
  return lrl_comm_agree(t->comm, s);
}

static double millions(const struct lrl_vlm *m, bool trained) {
  int64_t n = 0;
  for (int u = 0; u < m->params.n_units; u++)
    n += !trained || m->params.units[u].trainable ? m->params.units[u].n : 0;
  return (double)n / 1e6;
}

static void announce(const struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_models *m = &t->models;
  const struct lrl_ppo_config *c = t->cfg;
  static const char *const vision[] = {" (own vision tower)", " (the policy's vision tower)",
                                       " (the policy's image tokens)"};
  lrl_log(LRL_LOG_INFO, "ppo",
          "policy of %.2f M parameters, %.2f M of them trained; reference: %s; critic: %s%s; %lld "
          "iterations of %lld prompts x %lld responses on %d rank%s",
          millions(&m->policy.model, false), millions(&m->policy.model, true),
          m->reference_without_lora ? "the policy without its adapters" : "a network of its own",
          !m->critic.present ? "none" : "trained",
          m->critic.present && m->policy.model.cfg.has_vision ? vision[m->critic.vision] : "",
          (long long)t->n_steps, (long long)c->rollout_batch_size, (long long)c->samples_per_prompt,
          lrl_comm_size(t->comm), lrl_comm_size(t->comm) == 1 ? "" : "s");
}

/* ---- the loop ---- */

static lrl_status iteration(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  const struct lrl_schedule actor = lrl_optim_schedule(&c->actor, t->n_steps);
  const struct lrl_schedule value = lrl_optim_schedule(&c->value, t->n_steps);
  const double actor_lr = lrl_schedule_lr(&actor, t->at.step);
  const double critic_lr = lrl_schedule_lr(&value, t->at.step);
  const double t0 = omp_get_wtime();
  struct lrl_ppo_experience e;
  struct lrl_ppo_update_report report;
  const struct lrl_ppo_rollout r = {.from = t->train,
                                    .shuffled = true,
                                    .first = t->at.step * c->rollout_batch_size,
                                    .n = c->rollout_batch_size,
                                    .samples = c->samples_per_prompt,
                                    .seed = (uint64_t)c->seed};
  t->seconds = (struct lrl_ppo_seconds){0};
  LRL_TRY(lrl_ppo_rollout(t, &r, &e));
  LRL_TRY(lrl_ppo_logprobs_of(t, &e));
  LRL_TRY(lrl_ppo_advantages(t, &e));
  LRL_TRY(lrl_ppo_update(t, &e, actor_lr, critic_lr, &report));
  t->at.step++;
  t->seconds.step = omp_get_wtime() - t0;
  LRL_TRY(lrl_ppo_log(t, &e, &report, actor_lr, critic_lr));
  if (c->dump)
    LRL_TRY(lrl_ppo_dump(t, &e));
  lrl_arena_reset(&t->memory, 0);
  return LRL_OK;
}

static lrl_status loop(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  double stop = 0;
  if (t->eval != NULL && t->at.step == 0)
    LRL_TRY(lrl_ppo_evaluate(t));
  while (t->at.step < t->n_steps && !(stop > 0)) {
    LRL_TRY(iteration(t));
    const int64_t now = t->at.step;
    const bool last = now == t->n_steps;
    stop = lrl_run_stop_requested();
    LRL_TRY(lrl_comm_sum_f64(t->comm, &stop, 1));
    if (t->eval != NULL && ((c->eval_steps > 0 && now % c->eval_steps == 0) || last))
      LRL_TRY(lrl_ppo_evaluate(t));
    if (stop > 0 || last || (c->run.save_steps > 0 && now % c->run.save_steps == 0))
      LRL_TRY(lrl_ppo_save(t));
  }
  if (t->at.step < t->n_steps)
    lrl_log(LRL_LOG_WARN, "ppo", "stopped after iteration %lld as asked; go on with --resume auto",
            (long long)t->at.step);
  return LRL_OK;
}

static lrl_status train(struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  const double epochs = c->epochs * (double)lrl_prompts_n(t->train);
  t->n_steps = c->max_steps > 0 ? c->max_steps
                                : (int64_t)fmax(1.0, floor(epochs / (double)c->rollout_batch_size));
  announce(t);
  lrl_run_catch_signals();
  return loop(t);
}

static void tear_down(struct lrl_ppo_trainer *t) {
  lrl_optimizer_destroy(&t->actor);
  lrl_optimizer_destroy(&t->value);
  if (t->models.reward != NULL)
    lrl_judge_free(&t->judge);
  lrl_ppo_ptx_close(t);
  lrl_prompts_free(t->train);
  lrl_prompts_free(t->eval);
  lrl_image_ops_free(&t->image_ops);
  lrl_ppo_models_close(&t->models);
  lrl_arena_free(&t->steps);
  lrl_arena_free(&t->state);
  lrl_arena_free(&t->memory);
  if (t->ctx.backend != NULL)
    lrl_ctx_free(&t->ctx);
  free(t->policy_config);
  free(t->order);
}

lrl_status lrl_ppo_train(const struct lrl_ppo_config *cfg, struct lrl_comm *comm,
                         const char *config_text) {
  struct lrl_ppo_trainer *t = calloc(1, sizeof *t);
  if (t == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  t->cfg = cfg;
  t->comm = comm;
  lrl_status s = set_up(t, config_text);
  if (s == LRL_OK) {
    s = train(t);
    /* Other ranks may be waiting inside a collective operation. */
    if (s != LRL_OK && lrl_comm_size(comm) > 1) {
      lrl_log(LRL_LOG_ERROR, "ppo", "%s", lrl_last_error());
      lrl_comm_abort(comm, 1);
    }
  }
  const lrl_status closed = lrl_metrics_close(&t->metrics);
  lrl_run_close(&t->run);
  tear_down(t);
  free(t);
  return s == LRL_OK ? closed : s;
}
