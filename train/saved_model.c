#include "train/saved_model.h"

#include "train/reward_config.h"

#include <stdlib.h>
#include <string.h>

struct options {
  struct lrl_model_options model;
  struct lrl_data_options data;
};
static const struct lrl_option rows[] = {LRL_MODEL_OPTION_ROWS(struct options, model),
                                         LRL_DATA_OPTION_ROWS(struct options, data)};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

lrl_status lrl_language_model_put(struct lrl_checkpoint *c, struct lrl_ctx *ctx, const char *config,
                                  const struct lrl_tokenizer *tokenizer,
                                  struct lrl_param_set *params) {
  size_t n;
  const void *bytes = lrl_tokenizer_model_bytes(tokenizer, &n);
  LRL_TRY(lrl_checkpoint_put_text(c, "kind", "language"));
  LRL_TRY(lrl_checkpoint_put_text(c, "config", config));
  LRL_TRY(lrl_checkpoint_put_blob(c, "tokenizer", bytes, n));
  return lrl_checkpoint_put_params(c, ctx, "model", params);
}

struct lrl_lm lrl_language_model_lm(struct lrl_vlm *m) {
  return (struct lrl_lm){&m->decoder, &m->params.units[m->head_unit], 0};
}

static lrl_status read_config(struct lrl_saved_model *m, const char *text, bool reward) {
  if (reward) {
    const struct lrl_option_table all = {lrl_reward_options, lrl_n_reward_options};
    struct lrl_reward_config r;
    lrl_config_defaults(&all, &r);
    LRL_TRY(lrl_config_parse_text(&all, &r, text, m->path));
    m->options = r.common.model;
    m->data = r.common.data;
    return LRL_OK;
  }
  struct options o;
  lrl_config_defaults(&table, &o);
  LRL_TRY(lrl_config_parse_text(&table, &o, text, m->path));
  m->options = o.model;
  m->data = o.data;
  return LRL_OK;
}

static lrl_status read_model(struct lrl_saved_model *m, struct lrl_checkpoint *c,
                             const char *wanted, const char *device, int threads) {
  char *kind = NULL, *config = NULL;
  struct lrl_vlm_config v;
  lrl_status status;
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "kind", &kind));
  if (strcmp(kind, wanted) != 0)
    LRL_TRY_GOTO(
        LRL_FAIL(LRL_ERR_FORMAT, "%s is a %s model, not a %s model", m->path, kind, wanted));
  const bool reward = strcmp(kind, "reward") == 0;
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &config));
  LRL_TRY_GOTO(read_config(m, config, reward));
  LRL_TRY_GOTO(lrl_checkpoint_get_tokenizer(c, &m->tokenizer));
  LRL_TRY_GOTO(lrl_model_options_config(&m->options, lrl_tokenizer_info(m->tokenizer), &v));
  v.train_decoder = v.train_vision = v.train_projector = false;
  if (!reward) {
    v.head = LRL_VLM_LANGUAGE;
    v.freeze_head = true;
  }
  LRL_TRY_GOTO(lrl_ctx_init(&m->ctx, device, threads));
  LRL_TRY_GOTO(lrl_arena_init(&m->steps, "step memory", (size_t)256 << 30));
  LRL_TRY_GOTO(lrl_vlm_init(&m->model, &v));
  LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "model", &m->model.params));
  lrl_arena_settle(&m->model.weights);
done:
  free(kind);
  free(config);
  return status;
}

lrl_status lrl_saved_model_open(const char *path, const char *kind, const char *device, int threads,
                                struct lrl_saved_model **out) {
  struct lrl_saved_model *m = calloc(1, sizeof *m);
  struct lrl_checkpoint *c = NULL;
  lrl_status status;
  *out = NULL;
  if (m == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the model");
  LRL_TRY_GOTO(lrl_checkpoint_find(path, m->path, sizeof m->path));
  LRL_TRY_GOTO(lrl_checkpoint_open(m->path, NULL, &c));
  LRL_TRY_GOTO(read_model(m, c, kind, device, threads));
  *out = m;
done:
  lrl_checkpoint_close(c);
  if (status != LRL_OK)
    lrl_saved_model_close(m);
  return status;
}

void lrl_saved_model_close(struct lrl_saved_model *m) {
  if (m == NULL)
    return;
  lrl_vlm_free(&m->model);
  lrl_arena_free(&m->steps);
  if (m->ctx.backend != NULL)
    lrl_ctx_free(&m->ctx);
  lrl_tokenizer_close(m->tokenizer);
  free(m);
}
