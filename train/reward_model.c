#include "train/reward_model.h"

#include "train/feed.h"

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

/* Puts the rows side by side and finds where they stand. */
static lrl_status place(struct lrl_tape *tape, const struct lrl_saved_model *m,
                        const struct lrl_batch *b, const struct lrl_image_rows *images,
                        int64_t n_images, struct lrl_vlm_input *in) {
  const int64_t hidden = m->model.cfg.decoder.hidden_size;
  int64_t n = 0;
  for (int64_t i = 0; i < n_images; i++)
    n += images[i].n_rows;
  struct lrl_tensor *x = lrl_tensor_new(tape, m->model.cfg.dtype, n, hidden);
  int32_t *row = lrl_tape_host(tape, (size_t)n * sizeof *row);
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

lrl_status lrl_reward_model_score(struct lrl_saved_model *m, const struct lrl_batch *b,
                                  float *scores) {
  return lrl_reward_model_score_seen(m, b, NULL, 0, scores);
}

lrl_status lrl_reward_model_score_seen(struct lrl_saved_model *m, const struct lrl_batch *b,
                                       const struct lrl_image_rows *images, int64_t n_images,
                                       float *scores) {
  struct lrl_tape tape;
  struct lrl_vlm_input in;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  lrl_status status;
  LRL_TRY_GOTO(lrl_feed(&tape, &m->model, b, &(struct lrl_feed_options){0}, &in));
  if (n_images > 0)
    LRL_TRY_GOTO(place(&tape, m, b, images, n_images, &in));
  int32_t *seqs = lrl_tape_host(&tape, (size_t)b->n_seqs * sizeof *seqs);
  LRL_TRY_GOTO(tape.status);
  for (int64_t i = 0; i < b->n_seqs; i++)
    seqs[i] = (int32_t)i;
  in.n_scores = b->n_seqs;
  in.score_rows = b->last_row;
  in.score_seqs = seqs;
  struct lrl_tensor *s = lrl_vlm_scores(&tape, &m->model, &in);
  LRL_TRY_GOTO(tape.status);
  LRL_TRY_GOTO(lrl_read(&m->ctx, scores, s->data, (size_t)b->n_seqs * sizeof *scores));
done:
  lrl_arena_reset(&m->steps, 0);
  return status;
}
