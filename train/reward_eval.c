/* Evaluation and what is written about a step. */
#include "kernels/log.h"
#include "train/reward_trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static void put(json_t *o, const char *prefix, const char *name, json_t *value) {
  char key[160];
  snprintf(key, sizeof key, "%s/%s", prefix, name);
  json_object_set_new(o, key, value);
}

/* Counts of margins: below -5, bins of 0.5, from 5 on. */
static json_t *histogram(const struct lrl_tally *t) {
  json_t *a = json_array();
  for (int i = 0; i < 22; i++)
    json_array_append_new(a, json_integer((json_int_t)t->v[LRL_TALLY_HISTOGRAM + i]));
  return a;
}

static void put_figures(json_t *o, const char *prefix, const struct lrl_tally *t) {
  struct lrl_reward_figures f = lrl_reward_figures(t);
  put(o, prefix, "accuracy", lrl_metrics_number(f.accuracy));
  put(o, prefix, "loss", lrl_metrics_number(f.loss));
  put(o, prefix, "margin", lrl_metrics_number(f.margin));
  put(o, prefix, "margin_std", lrl_metrics_number(f.margin_std));
  put(o, prefix, "chosen_reward", lrl_metrics_number(f.chosen_mean));
  put(o, prefix, "chosen_reward_std", lrl_metrics_number(f.chosen_std));
  put(o, prefix, "rejected_reward", lrl_metrics_number(f.rejected_mean));
  put(o, prefix, "rejected_reward_std", lrl_metrics_number(f.rejected_std));
  put(o, prefix, "length_baseline", lrl_metrics_number(f.length_baseline));
  put(o, prefix, "length_correlation", lrl_metrics_number(f.length_correlation));
  put(o, prefix, "ties", json_integer((json_int_t)t->v[LRL_TALLY_TIES]));
  put(o, prefix, "num_pairs", json_integer((json_int_t)t->v[LRL_TALLY_PAIRS]));
  put(o, prefix, "nonfinite", json_integer((json_int_t)t->v[LRL_TALLY_NONFINITE]));
  put(o, prefix, "margin_histogram", histogram(t));
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

static lrl_status score_all(struct lrl_reward_trainer *t, struct lrl_tally *by_source) {
  const struct lrl_reward_config *c = t->cfg;
  struct lrl_loader_options o = {.order = LRL_ORDER_SEQUENTIAL,
                                 .batch_pairs = c->batch_size,
                                 .rank = lrl_comm_rank(t->comm),
                                 .n_ranks = lrl_comm_size(t->comm),
                                 .max_tokens = c->micro_batch_tokens,
                                 .share_prefix = c->data.share_prefix,
                                 .withhold_images = c->data.withhold_images,
                                 .images = t->images,
                                 .prefetch = 2};
  struct lrl_loader *loader = NULL;
  LRL_TRY(lrl_loader_create(t->eval, &o, &loader));
  lrl_status status = LRL_OK;
  for (;;) {
    const struct lrl_batch *b;
    struct lrl_tape tape;
    status = lrl_loader_next(loader, &b);
    if (status != LRL_OK || b == NULL)
      break;
    lrl_tape_init(&tape, &t->ctx, &t->steps, false);
    status =
        lrl_reward_micro_batch(&tape, &t->model, b, &t->objective, by_source, true, NULL, NULL);
    lrl_arena_reset(&t->steps, 0);
    if (status != LRL_OK)
      break;
  }
  lrl_loader_destroy(loader);
  return status;
}

static lrl_status report(struct lrl_reward_trainer *t, const struct lrl_tally *by_source,
                         int64_t n_sources, double *accuracy) {
  struct lrl_tally all = {0};
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  lrl_metrics_clear_line(&t->metrics);
  for (int64_t i = 0; i < n_sources; i++) {
    const struct lrl_tally *s = &by_source[i];
    struct lrl_corpus_source_info info;
    char name[100], prefix[128];
    lrl_tally_add(&all, s);
    lrl_corpus_get_source(t->eval, i, &info);
    short_name(info.name, name, sizeof name);
    snprintf(prefix, sizeof prefix, "eval/%s", name);
    if (n_sources == 1 || s->v[LRL_TALLY_PAIRS] < 1)
      continue;
    struct lrl_reward_figures f = lrl_reward_figures(s);
    put_figures(o, prefix, s);
    lrl_log(LRL_LOG_INFO, "eval", "step %lld  %-32s accuracy %.4f on %.0f pairs, margin %.3f",
            (long long)t->at.step, name, f.accuracy, s->v[LRL_TALLY_PAIRS], f.margin);
  }
  struct lrl_reward_figures f = lrl_reward_figures(&all);
  put_figures(o, "eval", &all);
  lrl_log(LRL_LOG_INFO, "eval",
          "step %lld: accuracy %.4f on %.0f held-out pairs (the longer answer is chosen in %.4f), "
          "loss %.4f, margin %.3f +- %.3f, %.0f ties%s",
          (long long)t->at.step, f.accuracy, all.v[LRL_TALLY_PAIRS], f.length_baseline, f.loss,
          f.margin, f.margin_std, all.v[LRL_TALLY_TIES],
          all.v[LRL_TALLY_NONFINITE] > 0 ? "; SOME SCORES ARE NOT FINITE" : "");
  *accuracy = f.accuracy;
  return lrl_metrics_write(&t->metrics, o);
}

lrl_status lrl_reward_evaluate(struct lrl_reward_trainer *t) {
  int64_t n = lrl_corpus_n_sources(t->eval);
  double t0 = omp_get_wtime(), accuracy = 0;
  struct lrl_tally *by_source = calloc((size_t)n, sizeof *by_source);
  if (by_source == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the evaluation of %lld sources", (long long)n);
  lrl_status status;
  LRL_TRY_GOTO(score_all(t, by_source));
  LRL_TRY_GOTO(lrl_comm_sum_f64(t->comm, by_source[0].v, n * LRL_TALLY_N));
  LRL_TRY_GOTO(report(t, by_source, n, &accuracy));
  LRL_TRY_GOTO(
      lrl_metrics_write_timing(&t->metrics, json_pack("{sI sf}", "step", (json_int_t)t->at.step,
                                                      "timing_s/eval", omp_get_wtime() - t0)));
  if (accuracy > t->at.best_accuracy) {
    t->at.best_accuracy = accuracy;
    t->at.best_step = t->at.step;
  }
  t->t_log += omp_get_wtime() - t0; /* evaluation does not count as training time */
done:
  free(by_source);
  return status;
}

lrl_status lrl_reward_log_step(struct lrl_reward_trainer *t, double lr) {
  const struct lrl_tally *y = &t->at.since;
  struct lrl_reward_figures f = lrl_reward_figures(y);
  double now = omp_get_wtime(), seconds = now - t->t_log;
  t->t_log = now;
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "train",
          "step %lld/%lld loss %.4f accuracy %.3f margin %.3f grad_norm %.3f lr %.3g, %.0f "
          "tokens/s, %.2f GB",
          (long long)t->at.step, (long long)t->n_steps, f.loss, f.accuracy, f.margin,
          t->at.grad_norm, lr, y->v[LRL_TALLY_TOKENS] / seconds, (double)lrl_peak_memory() / 1e9);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  put(o, "train", "loss", lrl_metrics_number(f.loss));
  put(o, "train", "accuracy", lrl_metrics_number(f.accuracy));
  put(o, "train", "margin", lrl_metrics_number(f.margin));
  put(o, "train", "margin_std", lrl_metrics_number(f.margin_std));
  put(o, "train", "mean_reward", lrl_metrics_number(f.mean_reward));
  put(o, "train", "grad_norm", lrl_metrics_number(t->at.grad_norm));
  put(o, "train", "learning_rate", json_real(lr));
  put(o, "train", "num_pairs", json_integer((json_int_t)y->v[LRL_TALLY_PAIRS]));
  put(o, "train", "num_tokens", json_integer((json_int_t)y->v[LRL_TALLY_TOKENS]));
  put(o, "train", "nonfinite", json_integer((json_int_t)y->v[LRL_TALLY_NONFINITE]));
  put(o, "train", "set_aside", json_integer((json_int_t)y->v[LRL_TALLY_SET_ASIDE]));
  put(o, "train", "skipped_steps", json_integer(t->at.skipped));
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  return lrl_metrics_write_timing(
      &t->metrics, json_pack("{sI sf sf sI}", "step", (json_int_t)t->at.step, "timing_s/step",
                             seconds, "perf/throughput", y->v[LRL_TALLY_TOKENS] / seconds,
                             "perf/max_memory_bytes", (json_int_t)lrl_peak_memory()));
}
