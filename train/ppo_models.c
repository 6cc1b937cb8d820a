#include "train/ppo_models.h"

#include "model/param_build.h"
#include "train/checkpoint.h"
#include "train/judge.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct options {
  struct lrl_model_options model;
  struct lrl_data_options data;
};
static const struct lrl_option rows[] = {LRL_MODEL_OPTION_ROWS(struct options, model),
                                         LRL_DATA_OPTION_ROWS(struct options, data)};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

/* A checkpoint being read. */
struct source {
  struct lrl_checkpoint *c;
  char path[LRL_OPTION_TEXT + 96];
  enum lrl_vlm_head head;
  struct options o;
  struct lrl_tokenizer *tokenizer;
};

static void source_close(struct source *s) {
  lrl_checkpoint_close(s->c);
  lrl_tokenizer_close(s->tokenizer);
}

/* Describes the checkpoint; weights come later. */
static lrl_status source_open(struct source *s, const char *path) {
  char *kind = NULL, *config = NULL;
  lrl_status status;
  *s = (struct source){.head = LRL_VLM_LANGUAGE};
  LRL_TRY_GOTO(lrl_checkpoint_find(path, s->path, sizeof s->path));
  LRL_TRY_GOTO(lrl_checkpoint_open(s->path, NULL, &s->c));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(s->c, "kind", &kind));
  if (strcmp(kind, "reward") == 0)
    s->head = LRL_VLM_SCORE;
  else if (strcmp(kind, "language") != 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s is a %s model, PPO wants a language or reward model",
                          s->path, kind));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(s->c, "config", &config));
  lrl_config_defaults(&table, &s->o);
  LRL_TRY_GOTO(lrl_config_parse_text(&table, &s->o, config, s->path));
  LRL_TRY_GOTO(lrl_checkpoint_get_tokenizer(s->c, &s->tokenizer));
done:
  free(kind);
  free(config);
  return status;
}

lrl_status lrl_ppo_network_build(const struct lrl_tokenizer_info *tokenizer,
                                 const struct lrl_model_options *o, enum lrl_vlm_head head,
                                 bool train, struct lrl_vlm *m) {
  struct lrl_vlm_config v;
  LRL_TRY(lrl_model_options_config(o, tokenizer, &v));
  v.head = head;
  v.train_decoder = train;
  v.train_vision = v.train_projector = false;
  /* The base of a LoRA policy is its reference, so its head stays. */
  v.freeze_head = !train || (head == LRL_VLM_LANGUAGE && o->lora_r > 0);
  LRL_TRY(lrl_vlm_init(m, &v));
  if (m->gn_unit >= 0)
    m->params.units[m->gn_unit].trainable = false;
  return LRL_OK;
}

lrl_status lrl_ppo_ema_build(const struct lrl_tokenizer_info *tokenizer,
                             const struct lrl_ppo_network *policy, struct lrl_ctx *ctx,
                             struct lrl_ppo_network *ema) {
  *ema = (struct lrl_ppo_network){.options = policy->options, .data = policy->data};
  ema->options.dtype = 0; /* in bf16 a small step would be lost */
  LRL_TRY(lrl_ppo_network_build(tokenizer, &ema->options, LRL_VLM_LANGUAGE, false, &ema->model));
  ema->present = true;
  for (int u = 0; u < policy->model.params.n_units; u++) {
    const struct lrl_param_unit *from = &policy->model.params.units[u];
    struct lrl_param_unit *to = &ema->model.params.units[u];
    LRL_TRY(lrl_cast(
        ctx,
        &(struct lrl_cast_args){
            .n = from->n, .from = from->dtype, .to = LRL_F32, .x = from->data, .y = to->data}));
    to->version++;
  }
  return LRL_OK;
}

/* Values of every parameter that both have under one name. */
static void copy_weights(struct lrl_ctx *ctx, struct lrl_vlm *to, struct lrl_vlm *from) {
  for (int u = 0; u < to->params.n_units; u++) {
    struct lrl_param_unit *unit = &to->params.units[u], *other;
    const int64_t bytes = lrl_dtype_bytes(unit->dtype);
    for (int i = 0; i < unit->n_params; i++) {
      const struct lrl_param *p = &unit->params[i];
      const struct lrl_param *q = lrl_param_find(&from->params, p->name, &other);
      if (q != NULL && q->n == p->n && other->dtype == unit->dtype)
        lrl_move(ctx, (char *)unit->data + p->offset * bytes,
                 (char *)other->data + q->offset * bytes, (size_t)(p->n * bytes));
    }
    unit->version++;
  }
}

static void clear_head(struct lrl_ctx *ctx, struct lrl_vlm *m) {
  struct lrl_param_unit *head = &m->params.units[m->head_unit];
  lrl_zero(ctx, head->data, (size_t)(head->n * lrl_dtype_bytes(head->dtype)));
  head->version++;
}

