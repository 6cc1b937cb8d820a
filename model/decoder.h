/* The InternLM2 decoder (SPEC 1; Llama-like checkpoints too): pre-norm blocks of grouped-query
 * attention with rotary positions and SwiGLU, with Partial LoRA on the rows of image tokens. */
#ifndef LRL_DECODER_H
#define LRL_DECODER_H
#include "model/rope.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_decoder_config {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, num_key_value_heads;
  double rms_norm_eps;
  struct lrl_rope_config rope; /* rope.head_dim = hidden_size / num_attention_heads */
  bool bias;                   /* wqkv and wo have biases */
  int64_t plora_r;             /* 0: no Partial LoRA */
  double plora_alpha, plora_dropout;
  double initializer_range;
  int32_t pad_token_id; /* its embedding row gets no gradient; -1: none */
};

/* A linear with its optional bias and LoRA pair: parameter indices in the layer's unit, -1 =
 * absent. */
struct lrl_linear_params {
  int weight, bias, lora_a, lora_b;
};
struct lrl_decoder_layer {
  int unit, attention_norm, ffn_norm;
  struct lrl_linear_params wqkv, wo, w1, w2, w3;
};
struct lrl_decoder {
  struct lrl_decoder_config cfg;
  struct lrl_param_set *params;
  int embed_unit, norm_unit; /* parameter 0 of each */
  struct lrl_decoder_layer *layers;
};

/* Adds the decoder's units to `params` under the official names; memory comes later
 * (lrl_param_set_alloc). Errors: sizes that do not divide. */
lrl_status lrl_decoder_build(struct lrl_decoder *d, const struct lrl_decoder_config *cfg,
                             struct lrl_param_set *params, lrl_dtype dtype, bool trainable);
void lrl_decoder_free(struct lrl_decoder *d);

struct lrl_decoder_input {
  const int32_t *ids; /* [n_tokens], -1 at image tokens */
  const struct lrl_layout *layout;
  const int32_t *positions;  /* NULL: from the layout */
  struct lrl_tensor *images; /* [n_image_rows, hidden] or NULL */
  const int32_t *image_rows; /* [n_image_rows]: the packed row of each image token */
  int64_t n_image_rows;
  uint64_t dropout_seed;   /* of the Partial LoRA dropout in training; key per image row */
  const uint64_t *row_key; /* [n_image_rows]; NULL: no dropout */
  void (*on_layer)(void *user, int64_t layer,
                   struct lrl_tensor *input); /* NULL, or sees each layer's input */
  void *on_layer_user;
};
/* The residual stream after the last layer, as the pair whose sum it is: out = norm(branch +
 * stream). */
struct lrl_decoder_output {
  struct lrl_tensor *embeds; /* input of layer 0 */
  struct lrl_tensor *branch, *stream;
};
void lrl_decoder_forward(struct lrl_tape *tape, struct lrl_decoder *d,
                         const struct lrl_decoder_input *in, struct lrl_decoder_output *out);
/* Final RMSNorm of all rows, or of rows[0..n) only (much cheaper for last-token pooling). */
struct lrl_tensor *lrl_decoder_final(struct lrl_tape *tape, struct lrl_decoder *d,
                                     const struct lrl_decoder_output *x, const int32_t *rows,
                                     int64_t n);

#ifdef __cplusplus
}
#endif
#endif
