/* Hugging Face folders to checkpoints and back. Tensors stream through: a model may be larger than
 * memory. What is in the checkpoint: "kind" (language, reward or, for a CLIP tower alone, vision),
 * "config", "tokenizer", "model", and "hf": JSON with the config.json and the tensors' types, so
 * that the folder can be written again as it was. */
#ifndef LRL_HF_MODEL_H
#define LRL_HF_MODEL_H
#include "model/hf_config.h"
#include "train/model_options.h"

enum lrl_hf_dtype { LRL_HF_AUTO, LRL_HF_F32, LRL_HF_BF16, LRL_HF_F16 };

struct lrl_hf_summary {
  int64_t n_params, n_tensors; /* elements; tensors of the folder */
  int64_t n_passed_over;       /* buffers that are computed anew, CLIP's text side */
  const char *kind;
};

/* tokenizer: a SentencePiece model, NULL: the folder's tokenizer.model. dtype: AUTO keeps bf16 and
 * f32; f16 becomes f32, which holds its values exactly. LRL_ERR_SHAPE lists all tensors that do not
 * fit; nothing is written then. */
lrl_status lrl_hf_import(const char *folder, const char *checkpoint, const char *tokenizer,
                         enum lrl_hf_dtype dtype, struct lrl_hf_summary *out);

struct lrl_hf_export_options {
  enum lrl_hf_dtype dtype; /* AUTO: as the folder had it that was imported, else the checkpoint's */
  int64_t max_shard_bytes;
  const char *like; /* NULL, or a folder whose family, config.json and small files are taken */
};
/* Writes safetensors (with an index when sharded), config.json and tokenizer.model into a new
 * folder; LoRA is merged into the weights. LRL_ERR_IO when the folder is there and not empty. */
lrl_status lrl_hf_export(const char *checkpoint, const char *folder,
                         const struct lrl_hf_export_options *options, struct lrl_hf_summary *out);

/* Parses folder/config.json. New reference. */
lrl_status lrl_hf_load_config(const char *folder, json_t **out);
#endif
