#include "train/judge.h"

lrl_status lrl_judge_init(struct lrl_judge *j, struct lrl_reward_model *model,
                          const struct lrl_judge_options *options) {
  const struct lrl_reward_config *c = &model->cfg;
  const struct lrl_image_ops *images = NULL;
  *j = (struct lrl_judge){.model = model};
  if (model->model.cfg.has_vision) {
    struct lrl_image_ops_options o = lrl_reward_image_options(&c->common.model, &c->common.data);
    o.mode = options->training_geometry ? LRL_IMAGE_TRAINING : LRL_IMAGE_INFERENCE;
    o.hd_num = options->hd_num > 0 ? (int32_t)options->hd_num : o.hd_num;
    LRL_TRY(lrl_image_ops_init(&j->images, &o));
    images = &j->images;
  }
  lrl_batch_builder_init(&j->batch, images);
  j->chat = (struct lrl_chat_options){
      .form = lrl_data_options_template(&c->common.data),
      .mode = LRL_CHAT_SCORING,
      .suffix = c->common.data.reward_suffix == 0 ? LRL_CHAT_REWARD : LRL_CHAT_REWARD_NO_NEWLINE,
      .pack = LRL_PACK_REWARD,
      .max_length = options->max_length};
  return LRL_OK;
}

void lrl_judge_free(struct lrl_judge *j) {
  lrl_batch_builder_free(&j->batch);
  lrl_image_ops_free(&j->images);
}

lrl_status lrl_judge_add(struct lrl_judge *j, const struct lrl_message *messages,
                         int64_t n_messages, const char *const *images, int64_t n_images,
                         const char *image_root) {
  return lrl_batch_builder_add_chat(&j->batch, j->model->tokenizer, &j->chat, messages, n_messages,
                                    images, n_images, image_root);
}

lrl_status lrl_judge_scores(struct lrl_judge *j, float *scores) {
  lrl_status status = LRL_OK;
  lrl_batch_builder_finish(&j->batch);
  if (lrl_judge_chats(j) > 0)
    status = lrl_reward_model_score(j->model, &j->batch.batch, scores);
  lrl_batch_builder_reset(&j->batch);
  return status;
}
