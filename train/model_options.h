/* The options that describe a network ("model.*", "vision.*"); every command that builds one shares
 * these rows. A checkpoint keeps them in its config, so a saved model describes itself. */
#ifndef LRL_MODEL_OPTIONS_H
#define LRL_MODEL_OPTIONS_H
#include "data/image_ops.h"
#include "data/tokenizer.h"
#include "model/vlm.h"
#include "train/option_rows.h"

struct lrl_model_options {
  int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
      num_key_value_heads, max_position_embeddings;
  int64_t vocab_size;
  int attention_bias; /* 0: none, 1: qkv, 2: all */
  double rms_norm_eps, rope_theta, rope_factor, initializer_range;
  int rope_scaling, dtype, pooling;
  int64_t plora_r, lora_r;
  double plora_alpha, plora_dropout, lora_alpha, lora_dropout;
  bool freeze_head, freeze_decoder, freeze_vision, freeze_projector;
  int vision; /* 0: text only, 1: CLIP */
  int64_t image_size, patch_size, vision_hidden_size, vision_intermediate_size,
      vision_num_hidden_layers, vision_num_attention_heads;
  double layer_norm_eps;
};

#define LRL_MODEL_AT(S, m, f) (offsetof(S, m) + offsetof(struct lrl_model_options, f))
/* Rows for a struct S with a member `m` of type struct lrl_model_options. */
#define LRL_MODEL_OPTION_ROWS(S, m)                                                                \
  LRL_ROW_INT("model.hidden_size", LRL_MODEL_AT(S, m, hidden_size), "128", 2, 65536, "",           \
              "width of the decoder"),                                                             \
      LRL_ROW_INT("model.intermediate_size", LRL_MODEL_AT(S, m, intermediate_size), "352", 1, 1e6, \
                  "", "width of SwiGLU"),                                                          \
      LRL_ROW_INT("model.num_hidden_layers", LRL_MODEL_AT(S, m, num_hidden_layers), "4", 1, 200,   \
                  "", "decoder layers"),                                                           \
      LRL_ROW_INT("model.num_attention_heads", LRL_MODEL_AT(S, m, num_attention_heads), "4", 1,    \
                  1024, "", "query heads"),                                                        \
      LRL_ROW_INT("model.num_key_value_heads", LRL_MODEL_AT(S, m, num_key_value_heads), "2", 1,    \
                  1024, "", "key/value heads"),                                                    \
      LRL_ROW_INT("model.vocab_size", LRL_MODEL_AT(S, m, vocab_size), "0", 0, 1e8, "",             \
                  "rows of the embedding; 0: the tokenizer's pieces, else at least as many"),      \
      LRL_ROW_ENUM("model.attention_bias", LRL_MODEL_AT(S, m, attention_bias), "none",             \
                   "none|qkv|all", "biases of attention; all: of its output too"),                 \
      LRL_ROW_INT("model.max_position_embeddings", LRL_MODEL_AT(S, m, max_position_embeddings),    \
                  "8192", 1, 1e8, "tokens", "positions before rotary scaling applies"),            \
      LRL_ROW_NUM("model.rms_norm_eps", LRL_MODEL_AT(S, m, rms_norm_eps), "1e-5", 0, 1,            \
                  "epsilon of RMSNorm"),                                                           \
      LRL_ROW_NUM("model.rope_theta", LRL_MODEL_AT(S, m, rope_theta), "1000000", 1, 1e12,          \
                  "base of the rotary frequencies"),                                               \
      LRL_ROW_ENUM("model.rope_scaling", LRL_MODEL_AT(S, m, rope_scaling), "none",                 \
                   "none|linear|dynamic", "scaling of rotary positions; dynamic: NTK"),            \
      LRL_ROW_NUM("model.rope_factor", LRL_MODEL_AT(S, m, rope_factor), "2", 1, 1e6,               \
                  "factor of the rotary scaling"),                                                 \
      LRL_ROW_NUM("model.initializer_range", LRL_MODEL_AT(S, m, initializer_range), "0.02", 0, 1,  \
                  "std of new weights; 0: 1/sqrt(inputs) of each, for small ones"),                \
      LRL_ROW_ENUM("model.dtype", LRL_MODEL_AT(S, m, dtype), "f32", "f32|bf16",                    \
                   "weights and activations; master weights are f32"),                             \
      LRL_ROW_ENUM("model.pooling", LRL_MODEL_AT(S, m, pooling), "last", "last|mean",              \
                   "where the score is read"),                                                     \
      LRL_ROW_INT("model.plora_r", LRL_MODEL_AT(S, m, plora_r), "0", 0, 65536, "",                 \
                  "rank of Partial LoRA on image tokens; 0: none"),                                \
      LRL_ROW_NUM("model.plora_alpha", LRL_MODEL_AT(S, m, plora_alpha), "256", 0, 1e9,             \
                  "Partial LoRA is scaled by alpha / r"),                                          \
      LRL_ROW_NUM("model.plora_dropout", LRL_MODEL_AT(S, m, plora_dropout), "0.05", 0, 0.99,       \
                  "dropout before Partial LoRA in training"),                                      \
      LRL_ROW_INT("model.lora_r", LRL_MODEL_AT(S, m, lora_r), "0", 0, 65536, "",                   \
                  "rank of LoRA on the decoder's linears, which freezes their weights; 0: none"),  \
      LRL_ROW_NUM("model.lora_alpha", LRL_MODEL_AT(S, m, lora_alpha), "64", 0, 1e9,                \
                  "LoRA is scaled by alpha / r"),                                                  \
      LRL_ROW_NUM("model.lora_dropout", LRL_MODEL_AT(S, m, lora_dropout), "0.05", 0, 0.99,         \
                  "dropout before LoRA in training"),                                              \
      LRL_ROW_BOOL("model.freeze_head", LRL_MODEL_AT(S, m, freeze_head), "false",                  \
                   "no gradient for the score head, as in the official LoRA script"),              \
      LRL_ROW_BOOL("model.freeze_decoder", LRL_MODEL_AT(S, m, freeze_decoder), "false",            \
                   "train the score head only (and what else is not frozen)"),                     \
      LRL_ROW_BOOL("model.freeze_vision_tower", LRL_MODEL_AT(S, m, freeze_vision), "true",         \
                   "no gradient for the vision tower"),                                            \
      LRL_ROW_BOOL("model.freeze_projector", LRL_MODEL_AT(S, m, freeze_projector), "true",         \
                   "no gradient for the projector"),                                               \
      LRL_ROW_ENUM("model.vision", LRL_MODEL_AT(S, m, vision), "none", "none|clip",                \
                   "vision tower; none: pairs with images are set aside"),                         \
      LRL_ROW_INT("vision.image_size", LRL_MODEL_AT(S, m, image_size), "560", 4, 4096, "pixels",   \
                  "side of a tile"),                                                               \
      LRL_ROW_INT("vision.patch_size", LRL_MODEL_AT(S, m, patch_size), "14", 1, 1024, "pixels",    \
                  "side of a patch; image_size is an even multiple of it"),                        \
      LRL_ROW_INT("vision.hidden_size", LRL_MODEL_AT(S, m, vision_hidden_size), "1024", 4, 65536,  \
                  "", "width of the tower"),                                                       \
      LRL_ROW_INT("vision.intermediate_size", LRL_MODEL_AT(S, m, vision_intermediate_size),        \
                  "4096", 1, 1e6, "", "width of the tower's MLP"),                                 \
      LRL_ROW_INT("vision.num_hidden_layers", LRL_MODEL_AT(S, m, vision_num_hidden_layers), "24",  \
                  0, 48, "", "layers of the tower"),                                               \
      LRL_ROW_INT("vision.num_attention_heads", LRL_MODEL_AT(S, m, vision_num_attention_heads),    \
                  "16", 1, 1024, "", "heads of the tower"),                                        \
      LRL_ROW_NUM("vision.layer_norm_eps", LRL_MODEL_AT(S, m, layer_norm_eps), "1e-5", 0, 1,       \
                  "epsilon of the tower's LayerNorms")