/* The saved weights into m, whose network may have other adapters or another head: what is saved
 * with adapters is merged, a missing head is zero. */
static lrl_status load(struct source *s, struct lrl_ctx *ctx, struct lrl_vlm *m) {
  if (s->o.model.lora_r == 0 && s->head == m->cfg.head)
    return lrl_checkpoint_get_params(s->c, "model", &m->params);
  struct lrl_vlm saved;
  LRL_TRY(
      lrl_ppo_network_build(lrl_tokenizer_info(s->tokenizer), &s->o.model, s->head, false, &saved));
  lrl_status status = lrl_checkpoint_get_params(s->c, "model", &saved.params);
  if (status == LRL_OK && s->o.model.lora_r > 0)
    status = lrl_decoder_merge_lora(ctx, &saved.decoder);
  if (status == LRL_OK) {
    clear_head(ctx, m);
    copy_weights(ctx, m, &saved);
  }
  lrl_vlm_free(&saved);
  return status;
}

static lrl_status network(struct lrl_ppo_network *n, struct source *s, struct lrl_ctx *ctx,
                          enum lrl_vlm_head head, bool train, int64_t lora_r, double lora_alpha,
                          uint64_t seed) {
  n->options = s->o.model;
  n->data = s->o.data;
  n->options.lora_r = lora_r;
  n->options.lora_alpha = lora_alpha;
  LRL_TRY(
      lrl_ppo_network_build(lrl_tokenizer_info(s->tokenizer), &n->options, head, train, &n->model));
  n->present = true;
  LRL_TRY(lrl_param_set_init(&n->model.params, seed));
  return load(s, ctx, &n->model);
}

static lrl_status same_tokenizer(const struct lrl_ppo_models *m, const struct source *s,
                                 const char *what) {
  size_t a, b;
  const void *x = lrl_tokenizer_model_bytes(m->tokenizer, &a);
  const void *y = lrl_tokenizer_model_bytes(s->tokenizer, &b);
  if (a == b && memcmp(x, y, a) == 0)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_ARG,
                  "the %s (%s) has another tokenizer than the policy, whose tokens it must read",
                  what, s->path);
}

static lrl_status open_policy(struct lrl_ppo_models *m, const struct lrl_ppo_config *c,
                              struct lrl_ctx *ctx) {
  struct source s;
  lrl_status status;
  if (c->policy[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "actor.init_from names no language model");
  LRL_TRY_GOTO(source_open(&s, c->policy));
  if (s.head != LRL_VLM_LANGUAGE)
    LRL_TRY_GOTO(
        LRL_FAIL(LRL_ERR_ARG, "actor.init_from (%s) is a reward model, it cannot write", s.path));
  m->tokenizer = s.tokenizer;
  LRL_TRY_GOTO(network(&m->policy, &s, ctx, LRL_VLM_LANGUAGE, true, c->actor_lora_r,
                       c->actor_lora_alpha, (uint64_t)c->seed));
  if (c->ema_beta > 0)
    LRL_TRY_GOTO(lrl_ppo_ema_build(lrl_tokenizer_info(s.tokenizer), &m->policy, ctx, &m->ema));
done:
  s.tokenizer = NULL;
  source_close(&s);
  return status;
}

static lrl_status open_reference(struct lrl_ppo_models *m, const struct lrl_ppo_config *c,
                                 struct lrl_ctx *ctx) {
  struct source s;
  lrl_status status;
  m->reference_without_lora = c->actor_lora_r > 0 && c->reference[0] == '\0';
  if (m->reference_without_lora)
    return LRL_OK;
  LRL_TRY_GOTO(source_open(&s, c->reference[0] != '\0' ? c->reference : c->policy));
  if (s.head != LRL_VLM_LANGUAGE)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG, "ref.init_from (%s) is a reward model", s.path));
  LRL_TRY_GOTO(same_tokenizer(m, &s, "reference"));
  LRL_TRY_GOTO(network(&m->reference, &s, ctx, LRL_VLM_LANGUAGE, false, 0, 1, 0));
done:
  source_close(&s);
  return status;
}

static lrl_status open_critic(struct lrl_ppo_models *m, const struct lrl_ppo_config *c,
                              struct lrl_ctx *ctx) {
  const char *path = c->critic[0] != '\0'         ? c->critic
                     : c->reward_model[0] != '\0' ? c->reward_model
                                                  : c->policy;
  struct source s;
  lrl_status status;
  LRL_TRY_GOTO(source_open(&s, path));
  LRL_TRY_GOTO(same_tokenizer(m, &s, "critic"));
  LRL_TRY_GOTO(network(&m->critic, &s, ctx, LRL_VLM_SCORE, true, c->critic_lora_r,
                       c->critic_lora_alpha, (uint64_t)c->seed));
  if (c->critic_reset_head)
    clear_head(ctx, &m->critic.model);
done:
  source_close(&s);
  return status;
}

