/* The beginning of an iteration: which prompts, their image tokens, the responses and the scores.
 */
#include "kernels/log.h"
#include "kernels/philox.h"
#include "train/ppo_trainer.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* The prompt of draw `at` of the training set: each epoch a permutation. */
static int64_t drawn(struct lrl_ppo_trainer *t, int64_t at) {
  const int64_t n = lrl_prompts_n(t->train), epoch = at / n;
  if (t->order_epoch != epoch) {
    struct lrl_rng r = lrl_rng_make((uint64_t)t->cfg->seed, LRL_RNG_SHUFFLE, (uint64_t)epoch);
    for (int64_t i = 0; i < n; i++)
      t->order[i] = i;
    lrl_rng_shuffle(&r, t->order, n);
    t->order_epoch = epoch;
  }
  return t->order[at % n];
}

static void *room(struct lrl_ppo_trainer *t, int64_t n, size_t bytes) {
  return lrl_arena_host(&t->memory, (size_t)n * bytes);
}

/* This rank's share: positions rank, rank + n_ranks, ... */
static lrl_status choose(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                         struct lrl_ppo_experience *e) {
  const int64_t rank = lrl_comm_rank(t->comm), ranks = lrl_comm_size(t->comm);
  e->prompt = room(t, r->n / ranks + 1, sizeof *e->prompt);
  if (e->prompt == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = rank; i < r->n; i += ranks) {
    struct lrl_ppo_prompt *p = &e->prompt[e->n_prompts++];
    *p = (struct lrl_ppo_prompt){.position = i};
    lrl_prompts_get(r->from, r->shuffled ? drawn(t, r->first + i) : r->first + i, &p->data);
  }
  return LRL_OK;
}

/* ---- image tokens ---- */

/* The networks whose image tokens are needed, the policy first, and where they go. */
struct viewer {
  struct lrl_vlm *model;
  bool own_tower;
  void **images;
};
static int viewers(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e, struct viewer v[4]) {
  struct lrl_ppo_models *m = &t->models;
  struct lrl_ppo_network *others[] = {&m->critic, &m->reference};
  void **places[] = {&e->images[1], &e->reference_images};
  int n = 0;
  v[n++] = (struct viewer){&m->policy.model, false, &e->images[0]};
  for (int i = 0; i < 2; i++)
    if (others[i]->present && others[i]->vision != LRL_VISION_ALL)
      v[n++] = (struct viewer){&others[i]->model, others[i]->vision == LRL_VISION_OWN, places[i]};
  if (m->reward_same_tiles && m->reward_vision != LRL_VISION_ALL)
    v[n++] =
        (struct viewer){&m->reward->model, m->reward_vision == LRL_VISION_OWN, &e->reward_images};
  return n;
}

/* Rows [row, row + n_rows) of every viewer's image tokens, from the tiles of a prompt. */
static lrl_status embed(struct lrl_ppo_trainer *t, const struct lrl_prompt *p, const float *tiles,
                        const struct viewer *v, int n, int64_t row, int64_t n_rows) {
  struct lrl_tape tape;
  lrl_tape_init(&tape, &t->ctx, &t->steps, false);
  int32_t *grid = lrl_tape_host(&tape, (size_t)p->n_images * 2 * sizeof *grid);
  LRL_TRY(tape.status);
  for (int64_t k = 0; k < p->n_images; k++) {
    grid[k] = p->image[k].grid.rows;
    grid[p->n_images + k] = p->image[k].grid.cols;
  }
  const struct lrl_vlm_images images = {p->n_images, lrl_prompt_n_tiles(p), grid,
                                        grid + p->n_images, tiles};
  struct lrl_tensor *common = lrl_vlm_features(&tape, v[0].model, &images);
  for (int i = 0; i < n; i++) {
    struct lrl_tensor *merged =
        lrl_vlm_merged(&tape, v[i].model, &images, v[i].own_tower ? NULL : common);
    const struct lrl_tensor *x = lrl_vlm_project(&tape, v[i].model, merged);
    LRL_TRY(tape.status);
    if (x->rows != n_rows)
      return LRL_FAIL(LRL_ERR_SHAPE, "the images of %s, line %lld give %lld tokens instead of %lld",
                      p->file, (long long)p->line, (long long)x->rows, (long long)n_rows);
    const int64_t row_bytes = x->cols * lrl_dtype_bytes(x->dtype);
    lrl_move(&t->ctx, (char *)*v[i].images + row * row_bytes, x->data,
             (size_t)(n_rows * row_bytes));
  }
  return LRL_OK;
}

