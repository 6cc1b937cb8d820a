/* An iteration of PPO with made-up prompts and responses, see plan_run.h. */
#include "model/param_build.h"
#include "train/plan_run.h"
#include "train/ppo_trainer.h"

#include <stdlib.h>
#include <string.h>

struct ppo_plan {
  struct lrl_ppo_trainer t; /* first: the trainer's callbacks get no more */
  const struct lrl_plan_setting *s;
  struct lrl_comm *made;
  const struct lrl_plan_ppo *networks;
  struct lrl_tokenizer_info info;
  struct lrl_batch ptx;   /* a micro-batch of answers */
  struct lrl_batch chats; /* what the reward model reads at once */
  int64_t chats_at_once;
  int32_t *ids;
  struct lrl_prompt_image image;
};

/* ---- networks ---- */

static lrl_status network(struct ppo_plan *p, struct lrl_ppo_network *n, enum lrl_vlm_head head,
                          bool train, int64_t lora_r) {
  n->options = *p->networks->model;
  n->options.lora_r = lora_r;
  n->data.form = 1; /* without a tokenizer: every token of an answer is learned */
  n->vision = LRL_VISION_ALL;
  LRL_TRY(lrl_ppo_network_build(&p->info, &n->options, head, train, &n->model));
  n->present = true;
  return LRL_OK;
}

