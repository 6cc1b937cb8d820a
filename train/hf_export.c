#include "train/hf_export_impl.h"

#include "train/hf_folder.h"

#include <stdlib.h>
#include <string.h>

static lrl_status read_options(struct lrl_hf_export *e, struct lrl_model_options *o, char **kind) {
  char *text = NULL;
  LRL_TRY(lrl_checkpoint_get_text(e->checkpoint, "kind", kind));
  LRL_TRY(lrl_checkpoint_get_text(e->checkpoint, "config", &text));
  const lrl_status s = lrl_model_options_parse(o, text, e->path);
  free(text);
  return s;
}

static lrl_status read_source(struct lrl_hf_export *e) {
  bool has;
  char *text = NULL;
  LRL_TRY(lrl_checkpoint_has(e->checkpoint, "hf", &has));
  if (has) {
    LRL_TRY(lrl_checkpoint_get_text(e->checkpoint, "hf", &text));
    e->source = json_loads(text, 0, NULL);
    free(text);
    if (!json_is_object(e->source))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: its hf text is not a JSON object", e->path);
  }
  if (e->o->like != NULL)
    return lrl_hf_load_config(e->o->like, &e->base);
  e->base = json_incref(json_object_get(e->source, "config"));
  return LRL_OK;
}

/* The network in the words of Hugging Face. */
static lrl_status read_model(struct lrl_hf_export *e, const struct lrl_model_options *o,
                             const char *kind) {
  struct lrl_hf_model *m = &e->model;
  const char *type = json_string_value(json_object_get(e->base, "model_type"));
  const bool language = strcmp(kind, "language") == 0;
  m->vision_only = strcmp(kind, "vision") == 0;
  m->family = m->vision_only ? LRL_HF_CLIP : o->vision != 0 ? LRL_HF_XCOMPOSER : LRL_HF_INTERNLM2;
  if (type != NULL)
    LRL_TRY(lrl_hf_family_find(type, &m->family));
  if (m->vision_only != (m->family == LRL_HF_CLIP) ||
      (o->vision != 0 && m->family >= LRL_HF_LLAMA && !m->vision_only))
    return LRL_FAIL(LRL_ERR_ARG, "a %s model cannot be written as one of type %s", kind, type);
  const struct lrl_tokenizer_info info =
      e->tokenizer != NULL ? *lrl_tokenizer_info(e->tokenizer) : (struct lrl_tokenizer_info){0};
  if (m->vision_only)
    m->vlm = (struct lrl_vlm_config){.vit = lrl_model_options_tower(o),
                                     .dtype = o->dtype == 0 ? LRL_F32 : LRL_BF16};
  else
    LRL_TRY(lrl_model_options_config(o, &info, &m->vlm));
  m->vlm.head = language ? LRL_VLM_LANGUAGE : LRL_VLM_SCORE;
  m->v_head = !language && m->family == LRL_HF_INTERNLM2;
  json_t *v_head = json_object_get(e->source, "v_head");
  if (v_head != NULL && e->o->like == NULL)
    m->v_head = json_is_true(v_head);
  m->tied = language && e->o->like == NULL && json_is_true(json_object_get(e->source, "tied"));
  if (m->vlm.decoder.plora_r > 0 && m->family >= LRL_HF_LLAMA)
    return LRL_FAIL(LRL_ERR_ARG, "a model with Partial LoRA cannot be written as one of type %s",
                    type);
  return LRL_OK;
}

static lrl_status open_tokenizer(struct lrl_hf_export *e) {
  bool has;
  LRL_TRY(lrl_checkpoint_has(e->checkpoint, "tokenizer", &has));
  return has ? lrl_checkpoint_get_tokenizer(e->checkpoint, &e->tokenizer) : LRL_OK;
}

/* With 15 digits, so that 0.1 stays 0.1, where that is exact. */
static char *dump(json_t *o) {
  char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  json_t *back = text == NULL ? NULL : json_loads(text, 0, NULL);
  const bool exact = json_equal(o, back);
  json_decref(back);
  if (exact)
    return text;
  free(text);
  return json_dumps(o, JSON_INDENT(2));
}

static lrl_status write_config(const struct lrl_hf_export *e) {
  int64_t count[LRL_WEIGHT_BF16 + 1] = {0};
  int most = LRL_WEIGHT_F32;
  static const char *const torch[] = {"float64", "float32", "float16", "bfloat16"};
  for (int64_t i = 0; i < e->n; i++)
    count[e->entries[i].dtype]++;
  for (int t = 0; t <= LRL_WEIGHT_BF16; t++)
    most = count[t] > count[most] ? t : most;
  json_t *c = lrl_hf_config_write(&e->model, e->base, torch[most]);
  char *text = c == NULL ? NULL : dump(c);
  json_decref(c);
  const lrl_status s = text == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for config.json")
                                    : lrl_hf_put_file(e->folder, "config.json", text, strlen(text));
  free(text);
  return s;
}

static lrl_status open_model(struct lrl_hf_export *e, const char *checkpoint,
                             struct lrl_hf_summary *out) {
  struct lrl_model_options o;
  char *kind = NULL;
  LRL_TRY(lrl_checkpoint_find(checkpoint, e->path, sizeof e->path));
  LRL_TRY(lrl_checkpoint_open(e->path, NULL, &e->checkpoint));
  lrl_status s = read_options(e, &o, &kind);
  if (s == LRL_OK)
    s = read_source(e);
  if (s == LRL_OK)
    s = open_tokenizer(e);
  if (s == LRL_OK) {
    e->lora_r = o.lora_r;
    e->lora_alpha = o.lora_alpha;
    o.lora_r = 0;
    s = read_model(e, &o, kind);
    out->kind = strcmp(kind, "language") == 0 ? "language"
                : e->model.vision_only        ? "vision"
                                              : "reward";
  }
  free(kind);
  return s == LRL_OK ? lrl_hf_describe(&e->model, &e->shapes) : s;
}

static lrl_status write_all(struct lrl_hf_export *e) {
  LRL_TRY(lrl_hf_export_tensors(e));
  LRL_TRY(write_config(e));
  if (e->o->like != NULL)
    LRL_TRY(lrl_hf_copy_small_files(e->o->like, e->folder));
  if (e->tokenizer == NULL)
    return LRL_OK;
  size_t n;
  const void *bytes = lrl_tokenizer_model_bytes(e->tokenizer, &n);
  return lrl_hf_put_file(e->folder, "tokenizer.model", bytes, n);
}

lrl_status lrl_hf_export(const char *checkpoint, const char *folder,
                         const struct lrl_hf_export_options *options, struct lrl_hf_summary *out) {
  struct lrl_hf_export e = {.o = options};
  char temporary[4096];
  *out = (struct lrl_hf_summary){0};
  lrl_status s = open_model(&e, checkpoint, out);
  if (s == LRL_OK && (s = lrl_hf_folder_begin(folder, temporary, sizeof temporary)) == LRL_OK) {
    e.folder = temporary;
    s = lrl_hf_folder_end(temporary, folder, write_all(&e));
  }
  out->n_tensors = e.n;
  for (int u = 0; u < e.shapes.params.n_units; u++)
    for (int i = 0; i < e.shapes.params.units[u].n_params; i++)
      out->n_params += e.shapes.params.units[u].params[i].n;
  lrl_safetensors_abandon(e.writer);
  lrl_vlm_free(&e.shapes);
  lrl_tokenizer_close(e.tokenizer);
  lrl_checkpoint_close(e.checkpoint);
  json_decref(e.source);
  json_decref(e.base);
  free(e.entries);
  free(e.names);
  free(e.converted);
  return s;
}
