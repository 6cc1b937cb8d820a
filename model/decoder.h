/* The InternLM2 decoder (SPEC 1; Llama-like checkpoints too): pre-norm blocks of grouped-query
 * attention with rotary positions and SwiGLU, with Partial LoRA on the rows of image tokens and
 * LoRA on all rows. */
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
  bool qkv_bias;               /* wqkv has one */
  int64_t plora_r;             /* 0: no Partial LoRA */
  double plora_alpha, plora_dropout;
  int64_t lora_r; /* 0: no LoRA; else on wqkv, wo, w1, w2, w3, and nothing else trains (SPEC 5.8) */
  double lora_alpha, lora_dropout;
  double initializer_range;
  int32_t pad_token_id; /* its embedding row gets no gradient; -1: none */
};

/* A linear with its optional bias and low-rank pairs, -1 = absent: parameter indices in the layer's
 * unit, those of LoRA in its own unit, so that frozen weights have no gradient or optimizer state.
 */
struct lrl_linear_params {
  int weight, bias, plora_a, plora_b, lora_a, lora_b;
};
struct lrl_decoder_layer {
  int unit, lora_unit /* -1: none */, attention_norm, ffn_norm;
  struct lrl_linear_params wqkv, wo, w1, w2, w3;
};
struct lrl_decoder {
  struct lrl_decoder_config cfg;
  struct lrl_param_set *params;
  int embed_unit, norm_unit; /* parameter 0 of each */
  struct lrl_decoder_layer *layers;
};

/* Adds the decoder's units to `params` under the official names; memory comes later
 * (lrl_param_set_alloc). With LoRA the base is frozen and `trainable` speaks of the adapters, named
 * as peft does ("...wqkv.lora_A.weight"): A uniform in +-1/sqrt(in), B zero. Errors: sizes that do
 * not divide, too many layers. */
lrl_status lrl_decoder_build(struct lrl_decoder *d, const struct lrl_decoder_config *cfg,
                             struct lrl_param_set *params, lrl_dtype dtype, bool trainable);
void lrl_decoder_free(struct lrl_decoder *d);
/* W += lora_alpha / lora_r * B A for every adapter, rounded once to W's dtype, and B = 0: the model
 * computes the same without its adapters. For export. */
lrl_status lrl_decoder_merge_lora(struct lrl_ctx *ctx, struct lrl_decoder *d);

struct lrl_kv_step;
struct lrl_decoder_input {
  const int32_t *ids; /* [n_tokens], -1 at image tokens */
  const struct lrl_layout *layout;
  const int32_t *positions;  /* NULL: from the layout */
  struct lrl_tensor *images; /* [n_image_rows, hidden] or NULL */
  const int32_t *image_rows; /* [n_image_rows]: the packed row of each image token */
  int64_t n_image_rows;
  uint64_t dropout_seed;     /* of the low-rank paths' dropout in training; a key names a token
                                independently of batch and rank */
  const uint64_t *row_key;   /* [n_image_rows], for Partial LoRA; NULL: no dropout (evaluation) */
  const uint64_t *token_key; /* [n_tokens], for LoRA; NULL: no dropout (evaluation) */
  bool without_lora;         /* the base model: what PPO calls the reference */
  const struct lrl_rope_kept *rope; /* NULL, or tables to use as far as they go */
  const struct lrl_kv_step *kv;     /* NULL, or the cache this pass writes to (model/kv_cache.h) */
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
