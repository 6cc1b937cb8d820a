#include "train/trainer.h"

#include "kernels/log.h"
#include "model/param_build.h"
#include "train/cudnn.h"
#include "train/reward_model.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* ---- set-up ---- */

static lrl_status build_model(struct lrl_trainer *t) {
  const struct lrl_trainer_options *o = t->o;
  struct lrl_vlm_config m;
  LRL_TRY(lrl_model_options_config(&o->model, lrl_tokenizer_info(t->tokenizer), &m));
  m.head = t->kind->head;
  LRL_TRY(lrl_ctx_init(&t->ctx, lrl_device_name(o->device), (int)o->threads));
  LRL_TRY(lrl_cudnn_choose(&t->ctx, o->attention, o->patch_embed));
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_vlm_init(&t->model, &m));
  LRL_TRY(lrl_param_set_init(&t->model.params, (uint64_t)o->seed));
  bool trains = false;
  for (int i = 0; i < t->model.params.n_units; i++)
    trains = trains || t->model.params.units[i].trainable;
  if (!trains)
    return LRL_FAIL(LRL_ERR_ARG, "nothing would be trained: every model.freeze_* is true");
  if (o->init_from[0] != '\0' && t->run.resume[0] == '\0')
    LRL_TRY(lrl_trainer_init_from(t));
  if (m.has_vision && !m.train_vision && o->init_from[0] == '\0')
    lrl_log(LRL_LOG_WARN, "train",
            "the vision tower is random and frozen; set model.freeze_vision_tower=false or "
            "model.init_from");
  const struct lrl_optimizer_options adamw = lrl_optim_adamw(&o->optim, o->zero_stage, o->nccl);
  return lrl_optimizer_init(&t->optimizer, &adamw, &t->ctx, &t->model.params, t->comm, &t->state);
}

