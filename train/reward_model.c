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
      .video_frames = data->video_frames,
      .video_fps = data->video_fps,
  };
}

static lrl_status read_model(struct lrl_reward_model *m, struct lrl_checkpoint *c,
                             const char *device, int threads) {
  const struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  char *kind = NULL, *config = NULL;
  struct lrl_vlm_config v;
  lrl_status status;
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "kind", &kind));
  if (strcmp(kind, "reward") != 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s is not a reward model", m->path));
  LRL_TRY_GOTO(lrl_checkpoint_get_text(c, "config", &config));
  lrl_config_defaults(&table, &m->cfg);
  LRL_TRY_GOTO(lrl_config_parse_text(&table, &m->cfg, config, m->path));
  LRL_TRY_GOTO(lrl_checkpoint_get_tokenizer(c, &m->tokenizer));
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

/* Puts the rows side by side and finds where they stand. */
static lrl_status place(struct lrl_tape *tape, const struct lrl_reward_model *m,
                        const struct lrl_batch *b, const struct lrl_image_rows *images,
                        int64_t n_images, struct lrl_vlm_input *in) {
  const int64_t hidden = m->model.cfg.decoder.hidden_size;
  int64_t n = 0;
  for (int64_t i = 0; i < n_images; i++)
    n += images[i].n_rows;
  struct lrl_tensor *x = lrl_tensor_new(tape, m->model.cfg.dtype, n, hidden);
  int32_t *row = lrl_tape_alloc(tape, (size_t)n * sizeof *row);
  LRL_TRY(tape->status);
  char *to = x->data;
  for (int64_t i = 0; i < n_images; i++) {
    const size_t bytes = (size_t)(images[i].n_rows * hidden * lrl_dtype_bytes(x->dtype));
    lrl_move(tape->ctx, to, images[i].rows, bytes);
    to += bytes;
  }
  for (int64_t t = 0; t < b->n_tokens; t++)
    if (b->im_mask[t] != 0) {
      if (in->n_image_rows == n)
        return LRL_FAIL(LRL_ERR_SHAPE, "the chats have more than the %lld image tokens given",
                        (long long)n);
      row[in->n_image_rows++] = (int32_t)t;
    }
  if (in->n_image_rows != n)
    return LRL_FAIL(LRL_ERR_SHAPE, "%lld image tokens were given for chats that have %lld",
                    (long long)n, (long long)in->n_image_rows);
  in->image_embeds = x;
  in->image_rows = row;
  return LRL_OK;
}

lrl_status lrl_reward_model_score(struct lrl_reward_model *m, const struct lrl_batch *b,
                                  float *scores) {
  return lrl_reward_model_score_seen(m, b, NULL, 0, scores);
}

lrl_status lrl_reward_model_score_seen(struct lrl_reward_model *m, const struct lrl_batch *b,
                                       const struct lrl_image_rows *images, int64_t n_images,
                                       float *scores) {
  struct lrl_tape tape;
  struct lrl_vlm_input in;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  lrl_status status;
  LRL_TRY_GOTO(lrl_feed(&tape, &m->model, b, &(struct lrl_feed_options){0}, &in));
  if (n_images > 0)
    LRL_TRY_GOTO(place(&tape, m, b, images, n_images, &in));
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
