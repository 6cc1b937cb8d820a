#include "train/model_options.h"

#include <string.h>

struct alone {
  struct lrl_model_options model;
};
static const struct lrl_option rows[] = {LRL_MODEL_OPTION_ROWS(struct alone, model)};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

void lrl_model_options_defaults(struct lrl_model_options *o) { lrl_config_defaults(&table, o); }

char *lrl_model_options_text(const struct lrl_model_options *o) {
  return lrl_config_text(&table, o);
}

lrl_status lrl_model_options_parse(struct lrl_model_options *o, const char *text,
                                   const char *where) {
  lrl_model_options_defaults(o);
  return lrl_config_parse_text(&table, o, text, where);
}

static bool of_network(const char *key, bool tower) {
  static const char *const of_training[] = {
      "model.freeze_",           "model.lora_",     "model.plora_dropout", "model.dtype",
      "model.initializer_range", "model.tokenizer", "model.init_from"};
  for (size_t i = 0; i < sizeof of_training / sizeof *of_training; i++)
    if (strncmp(key, of_training[i], strlen(of_training[i])) == 0)
      return false;
  return strncmp(key, "vision.", 7) == 0 || strcmp(key, "model.vision") == 0 ||
         (!tower && strncmp(key, "model.", 6) == 0);
}

lrl_status lrl_model_options_inherit(const struct lrl_option_table *t, void *out, const char *text,
                                     bool tower, const char *where) {
  struct lrl_option network[64];
  struct lrl_option_table part = {network, 0};
  for (int i = 0; i < t->n; i++)
    if (of_network(t->options[i].path, tower)) {
      if (part.n == 64)
        return LRL_FAIL(LRL_ERR_ARG, "too many keys of a network");
      network[part.n++] = t->options[i];
    }
  return lrl_config_parse_text(&part, out, text, where);
}

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

struct lrl_vit_config lrl_model_options_tower(const struct lrl_model_options *o) {
  return (struct lrl_vit_config){.image_size = o->image_size,
                                 .patch_size = o->patch_size,
                                 .hidden_size = o->vision_hidden_size,
                                 .intermediate_size = o->vision_intermediate_size,
                                 .num_hidden_layers = o->vision_num_hidden_layers,
                                 .num_attention_heads = o->vision_num_attention_heads,
                                 .layer_norm_eps = o->layer_norm_eps,
                                 .initializer_range = o->initializer_range};
}

lrl_status lrl_model_options_config(const struct lrl_model_options *o,
                                    const struct lrl_tokenizer_info *tokenizer,
                                    struct lrl_vlm_config *out) {
  if (o->hidden_size % o->num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "model.hidden_size %lld is no multiple of model.num_attention_heads %lld",
                    (long long)o->hidden_size, (long long)o->num_attention_heads);
  if (o->vocab_size != 0 && o->vocab_size < tokenizer->n_vocab)
    return LRL_FAIL(LRL_ERR_SHAPE, "model.vocab_size %lld is below the tokenizer's %d pieces",
                    (long long)o->vocab_size, tokenizer->n_vocab);
  if (o->vision != 0)
    LRL_TRY(check_vision(o));
  *out = (struct lrl_vlm_config){
      .decoder = {.vocab_size = o->vocab_size != 0 ? o->vocab_size : tokenizer->n_vocab,
                  .qkv_bias = o->attention_bias == 1,
                  .bias = o->attention_bias == 2,
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
      .vit = lrl_model_options_tower(o),
      .pooling = o->pooling == 0 ? LRL_POOLING_LAST : LRL_POOLING_MEAN,
      .dtype = o->dtype == 0 ? LRL_F32 : LRL_BF16,
      .train_decoder = !o->freeze_decoder,
      .train_vision = !o->freeze_vision,
      .train_projector = !o->freeze_projector,
      .freeze_head = o->freeze_head,
  };
  return LRL_OK;
}

void lrl_model_options_describe_tower(const struct lrl_vit_config *c, struct lrl_model_options *o) {
  o->vision = 1;
  o->image_size = c->image_size;
  o->patch_size = c->patch_size;
  o->vision_hidden_size = c->hidden_size;
  o->vision_intermediate_size = c->intermediate_size;
  o->vision_num_hidden_layers = c->num_hidden_layers;
  o->vision_num_attention_heads = c->num_attention_heads;
  o->layer_norm_eps = c->layer_norm_eps;
}

void lrl_model_options_describe(const struct lrl_vlm_config *c, struct lrl_model_options *o) {
  const struct lrl_decoder_config *d = &c->decoder;
  o->vocab_size = d->vocab_size;
  o->hidden_size = d->hidden_size;
  o->intermediate_size = d->intermediate_size;
  o->num_hidden_layers = d->num_hidden_layers;
  o->num_attention_heads = d->num_attention_heads;
  o->num_key_value_heads = d->num_key_value_heads;
  o->attention_bias = d->bias ? 2 : d->qkv_bias ? 1 : 0;
  o->rms_norm_eps = d->rms_norm_eps;
  o->max_position_embeddings = d->rope.max_position_embeddings;
  o->rope_theta = d->rope.theta;
  o->rope_factor = d->rope.factor > 0 ? d->rope.factor : o->rope_factor;
  o->rope_scaling = (int)d->rope.scaling;
  o->plora_r = d->plora_r;
  o->plora_alpha = d->plora_r > 0 ? d->plora_alpha : o->plora_alpha;
  o->plora_dropout = d->plora_r > 0 ? d->plora_dropout : o->plora_dropout;
  o->dtype = c->dtype == LRL_F32 ? 0 : 1;
  o->pooling = c->pooling == LRL_POOLING_LAST ? 0 : 1;
  o->vision = 0;
  if (c->has_vision)
    lrl_model_options_describe_tower(&c->vit, o);
}
