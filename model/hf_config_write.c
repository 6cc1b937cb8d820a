#include "model/hf_config.h"

/* Numbers that are there already stay as they were written: 10000.0 or 10000. */
static bool has_number(const json_t *o, const char *key, double v) {
  const json_t *old = json_object_get(o, key);
  return json_is_number(old) && json_number_value(old) == v;
}
static void set_int(json_t *o, const char *key, int64_t v) {
  if (!has_number(o, key, (double)v))
    json_object_set_new(o, key, json_integer(v));
}
static void set_real(json_t *o, const char *key, double v) {
  if (!has_number(o, key, v))
    json_object_set_new(o, key, json_real(v));
}
static void set_text(json_t *o, const char *key, const char *v) {
  json_object_set_new(o, key, json_string(v));
}

static const struct {
  const char *model_type, *language, *score;
} names[] = {
    [LRL_HF_XCOMPOSER] = {"internlmxcomposer2", "InternLMXComposer2ForCausalLM", NULL},
    [LRL_HF_INTERNLM2] = {"internlm2", "InternLM2ForCausalLM", "InternLM2ForRewardModel"},
    [LRL_HF_LLAMA] = {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification"},
    [LRL_HF_MISTRAL] = {"mistral", "MistralForCausalLM", "MistralForSequenceClassification"},
    [LRL_HF_QWEN2] = {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"},
    [LRL_HF_CLIP] = {"clip_vision_model", "CLIPVisionModel", "CLIPVisionModel"},
};

static void write_tower(json_t *o, const struct lrl_vit_config *v) {
  set_int(o, "hidden_size", v->hidden_size);
  set_int(o, "intermediate_size", v->intermediate_size);
  set_int(o, "num_hidden_layers", v->num_hidden_layers);
  set_int(o, "num_attention_heads", v->num_attention_heads);
  set_int(o, "image_size", v->image_size);
  set_int(o, "patch_size", v->patch_size);
  set_real(o, "layer_norm_eps", v->layer_norm_eps);
  set_text(o, "hidden_act", "quick_gelu");
}

/* rope_theta and rope_scaling, or rope_parameters of newer versions, whichever there is. */
static void write_rope(json_t *o, const struct lrl_rope_config *rope) {
  json_t *both = json_object_get(o, "rope_parameters");
  set_real(json_is_object(both) ? both : o, "rope_theta", rope->theta);
  json_t *scaling = json_is_object(both) ? both : json_object_get(o, "rope_scaling");
  if (rope->scaling == LRL_ROPE_NONE) {
    if (json_is_object(both))
      set_text(both, "rope_type", "default");
    else
      json_object_set_new(o, "rope_scaling", json_null());
    return;
  }
  if (!json_is_object(scaling))
    json_object_set_new(o, "rope_scaling", scaling = json_object());
  set_text(scaling, json_object_get(scaling, "rope_type") != NULL ? "rope_type" : "type",
           rope->scaling == LRL_ROPE_LINEAR ? "linear" : "dynamic");
  set_real(scaling, "factor", rope->factor);
}

static void write_decoder(json_t *o, const struct lrl_hf_model *m) {
  const struct lrl_decoder_config *d = &m->vlm.decoder;
  set_int(o, "vocab_size", d->vocab_size);
  set_int(o, "hidden_size", d->hidden_size);
  set_int(o, "intermediate_size", d->intermediate_size);
  set_int(o, "num_hidden_layers", d->num_hidden_layers);
  set_int(o, "num_attention_heads", d->num_attention_heads);
  set_int(o, "num_key_value_heads", d->num_key_value_heads);
  set_int(o, "max_position_embeddings", d->rope.max_position_embeddings);
  set_real(o, "rms_norm_eps", d->rms_norm_eps);
  set_text(o, "hidden_act", "silu");
  json_object_set_new(o, "tie_word_embeddings", json_boolean(m->tied));
  if (m->family <= LRL_HF_INTERNLM2)
    json_object_set_new(o, "bias", json_boolean(d->bias));
  else if (m->family == LRL_HF_LLAMA)
    json_object_set_new(o, "attention_bias", json_boolean(d->bias));
  if (m->family >= LRL_HF_LLAMA && m->vlm.head == LRL_VLM_SCORE)
    set_int(o, "num_labels", 1);
  if (d->plora_r > 0 && d->plora_alpha != (double)d->plora_r)
    set_real(o, "plora_alpha", d->plora_alpha);
  write_rope(o, &d->rope);
}

json_t *lrl_hf_config_write(const struct lrl_hf_model *m, json_t *base, const char *dtype) {
  json_t *tower = json_object_get(base, "vision_config");
  if (m->vision_only && json_is_object(tower)) /* all of CLIP but its text side */
    base = tower;
  json_t *o = base == NULL ? json_object() : json_deep_copy(base);
  if (o == NULL)
    return NULL;
  if (base == NULL || base == tower) {
    set_text(o, "model_type", names[m->family].model_type);
    const char *class =
        m->vlm.head == LRL_VLM_SCORE ? names[m->family].score : names[m->family].language;
    if (class != NULL)
      json_object_set_new(o, "architectures", json_pack("[s]", class));
  }
  if (m->vision_only) {
    write_tower(o, &m->vlm.vit);
  } else {
    write_decoder(o, m);
    if (m->vlm.has_vision) {
      json_t *inner = json_object_get(o, "vision_config");
      if (!json_is_object(inner))
        json_object_set_new(o, "vision_config", inner = json_object());
      write_tower(inner, &m->vlm.vit);
    }
  }
  if (json_object_get(o, "dtype") != NULL && json_object_get(o, "torch_dtype") == NULL)
    set_text(o, "dtype", dtype);
  else
    set_text(o, "torch_dtype", dtype);
  return o;
}
