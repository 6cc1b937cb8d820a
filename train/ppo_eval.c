/* Evaluation: responses to the held-out prompts, drawn as in training but by a stream of their own,
 * the same for every evaluation. */
#include "kernels/log.h"
#include "train/ppo_figures.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Response k as it is read: "eval/samples" of metrics.jsonl. Tokens may spell no valid UTF-8; then
 * there is no text. */
static lrl_status put_sample(const struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                             int64_t k, json_t *samples) {
  const struct lrl_prompt *p = &e->prompt[e->group[k]].data;
  char *text;
  LRL_TRY(lrl_tokenizer_decode(t->models.tokenizer, e->token + e->start[k],
                               e->length[k] - e->finished[k], &text));
  json_t *o = json_object(), *images = json_array(), *response = json_string(text);
  free(text);
  for (int64_t i = 0; i < p->n_images; i++)
    json_array_append_new(images, json_string(p->image[i].path));
  json_object_set_new(o, "prompt",
                      json_string(p->n_messages > 0 ? p->messages[p->n_messages - 1].content : ""));
  if (p->n_images > 0)
    json_object_set(o, "images", images);
  json_decref(images);
  json_object_set_new(o, "response", response != NULL ? response : json_null());
  json_object_set_new(o, "finished", json_boolean(e->finished[k]));
  json_object_set_new(o, "score", lrl_metrics_number(e->score[k]));
  json_object_set_new(o, "gold", lrl_metrics_number(e->gold[k]));
  json_array_append_new(samples, o);
  return LRL_OK;
}

/* figures[0] is of all prompts, [1 + i] of those of file i. */
static lrl_status respond(struct lrl_ppo_trainer *t, struct lrl_ppo_figures *figures,
                          json_t *samples) {
  const int64_t show = lrl_comm_rank(t->comm) == 0 ? t->cfg->show : 0;
  enum { AT_ONCE = 256 };
  for (int64_t first = 0, n = lrl_prompts_n(t->eval); first < n; first += AT_ONCE) {
    struct lrl_ppo_experience e;
    const struct lrl_ppo_rollout r = {.from = t->eval,
                                      .first = first,
                                      .n = n - first < AT_ONCE ? n - first : AT_ONCE,
                                      .samples = t->cfg->eval_samples,
                                      .seed = (uint64_t)t->cfg->seed ^ 0x9e3779b97f4a7c15u};
    LRL_TRY(lrl_ppo_rollout(t, &r, &e));
    LRL_TRY(lrl_ppo_logprobs_of(t, &e));
    for (int64_t k = 0; k < e.n_responses; k++) {
      /* The first of each of `show` parts of the prompts: all files have their share. */
      const int64_t part = (first + e.prompt[e.group[k]].position) * show / n;
      if (show > 0 && part >= (int64_t)json_array_size(samples))
        LRL_TRY(put_sample(t, &e, k, samples));
      lrl_ppo_figures_response(&figures[0], &e, k);
      lrl_ppo_figures_response(&figures[1 + e.prompt[e.group[k]].data.i_file], &e, k);
    }
    lrl_ppo_figures_rest(&figures[0], &e);
    lrl_arena_reset(&t->memory, 0);
  }
  return LRL_OK;
}

/* "a/counting_validation.json.gz" -> "counting_validation". */
static void short_name(const char *path, char *out, size_t size) {
  const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
  const char *dot = strchr(name, '.');
  snprintf(out, size, "%.*s", (int)(dot == NULL ? strlen(name) : (size_t)(dot - name)), name);
}

static void report(const struct lrl_ppo_trainer *t, const char *name, const char *prefix,
                   const struct lrl_ppo_figures *f, json_t *o) {
  lrl_log(LRL_LOG_INFO, "eval",
          "step %lld  %-24s score %.4f gold %.4f kl %.3f length %.1f unfinished %.3f on %.0f "
          "responses",
          (long long)t->at.step, name, lrl_ppo_mean(f, LRL_PPO_SCORE),
          lrl_ppo_mean(f, LRL_PPO_GOLD), lrl_ppo_mean(f, LRL_PPO_KL),
          lrl_ppo_mean(f, LRL_PPO_LENGTH), 1.0 - f->finished / f->responses, f->responses);
  lrl_ppo_put_objective(o, prefix, f);
  lrl_ppo_put(o, prefix, "num_responses", f->responses);
}

static lrl_status evaluate(struct lrl_ppo_trainer *t, struct lrl_ppo_figures *figures, int64_t n,
                           json_t *samples) {
  const struct lrl_ppo_seconds kept = t->seconds;
  const double t0 = omp_get_wtime();
  for (int64_t i = 0; i <= n; i++)
    lrl_ppo_figures_clear(&figures[i]);
  LRL_TRY(respond(t, figures, samples));
  t->seconds = kept;
  for (int64_t i = 0; i <= n; i++)
    LRL_TRY(lrl_ppo_figures_all(t->comm, &figures[i]));
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  lrl_metrics_clear_line(&t->metrics);
  for (int64_t i = 1; i <= n && n > 1; i++) {
    char name[100], prefix[120];
    if (figures[i].responses < 1)
      continue;
    short_name(lrl_prompts_file(t->eval, i - 1), name, sizeof name);
    snprintf(prefix, sizeof prefix, "eval/%s/", name);
    report(t, name, prefix, &figures[i], o);
  }
  report(t, "held-out prompts", "eval/", &figures[0], o);
  if (json_array_size(samples) > 0)
    json_object_set(o, "eval/samples", samples);
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  return lrl_metrics_write_timing(&t->metrics, json_pack("{sI sf}", "step", (json_int_t)t->at.step,
                                                         "timing_s/eval", omp_get_wtime() - t0));
}

lrl_status lrl_ppo_evaluate(struct lrl_ppo_trainer *t) {
  const int64_t n = lrl_prompts_n_files(t->eval);
  struct lrl_ppo_figures *figures = calloc((size_t)n + 1, sizeof *figures);
  if (figures == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the evaluation of %lld files", (long long)n);
  json_t *samples = json_array();
  const lrl_status s = evaluate(t, figures, n, samples);
  json_decref(samples);
  free(figures);
  return s;
}
