/* The CLIP vision tower (SPEC 2.1): pre-norm transformer over patches plus a class token. */
#ifndef LRL_VIT_H
#define LRL_VIT_H
#include "model/nn.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_vit_config {
  int64_t image_size, patch_size, hidden_size, intermediate_size;
  int64_t num_hidden_layers, num_attention_heads;
  double layer_norm_eps, initializer_range;
};
struct lrl_vit_layer { /* parameter indices in the layer's unit */
  int unit, norm1_w, norm1_b, norm2_w, norm2_b, qkv_w[3], qkv_b[3], out_w, out_b, fc1_w, fc1_b,
      fc2_w, fc2_b;
};
struct lrl_vit {
  struct lrl_vit_config cfg;
  struct lrl_param_set *params;
  int embed_unit, post_unit; /* embeddings + pre_layrnorm; post_layernorm */
  struct lrl_vit_layer *layers;
};

/* Names are `prefix` + "embeddings.class_embedding" ...; the official prefix is
 * "vit.vision_tower.vision_model.". */
lrl_status lrl_vit_build(struct lrl_vit *v, const struct lrl_vit_config *cfg, const char *prefix,
                         struct lrl_param_set *params, lrl_dtype dtype, bool trainable);
void lrl_vit_free(struct lrl_vit *v);
/* pixels f32 [n, 3, size, size], normalised; d_pixels [same] or NULL. Returns the last layer's
 * output before post_layernorm, [n * (1 + patches), hidden], class token first. on_layer sees each
 * layer's input. */
struct lrl_tensor *
lrl_vit_forward(struct lrl_tape *tape, struct lrl_vit *v, const float *pixels, float *d_pixels,
                int64_t n, void (*on_layer)(void *user, int64_t layer, struct lrl_tensor *x),
                void *user);
/* post_layernorm of the class tokens [n, hidden] (HF pooler_output). */
struct lrl_tensor *lrl_vit_pooler(struct lrl_tape *tape, struct lrl_vit *v, struct lrl_tensor *x,
                                  int64_t n);
/* Tokens per image in the tower: class + patches. */
static inline int64_t lrl_vit_tokens(const struct lrl_vit_config *c) {
  int64_t grid = c->image_size / c->patch_size;
  return 1 + grid * grid;
}

#ifdef __cplusplus
}
#endif
#endif