/* The tokenizer of model.tokenizer, else the one that model.init_from was trained with. */
static lrl_status open_tokenizer(struct lrl_trainer *t) {
  const struct lrl_trainer_options *o = t->o;
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_checkpoint *c;
  if (o->tokenizer[0] != '\0')
    return lrl_tokenizer_open(o->tokenizer, &t->tokenizer);
  if (o->init_from[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "model.tokenizer names no SentencePiece model file");
  LRL_TRY(lrl_checkpoint_find(o->init_from, path, sizeof path));
  LRL_TRY(lrl_checkpoint_open(path, NULL, &c));
  const lrl_status s = lrl_checkpoint_get_tokenizer(c, &t->tokenizer);
  lrl_checkpoint_close(c);
  return s;
}

static lrl_status read_data(struct lrl_trainer *t) {
  const struct lrl_trainer_options *o = t->o;
  const enum lrl_corpus_form form = t->kind->form;
  LRL_TRY(open_tokenizer(t));
  if (o->model.vision != 0) {
    struct lrl_image_ops_options images = lrl_reward_image_options(&o->model, &o->data);
    LRL_TRY(lrl_image_ops_init(&t->image_ops, &images));
    t->images = &t->image_ops;
  }
  LRL_TRY(lrl_data_options_read(&o->data, "data.train", form, t->tokenizer, t->images, &t->train));
  if (o->data.eval[0] != '\0' || o->data.holdout > 0)
    LRL_TRY(lrl_data_options_read(&o->data, "data.eval", form, t->tokenizer, t->images, &t->eval));
  t->fingerprint = lrl_corpus_fingerprint(t->train);
  t->step_items = malloc((size_t)o->batch_size * sizeof *t->step_items);
  if (t->step_items == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a step's %s", t->kind->unit);
  return t->kind->prepare != NULL ? t->kind->prepare(t) : LRL_OK;
}

static lrl_status set_up(struct lrl_trainer *t, const char *config_text) {
  LRL_TRY(lrl_comm_agree(t->comm, read_data(t)));
  LRL_TRY(lrl_run_open(&t->run, &t->o->run, t->comm, config_text));
  LRL_TRY(lrl_comm_agree(t->comm, build_model(t)));
  int64_t values = 0, timing = 0;
  if (t->run.resume[0] != '\0')
    LRL_TRY(lrl_comm_agree(t->comm, lrl_trainer_resume(t, &values, &timing)));
  lrl_arena_settle(&t->model.weights);
  lrl_arena_settle(&t->state);
  lrl_status s = LRL_OK;
  if (lrl_comm_rank(t->comm) == 0)
    s = lrl_metrics_open(&t->metrics, t->o->run.output_dir, values, timing);
  return lrl_comm_agree(t->comm, s);
}

static void announce(const struct lrl_trainer *t, int64_t per_epoch) {
  int64_t n_params = 0, n_trained = 0;
  for (int i = 0; i < t->model.params.n_units; i++) {
    const struct lrl_param_unit *u = &t->model.params.units[i];
    n_params += u->n;
    n_trained += u->trainable ? u->n : 0;
  }
  lrl_log(LRL_LOG_INFO, "train",
          "%.2f M parameters, %.2f M of them trained; %lld steps of %lld %s (%lld steps an "
          "epoch) on %d rank%s, micro-batches of at most %lld tokens",
          (double)n_params / 1e6, (double)n_trained / 1e6, (long long)t->n_steps,
          (long long)t->o->batch_size, t->kind->unit, (long long)per_epoch, lrl_comm_size(t->comm),
          lrl_comm_size(t->comm) == 1 ? "" : "s", (long long)t->o->micro_batch_tokens);
}

/* ---- one step ---- */

static void name_item(const struct lrl_trainer *t, int64_t item, char *out, size_t size) {
  struct lrl_corpus_pair p;
  struct lrl_corpus_source_info s;
  lrl_corpus_get(t->train, item, &p);
  lrl_corpus_get_source(t->train, p.source, &s);
  snprintf(out, size, "%s%s%s, line %lld", p.id, p.id[0] ? " of " : "", s.name, (long long)p.line);
}

void lrl_trainer_nonfinite(void *user, int64_t item) {
  const struct lrl_trainer *t = user;
  char name[300];
  name_item(t, item, name, sizeof name);
  lrl_log(LRL_LOG_WARN, "train", "step %lld: the loss of %s is not finite",
          (long long)t->at.step + 1, name);
}

/* All micro-batches of one step of this rank: gradients are accumulated, sums put into y. */
static lrl_status gradients(struct lrl_trainer *t, struct lrl_loader *loader, double *y) {
  const struct lrl_batch *b;
  t->n_step_items = 0;
  do {
    struct lrl_tape tape;
    LRL_TRY(lrl_loader_next(loader, &b));
    if (b == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT, "the data ended at step %lld of %lld", (long long)t->at.step,
                      (long long)t->n_steps);
    if (b->n_set_aside > 0)
      lrl_log(LRL_LOG_WARN, "data", "step %lld: %lld %s are left out: %s",
              (long long)t->at.step + 1, (long long)b->n_set_aside, t->kind->unit,
              b->set_aside_reason);
    for (int64_t i = 0; i < b->n_pairs; i++)
      t->step_items[t->n_step_items++] = b->pair_index[i];
    lrl_tape_init(&tape, &t->ctx, &t->steps, true);
    tape.recompute = t->o->gradient_checkpointing;
    lrl_optimizer_attach(&t->optimizer, &tape, b->micro + 1 == b->n_micro);
    LRL_TRY(t->kind->micro_batch(t, &tape, b, y, false));
    lrl_arena_reset(&t->steps, 0);
  } while (b->micro + 1 < b->n_micro);
  return LRL_OK;
}

/* A step without an update is told with what this rank had in it. */
static lrl_status skipped(struct lrl_trainer *t) {
  char list[400] = "", name[300];
  size_t used = 0;
  for (int64_t i = 0; i < t->n_step_items && i < 3; i++) {
    name_item(t, t->step_items[i], name, sizeof name);
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%.120s", i ? "; " : "", name);
  }
  lrl_log(LRL_LOG_WARN, "train",
          "step %lld changed nothing: its gradient is not finite; it had %lld %s here: %s%s",
          (long long)t->at.step, (long long)t->n_step_items, t->kind->unit, list,
          t->n_step_items > 3 ? "; ..." : "");
  if (++t->at.skipped > t->o->max_nonfinite)
    return LRL_FAIL(LRL_ERR_NUMERIC,
                    "%lld steps had a gradient that is not finite; lower optim.lr, or look at the "
                    "%s named above",
                    (long long)t->at.skipped, t->kind->unit);
  return LRL_OK;
}

/* One optimizer step; *stop: somebody asked for an end on some rank. */
static lrl_status step(struct lrl_trainer *t, struct lrl_loader *loader, double lr, bool *stop) {
  const int n = t->kind->n_sums;
  double sums[LRL_TRAINER_SUMS + 1] = {0};
  struct lrl_optimizer_stats stats;
  LRL_TRY(gradients(t, loader, sums));
  LRL_TRY(lrl_optimizer_step(&t->optimizer, lr, &stats));
  sums[n] = lrl_run_stop_requested();
  LRL_TRY(lrl_comm_sum_f64(t->comm, sums, n + 1));
  *stop = sums[n] > 0;
  for (int i = 0; i < n; i++)
    t->at.sums[i] += sums[i];
  t->at.grad_norm = stats.grad_norm;
  t->at.step++;
  return stats.skipped ? skipped(t) : LRL_OK;
}

static void progress(struct lrl_trainer *t, double begun, int64_t first) {
  char figures[200];
  double now = omp_get_wtime(), per_step = (now - begun) / (double)(t->at.step - first);
  t->kind->describe(t, figures, sizeof figures);
  lrl_metrics_progress(
      &t->metrics, &(struct lrl_progress){
                       .step = t->at.step,
                       .n_steps = t->n_steps,
                       .figures = figures,
                       .tokens_per_second = t->at.sums[t->kind->tokens] / (now - t->t_log + 1e-9),
                       .seconds_left = per_step * (double)(t->n_steps - t->at.step)});
}

/* ---- the loop ---- */

static lrl_status loop(struct lrl_trainer *t, struct lrl_loader *loader) {
  const struct lrl_trainer_options *o = t->o;
  const struct lrl_schedule schedule = lrl_optim_schedule(&o->optim, t->n_steps);
  const int64_t first = t->at.step, save_steps = o->run.save_steps;
  double begun = t->t_log = omp_get_wtime();
  bool stop = false;
  while (t->at.step < t->n_steps && !stop) {
    double lr = lrl_schedule_lr(&schedule, t->at.step);
    LRL_TRY(step(t, loader, lr, &stop));
    int64_t now = t->at.step, best = t->at.best_step;
    bool last = now == t->n_steps;
    progress(t, begun, first);
    if (now % o->log_steps == 0 || last) {
      LRL_TRY(lrl_trainer_log_step(t, lr));
      memset(t->at.sums, 0, sizeof t->at.sums);
    }
    if (t->eval != NULL && ((o->eval_steps > 0 && now % o->eval_steps == 0) || last))
      LRL_TRY(lrl_trainer_evaluate(t));
    bool improved = t->at.best_step != best && save_steps > 0;
    if (stop || last || improved || (save_steps > 0 && now % save_steps == 0))
      LRL_TRY(lrl_trainer_save(t));
  }
  if (stop && t->at.step < t->n_steps)
    lrl_log(LRL_LOG_WARN, "train", "stopped after step %lld as asked; go on with --resume auto",
            (long long)t->at.step);
  return LRL_OK;
}

static lrl_status train(struct lrl_trainer *t) {
  const struct lrl_trainer_options *o = t->o;
  struct lrl_loader_options l = {
      .order = lrl_data_options_order(&o->data, (uint64_t)o->seed, o->batch_size),
      .rank = lrl_comm_rank(t->comm),
      .n_ranks = lrl_comm_size(t->comm),
      .first_step = t->at.step,
      .max_tokens = o->micro_batch_tokens,
      .share_prefix = o->data.share_prefix,
      .answers_only = t->kind->form != LRL_FORM_PAIRS,
      .withhold_images = o->data.withhold_images,
      .weight = t->weight,
      .images = t->images,
      .prefetch = 4};
  struct lrl_loader *loader = NULL;
  LRL_TRY(lrl_loader_create(t->train, &l, &loader));
  int64_t per_epoch = lrl_loader_epoch_steps(loader);
  t->n_steps = o->max_steps > 0 ? o->max_steps : (int64_t)llround(o->epochs * (double)per_epoch);
  announce(t, per_epoch);
  lrl_run_catch_signals();
  lrl_status s = loop(t, loader);
  lrl_loader_destroy(loader);
  return s;
}

static void tear_down(struct lrl_trainer *t) {
  lrl_run_close(&t->run);
  lrl_optimizer_destroy(&t->optimizer);
  lrl_vlm_free(&t->model);
  lrl_arena_free(&t->steps);
  lrl_arena_free(&t->state);
  if (t->ctx.backend != NULL)
    lrl_ctx_free(&t->ctx);
  lrl_corpus_free(t->train);
  lrl_corpus_free(t->eval);
  lrl_image_ops_free(&t->image_ops);
  lrl_tokenizer_close(t->tokenizer);
  free(t->weight);
  free(t->step_items);
  free(t);
}

lrl_status lrl_trainer_run(const struct lrl_trainer_kind *kind,
                           const struct lrl_trainer_options *options, const void *cfg,
                           struct lrl_comm *comm, const char *config_text) {
  struct lrl_trainer *t = calloc(1, sizeof *t);
  if (t == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  LRL_ASSERT(kind->n_sums <= LRL_TRAINER_SUMS);
  t->kind = kind;
  t->o = options;
  t->cfg = cfg;
  t->comm = comm;
  t->at.best_step = -1;
  lrl_status s = set_up(t, config_text);
  if (s == LRL_OK) {
    s = train(t);
    /* Other ranks may be waiting inside a collective operation. */
    if (s != LRL_OK && lrl_comm_size(comm) > 1) {
      lrl_log(LRL_LOG_ERROR, "train", "%s", lrl_last_error());
      lrl_comm_abort(comm, 1);
    }
  }
  lrl_status closed = lrl_metrics_close(&t->metrics);
  tear_down(t);
  return s == LRL_OK ? closed : s;
}