static lrl_status share_vision(const struct lrl_ppo_models *m, struct lrl_ppo_network *n,
                               const char *what) {
  if (!n->present || !m->policy.model.cfg.has_vision)
    return LRL_OK;
  if (!n->model.cfg.has_vision)
    return LRL_FAIL(LRL_ERR_ARG, "the policy sees images, the %s does not", what);
  n->vision = lrl_vlm_share_vision(&n->model, &m->policy.model);
  return LRL_OK;
}

/* Scoring has its own geometry of images (train/judge.h). */
static void see_with(struct lrl_ppo_models *m) {
  const struct lrl_ppo_network *p = &m->policy;
  const struct lrl_image_ops_options a = lrl_reward_image_options(&p->options, &p->data);
  if (m->reward == NULL || !p->model.cfg.has_vision || !m->reward->model.cfg.has_vision)
    return;
  struct lrl_image_ops_options b;
  lrl_judge_image_options(m->reward, &(struct lrl_judge_options){0}, &b);
  m->reward_same_tiles = a.tile == b.tile && a.patch == b.patch && a.hd_num == b.hd_num &&
                         a.mode == b.mode && a.video_frames == b.video_frames &&
                         a.video_fps == b.video_fps;
  m->reward_vision = lrl_vlm_share_vision(&m->reward->model, &p->model);
}

lrl_status lrl_ppo_models_open(struct lrl_ppo_models *m, const struct lrl_ppo_config *c,
                               struct lrl_ctx *ctx) {
  const bool scores = c->reward_source != LRL_REWARD_SOURCE_GOLD;
  if (scores && c->reward_model[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "reward.model names no reward model (or set reward.source=gold)");
  LRL_TRY(open_policy(m, c, ctx));
  LRL_TRY(open_reference(m, c, ctx));
  if (c->estimator == 0)
    LRL_TRY(open_critic(m, c, ctx));
  if (c->reward_model[0] != '\0')
    LRL_TRY(lrl_saved_model_open(c->reward_model, "reward", lrl_device_name(c->device),
                                 (int)c->threads, &m->reward));
  /* The host compares weights: what load() made on the device was done when it freed its own. */
  LRL_TRY(share_vision(m, &m->reference, "reference"));
  LRL_TRY(share_vision(m, &m->critic, "critic"));
  see_with(m);
  return LRL_OK;
}

void lrl_ppo_models_settle(struct lrl_ppo_models *m) {
  struct lrl_ppo_network *all[] = {&m->policy, &m->reference, &m->critic, &m->ema};
  for (int i = 0; i < 4; i++)
    if (all[i]->present)
      lrl_arena_settle(&all[i]->model.weights);
  if (m->reward != NULL)
    lrl_arena_settle(&m->reward->model.weights);
}

void lrl_ppo_models_close(struct lrl_ppo_models *m) {
  struct lrl_ppo_network *all[] = {&m->policy, &m->reference, &m->critic, &m->ema};
  for (int i = 0; i < 4; i++)
    if (all[i]->present)
      lrl_vlm_free(&all[i]->model);
  lrl_saved_model_close(m->reward);
  lrl_tokenizer_close(m->tokenizer);
  *m = (struct lrl_ppo_models){0};
}

/* The keys of struct lrl_data_options that belong to a model. */
static const struct lrl_option image_rows[] = {
    LRL_MODEL_OPTION_ROWS(struct options, model),
    LRL_ROW_ENUM("data.image_transform", LRL_DATA_AT(struct options, data, image_transform),
                 "training", "training|inference", ""),
    LRL_ROW_INT("data.hd_num", LRL_DATA_AT(struct options, data, hd_num), "9", 1, 1000, "", ""),
    LRL_ROW_INT("data.max_pixels", LRL_DATA_AT(struct options, data, max_pixels), "178956970", 1,
                4e9, "", ""),
};
char *lrl_ppo_policy_config(const struct lrl_ppo_network *policy) {
  const struct lrl_option_table t = {image_rows, sizeof image_rows / sizeof image_rows[0]};
  struct options o = {.model = policy->options, .data = policy->data};
  return lrl_config_text(&t, &o);
}

uint64_t lrl_ppo_reference_hash(const struct lrl_ppo_models *m) {
  const struct lrl_ppo_network *n = m->reference.present ? &m->reference : &m->policy;
  uint64_t h = 0;
  for (int u = 0; u < n->model.params.n_units; u++) {
    const struct lrl_param_unit *unit = &n->model.params.units[u];
    if (!unit->trainable)
      h = XXH64(unit->data, (size_t)(unit->n * lrl_dtype_bytes(unit->dtype)), h);
  }
  return h;
}
