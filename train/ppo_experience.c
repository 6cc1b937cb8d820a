/* From responses and scores to advantages: log-probs of policy and reference and values by the very
 * passes that training makes, so that the ratio is exactly 1 before the first update. */
#include "train/ppo_trainer.h"

#include <math.h>
#include <omp.h>

/* One network over all responses. */
struct pass {
  struct lrl_vlm *model;
  const void *images;
  bool without_lora;
  float *out, *entropy; /* [n_tokens] of the host; entropy may be NULL */
};

static lrl_status micro_batch(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                              const struct pass *p, struct lrl_ppo_cursor *cursor,
                              struct lrl_ppo_slice *slices, float *out, bool *more) {
  int64_t n;
  struct lrl_tape tape;
  struct lrl_ppo_packed packed;
  struct lrl_tensor *entropy = NULL, *x;
  lrl_ppo_next(e, cursor, t->cfg->micro_batch_tokens, slices, &n);
  *more = n > 0;
  if (n == 0)
    return LRL_OK;
  lrl_tape_init(&tape, &t->ctx, &t->steps, false);
  LRL_TRY(lrl_ppo_pack(&tape, e, slices, n, p->model, p->images, &packed));
  const struct lrl_ppo_pass pass = {.images = packed.images,
                                    .temperature = (float)t->cfg->temperature,
                                    .without_lora = p->without_lora};
  if (p->model->cfg.head == LRL_VLM_SCORE)
    x = lrl_ppo_values(&tape, p->model, &packed.batch, &pass);
  else
    x = lrl_ppo_logprobs(&tape, p->model, &packed.batch, &pass,
                         p->entropy == NULL ? NULL : &entropy);
  LRL_TRY(tape.status);
  lrl_ppo_unpack(&t->ctx, e, slices, n, x->data, out);
  if (entropy != NULL)
    lrl_ppo_unpack(&t->ctx, e, slices, n, entropy->data, out + e->n_tokens);
  return LRL_OK;
}

static lrl_status run(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                      const struct pass *p, double *seconds) {
  const double t0 = omp_get_wtime();
  struct lrl_ppo_slice *slices =
      lrl_arena_host(&t->steps, (size_t)(e->n_prompts + 1) * sizeof *slices);
  int64_t *list = lrl_arena_host(&t->steps, (size_t)(e->n_prompts + 1) * sizeof *list);
  /* Read once, at the end: meanwhile the host runs ahead of the device. */
  const size_t bytes = (size_t)e->n_tokens * sizeof(float);
  float *out = lrl_arena_alloc(&t->steps, p->entropy != NULL ? 2 * bytes : bytes);
  if (slices == NULL || list == NULL || out == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < e->n_prompts; i++)
    list[i] = i;
  struct lrl_ppo_cursor cursor = {.prompts = list, .n = e->n_prompts};
  const size_t mark = lrl_arena_mark(&t->steps);
  for (bool more = true; more;) {
    LRL_TRY(micro_batch(t, e, p, &cursor, slices, out, &more));
    lrl_arena_reset(&t->steps, mark);
  }
  LRL_TRY(lrl_read(&t->ctx, p->out, out, bytes));
  if (p->entropy != NULL)
    LRL_TRY(lrl_read(&t->ctx, p->entropy, out + e->n_tokens, bytes));
  lrl_arena_reset(&t->steps, 0);
  *seconds = omp_get_wtime() - t0;
  return LRL_OK;
}

static float *room(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e) {
  return lrl_arena_host(&t->memory, (size_t)e->n_tokens * sizeof(float));
}

