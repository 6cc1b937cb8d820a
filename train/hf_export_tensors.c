#include "model/half.h"
#include "model/hf_map.h"
#include "train/hf_export_impl.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 18 }; /* elements; no less than a checkpoint hands over at a time */

static enum lrl_weight_dtype dtype_of(const struct lrl_hf_export *e, const char *name) {
  static const enum lrl_weight_dtype wanted[] = {[LRL_HF_F32] = LRL_WEIGHT_F32,
                                                 [LRL_HF_BF16] = LRL_WEIGHT_BF16,
                                                 [LRL_HF_F16] = LRL_WEIGHT_F16};
  const char *own = json_string_value(json_object_get(json_object_get(e->source, "dtypes"), name));
  const char *common = json_string_value(json_object_get(e->source, "dtype"));
  enum lrl_weight_dtype t = e->model.vlm.dtype == LRL_F32 ? LRL_WEIGHT_F32 : LRL_WEIGHT_BF16;
  if (e->o->dtype != LRL_HF_AUTO)
    return wanted[e->o->dtype];
  if (own != NULL)
    lrl_weight_dtype_parse(own, strlen(own), &t);
  else if (common != NULL)
    lrl_weight_dtype_parse(common, strlen(common), &t);
  /* f64 was rounded when it was read. */
  return t == LRL_WEIGHT_F64 || t > LRL_WEIGHT_BF16 ? LRL_WEIGHT_F32 : t;
}

/* Counts the tensors, or with `entries` describes them. */
static void list_tensors(struct lrl_hf_export *e) {
  const struct lrl_param_set *set = &e->shapes.params;
  e->n = 0;
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++) {
      struct lrl_hf_source s;
      if (lrl_hf_is_tied(&e->model, &set->units[u].params[i]))
        continue;
      lrl_hf_source(&e->model, &set->units[u].params[i], &s);
      for (int k = 0; k < s.n; k++, e->n++) {
        if (e->entries == NULL)
          continue;
        memcpy(e->names[e->n], s.tensor[k].name, LRL_NAME_MAX);
        struct lrl_weight_entry *to = &e->entries[e->n];
        *to = (struct lrl_weight_entry){.name = e->names[e->n],
                                        .dtype = dtype_of(e, s.tensor[k].name),
                                        .ndim = s.tensor[k].ndim};
        memcpy(to->dim, s.tensor[k].dim, sizeof s.tensor[k].dim);
      }
    }
}

static void convert(lrl_dtype from, const void *x, int64_t n, enum lrl_weight_dtype to, void *y) {
  for (int64_t i = 0; i < n; i++) {
    const float v =
        from == LRL_F32 ? ((const float *)x)[i] : lrl_bf16_to_f32(((const uint16_t *)x)[i]);
    if (to == LRL_WEIGHT_F32)
      ((float *)y)[i] = v;
    else
      ((uint16_t *)y)[i] = to == LRL_WEIGHT_F16 ? lrl_f32_to_f16(v) : lrl_f32_to_bf16(v);
  }
}

static lrl_status put(struct lrl_hf_export *e, int64_t entry, int64_t at, int64_t n, lrl_dtype from,
                      const void *x) {
  const enum lrl_weight_dtype to = e->entries[entry].dtype;
  const int64_t width = lrl_weight_dtype_bytes(to);
  const bool same =
      (from == LRL_F32 && to == LRL_WEIGHT_F32) || (from == LRL_BF16 && to == LRL_WEIGHT_BF16);
  if (!same)
    convert(from, x, n, to, e->converted);
  return lrl_safetensors_put(e->writer, entry, at * width, same ? x : e->converted,
                             (size_t)(n * width));
}

static lrl_status write_piece(void *user, const struct lrl_param *p, lrl_dtype dtype, int64_t first,
                              int64_t n, const void *data) {
  struct lrl_hf_export *e = user;
  struct lrl_hf_source s;
  lrl_hf_source(&e->model, p, &s);
  if (lrl_hf_is_tied(&e->model, p))
    return LRL_OK;
  for (int64_t at = first; at < first + n;) {
    const int64_t row = at / s.cols, col = at % s.cols;
    const struct lrl_hf_rows r = lrl_hf_rows_at(&s, row);
    const int64_t left = r.n * s.cols - col, todo = first + n - at, k = left < todo ? left : todo;
    LRL_TRY(put(e, e->next + r.which, r.their_row * s.cols + col, k, dtype,
                (const char *)data + (at - first) * lrl_dtype_bytes(dtype)));
    at += k;
  }
  if (first + n == p->n)
    e->next += s.n;
  return LRL_OK;
}

/* A model with LoRA is read whole, merged and written without its adapters. */
static lrl_status write_merged(struct lrl_hf_export *e) {
  struct lrl_vlm whole;
  struct lrl_vlm_config c = e->model.vlm;
  struct lrl_ctx ctx = {0};
  c.decoder.lora_r = e->lora_r;
  c.decoder.lora_alpha = e->lora_alpha;
  LRL_TRY(lrl_vlm_init(&whole, &c));
  lrl_status status = lrl_checkpoint_get_params(e->checkpoint, "model", &whole.params);
  if (status == LRL_OK)
    status = lrl_ctx_init(&ctx, "cpu", 0);
  if (status == LRL_OK)
    status = lrl_decoder_merge_lora(&ctx, &whole.decoder);
  for (int u = 0; u < e->shapes.params.n_units; u++)
    for (int i = 0; i < e->shapes.params.units[u].n_params && status == LRL_OK; i++) {
      struct lrl_param_unit *unit;
      const struct lrl_param *p =
          lrl_param_find(&whole.params, e->shapes.params.units[u].params[i].name, &unit);
      const int64_t width = lrl_dtype_bytes(unit->dtype);
      for (int64_t at = 0; at < p->n && status == LRL_OK; at += PIECE)
        status = write_piece(e, p, unit->dtype, at, p->n - at < PIECE ? p->n - at : PIECE,
                             (char *)unit->data + (p->offset + at) * width);
    }
  if (ctx.backend != NULL)
    lrl_ctx_free(&ctx);
  lrl_vlm_free(&whole);
  return status;
}

lrl_status lrl_hf_export_tensors(struct lrl_hf_export *e) {
  list_tensors(e);
  e->entries = calloc((size_t)e->n + 1, sizeof *e->entries);
  e->names = calloc((size_t)e->n + 1, sizeof *e->names);
  e->converted = malloc(PIECE * sizeof(float));
  if (e->entries == NULL || e->names == NULL || e->converted == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to write %s", e->folder);
  list_tensors(e);
  LRL_TRY(lrl_safetensors_create(e->folder, e->entries, e->n, e->o->max_shard_bytes, &e->writer));
  LRL_TRY(e->lora_r > 0 ? write_merged(e)
                        : lrl_checkpoint_get_stream(e->checkpoint, "model", &e->shapes.params,
                                                    write_piece, e));
  struct lrl_safetensors_writer *w = e->writer;
  e->writer = NULL;
  return lrl_safetensors_finish(w);
}
