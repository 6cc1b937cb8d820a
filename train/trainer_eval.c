/* Evaluation and what is written about a step. */
#include "kernels/log.h"
#include "train/cudnn.h"
#include "train/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

void lrl_trainer_put(json_t *o, const char *prefix, const char *name, json_t *value) {
  char key[160];
  snprintf(key, sizeof key, "%s/%s", prefix, name);
  json_object_set_new(o, key, value);
}

/* "counting_validation.json.gz" -> "counting_validation". */
static void short_name(const char *name, char *out, size_t size) {
  size_t n = strlen(name);
  static const char *const ends[] = {".gz", ".jsonl", ".json"};
  for (int i = 0; i < 3; i++)
    if (n > strlen(ends[i]) && strncmp(name + n - strlen(ends[i]), ends[i], strlen(ends[i])) == 0)
      n -= strlen(ends[i]);
  snprintf(out, size, "%.*s", (int)n, name);
}

static lrl_status all_batches(struct lrl_trainer *t, double *by_source) {
  const struct lrl_trainer_options *o = t->o;
  struct lrl_loader_options l = {
      .order = {.kind = LRL_ORDER_SEQUENTIAL, .batch_pairs = o->batch_size},
      .rank = lrl_comm_rank(t->comm),
      .n_ranks = lrl_comm_size(t->comm),
      .max_tokens = o->micro_batch_tokens,
      .share_prefix = o->data.share_prefix,
      .answers_only = t->kind->form != LRL_FORM_PAIRS,
      .withhold_images = o->data.withhold_images,
      .images = t->images,
      .prefetch = 2};
  struct lrl_loader *loader = NULL;
  LRL_TRY(lrl_loader_create(t->eval, &l, &loader));
  lrl_status status = LRL_OK;
  for (;;) {
    const struct lrl_batch *b;
    struct lrl_tape tape;
    status = lrl_loader_next(loader, &b);
    if (status != LRL_OK || b == NULL)
      break;
    lrl_tape_init(&tape, &t->ctx, &t->steps, false);
    status = t->kind->micro_batch(t, &tape, b, by_source, true);
    lrl_arena_reset(&t->steps, 0);
    if (status != LRL_OK)
      break;
  }
  lrl_loader_destroy(loader);
  return status;
}

static lrl_status report(struct lrl_trainer *t, const double *by_source, int64_t n_sources,
                         double *score) {
  const int n = t->kind->n_sums;
  double all[LRL_TRAINER_SUMS] = {0};
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  lrl_metrics_clear_line(&t->metrics);
  for (int64_t i = 0; i < n_sources; i++) {
    const double *s = by_source + i * n;
    struct lrl_corpus_source_info info;
    char name[100], prefix[128];
    for (int k = 0; k < n; k++)
      all[k] += s[k];
    lrl_corpus_get_source(t->eval, i, &info);
    short_name(info.name, name, sizeof name);
    snprintf(prefix, sizeof prefix, "eval/%s", name);
    if (n_sources > 1)
      t->kind->report(t, name, prefix, s, o, score);
  }
  t->kind->report(t, NULL, "eval", all, o, score);
  return lrl_metrics_write(&t->metrics, o);
}

lrl_status lrl_trainer_evaluate(struct lrl_trainer *t) {
  const int64_t n = lrl_corpus_n_sources(t->eval), n_sums = t->kind->n_sums;
  double t0 = omp_get_wtime(), score = NAN;
  double *by_source = calloc((size_t)(n * n_sums), sizeof *by_source);
  if (by_source == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the evaluation of %lld sources", (long long)n);
  lrl_status status;
  LRL_TRY_GOTO(all_batches(t, by_source));
  LRL_TRY_GOTO(lrl_comm_sum_f64(t->comm, by_source, n * n_sums));
  LRL_TRY_GOTO(report(t, by_source, n, &score));
  LRL_TRY_GOTO(
      lrl_metrics_write_timing(&t->metrics, json_pack("{sI sf}", "step", (json_int_t)t->at.step,
                                                      "timing_s/eval", omp_get_wtime() - t0)));
  if (isfinite(score) && (t->at.best_step < 0 || score > t->at.best)) {
    t->at.best = score;
    t->at.best_step = t->at.step;
  }
  t->t_log += omp_get_wtime() - t0; /* evaluation does not count as training time */
done:
  free(by_source);
  return status;
}

lrl_status lrl_trainer_log_step(struct lrl_trainer *t, double lr) {
  const double tokens = t->at.sums[t->kind->tokens];
  double now = omp_get_wtime(), seconds = now - t->t_log;
  char figures[200];
  t->t_log = now;
  t->kind->describe(t, figures, sizeof figures);
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "train", "step %lld/%lld %s grad_norm %.3f lr %.3g, %.0f tokens/s, %.2f GB",
          (long long)t->at.step, (long long)t->n_steps, figures, t->at.grad_norm, lr,
          tokens / seconds, (double)lrl_peak_memory() / 1e9);
  lrl_cudnn_tell(&t->ctx);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  t->kind->log(t, o);
  lrl_trainer_put(o, "train", "grad_norm", lrl_metrics_number(t->at.grad_norm));
  lrl_trainer_put(o, "train", "learning_rate", json_real(lr));
  lrl_trainer_put(o, "train", "skipped_steps", json_integer(t->at.skipped));
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  return lrl_metrics_write_timing(
      &t->metrics, json_pack("{sI sf sf sI}", "step", (json_int_t)t->at.step, "timing_s/step",
                             seconds, "perf/throughput", tokens / seconds, "perf/max_memory_bytes",
                             (json_int_t)lrl_peak_memory()));
}