/* The network's config. LRL_ERR_SHAPE in the words of the options. */
lrl_status lrl_model_options_config(const struct lrl_model_options *o,
                                    const struct lrl_tokenizer_info *tokenizer,
                                    struct lrl_vlm_config *out);
struct lrl_vit_config lrl_model_options_tower(const struct lrl_model_options *o);
/* For models that no trainer made: the defaults, such values as the text that a checkpoint keeps
 * (malloc'ed; NULL without memory), and back from it. */
void lrl_model_options_defaults(struct lrl_model_options *o);
char *lrl_model_options_text(const struct lrl_model_options *o);
lrl_status lrl_model_options_parse(struct lrl_model_options *o, const char *text,
                                   const char *where);
/* For a run that begins from another one's weights: gives the keys of the network in `out`, which
 * table t describes, the values they have in the config text of a checkpoint; of a vision tower's
 * only those of the tower. What belongs to training (freeze_*, dropout, LoRA, dtype,
 * initializer_range) stays. LRL_ERR_FORMAT, with `where`. */
lrl_status lrl_model_options_inherit(const struct lrl_option_table *t, void *out, const char *text,
                                     bool tower, const char *where);
/* The other way: sets what describes the network, leaves freeze_* and the like alone. */
void lrl_model_options_describe(const struct lrl_vlm_config *c, struct lrl_model_options *o);
void lrl_model_options_describe_tower(const struct lrl_vit_config *c, struct lrl_model_options *o);
#endif
