/* Saving and resuming. A checkpoint holds "kind", "config" (text), "state" (JSON), "tokenizer" (the
 * model file), "model" (weights) and, unless train.save_optimizer is false, "optimizer". */
#include "kernels/log.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* 17 digits bring every f64 back exactly. */
static char *state_text(struct lrl_trainer *t) {
  int64_t values, timing;
  char fingerprint[32];
  lrl_metrics_position(&t->metrics, &values, &timing);
  snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, t->fingerprint);
  json_t *since = json_array();
  for (int i = 0; i < t->kind->n_sums; i++)
    json_array_append_new(since, json_real(t->at.sums[i]));
  json_t *o = json_pack("{ss sI sI sI sI sI sf so}", "data", fingerprint, "step",
                        (json_int_t)t->at.step, "metrics_bytes", (json_int_t)values, "timing_bytes",
                        (json_int_t)timing, "skipped", (json_int_t)t->at.skipped, "best_step",
                        (json_int_t)t->at.best_step, "best", t->at.best, "since", since);
  char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
  json_decref(o);
  return text;
}

static lrl_status write_parts(struct lrl_trainer *t, struct lrl_checkpoint *c) {
  size_t n;
  const void *bytes = lrl_tokenizer_model_bytes(t->tokenizer, &n);
  char *text = state_text(t);
  lrl_status status = text == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for the state")
                                   : lrl_checkpoint_put_text(c, "state", text);
  free(text);
  LRL_TRY(status);
  LRL_TRY(lrl_checkpoint_put_text(c, "kind", t->kind->saved));
  LRL_TRY(lrl_checkpoint_put_text(c, "config", t->run.config_text));
  LRL_TRY(lrl_checkpoint_put_blob(c, "tokenizer", bytes, n));
  LRL_TRY(lrl_checkpoint_put_params(c, &t->ctx, "model", &t->model.params));
  return t->o->save_optimizer ? lrl_checkpoint_put_optimizer(c, "optimizer", &t->optimizer)
                              : LRL_OK;
}

lrl_status lrl_trainer_save(struct lrl_trainer *t) {
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_checkpoint *c;
  double t0 = omp_get_wtime();
  lrl_run_checkpoint_path(&t->run, t->at.step, path, sizeof path);
  LRL_TRY(lrl_checkpoint_create(path, t->comm, &c));
  lrl_status s = write_parts(t, c);
  if (s != LRL_OK) {
    lrl_checkpoint_discard(c);
    return s;
  }
  LRL_TRY(lrl_checkpoint_commit(c));
  if (lrl_comm_rank(t->comm) == 0)
    s = lrl_checkpoint_rotate(t->run.checkpoints, t->o->run.keep_last, t->at.best_step);
  LRL_TRY(lrl_comm_agree(t->comm, s));
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "train", "saved %s in %.1f s", path, omp_get_wtime() - t0);
  t->t_log += omp_get_wtime() - t0;
  return LRL_OK;
}

/* ---- resuming ---- */

static lrl_status read_state(struct lrl_trainer *t, const char *text, int64_t *values_bytes,
                             int64_t *timing_bytes) {
  json_error_t e;
  json_int_t step, values, timing, skipped, best_step;
  const char *data;
  json_t *since, *o = json_loads(text, 0, &e);
  bool ok = o != NULL &&
            json_unpack(o, "{ss sI sI sI sI sI sF so}", "data", &data, "step", &step,
                        "metrics_bytes", &values, "timing_bytes", &timing, "skipped", &skipped,
                        "best_step", &best_step, "best", &t->at.best, "since", &since) == 0 &&
            json_array_size(since) == (size_t)t->kind->n_sums;
  lrl_status s = LRL_OK;
  char now[32];
  snprintf(now, sizeof now, "%016" PRIx64, t->fingerprint);
  if (!ok)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s holds no state of a %s run", t->run.resume, t->kind->name);
  else if (strcmp(data, now) != 0)
    s = LRL_FAIL(LRL_ERR_ARG, "%s was made with other training data; its order cannot go on",
                 t->run.resume);
  if (s == LRL_OK) {
    t->at.step = step;
    t->at.skipped = skipped;
    t->at.best_step = best_step;
    *values_bytes = values;
    *timing_bytes = timing;
    for (size_t i = 0; i < json_array_size(since); i++)
      t->at.sums[i] = json_number_value(json_array_get(since, i));
  }
  json_decref(o);
  return s;
}