/* Of a plan, which has no files. */
static lrl_status blank(struct lrl_ppo_trainer *t, const struct lrl_prompt *p, float *tiles) {
  const int64_t pixels = 3 * (int64_t)t->images->tile * t->images->tile;
  lrl_zero(&t->ctx, tiles, (size_t)(lrl_prompt_n_tiles(p) * pixels) * sizeof *tiles);
  return LRL_OK;
}

/* Computes the image tokens of every prompt once. A prompt whose image is damaged is left out. */
static lrl_status see(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e) {
  struct viewer v[4];
  const int n_viewers = viewers(t, e, v);
  int64_t kept = 0;
  for (int64_t i = 0; i < e->n_prompts; i++) {
    struct lrl_ppo_prompt *p = &e->prompt[i];
    for (int64_t k = 0; k < p->data.n_images; k++)
      p->n_images += p->data.image[k].count;
    e->n_image_rows += p->n_images;
  }
  for (int k = 0; k < n_viewers && e->n_image_rows > 0; k++) {
    const struct lrl_vlm_config *c = &v[k].model->cfg;
    *v[k].images = lrl_arena_alloc(
        &t->memory, (size_t)(e->n_image_rows * c->decoder.hidden_size * lrl_dtype_bytes(c->dtype)));
    if (*v[k].images == NULL)
      return LRL_ERR_MEMORY;
  }
  int64_t row = 0;
  for (int64_t i = 0; i < e->n_prompts; i++) {
    struct lrl_ppo_prompt p = e->prompt[i];
    const int64_t tile = t->images == NULL ? 0 : 3 * (int64_t)t->images->tile * t->images->tile;
    lrl_status s = LRL_OK;
    p.first_image = row;
    if (p.n_images > 0) {
      float *tiles =
          lrl_arena_host(&t->steps, (size_t)(lrl_prompt_n_tiles(&p.data) * tile) * sizeof *tiles);
      s = tiles == NULL              ? LRL_ERR_MEMORY
          : t->images->tiles == NULL ? blank(t, &p.data, tiles)
                                     : lrl_prompt_tiles(&p.data, t->images, tiles);
      if (s == LRL_ERR_MEMORY)
        return s;
      if (s == LRL_OK)
        LRL_TRY(embed(t, &p.data, tiles, v, n_viewers, row, p.n_images));
      lrl_arena_reset(&t->steps, 0);
    }
    if (s != LRL_OK) {
      lrl_log(LRL_LOG_WARN, "ppo", "%s, line %lld is left out: %s", p.data.file,
              (long long)p.data.line, lrl_last_error());
      lrl_error_clear();
      e->n_aside++;
      continue;
    }
    row += p.n_images;
    e->prompt[kept++] = p;
  }
  e->n_prompts = kept;
  e->n_image_rows = row;
  return LRL_OK;
}

/* ---- responses ---- */

static lrl_status generate(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                           const struct lrl_ppo_experience *e, bool greedy,
                           struct lrl_generation *out) {
  const struct lrl_ppo_config *c = t->cfg;
  struct lrl_vlm *m = &t->models.policy.model;
  const struct lrl_lm lm = {&m->decoder, &m->params.units[m->head_unit], 0};
  const int64_t row_bytes = m->cfg.decoder.hidden_size * lrl_dtype_bytes(m->cfg.dtype);
  const struct lrl_gen_options options = {.temperature = greedy ? 0.0 : c->temperature,
                                          .top_p = c->top_p,
                                          .top_k = c->top_k,
                                          .repetition_penalty = c->repetition_penalty,
                                          .max_new_tokens = c->max_new_tokens,
                                          .stop_ids = t->stop,
                                          .n_stop_ids = t->n_stop,
                                          .seed = r->seed,
                                          .max_samples = c->max_samples};
  struct lrl_gen_prompt *p = room(t, e->n_prompts, sizeof *p);
  if (p == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < e->n_prompts; i++) {
    const struct lrl_ppo_prompt *q = &e->prompt[i];
    p[i] = (struct lrl_gen_prompt){
        .ids = q->data.ids,
        .n_ids = q->data.n_ids,
        .images = q->n_images == 0 ? NULL : (const char *)e->images[0] + q->first_image * row_bytes,
        .n_samples = greedy ? 1 : r->samples,
        .key = (uint64_t)(r->first + q->position)};
  }
  return lrl_generate(&t->ctx, &lm, &options, p, e->n_prompts, &t->memory, &t->steps, NULL, NULL,
                      out);
}

