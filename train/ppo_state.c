/* Saving and resuming. A checkpoint is a language model (kind, config, tokenizer, model) and holds
 * besides, unless train.save_optimizer is false, "state" (JSON), "optimizer", "critic",
 * "critic_optimizer" and "ema". */
#include "kernels/log.h"
#include "train/ppo_trainer.h"
#include "train/saved_model.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* 17 digits bring every f64 back exactly. */
static char *state_text(const struct lrl_ppo_trainer *t) {
  int64_t values, timing;
  char fingerprint[32];
  const struct lrl_moments *r = &t->at.running;
  lrl_metrics_position(&t->metrics, &values, &timing);
  snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, t->fingerprint);
  json_t *o = json_pack("{ss sI sI sI sI sI sf s[fff]}", "data", fingerprint, "step",
                        (json_int_t)t->at.step, "metrics_bytes", (json_int_t)values, "timing_bytes",
                        (json_int_t)timing, "skipped", (json_int_t)t->at.skipped, "ptx_steps",
                        (json_int_t)t->at.ptx_steps, "kl_coef", t->at.kl.kl_coef, "running", r->n,
                        r->mean, r->m2);
  char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
  json_decref(o);
  return text;
}

static lrl_status put_config(struct lrl_ppo_trainer *t, struct lrl_checkpoint *c) {
  const size_t n = strlen(t->policy_config) + strlen(t->run.config_text) + 2;
  char *text = malloc(n);
  if (text == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the config");
  snprintf(text, n, "%s%s", t->policy_config, t->run.config_text);
  const lrl_status s =
      lrl_language_model_put(c, &t->ctx, text, t->models.tokenizer, &t->models.policy.model.params);
  free(text);
  return s;
}

static lrl_status write_parts(struct lrl_ppo_trainer *t, struct lrl_checkpoint *c) {
  struct lrl_ppo_models *m = &t->models;
  LRL_TRY(put_config(t, c));
  char *text = state_text(t);
  const lrl_status status = text == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for the state")
                                         : lrl_checkpoint_put_text(c, "state", text);
  free(text);
  LRL_TRY(status);
  if (m->ema.present)
    LRL_TRY(lrl_checkpoint_put_params(c, &t->ctx, "ema", &m->ema.model.params));
  if (!t->cfg->save_optimizer)
    return LRL_OK;
  LRL_TRY(lrl_checkpoint_put_optimizer(c, "optimizer", &t->actor));
  if (!m->critic.present)
    return LRL_OK;
  LRL_TRY(lrl_checkpoint_put_params(c, &t->ctx, "critic", &m->critic.model.params));
  return lrl_checkpoint_put_optimizer(c, "critic_optimizer", &t->value);
}

lrl_status lrl_ppo_save(struct lrl_ppo_trainer *t) {
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_checkpoint *c;
  const double t0 = omp_get_wtime();
  lrl_run_checkpoint_path(&t->run, t->at.step, path, sizeof path);
  LRL_TRY(lrl_checkpoint_create(path, t->comm, &c));
  lrl_status s = write_parts(t, c);
  if (s != LRL_OK) {
    lrl_checkpoint_discard(c);
    return s;
  }
  LRL_TRY(lrl_checkpoint_commit(c));
  if (lrl_comm_rank(t->comm) == 0)
    s = lrl_checkpoint_rotate(t->run.checkpoints, t->cfg->run.keep_last, -1);
  LRL_TRY(lrl_comm_agree(t->comm, s));
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "ppo", "saved %s in %.1f s", path, omp_get_wtime() - t0);
  return LRL_OK;
}

/* ---- resuming ---- */

static lrl_status read_state(struct lrl_ppo_trainer *t, const char *text, int64_t *values_bytes,
                             int64_t *timing_bytes) {
  json_error_t e;
  json_int_t step, values, timing, skipped, ptx_steps;
  const char *data;
  double kl_coef;
  struct lrl_moments r;
  json_t *o = json_loads(text, 0, &e);
  char now[32];
  lrl_status s = LRL_OK;
  snprintf(now, sizeof now, "%016" PRIx64, t->fingerprint);
  if (o == NULL ||
      json_unpack(o, "{ss sI sI sI sI sI sF s[FFF]}", "data", &data, "step", &step, "metrics_bytes",
                  &values, "timing_bytes", &timing, "skipped", &skipped, "ptx_steps", &ptx_steps,
                  "kl_coef", &kl_coef, "running", &r.n, &r.mean, &r.m2) != 0)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s holds no state of a PPO run", t->run.resume);
  else if (strcmp(data, now) != 0)
    s = LRL_FAIL(LRL_ERR_ARG,
                 "%s was made with other prompts or another reference; it cannot go on",
                 t->run.resume);
  if (s == LRL_OK) {
    t->at.step = step;
    t->at.skipped = skipped;
    t->at.ptx_steps = ptx_steps;
    t->at.kl.kl_coef = kl_coef;
    t->at.running = r;
    *values_bytes = values;
    *timing_bytes = timing;
  }
  json_decref(o);
  return s;
}

/* Settings that may change between a run and its continuation. */
static const char *const free_keys[] = {"train.output_dir",
                                        "train.overwrite",
                                        "train.resume",
                                        "train.save_steps",
                                        "train.keep_last",
                                        "train.save_optimizer",
                                        "train.threads",
                                        "train.zero_stage",
                                        "train.micro_batch_tokens",
                                        "train.eval_steps",
                                        "train.gradient_checkpointing",
                                        "train.device",
                                        "train.nccl",
                                        "train.attention",
                                        "train.patch_embed",
                                        "train.max_nonfinite",
                                        "rollout.max_samples",
                                        "rollout.dump",
                                        "data.train",
                                        "data.eval",
                                        "ptx.data",
                                        "actor.init_from",
                                        "ref.init_from",
                                        "critic.init_from",
                                        "reward.model",
                                        NULL};

lrl_status lrl_ppo_resume(struct lrl_ppo_trainer *t, int64_t *values_bytes, int64_t *timing_bytes) {
  struct lrl_ppo_models *m = &t->models;
  struct lrl_checkpoint *c;
  char *config = NULL, *state = NULL;
  bool whole;
  lrl_status status;
  LRL_TRY(lrl_checkpoint_open(t->run.resume, t->comm, &c));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &config));
  LRL_TRY_GOTO(lrl_run_check_config(&t->run, config, free_keys));
  LRL_TRY_GOTO(lrl_checkpoint_has(c, "optimizer", &whole));
  if (!whole)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT,
                          "%s holds no optimizer (train.save_optimizer was false, or it is no PPO "
                          "run); begin a new run from it with actor.init_from",
                          t->run.resume));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "state", &state));
  LRL_TRY_GOTO(read_state(t, state, values_bytes, timing_bytes));
  LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "model", &m->policy.model.params));
  LRL_TRY_GOTO(lrl_checkpoint_get_optimizer(c, "optimizer", &t->actor));
  if (m->critic.present) {
    LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "critic", &m->critic.model.params));
    LRL_TRY_GOTO(lrl_checkpoint_get_optimizer(c, "critic_optimizer", &t->value));
  }
  if (m->ema.present)
    LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "ema", &m->ema.model.params));
  lrl_log(LRL_LOG_INFO, "ppo", "goes on from %s, step %lld", t->run.resume, (long long)t->at.step);
done:
  free(config);
  free(state);
  lrl_checkpoint_close(c);
  return status;
}