static lrl_status check_kind(const struct lrl_trainer *t, struct lrl_checkpoint *c) {
  char *kind = NULL;
  LRL_TRY(lrl_checkpoint_get_text(c, "kind", &kind));
  bool ok = strcmp(kind, t->kind->saved) == 0;
  free(kind);
  return ok ? LRL_OK
            : LRL_FAIL(LRL_ERR_FORMAT, "%s is not a %s model", t->run.resume, t->kind->saved);
}

/* Settings that may change between a run and its continuation: they change speed, memory or where
 * things are written; micro-batches and ranks change losses by rounding only. */
static const char *const free_keys[] = {"train.output_dir",
                                        "train.overwrite",
                                        "train.resume",
                                        "train.save_steps",
                                        "train.keep_last",
                                        "train.save_optimizer",
                                        "train.threads",
                                        "train.zero_stage",
                                        "train.micro_batch_tokens",
                                        "train.log_steps",
                                        "train.eval_steps",
                                        "train.gradient_checkpointing",
                                        "train.device",
                                        "train.nccl",
                                        "train.attention",
                                        "train.patch_embed",
                                        "train.max_nonfinite",
                                        "data.train",
                                        "data.eval",
                                        "model.init_from",
                                        "model.tokenizer",
                                        NULL};

lrl_status lrl_trainer_resume(struct lrl_trainer *t, int64_t *values_bytes, int64_t *timing_bytes) {
  struct lrl_checkpoint *c;
  char *config = NULL, *state = NULL;
  bool whole;
  lrl_status status;
  LRL_TRY(lrl_checkpoint_open(t->run.resume, t->comm, &c));
  LRL_TRY_GOTO(check_kind(t, c));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &config));
  LRL_TRY_GOTO(lrl_run_check_config(&t->run, config, free_keys));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "state", &state));
  LRL_TRY_GOTO(read_state(t, state, values_bytes, timing_bytes));
  LRL_TRY_GOTO(lrl_checkpoint_has(c, "optimizer", &whole));
  if (!whole)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT,
                          "%s holds weights only (train.save_optimizer was false); begin a new run "
                          "from it with model.init_from",
                          t->run.resume));
  LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "model", &t->model.params));
  LRL_TRY_GOTO(lrl_checkpoint_get_optimizer(c, "optimizer", &t->optimizer));
  lrl_log(LRL_LOG_INFO, "train", "goes on from %s, step %lld", t->run.resume,
          (long long)t->at.step);
done:
  free(config);
  free(state);
  lrl_checkpoint_close(c);
  return status;
}

/* A checkpoint of a vision tower alone: the rest of the model keeps its values. */
static lrl_status read_tower(struct lrl_trainer *t, struct lrl_checkpoint *c) {
  struct lrl_param_set *all = &t->model.params, *tower = calloc(1, sizeof *tower);
  if (tower == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the vision tower");
  for (int u = 0; u < all->n_units; u++)
    if (strncmp(all->units[u].name, LRL_VLM_TOWER, strlen(LRL_VLM_TOWER)) == 0)
      tower->units[tower->n_units++] = all->units[u]; /* with the same memory */
  const lrl_status s = lrl_checkpoint_get_params(c, "model", tower);
  for (int u = 0; u < all->n_units; u++)
    all->units[u].version++;
  free(tower);
  return s;
}

lrl_status lrl_trainer_init_from(struct lrl_trainer *t) {
  struct lrl_checkpoint *c;
  char path[LRL_OPTION_TEXT + 96], *kind = NULL;
  LRL_TRY(lrl_checkpoint_find(t->o->init_from, path, sizeof path));
  LRL_TRY(lrl_checkpoint_open(path, t->comm, &c));
  lrl_status s = lrl_checkpoint_get_text(c, "kind", &kind);
  if (s == LRL_OK)
    s = strcmp(kind, "vision") == 0 ? read_tower(t, c)
                                    : lrl_checkpoint_get_weights(c, "model", &t->model.params);
  free(kind);
  lrl_checkpoint_close(c);
  return s;
}
