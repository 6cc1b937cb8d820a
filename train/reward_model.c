#include "train/reward_model.h"

#include "train/checkpoint.h"
#include "train/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lrl_image_ops_options lrl_reward_image_options(const struct lrl_model_options *model,
                                                      const struct lrl_data_options *data) {
  return (struct lrl_image_ops_options){
      .tile = (int32_t)model->image_size,
      .patch = (int32_t)model->patch_size,
      .hd_num = (int32_t)data->hd_num,
      .mode = data->image_transform == 0 ? LRL_IMAGE_TRAINING : LRL_IMAGE_INFERENCE,
      .max_pixels = data->max_pixels,
  };
}

static lrl_status read_model(struct lrl_reward_model *m, struct lrl_checkpoint *c,
                             const char *device, int threads) {
  const struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  char *kind = NULL, *config = NULL;
  void *tokenizer = NULL;
  size_t n_tokenizer;
  struct lrl_vlm_config v;
  lrl_status status;
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "kind", &kind));
  if (strcmp(kind, "reward") != 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s is not a reward model", m->path));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &config));
  lrl_config_defaults(&table, &m->cfg);
  LRL_TRY_GOTO(lrl_config_parse_text(&table, &m->cfg, config, m->path));
  LRL_TRY_GOTO(lrl_checkpoint_get_blob(c, "tokenizer", &tokenizer, &n_tokenizer));
  LRL_TRY_GOTO(lrl_tokenizer_open_bytes(tokenizer, n_tokenizer, m->path, NULL, &m->tokenizer));
  LRL_TRY_GOTO(
      lrl_model_options_config(&m->cfg.common.model, lrl_tokenizer_info(m->tokenizer), &v));
  v.train_decoder = v.train_vision = v.train_projector = false;
  LRL_TRY_GOTO(lrl_ctx_init(&m->ctx, device, threads));
  LRL_TRY_GOTO(lrl_arena_init(&m->steps, "step memory", (size_t)256 << 30));
  LRL_TRY_GOTO(lrl_vlm_init(&m->model, &v));
  LRL_TRY_GOTO(lrl_checkpoint_get_params(c, "model", &m->model.params));
done:
  free(kind);
  free(config);
  free(tokenizer);
  return status;
}

lrl_status lrl_reward_model_open(const char *path, const char *device, int threads,
                                 struct lrl_reward_model **out) {
  struct lrl_reward_model *m = calloc(1, sizeof *m);
  struct lrl_checkpoint *c = NULL;
  lrl_status status;
  *out = NULL;
  if (m == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the model");
  LRL_TRY_GOTO(lrl_checkpoint_find(path, m->path, sizeof m->path));
  LRL_TRY_GOTO(lrl_checkpoint_open(m->path, NULL, &c));
  LRL_TRY_GOTO(read_model(m, c, device, threads));
  *out = m;
done:
  lrl_checkpoint_close(c);
  if (status != LRL_OK)
    lrl_reward_model_close(m);
  return status;
}

void lrl_reward_model_close(struct lrl_reward_model *m) {
  if (m == NULL)
    return;
  lrl_vlm_free(&m->model);
  lrl_arena_free(&m->steps);
  if (m->ctx.backend != NULL)
    lrl_ctx_free(&m->ctx);
  lrl_tokenizer_close(m->tokenizer);
  free(m);
}

lrl_status lrl_reward_model_score(struct lrl_reward_model *m, const struct lrl_batch *b,
                                  float *scores) {
  struct lrl_tape tape;
  struct lrl_vlm_input in;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  lrl_status status;
  LRL_TRY_GOTO(lrl_feed(&tape, &m->model, b, &(struct lrl_feed_options){0}, &in));
  int32_t *seqs = lrl_tape_alloc(&tape, (size_t)b->n_seqs * sizeof *seqs);
  LRL_TRY_GOTO(tape.status);
  for (int64_t i = 0; i < b->n_seqs; i++)
    seqs[i] = (int32_t)i;
  in.n_scores = b->n_seqs;
  in.score_rows = b->last_row;
  in.score_seqs = seqs;
  struct lrl_tensor *s = lrl_vlm_scores(&tape, &m->model, &in);
  LRL_TRY_GOTO(tape.status);
  memcpy(scores, s->data, (size_t)b->n_seqs * sizeof *scores);
done:
  lrl_arena_reset(&m->steps, 0);
  return status;
}