lrl_status lrl_ppo_logprobs_of(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e) {
  struct lrl_ppo_models *m = &t->models;
  float *old = room(t, e), *entropy = room(t, e), *ref = room(t, e);
  const struct pass policy = {
      .model = &m->policy.model, .images = e->images[0], .out = old, .entropy = entropy};
  struct pass reference = {
      .model = &m->policy.model, .images = e->images[0], .without_lora = true, .out = ref};
  if (old == NULL || entropy == NULL || ref == NULL)
    return LRL_ERR_MEMORY;
  if (!m->reference_without_lora) {
    reference.model = &m->reference.model;
    reference.without_lora = false;
    reference.images = m->reference.vision == LRL_VISION_ALL ? e->images[0] : e->reference_images;
  }
  LRL_TRY(run(t, e, &policy, &t->seconds.old));
  e->old_logprobs = old;
  e->entropy = entropy;
  LRL_TRY(run(t, e, &reference, &t->seconds.ref));
  e->ref_logprobs = ref;
  return LRL_OK;
}

static lrl_status values_of(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e) {
  struct lrl_ppo_network *critic = &t->models.critic;
  float *values = room(t, e);
  if (values == NULL)
    return LRL_ERR_MEMORY;
  const struct pass p = {.model = &critic->model,
                         .images = e->images[critic->vision == LRL_VISION_ALL ? 0 : 1],
                         .out = values};
  LRL_TRY(run(t, e, &p, &t->seconds.values));
  e->values = values;
  return LRL_OK;
}

/* Scores as the policy sees them, one a response. */
static lrl_status shape(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e, double *out) {
  const int64_t n = e->n_responses;
  struct lrl_group *groups =
      lrl_arena_host(&t->memory, (size_t)(e->n_prompts + 1) * sizeof *groups);
  if (groups == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t k = 0; k < n; k++)
    e->shaped[k] = lrl_ppo_objective_score(t->cfg, e->score[k], e->gold[k]);
  LRL_TRY(
      lrl_shape_scores(&t->scores, t->comm, &t->at.running, n, e->shaped, e->length, e->finished));
  return lrl_baseline_scores(&t->estimator, n, e->group, e->n_prompts, groups, e->length,
                             e->baseline, e->shaped, out);
}

lrl_status lrl_ppo_advantages(struct lrl_ppo_trainer *t, struct lrl_ppo_experience *e) {
  const struct lrl_ppo_config *c = t->cfg;
  const struct lrl_layout responses = lrl_ppo_responses(e);
  double *scores = lrl_arena_host(&t->memory, (size_t)e->n_responses * sizeof *scores);
  float *advantages = room(t, e), *returns = room(t, e), *kl = room(t, e), *rewards = room(t, e);
  if (scores == NULL || advantages == NULL || returns == NULL || kl == NULL || rewards == NULL)
    return LRL_ERR_MEMORY;
  if (t->models.critic.present)
    LRL_TRY(values_of(t, e));
  const double t0 = omp_get_wtime();
  LRL_TRY(shape(t, e, scores));
  LRL_TRY(lrl_approx_kl(
      &t->ctx, &(struct lrl_approx_kl_args){.layout = &responses,
                                            .estimator = (enum lrl_kl_estimator)c->kl_estimator,
                                            .diff_clamp = c->kl_diff_clamp,
                                            .kl_clamp = c->kl_clamp,
                                            .logprobs = e->old_logprobs,
                                            .ref_logprobs = e->ref_logprobs,
                                            .kl = kl}));
  lrl_token_rewards(&responses, NULL, kl, c->kl_in == LRL_KL_IN_REWARD ? t->at.kl.kl_coef : 0.0,
                    scores, rewards);
  if (c->whiten_rewards)
    LRL_TRY(lrl_whiten_all(&t->ctx, t->comm, (enum lrl_whiten_kind)c->whiten_kind, false,
                           e->n_tokens, NULL, rewards));
  LRL_TRY(lrl_advantages(&t->estimator, &t->ctx, t->comm, &responses, NULL, rewards, e->values,
                         advantages, returns));
  e->kl = kl;
  e->rewards = rewards;
  e->advantages = advantages;
  e->returns = returns;
  t->seconds.adv = omp_get_wtime() - t0;
  return LRL_OK;
}
