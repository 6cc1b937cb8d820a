#include "train/reward.h"

#include "kernels/log.h"
#include "model/param_build.h"
#include "train/reward_model.h"
#include "train/reward_trainer.h"
#include "train/schedule.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* ---- set-up ---- */

static lrl_status build_model(struct lrl_reward_trainer *t) {
  const struct lrl_reward_config *c = t->cfg;
  struct lrl_vlm_config m;
  LRL_TRY(lrl_model_options_config(&c->model, lrl_tokenizer_info(t->tokenizer), &m));
  LRL_TRY(lrl_ctx_init(&t->ctx, c->device == 0 ? "cpu" : "ref", (int)c->threads));
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_vlm_init(&t->model, &m));
  LRL_TRY(lrl_param_set_init(&t->model.params, (uint64_t)c->seed));
  bool trains = false;
  for (int i = 0; i < t->model.params.n_units; i++)
    trains = trains || t->model.params.units[i].trainable;
  if (!trains)
    return LRL_FAIL(LRL_ERR_ARG, "nothing would be trained: every model.freeze_* is true");
  if (c->init_from[0] != '\0' && t->run.resume[0] == '\0')
    LRL_TRY(lrl_reward_init_from(t));
  if (m.has_vision && !m.train_vision && c->init_from[0] == '\0')
    lrl_log(LRL_LOG_WARN, "train",
            "the vision tower is random and frozen; set model.freeze_vision_tower=false or "
            "model.init_from");
  struct lrl_optimizer_options o = {.beta1 = c->beta1,
                                    .beta2 = c->beta2,
                                    .eps = c->eps,
                                    .weight_decay = c->weight_decay,
                                    .max_grad_norm = c->max_grad_norm,
                                    .zero_stage = (int)c->zero_stage};
  return lrl_optimizer_init(&t->optimizer, &o, &t->ctx, &t->model.params, t->comm, &t->state);
}

static struct lrl_reward_objective objective(const struct lrl_reward_config *c) {
  return (struct lrl_reward_objective){
      .loss = {.rank = (enum lrl_rank_loss)c->rank_loss,
               .penalty = (enum lrl_penalty)c->penalty,
               .focal_gamma = (float)c->focal_gamma,
               .penalty_weight = (float)c->penalty_weight,
               .center_weight = (float)c->center_rewards_coefficient,
               .barrier_lo = -(float)c->barrier,
               .barrier_hi = (float)c->barrier,
               .barrier_eps = 1e-3f,
               .barrier_gradient_outside = true},
      .recompute = c->gradient_checkpointing,
      .seed = (uint64_t)c->seed,
  };
}

