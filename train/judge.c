#include "train/judge.h"

void lrl_judge_image_options(const struct lrl_saved_model *model,
                             const struct lrl_judge_options *options,
                             struct lrl_image_ops_options *out) {
  *out = lrl_reward_image_options(&model->options, &model->data);
  out->mode = options->training_geometry ? LRL_IMAGE_TRAINING : LRL_IMAGE_INFERENCE;
  out->hd_num = options->hd_num > 0 ? (int32_t)options->hd_num : out->hd_num;
}

lrl_status lrl_judge_init(struct lrl_judge *j, struct lrl_saved_model *model,
                          const struct lrl_judge_options *options) {
  const struct lrl_image_ops *images = NULL;
  *j = (struct lrl_judge){.model = model};
  if (model->model.cfg.has_vision) {
    struct lrl_image_ops_options o;
    lrl_judge_image_options(model, options, &o);
    LRL_TRY(lrl_image_ops_init(&j->images, &o));
    images = &j->images;
  }
  lrl_batch_builder_init(&j->batch, images);
  j->chat = (struct lrl_chat_options){
      .form = lrl_data_options_template(&model->data),
      .mode = LRL_CHAT_SCORING,
      .suffix = model->data.reward_suffix == 0 ? LRL_CHAT_REWARD : LRL_CHAT_REWARD_NO_NEWLINE,
      .pack = LRL_PACK_REWARD,
      .max_length = options->max_length};
  return LRL_OK;
}

void lrl_judge_free(struct lrl_judge *j) {
  lrl_batch_builder_free(&j->batch);
  lrl_buffer_free(&j->seen);
  lrl_image_ops_free(&j->images);
}

lrl_status lrl_judge_add(struct lrl_judge *j, const struct lrl_message *messages,
                         int64_t n_messages, const char *const *images, int64_t n_images,
                         const char *image_root) {
  return lrl_batch_builder_add_chat(&j->batch, j->model->tokenizer, &j->chat, messages, n_messages,
                                    images, n_images, image_root);
}

lrl_status lrl_judge_add_seen(struct lrl_judge *j, const struct lrl_message *messages,
                              int64_t n_messages, const int64_t *counts, int64_t n_images,
                              const void *rows) {
  struct lrl_chat_ids ids = {0};
  lrl_status status;
  LRL_TRY(lrl_buffer_reserve(&j->seen, (size_t)(j->n_seen + 1) * sizeof(struct lrl_image_rows)));
  LRL_TRY_GOTO(
      lrl_chat_encode(j->model->tokenizer, messages, n_messages, counts, n_images, &j->chat, &ids));
  LRL_TRY_GOTO(lrl_batch_builder_add_ids(&j->batch, ids.ids.data, ids.ids.n));
  struct lrl_image_rows r = {.rows = rows};
  for (int64_t k = 0; k < ids.n_spans; k++)
    r.n_rows += ids.spans[k].count;
  if (r.n_rows > 0)
    ((struct lrl_image_rows *)j->seen.data)[j->n_seen++] = r;
done:
  lrl_chat_ids_free(&ids);
  return status;
}

lrl_status lrl_judge_scores(struct lrl_judge *j, float *scores) {
  lrl_status status = LRL_OK;
  lrl_batch_builder_finish(&j->batch);
  if (lrl_judge_chats(j) > 0)
    status =
        lrl_reward_model_score_seen(j->model, &j->batch.batch, j->seen.data, j->n_seen, scores);
  lrl_batch_builder_reset(&j->batch);
  j->n_seen = 0;
  return status;
}