static lrl_status reward_network(struct ppo_plan *p) {
  struct lrl_ppo_models *m = &p->t.models;
  struct lrl_vlm_config v;
  m->reward = calloc(1, sizeof *m->reward);
  if (m->reward == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the reward model");
  LRL_TRY(lrl_model_options_config(p->networks->model, &p->info, &v));
  v.train_decoder = v.train_vision = v.train_projector = false;
  LRL_TRY(lrl_ctx_init(&m->reward->ctx, p->s->device, (int)p->t.cfg->threads));
  LRL_TRY(lrl_arena_init(&m->reward->steps, "step memory", (size_t)1 << 40));
  m->reward_same_tiles = true;
  m->reward_vision = LRL_VISION_ALL;
  if (lrl_plan_of(&m->reward->ctx) != NULL)
    lrl_plan_of(&m->reward->ctx)->machine = p->s->machine;
  return lrl_vlm_init(&m->reward->model, &v);
}

static lrl_status networks(struct ppo_plan *p) {
  const struct lrl_ppo_config *c = p->t.cfg;
  struct lrl_ppo_models *m = &p->t.models;
  LRL_TRY(network(p, &m->policy, LRL_VLM_LANGUAGE, true, c->actor_lora_r));
  if (c->ema_beta > 0)
    LRL_TRY(lrl_ppo_ema_build(&p->info, &m->policy, &p->t.ctx, &m->ema));
  m->reference_without_lora = c->actor_lora_r > 0 && c->reference[0] == '\0';
  if (!m->reference_without_lora)
    LRL_TRY(network(p, &m->reference, LRL_VLM_LANGUAGE, false, 0));
  if (c->estimator == 0)
    LRL_TRY(network(p, &m->critic, LRL_VLM_SCORE, true, c->critic_lora_r));
  return c->reward_source != LRL_REWARD_SOURCE_GOLD ? reward_network(p) : LRL_OK;
}

/* ---- data ---- */

static lrl_status next_answers(struct lrl_ppo_trainer *t, const struct lrl_batch **b) {
  struct ppo_plan *p = (struct ppo_plan *)t;
  p->ptx.micro = (p->ptx.micro + 1) % p->ptx.n_micro;
  *b = &p->ptx;
  return LRL_OK;
}

static int64_t at_least_1(int64_t n) { return n > 1 ? n : 1; }

static lrl_status answers(struct ppo_plan *p) {
  const struct lrl_ppo_config *c = p->t.cfg;
  const int64_t mine = (c->ptx_batch_size + p->s->ranks - 1) / p->s->ranks;
  struct lrl_plan_batch b = {.n = 1, .prompt = c->ptx_max_length / 2};
  b.answer = c->ptx_max_length - b.prompt;
  b.n = c->micro_batch_tokens > 0 ? c->micro_batch_tokens / lrl_plan_batch_tokens(&b) : mine;
  b.n = at_least_1(b.n < mine ? b.n : mine);
  LRL_TRY(lrl_plan_batch_make(&b, &p->t.models.policy.model.cfg.vit, c->ptx_batch_size, &p->ptx));
  p->ptx.n_micro = (mine + b.n - 1) / b.n;
  p->ptx.micro = p->ptx.n_micro - 1;
  p->t.ptx_next = next_answers;
  return LRL_OK;
}

static lrl_status data(struct ppo_plan *p) {
  const struct lrl_plan_batch *b = &p->s->batch;
  const struct lrl_vit_config *vit = &p->t.models.policy.model.cfg.vit;
  enum { SCORED_AT_ONCE = 8192 }; /* tokens, as train/ppo_score.c */
  struct lrl_plan_batch chats = *b;
  p->chats_at_once =
      at_least_1((SCORED_AT_ONCE + b->prompt + b->answer - 1) / (b->prompt + b->answer));
  const struct lrl_ppo_config *c = p->t.cfg;
  const int64_t mine = (c->rollout_batch_size + p->s->ranks - 1) / p->s->ranks;
  if (p->chats_at_once > mine * c->samples_per_prompt)
    p->chats_at_once = mine * c->samples_per_prompt;
  chats.n = p->chats_at_once;
  chats.pairs = false;
  LRL_TRY(lrl_plan_batch_make(&chats, vit, 1, &p->chats));
  p->chats.n_images = p->chats.n_tiles = 0; /* the policy has seen them */
  p->ids = malloc((size_t)b->prompt * sizeof *p->ids);
  if (p->ids == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a prompt");
  if (b->rows > 0) {
    p->image.grid = (struct lrl_image_grid){.rows = (int32_t)b->rows, .cols = (int32_t)b->cols};
    p->image.count = lrl_vlm_image_tokens(vit, b->rows, b->cols);
    p->t.image_ops.tile = (int32_t)vit->image_size;
    p->t.images = &p->t.image_ops;
  }
  for (int64_t i = 0; i < b->prompt; i++)
    p->ids[i] = i < p->image.count ? -1 : 1;
  return c->ptx_coef > 0 ? answers(p) : LRL_OK;
}

/* ---- an iteration ---- */

static lrl_status prompts(struct ppo_plan *p, struct lrl_ppo_experience *e) {
  const int64_t n = p->t.cfg->rollout_batch_size, ranks = p->s->ranks;
  e->prompt = lrl_arena_host(&p->t.memory, (size_t)(n / ranks + 1) * sizeof *e->prompt);
  if (e->prompt == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < n; i += ranks)
    e->prompt[e->n_prompts++] = (struct lrl_ppo_prompt){.position = i,
                                                        .data = {.ids = p->ids,
                                                                 .n_ids = p->s->batch.prompt,
                                                                 .image = &p->image,
                                                                 .n_images = p->image.count > 0,
                                                                 .file = "plan"}};
  return LRL_OK;
}

static lrl_status scores(struct ppo_plan *p, const struct lrl_ppo_experience *e) {
  const struct lrl_vlm_config *c = &p->t.models.policy.model.cfg;
  const int64_t row = c->decoder.hidden_size * lrl_dtype_bytes(c->dtype);
  float *buffer = calloc((size_t)p->chats_at_once, sizeof *buffer);
  struct lrl_image_rows *seen = calloc((size_t)p->chats_at_once, sizeof *seen);
  lrl_status s =
      buffer != NULL && seen != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for scores");
  for (int64_t k = 0; k < e->n_responses && s == LRL_OK; k += p->chats_at_once) {
    for (int64_t i = 0; i < p->chats_at_once; i++) { /* the last batch is as full as the others */
      const int64_t of = k + i < e->n_responses ? k + i : k;
      const struct lrl_ppo_prompt *q = &e->prompt[e->group[of]];
      seen[i] =
          (struct lrl_image_rows){(const char *)e->images[0] + q->first_image * row, q->n_images};
    }
    s = lrl_reward_model_score_seen(p->t.models.reward, &p->chats, seen,
                                    p->image.count > 0 ? p->chats_at_once : 0, buffer);
  }
  free(buffer);
  free(seen);
  return s;
}

static lrl_status iteration(struct ppo_plan *p, struct lrl_plan_report *out) {
  struct lrl_ppo_trainer *t = &p->t;
  const struct lrl_ppo_config *c = t->cfg;
  const struct lrl_ppo_rollout r = {
      .n = c->rollout_batch_size, .samples = c->samples_per_prompt, .seed = (uint64_t)c->seed};
  struct lrl_plan *count = lrl_plan_of(&t->ctx);
  struct lrl_ppo_experience e = {0};
  struct lrl_ppo_update_report u;
  struct lrl_generation g;
  LRL_TRY(prompts(p, &e));
  lrl_plan_take(count, 0, &out->work); /* what building cost */
  LRL_TRY(lrl_ppo_respond(t, &r, &e, &g));
  memset(e.score, 0, (size_t)e.n_responses * sizeof *e.score);
  memset(e.gold, 0, (size_t)e.n_responses * sizeof *e.gold);
  lrl_plan_phase(count, "rollout", out);
  if (t->models.reward != NULL) {
    LRL_TRY(scores(p, &e));
    lrl_plan_phase(lrl_plan_of(&t->models.reward->ctx), "scores", out);
  }
  LRL_TRY(lrl_ppo_logprobs_of(t, &e));
  lrl_plan_phase(count, "log-probs of policy and reference", out);
  LRL_TRY(lrl_ppo_advantages(t, &e));
  lrl_plan_phase(count, "values and advantages", out);
  t->at.step = c->critic_warmup; /* the policy trains from then on */
  LRL_TRY(lrl_ppo_update(t, &e, 1e-6, 1e-6, &u));
  lrl_plan_phase(count, "updates", out);
  return LRL_OK;
}

/* ---- all of it ---- */

static lrl_status build(struct ppo_plan *p) {
  struct lrl_ppo_trainer *t = &p->t;
  LRL_TRY(lrl_plan_comm(p->s, t->cfg->nccl, &t->comm, &p->made));
  lrl_ppo_objectives(t);
  LRL_TRY(lrl_plan_vocabulary(p->networks->model, p->networks->tokenizer, &p->info));
  LRL_TRY(lrl_ctx_init(&t->ctx, p->s->device, (int)t->cfg->threads));
  if (lrl_plan_of(&t->ctx) != NULL)
    lrl_plan_of(&t->ctx)->machine = p->s->machine;
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)1 << 40));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)4 << 40));
  LRL_TRY(lrl_arena_init(&t->memory, "responses and cache", (size_t)1 << 40));
  LRL_TRY(networks(p));
  LRL_TRY(data(p));
  return lrl_ppo_optimizers(t);
}