static lrl_status read_data(struct lrl_reward_trainer *t) {
  const struct lrl_reward_config *c = t->cfg;
  if (c->tokenizer[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "model.tokenizer names no SentencePiece model file");
  LRL_TRY(lrl_tokenizer_open(c->tokenizer, &t->tokenizer));
  if (c->model.vision != 0) {
    struct lrl_image_ops_options o = lrl_reward_image_options(&c->model, &c->data);
    LRL_TRY(lrl_image_ops_init(&t->image_ops, &o));
    t->images = &t->image_ops;
  }
  LRL_TRY(lrl_data_options_read(&c->data, "data.train", t->tokenizer, t->images, &t->train));
  if (c->data.eval[0] != '\0' || c->data.holdout > 0)
    LRL_TRY(lrl_data_options_read(&c->data, "data.eval", t->tokenizer, t->images, &t->eval));
  t->fingerprint = lrl_corpus_fingerprint(t->train);
  t->step_pairs = malloc((size_t)c->batch_size * sizeof *t->step_pairs);
  return t->step_pairs != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the pairs");
}

static lrl_status set_up(struct lrl_reward_trainer *t, const char *config_text) {
  LRL_TRY(lrl_comm_agree(t->comm, read_data(t)));
  LRL_TRY(lrl_run_open(&t->run, &t->cfg->run, t->comm, config_text));
  LRL_TRY(lrl_comm_agree(t->comm, build_model(t)));
  int64_t values = 0, timing = 0;
  if (t->run.resume[0] != '\0')
    LRL_TRY(lrl_comm_agree(t->comm, lrl_reward_resume(t, &values, &timing)));
  lrl_status s = LRL_OK;
  if (lrl_comm_rank(t->comm) == 0)
    s = lrl_metrics_open(&t->metrics, t->cfg->run.output_dir, values, timing);
  return lrl_comm_agree(t->comm, s);
}

static void announce(const struct lrl_reward_trainer *t, int64_t per_epoch) {
  const struct lrl_reward_config *c = t->cfg;
  int64_t n_params = 0, n_trained = 0;
  for (int i = 0; i < t->model.params.n_units; i++) {
    const struct lrl_param_unit *u = &t->model.params.units[i];
    n_params += u->n;
    n_trained += u->trainable ? u->n : 0;
  }
  lrl_log(LRL_LOG_INFO, "train",
          "%.2f M parameters, %.2f M of them trained; %lld steps of %lld pairs (%lld steps an "
          "epoch) on %d rank%s, micro-batches of at most %lld tokens",
          (double)n_params / 1e6, (double)n_trained / 1e6, (long long)t->n_steps,
          (long long)c->batch_size, (long long)per_epoch, lrl_comm_size(t->comm),
          lrl_comm_size(t->comm) == 1 ? "" : "s", (long long)c->micro_batch_tokens);
}

/* ---- one step ---- */

static void name_pair(const struct lrl_reward_trainer *t, int64_t pair, char *out, size_t size) {
  struct lrl_corpus_pair p;
  struct lrl_corpus_source_info s;
  lrl_corpus_get(t->train, pair, &p);
  lrl_corpus_get_source(t->train, p.source, &s);
  snprintf(out, size, "%s%s%s, line %lld", p.id, p.id[0] ? " of " : "", s.name, (long long)p.line);
}

static void on_nonfinite(void *user, int64_t pair) {
  struct lrl_reward_trainer *t = user;
  char name[300];
  name_pair(t, pair, name, sizeof name);
  lrl_log(LRL_LOG_WARN, "train", "step %lld: the loss of pair %s is not finite",
          (long long)t->at.step + 1, name);
}

/* All micro-batches of one step of this rank: gradients are accumulated, sums put into y. */
static lrl_status gradients(struct lrl_reward_trainer *t, struct lrl_loader *loader,
                            struct lrl_tally *y) {
  const struct lrl_batch *b;
  t->n_step_pairs = 0;
  do {
    struct lrl_tape tape;
    LRL_TRY(lrl_loader_next(loader, &b));
    if (b == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT, "the data ended at step %lld of %lld", (long long)t->at.step,
                      (long long)t->n_steps);
    if (b->n_set_aside > 0)
      lrl_log(LRL_LOG_WARN, "data", "step %lld: %lld pairs are left out: %s",
              (long long)t->at.step + 1, (long long)b->n_set_aside, b->set_aside_reason);
    for (int64_t i = 0; i < b->n_pairs; i++)
      t->step_pairs[t->n_step_pairs++] = b->pair_index[i];
    lrl_tape_init(&tape, &t->ctx, &t->steps, true);
    lrl_optimizer_attach(&t->optimizer, &tape, b->micro + 1 == b->n_micro);
    LRL_TRY(lrl_reward_micro_batch(&tape, &t->model, b, &t->objective, y, false, on_nonfinite, t));
    lrl_arena_reset(&t->steps, 0);
  } while (b->micro + 1 < b->n_micro);
  return LRL_OK;
}

/* A step without an update is told with the pairs this rank had in it. */
static lrl_status skipped(struct lrl_reward_trainer *t) {
  char list[400] = "", name[300];
  size_t used = 0;
  for (int64_t i = 0; i < t->n_step_pairs && i < 3; i++) {
    name_pair(t, t->step_pairs[i], name, sizeof name);
    used += (size_t)snprintf(list + used, sizeof list - used, "%s%.120s", i ? "; " : "", name);
  }
  lrl_log(LRL_LOG_WARN, "train",
          "step %lld changed nothing: its gradient is not finite; it had %lld pairs here: %s%s",
          (long long)t->at.step, (long long)t->n_step_pairs, list,
          t->n_step_pairs > 3 ? "; ..." : "");
  if (++t->at.skipped > t->cfg->max_nonfinite)
    return LRL_FAIL(LRL_ERR_NUMERIC,
                    "%lld steps had a gradient that is not finite; lower optim.lr, or look at the "
                    "pairs named above",
                    (long long)t->at.skipped);
  return LRL_OK;
}

/* One optimizer step; *stop: somebody asked for an end on some rank. */
static lrl_status step(struct lrl_reward_trainer *t, struct lrl_loader *loader, double lr,
                       bool *stop) {
  struct lrl_tally y = {0};
  double sums[LRL_TALLY_N + 1];
  struct lrl_optimizer_stats stats;
  LRL_TRY(gradients(t, loader, &y));
  LRL_TRY(lrl_optimizer_step(&t->optimizer, lr, &stats));
  memcpy(sums, y.v, sizeof y.v);
  sums[LRL_TALLY_N] = lrl_run_stop_requested();
  LRL_TRY(lrl_comm_sum_f64(t->comm, sums, LRL_TALLY_N + 1));
  *stop = sums[LRL_TALLY_N] > 0;
  memcpy(y.v, sums, sizeof y.v);
  lrl_tally_add(&t->at.since, &y);
  t->at.grad_norm = stats.grad_norm;
  t->at.step++;
  return stats.skipped ? skipped(t) : LRL_OK;
}

static void progress(struct lrl_reward_trainer *t, double begun, int64_t first) {
  struct lrl_reward_figures f = lrl_reward_figures(&t->at.since);
  double now = omp_get_wtime(), per_step = (now - begun) / (double)(t->at.step - first);
  lrl_metrics_progress(
      &t->metrics,
      &(struct lrl_progress){.step = t->at.step,
                             .n_steps = t->n_steps,
                             .loss = f.loss,
                             .accuracy = f.accuracy,
                             .tokens_per_second =
                                 t->at.since.v[LRL_TALLY_TOKENS] / (now - t->t_log + 1e-9),
                             .seconds_left = per_step * (double)(t->n_steps - t->at.step)});
}

/* ---- the loop ---- */

static lrl_status loop(struct lrl_reward_trainer *t, struct lrl_loader *loader) {
  const struct lrl_reward_config *c = t->cfg;
  struct lrl_schedule schedule = {.kind = (enum lrl_schedule_kind)c->schedule,
                                  .lr = c->lr,
                                  .n_warmup = (int64_t)ceil(c->warmup_ratio * (double)t->n_steps),
                                  .n_steps = t->n_steps,
                                  .num_cycles = c->num_cycles,
                                  .power = c->power,
                                  .lr_end = c->lr_end,
                                  .min_lr_ratio = c->min_lr_ratio};
  const int64_t first = t->at.step;
  double begun = t->t_log = omp_get_wtime();
  bool stop = false;
  while (t->at.step < t->n_steps && !stop) {
    double lr = lrl_schedule_lr(&schedule, t->at.step);
    LRL_TRY(step(t, loader, lr, &stop));
    int64_t now = t->at.step, best = t->at.best_step;
    bool last = now == t->n_steps;
    progress(t, begun, first);
    if (now % c->log_steps == 0 || last) {
      LRL_TRY(lrl_reward_log_step(t, lr));
      t->at.since = (struct lrl_tally){0};
    }
    if (t->eval != NULL && ((c->eval_steps > 0 && now % c->eval_steps == 0) || last))
      LRL_TRY(lrl_reward_evaluate(t));
    bool improved = t->at.best_step != best && c->run.save_steps > 0;
    if (stop || last || improved || (c->run.save_steps > 0 && now % c->run.save_steps == 0))
      LRL_TRY(lrl_reward_save(t));
  }
  if (stop && t->at.step < t->n_steps)
    lrl_log(LRL_LOG_WARN, "train", "stopped after step %lld as asked; go on with --resume auto",
            (long long)t->at.step);
  return LRL_OK;
}

static lrl_status train(struct lrl_reward_trainer *t) {
  const struct lrl_reward_config *c = t->cfg;
  struct lrl_loader_options o = {.order = lrl_data_options_order(&c->data),
                                 .seed = (uint64_t)c->seed,
                                 .batch_pairs = c->batch_size,
                                 .rank = lrl_comm_rank(t->comm),
                                 .n_ranks = lrl_comm_size(t->comm),
                                 .first_step = t->at.step,
                                 .max_tokens = c->micro_batch_tokens,
                                 .share_prefix = c->data.share_prefix,
                                 .withhold_images = c->data.withhold_images,
                                 .images = t->images,
                                 .prefetch = 4};
  struct lrl_loader *loader = NULL;
  LRL_TRY(lrl_loader_create(t->train, &o, &loader));
  int64_t per_epoch = lrl_loader_epoch_steps(loader);
  t->n_steps = c->max_steps > 0 ? c->max_steps : (int64_t)llround(c->epochs * (double)per_epoch);
  announce(t, per_epoch);
  lrl_run_catch_signals();
  lrl_status s = loop(t, loader);
  lrl_loader_destroy(loader);
  return s;
}

lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, struct lrl_comm *comm,
                            const char *config_text) {
  struct lrl_reward_trainer *t = calloc(1, sizeof *t);
  if (t == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  t->cfg = cfg;
  t->comm = comm;
  t->objective = objective(cfg);
  t->at.best_accuracy = -1.0;
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
  lrl_run_close(&t->run);
  s = s == LRL_OK ? closed : s;
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
  free(t->step_pairs);
  free(t);
  return s;
}
