#include "model/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
  const char *model_type;
  enum lrl_hf_family family;
} families[] = {
    {"internlmxcomposer2", LRL_HF_XCOMPOSER},
    {"internlm2", LRL_HF_INTERNLM2},
    {"llama", LRL_HF_LLAMA},
    {"mistral", LRL_HF_MISTRAL},
    {"qwen2", LRL_HF_QWEN2},
    {"clip", LRL_HF_CLIP},
    {"clip_vision_model", LRL_HF_CLIP},
};

lrl_status lrl_hf_family_find(const char *model_type, enum lrl_hf_family *out) {
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (strcmp(model_type, families[i].model_type) == 0) {
      *out = families[i].family;
      return LRL_OK;
    }
  return LRL_FAIL(LRL_ERR_ARG,
                  "a model of type %.60s is none that Laurel can compute (internlmxcomposer2, "
                  "internlm2, llama, mistral, qwen2, clip, clip_vision_model)",
                  model_type);
}

struct reader {
  json_t *config;
  const struct lrl_weights *w;
  const char *path;
};

/* ---- keys ---- */

/* A whole number of at least 1; `absent` when there is no such key (0: it must be there). */
static lrl_status get_size(const struct reader *r, json_t *o, const char *key, int64_t absent,
                           int64_t *out) {
  json_t *v = json_object_get(o, key);
  *out = absent;
  if ((v == NULL || json_is_null(v)) && absent > 0)
    return LRL_OK;
  if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 1 << 24)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s/config.json: %s is not a whole number of at least 1",
                    r->path, key);
  *out = json_integer_value(v);
  return LRL_OK;
}

static lrl_status get_number(const struct reader *r, json_t *o, const char *key, double absent,
                             double *out) {
  json_t *v = json_object_get(o, key);
  *out = absent;
  if (v == NULL || json_is_null(v))
    return LRL_OK;
  *out = json_number_value(v);
  return json_is_number(v) && *out > 0 && *out < 1e15
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_FORMAT, "%s/config.json: %s is not a positive number", r->path,
                        key);
}

static lrl_status expect_text(const struct reader *r, json_t *o, const char *key,
                              const char *want) {
  const char *s = json_string_value(json_object_get(o, key));
  if (s == NULL || strcmp(s, want) == 0)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_ARG, "%s/config.json: %s is %.60s; Laurel can compute %s only", r->path,
                  key, s, want);
}

/* Keys that change the network and that Laurel does not have must say "no". */
static lrl_status expect_off(const struct reader *r, const char *key) {
  json_t *v = json_object_get(r->config, key);
  if (v == NULL || json_is_null(v) || json_is_false(v))
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_ARG, "%s/config.json: Laurel cannot compute a model with %s", r->path,
                  key);
}

static const struct lrl_weight *tensor(const struct reader *r, const char *prefix,
                                       const char *name) {
  char full[2 * LRL_NAME_MAX];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  return lrl_weights_find(r->w, full);
}

/* ---- the decoder ---- */

