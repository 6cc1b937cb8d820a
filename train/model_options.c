#include "train/model_options.h"

static lrl_status check_vision(const struct lrl_model_options *o) {
  if (o->image_size % (2 * o->patch_size) != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "vision.image_size %lld is no even multiple of vision.patch_size %lld",
                    (long long)o->image_size, (long long)o->patch_size);
  if (o->vision_hidden_size % o->vision_num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "vision.hidden_size %lld is no multiple of vision.num_attention_heads %lld",
                    (long long)o->vision_hidden_size, (long long)o->vision_num_attention_heads);
  return LRL_OK;
}

lrl_status lrl_model_options_config(const struct lrl_model_options *o,
                                    const struct lrl_tokenizer_info *tokenizer,
                                    struct lrl_vlm_config *out) {
  if (o->hidden_size % o->num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "model.hidden_size %lld is no multiple of model.num_attention_heads %lld",
                    (long long)o->hidden_size, (long long)o->num_attention_heads);
  if (o->vision != 0)
    LRL_TRY(check_vision(o));
  *out = (struct lrl_vlm_config){
      .decoder = {.vocab_size = tokenizer->n_vocab,
                  .hidden_size = o->hidden_size,
                  .intermediate_size = o->intermediate_size,
                  .num_hidden_layers = o->num_hidden_layers,
                  .num_attention_heads = o->num_attention_heads,
                  .num_key_value_heads = o->num_key_value_heads,
                  .rms_norm_eps = o->rms_norm_eps,
                  .plora_r = o->plora_r,
                  .plora_alpha = o->plora_alpha,
                  .plora_dropout = o->plora_dropout,
                  .lora_r = o->lora_r,
                  .lora_alpha = o->lora_alpha,
                  .lora_dropout = o->lora_dropout,
                  .initializer_range = o->initializer_range,
                  .pad_token_id = tokenizer->pad,
                  .rope = {.head_dim = o->hidden_size / o->num_attention_heads,
                           .max_position_embeddings = o->max_position_embeddings,
                           .theta = o->rope_theta,
                           .factor = o->rope_factor,
                           .scaling = (enum lrl_rope_scaling)o->rope_scaling}},
      .has_vision = o->vision != 0,
      .vit = {.image_size = o->image_size,
              .patch_size = o->patch_size,
              .hidden_size = o->vision_hidden_size,
              .intermediate_size = o->vision_intermediate_size,
              .num_hidden_layers = o->vision_num_hidden_layers,
              .num_attention_heads = o->vision_num_attention_heads,
              .layer_norm_eps = o->layer_norm_eps,
              .initializer_range = o->initializer_range},
      .pooling = o->pooling == 0 ? LRL_POOLING_LAST : LRL_POOLING_MEAN,
      .dtype = o->dtype == 0 ? LRL_F32 : LRL_BF16,
      .train_decoder = !o->freeze_decoder,
      .train_vision = !o->freeze_vision,
      .train_projector = !o->freeze_projector,
      .freeze_head = o->freeze_head,
  };
  return LRL_OK;
}
