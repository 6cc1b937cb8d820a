#include "data/tokenizer.h"
#include "model/hf_map.h"
#include "train/checkpoint.h"
#include "train/hf_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lrl_status lrl_hf_load_config(const char *folder, json_t **out) {
  char path[4096];
  json_error_t e;
  struct lrl_mapped_file f;
  snprintf(path, sizeof path, "%s/config.json", folder);
  LRL_TRY(lrl_mapped_file_open(path, &f));
  *out = json_loadb((const char *)f.data, f.n, 0, &e);
  lrl_mapped_file_close(&f);
  if (json_is_object(*out))
    return LRL_OK;
  const lrl_status s = LRL_FAIL(LRL_ERR_FORMAT, "%s is not a JSON object: %s", path,
                                *out == NULL ? e.text : "it is something else");
  json_decref(*out);
  *out = NULL;
  return s;
}

struct import {
  const char *folder;
  struct lrl_weights *weights;
  json_t *config;
  struct lrl_hf_model model;
  struct lrl_vlm shapes;
  struct lrl_tokenizer *tokenizer; /* NULL for a tower alone */
  struct lrl_model_options options;
};

static lrl_status read_piece(void *user, const struct lrl_param *p, lrl_dtype dtype, int64_t first,
                             int64_t n, void *out) {
  struct import *m = user;
  lrl_hf_read(&m->model, m->weights, p, dtype, first, n, out);
  if (first + n == p->n)
    lrl_hf_drop(&m->model, m->weights, p);
  return LRL_OK;
}

static lrl_status open_tokenizer(struct import *m, const char *tokenizer) {
  char path[4096];
  snprintf(path, sizeof path, "%s/tokenizer.model", m->folder);
  if (tokenizer == NULL) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
      return LRL_FAIL(LRL_ERR_IO,
                      "%s has no tokenizer.model; Laurel reads SentencePiece tokenizers only, name "
                      "one with --tokenizer",
                      m->folder);
    fclose(f);
  }
  LRL_TRY(lrl_tokenizer_open(tokenizer != NULL ? tokenizer : path, &m->tokenizer));
  const int32_t n = lrl_tokenizer_info(m->tokenizer)->n_vocab;
  if (n > m->model.vlm.decoder.vocab_size)
    return LRL_FAIL(LRL_ERR_SHAPE, "the tokenizer has %d pieces, the model of %s only %lld", n,
                    m->folder, (long long)m->model.vlm.decoder.vocab_size);
  return LRL_OK;
}

static lrl_status open_all(struct import *m, const char *tokenizer, enum lrl_hf_dtype dtype,
                           struct lrl_hf_summary *out) {
  LRL_TRY(lrl_hf_load_config(m->folder, &m->config));
  LRL_TRY(lrl_weights_open(m->folder, &m->weights));
  LRL_TRY(lrl_hf_config_read(m->config, m->weights, m->folder, &m->model));
  if (dtype == LRL_HF_F32 || dtype == LRL_HF_BF16)
    m->model.vlm.dtype = dtype == LRL_HF_F32 ? LRL_F32 : LRL_BF16;
  LRL_TRY(lrl_hf_describe(&m->model, &m->shapes));
  LRL_TRY(lrl_hf_check(&m->model, &m->shapes.params, m->weights, m->folder, &out->n_passed_over));
  if (!m->model.vision_only)
    LRL_TRY(open_tokenizer(m, tokenizer));
  lrl_model_options_defaults(&m->options);
  if (m->model.vision_only)
    lrl_model_options_describe_tower(&m->model.vlm.vit, &m->options);
  else
    lrl_model_options_describe(&m->model.vlm, &m->options);
  m->options.dtype = m->model.vlm.dtype == LRL_F32 ? 0 : 1;
  return LRL_OK;
}

/* {"config": ..., "dtype": the most frequent type, "dtypes": {name: another one}, "v_head": ...} */
static json_t *describe_source(const struct import *m) {
  int64_t count[LRL_WEIGHT_BOOL + 1] = {0};
  int most = 0;
  for (int64_t i = 0; i < m->weights->n; i++)
    count[m->weights->items[i].dtype]++;
  for (int t = 0; t <= LRL_WEIGHT_BF16; t++)
    most = count[t] > count[most] ? t : most;
  json_t *others = json_object();
  for (int64_t i = 0; i < m->weights->n; i++) {
    const struct lrl_weight *t = &m->weights->items[i];
    if ((int)t->dtype != most && t->dtype <= LRL_WEIGHT_BF16)
      json_object_set_new(others, t->name, json_string(lrl_weight_dtype_name(t->dtype)));
  }
  return json_pack("{sO ss so sb sb}", "config", m->config, "dtype",
                   lrl_weight_dtype_name((enum lrl_weight_dtype)most), "dtypes", others, "v_head",
                   m->model.v_head, "tied", m->model.tied);
}

static lrl_status put_text(struct lrl_checkpoint *c, const char *name, char *text) {
  const lrl_status s = text == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for the %s", name)
                                    : lrl_checkpoint_put_text(c, name, text);
  free(text);
  return s;
}

static lrl_status put_all(struct import *m, struct lrl_checkpoint *c, const char *kind) {
  json_t *source = describe_source(m);
  char *text = source == NULL ? NULL : json_dumps(source, JSON_COMPACT);
  json_decref(source);
  LRL_TRY(put_text(c, "hf", text));
  LRL_TRY(put_text(c, "config", lrl_model_options_text(&m->options)));
  LRL_TRY(lrl_checkpoint_put_text(c, "kind", kind));
  if (m->tokenizer != NULL) {
    size_t n;
    const void *bytes = lrl_tokenizer_model_bytes(m->tokenizer, &n);
    LRL_TRY(lrl_checkpoint_put_blob(c, "tokenizer", bytes, n));
  }
  return lrl_checkpoint_put_stream(c, "model", &m->shapes.params, read_piece, m);
}

lrl_status lrl_hf_import(const char *folder, const char *checkpoint, const char *tokenizer,
                         enum lrl_hf_dtype dtype, struct lrl_hf_summary *out) {
  struct import m = {.folder = folder};
  struct lrl_checkpoint *c = NULL;
  lrl_status status;
  *out = (struct lrl_hf_summary){0};
  LRL_TRY_GOTO(open_all(&m, tokenizer, dtype, out));
  out->kind = m.model.vision_only                    ? "vision"
              : m.model.vlm.head == LRL_VLM_LANGUAGE ? "language"
                                                     : "reward";
  out->n_tensors = m.weights->n;
  for (int u = 0; u < m.shapes.params.n_units; u++)
    for (int i = 0; i < m.shapes.params.units[u].n_params; i++)
      out->n_params += m.shapes.params.units[u].params[i].n;
  LRL_TRY_GOTO(lrl_checkpoint_create(checkpoint, NULL, &c));
  status = put_all(&m, c, out->kind);
  if (status == LRL_OK)
    status = lrl_checkpoint_commit(c);
  else
    lrl_checkpoint_discard(c);
done:
  lrl_vlm_free(&m.shapes);
  lrl_tokenizer_close(m.tokenizer);
  lrl_weights_close(m.weights);
  json_decref(m.config);
  return status;
}