static lrl_status read_rope(const struct reader *r, struct lrl_rope_config *rope) {
  json_t *c = r->config, *scaling = json_object_get(c, "rope_scaling");
  json_t *all = json_object_get(c, "rope_parameters"); /* newer transformers: both in one */
  const char *type = NULL;
  if (json_is_object(all)) {
    LRL_TRY(get_number(r, all, "rope_theta", 10000, &rope->theta));
    scaling = all;
  } else {
    LRL_TRY(get_number(r, c, "rope_theta", 10000, &rope->theta));
  }
  rope->factor = 1;
  if (scaling == NULL || json_is_null(scaling))
    return LRL_OK;
  type = json_string_value(json_object_get(scaling, "rope_type"));
  if (type == NULL)
    type = json_string_value(json_object_get(scaling, "type"));
  if (type != NULL && strcmp(type, "default") == 0)
    return LRL_OK;
  rope->scaling = type != NULL && strcmp(type, "linear") == 0    ? LRL_ROPE_LINEAR
                  : type != NULL && strcmp(type, "dynamic") == 0 ? LRL_ROPE_DYNAMIC
                                                                 : LRL_ROPE_NONE;
  if (rope->scaling == LRL_ROPE_NONE)
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s/config.json: the rope scaling %.40s is none that Laurel has (linear, "
                    "dynamic)",
                    r->path, type == NULL ? "without a type" : type);
  if (json_is_null(json_object_get(scaling, "factor")) ||
      json_object_get(scaling, "factor") == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s/config.json: the rope scaling has no factor", r->path);
  return get_number(r, scaling, "factor", 1, &rope->factor);
}

static lrl_status read_decoder(const struct reader *r, struct lrl_hf_model *m) {
  struct lrl_decoder_config *d = &m->vlm.decoder;
  json_t *c = r->config;
  int64_t head_dim;
  LRL_TRY(get_size(r, c, "vocab_size", 0, &d->vocab_size));
  LRL_TRY(get_size(r, c, "hidden_size", 0, &d->hidden_size));
  LRL_TRY(get_size(r, c, "intermediate_size", 0, &d->intermediate_size));
  LRL_TRY(get_size(r, c, "num_hidden_layers", 0, &d->num_hidden_layers));
  LRL_TRY(get_size(r, c, "num_attention_heads", 0, &d->num_attention_heads));
  LRL_TRY(get_size(r, c, "num_key_value_heads", d->num_attention_heads, &d->num_key_value_heads));
  LRL_TRY(get_size(r, c, "max_position_embeddings", 2048, &d->rope.max_position_embeddings));
  LRL_TRY(get_number(r, c, "rms_norm_eps", 1e-6, &d->rms_norm_eps));
  LRL_TRY(get_number(r, c, "initializer_range", 0.02, &d->initializer_range));
  LRL_TRY(expect_text(r, c, "hidden_act", "silu"));
  LRL_TRY(expect_off(r, "mlp_bias"));
  LRL_TRY(expect_off(r, "use_sliding_window"));
  LRL_TRY(read_rope(r, &d->rope));
  if (d->hidden_size % d->num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s/config.json: hidden_size is no multiple of "
                    "num_attention_heads",
                    r->path);
  d->rope.head_dim = d->hidden_size / d->num_attention_heads;
  LRL_TRY(get_size(r, c, "head_dim", d->rope.head_dim, &head_dim));
  if (head_dim != d->rope.head_dim)
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s/config.json: Laurel cannot compute heads that are not hidden_size / "
                    "num_attention_heads wide",
                    r->path);
  return LRL_OK;
}

/* What the tensors say of the decoder. */
static lrl_status look_at_decoder(const struct reader *r, struct lrl_hf_model *m) {
  struct lrl_decoder_config *d = &m->vlm.decoder;
  const bool llama = m->family >= LRL_HF_LLAMA;
  const struct lrl_weight *a = tensor(r, "model.layers.0.attention.", "wqkv.Plora_A.weight");
  const char *layer = llama ? "model.layers.0.self_attn." : "model.layers.0.attention.";
  d->bias = tensor(r, layer, llama ? "o_proj.bias" : "wo.bias") != NULL ||
            json_is_true(json_object_get(r->config, llama ? "attention_bias" : "bias"));
  d->qkv_bias = !d->bias && (m->family == LRL_HF_QWEN2 ||
                             tensor(r, layer, llama ? "q_proj.bias" : "wqkv.bias") != NULL);
  d->pad_token_id = -1;
  if (a != NULL && a->ndim == 2 && a->dim[0] >= 1 && a->dim[0] <= 65536 &&
      !llama) { /* r = alpha in the original (SPEC 1.5) */
    d->plora_r = a->dim[0];
    LRL_TRY(get_number(r, r->config, "plora_alpha", (double)d->plora_r, &d->plora_alpha));
    d->plora_dropout = 0.05;
  }
  m->v_head = tensor(r, "", "v_head.weight") != NULL;
  m->vlm.head =
      m->v_head || tensor(r, "", "score.weight") != NULL ? LRL_VLM_SCORE : LRL_VLM_LANGUAGE;
  m->tied = m->vlm.head == LRL_VLM_LANGUAGE &&
            json_is_true(json_object_get(r->config, "tie_word_embeddings")) &&
            tensor(r, "", llama ? "lm_head.weight" : "output.weight") == NULL;
  return LRL_OK;
}

/* ---- the vision tower ---- */

