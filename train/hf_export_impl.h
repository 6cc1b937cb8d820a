/* Inside of the export: hf_export.c finds out what the model is and writes the folder,
 * hf_export_tensors.c its tensors. */
#ifndef LRL_HF_EXPORT_IMPL_H
#define LRL_HF_EXPORT_IMPL_H
#include "data/tokenizer.h"
#include "model/safetensors.h"
#include "train/checkpoint.h"
#include "train/hf_model.h"

struct lrl_hf_export {
  const struct lrl_hf_export_options *o;
  const char *folder; /* being written */
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_checkpoint *checkpoint;
  json_t *source, *base; /* "hf" of the checkpoint, config.json to begin with; NULL: none */
  struct lrl_tokenizer *tokenizer;
  struct lrl_hf_model model;
  struct lrl_vlm shapes;
  struct lrl_weight_entry *entries;
  char (*names)[LRL_NAME_MAX];
  int64_t n;
  struct lrl_safetensors_writer *writer;
  int64_t next;    /* entry of the next parameter */
  void *converted; /* [a piece] of the entry's type */
  int64_t lora_r;
  double lora_alpha;
};

/* Writes every tensor into e->folder; e->entries and e->n say which they were. */
lrl_status lrl_hf_export_tensors(struct lrl_hf_export *e);
#endif