static void measure(struct lrl_ppo_trainer *t, struct lrl_plan_bytes *b) {
  const struct lrl_ppo_models *m = &t->models;
  const struct lrl_ppo_network *all[] = {&m->policy, &m->reference, &m->critic, &m->ema};
  for (int i = 0; i < 4; i++)
    b->weights += all[i]->model.weights.peak;
  b->activations = t->steps.peak;
  b->cache = t->memory.peak;
  b->scratch = t->ctx.scratch.peak;
  if (m->reward != NULL) {
    b->weights += m->reward->model.weights.peak;
    b->activations += m->reward->steps.peak;
    b->scratch += m->reward->ctx.scratch.peak;
  }
  lrl_plan_optimizer_bytes(&t->actor, b);
  if (m->critic.present)
    lrl_plan_optimizer_bytes(&t->value, b);
  b->gradients = t->state.peak - b->optimizer;
}

static void tear_down(struct ppo_plan *p) {
  struct lrl_ppo_trainer *t = &p->t;
  lrl_optimizer_destroy(&t->actor);
  lrl_optimizer_destroy(&t->value);
  lrl_ppo_models_close(&t->models);
  lrl_arena_free(&t->steps);
  lrl_arena_free(&t->state);
  lrl_arena_free(&t->memory);
  if (t->ctx.backend != NULL)
    lrl_ctx_free(&t->ctx);
  lrl_comm_destroy(p->made);
  lrl_plan_batch_free(&p->ptx);
  lrl_plan_batch_free(&p->chats);
  free(p->ids);
  free(p);
}

lrl_status lrl_plan_ppo(const struct lrl_ppo_config *cfg, const struct lrl_plan_ppo *networks_,
                        const struct lrl_plan_setting *s, struct lrl_plan_report *out) {
  struct ppo_plan *p = calloc(1, sizeof *p);
  *out = (struct lrl_plan_report){0};
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  p->t.cfg = cfg;
  p->s = s;
  p->networks = networks_;
  lrl_status status = build(p);
  if (status == LRL_OK)
    status = iteration(p, out);
  if (status == LRL_OK) {
    lrl_plan_count_params(&p->t.models.policy.model.params, out);
    if (lrl_plan_of(&p->t.ctx) != NULL)
      out->traffic = lrl_plan_of(&p->t.ctx)->traffic;
    measure(&p->t, &out->bytes);
  }
  tear_down(p);
  return status;
}