static lrl_status read_tower(const struct reader *r, const char *prefix, struct lrl_hf_model *m) {
  struct lrl_vit_config *v = &m->vlm.vit;
  json_t *c = json_object_get(r->config, "vision_config");
  const struct lrl_weight *patch = tensor(r, prefix, "embeddings.patch_embedding.weight"),
                          *position = tensor(r, prefix, "embeddings.position_embedding.weight"),
                          *fc1 = tensor(r, prefix, "encoder.layers.0.mlp.fc1.weight");
  if (!json_is_object(c) && m->family == LRL_HF_CLIP)
    c = r->config;
  if (patch == NULL || patch->ndim != 4 || position == NULL || position->ndim != 2 || fc1 == NULL ||
      fc1->ndim != 2)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s holds no CLIP tower: its embeddings or its first layer are missing",
                    r->path);
  v->hidden_size = patch->dim[0];
  v->patch_size = patch->dim[3];
  v->intermediate_size = fc1->dim[0];
  const int64_t n_patches = position->dim[0] - 1, largest = 1 << 20;
  if (v->hidden_size < 1 || v->hidden_size > largest || v->patch_size < 1 || v->patch_size > 4096 ||
      v->intermediate_size < 1 || v->intermediate_size > largest || n_patches < 1 ||
      n_patches > largest)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s holds no CLIP tower: its sizes are not those of one",
                    r->path);
  const int64_t grid = llround(sqrt((double)n_patches));
  v->image_size = grid * v->patch_size;
  char name[64];
  do
    snprintf(name, sizeof name, "encoder.layers.%lld.layer_norm1.weight",
             (long long)v->num_hidden_layers);
  while (tensor(r, prefix, name) != NULL && ++v->num_hidden_layers < 100);
  /* Heads leave no trace in the weights: CLIP's default is 12, its large towers' are 64 wide. */
  const int64_t heads = m->family == LRL_HF_CLIP ? 12 : v->hidden_size / 64;
  LRL_TRY(get_size(r, c, "num_attention_heads", heads > 0 ? heads : 1, &v->num_attention_heads));
  LRL_TRY(get_number(r, c, "layer_norm_eps", 1e-5, &v->layer_norm_eps));
  LRL_TRY(get_number(r, c, "initializer_range", 0.02, &v->initializer_range));
  return expect_text(r, c, "hidden_act", "quick_gelu");
}

static lrl_dtype common_dtype(const struct lrl_weights *w) {
  for (int64_t i = 0; i < w->n; i++)
    if (w->items[i].dtype != LRL_WEIGHT_BF16)
      return LRL_F32;
  return LRL_BF16;
}

lrl_status lrl_hf_config_read(json_t *config, const struct lrl_weights *w, const char *path,
                              struct lrl_hf_model *out) {
  const struct reader r = {config, w, path};
  const char *type = json_string_value(json_object_get(config, "model_type"));
  *out = (struct lrl_hf_model){.vlm.freeze_head = true, .vlm.dtype = common_dtype(w)};
  if (type == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s/config.json names no model_type", path);
  LRL_TRY(lrl_hf_family_find(type, &out->family));
  out->vision_only = out->family == LRL_HF_CLIP;
  if (out->vision_only)
    return read_tower(&r, "vision_model.", out);
  LRL_TRY(read_decoder(&r, out));
  LRL_TRY(look_at_decoder(&r, out));
  out->vlm.has_vision = tensor(&r, LRL_VLM_TOWER, "embeddings.class_embedding") != NULL;
  return out->vlm.has_vision ? read_tower(&r, LRL_VLM_TOWER, out) : LRL_OK;
}

lrl_status lrl_hf_describe(const struct lrl_hf_model *m, struct lrl_vlm *out) {
  if (!m->vision_only)
    return lrl_vlm_describe(out, &m->vlm);
  *out = (struct lrl_vlm){.cfg = m->vlm, .gn_unit = -1, .projector_unit = -1, .head_unit = -1};
  const lrl_status s =
      lrl_vit_build(&out->vit, &m->vlm.vit, LRL_VLM_TOWER, &out->params, m->vlm.dtype, false);
  if (s != LRL_OK)
    lrl_vlm_free(out);
  return s;
}