static lrl_status make_room(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e) {
  const int64_t n = e->n_responses, m = e->n_tokens;
  e->group = room(t, n, sizeof *e->group);
  e->start = room(t, n, sizeof *e->start);
  e->length = room(t, n, sizeof *e->length);
  e->finished = room(t, n, sizeof *e->finished);
  e->score = room(t, n, sizeof *e->score);
  e->gold = room(t, n, sizeof *e->gold);
  e->shaped = room(t, n, sizeof *e->shaped);
  e->token = room(t, m, sizeof *e->token);
  e->rollout_logprobs = room(t, m, sizeof(float));
  e->sampling_logprobs = room(t, m, sizeof(float));
  const bool all = e->group != NULL && e->start != NULL && e->length != NULL &&
                   e->finished != NULL && e->score != NULL && e->gold != NULL &&
                   e->shaped != NULL && e->token != NULL && e->rollout_logprobs != NULL &&
                   e->sampling_logprobs != NULL;
  return all ? LRL_OK : LRL_ERR_MEMORY;
}

/* The samples as responses, side by side, prompt by prompt. */
static lrl_status collect(struct lrl_ppo_trainer *t, const struct lrl_generation *g,
                          struct lrl_ppo_experience *e) {
  e->n_responses = g->n_samples;
  e->new_tokens = g->new_tokens;
  e->prefill_tokens = g->prefill_tokens;
  for (int64_t k = 0; k < g->n_samples; k++)
    e->n_tokens += g->sample[k].n;
  LRL_TRY(make_room(t, e));
  int64_t at = 0;
  for (int64_t k = 0; k < g->n_samples; k++) {
    const struct lrl_gen_sample *s = &g->sample[k];
    struct lrl_ppo_prompt *p = &e->prompt[s->prompt];
    p->first = p->n++ == 0 ? k : p->first;
    e->group[k] = (int32_t)s->prompt;
    e->start[k] = (int32_t)at;
    e->length[k] = (int32_t)s->n;
    e->finished[k] = s->finish == LRL_FINISH_STOP;
    memcpy(e->token + at, s->tokens, (size_t)s->n * sizeof *e->token);
    memcpy(e->rollout_logprobs + at, s->logprobs, (size_t)s->n * sizeof(float));
    memcpy(e->sampling_logprobs + at, s->sampling_logprobs, (size_t)s->n * sizeof(float));
    at += s->n;
  }
  return LRL_OK;
}

/* ReMax: the score of each prompt's greedy response, for all its samples. */
static lrl_status baselines(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                            struct lrl_ppo_experience *e) {
  struct lrl_generation g;
  LRL_TRY(generate(t, r, e, true, &g));
  double *score = room(t, g.n_samples, sizeof *score), *gold = room(t, g.n_samples, sizeof *gold);
  e->baseline = room(t, e->n_responses, sizeof *e->baseline);
  if (score == NULL || gold == NULL || e->baseline == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY(lrl_ppo_score(t, e, &g, score, gold));
  for (int64_t k = 0; k < e->n_responses; k++)
    e->baseline[k] = lrl_ppo_objective_score(t->cfg, score[e->group[k]], gold[e->group[k]]);
  return LRL_OK;
}

lrl_status lrl_ppo_respond(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                           struct lrl_ppo_experience *e, struct lrl_generation *g) {
  LRL_TRY(see(t, e));
  LRL_TRY(generate(t, r, e, false, g));
  return collect(t, g, e);
}

lrl_status lrl_ppo_rollout(struct lrl_ppo_trainer *t, const struct lrl_ppo_rollout *r,
                           struct lrl_ppo_experience *e) {
  struct lrl_generation g;
  double t0 = omp_get_wtime();
  *e = (struct lrl_ppo_experience){0};
  LRL_TRY(choose(t, r, e));
  LRL_TRY(lrl_ppo_respond(t, r, e, &g));
  t->seconds.gen = omp_get_wtime() - t0;
  t0 = omp_get_wtime();
  LRL_TRY(lrl_ppo_score(t, e, &g, e->score, e->gold));
  if (t->estimator.estimator == LRL_EST_REMAX && r->shuffled)
    LRL_TRY(baselines(t, r, e));
  t->seconds.score = omp_get_wtime() - t0;
  return LRL_OK;
}
