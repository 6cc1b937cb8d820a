/* What a Hugging Face folder says about its network: config.json, and the shapes of the tensors for
 * what it leaves out (vision tower, Partial LoRA, biases). */
#ifndef LRL_HF_CONFIG_H
#define LRL_HF_CONFIG_H
#include "model/vlm.h"
#include "model/weights.h"

#include <jansson.h>
#ifdef __cplusplus
extern "C" {
#endif

enum lrl_hf_family {
  LRL_HF_XCOMPOSER, /* InternLM-XComposer2.5, chat and reward */
  LRL_HF_INTERNLM2, /* InternLM2, chat and reward */
  LRL_HF_LLAMA,
  LRL_HF_MISTRAL,
  LRL_HF_QWEN2,
  LRL_HF_CLIP, /* a vision tower; CLIP's text side is passed over */
};

struct lrl_hf_model {
  enum lrl_hf_family family;
  struct lrl_vlm_config vlm; /* dtype: bf16 when all weights are, else f32; frozen */
  bool vision_only;          /* LRL_HF_CLIP: only vlm.vit counts */
  bool tied;                 /* the head is the embedding */
  bool v_head;               /* the score head is called v_head */
};

/* `config`: the parsed file; `path`: the folder, for messages. LRL_ERR_FORMAT when a key is missing
 * or not what it should be; LRL_ERR_ARG when the model is one that Laurel cannot compute, naming
 * what it cannot. */
lrl_status lrl_hf_config_read(json_t *config, const struct lrl_weights *w, const char *path,
                              struct lrl_hf_model *out);
/* A config.json for the model: `base` (NULL: a new one) with every key set that Laurel knows, the
 * other way round. `dtype` is torch's name. New reference; NULL without memory. */
json_t *lrl_hf_config_write(const struct lrl_hf_model *m, json_t *base, const char *dtype);
/* The family by its model_type; LRL_ERR_ARG lists those there are. */
lrl_status lrl_hf_family_find(const char *model_type, enum lrl_hf_family *out);
/* Names and shapes of the parameters, without memory for values. Free with lrl_vlm_free. */
lrl_status lrl_hf_describe(const struct lrl_hf_model *m, struct lrl_vlm *out);

#ifdef __cplusplus
}
#endif
#endif
