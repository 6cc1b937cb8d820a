/* Parameters as logical tensors. */
#include "train/checkpoint_impl.h"

#include <stdio.h>
#include <string.h>

struct lrl_dataset lrl_tensor_shape(const struct lrl_param *p, lrl_dtype dtype) {
  struct lrl_dataset d = {.type = dtype == LRL_F32 ? LRL_DATA_F32 : LRL_DATA_BF16, .ndim = p->ndim};
  memcpy(d.dim, p->dim, sizeof d.dim);
  return d;
}

static void print_shape(char *out, size_t size, int ndim, const int64_t *dim) {
  size_t n = (size_t)snprintf(out, size, "[");
  for (int i = 0; i < ndim; i++)
    n += (size_t)snprintf(out + n, size - n, i > 0 ? ", %lld" : "%lld", (long long)dim[i]);
  snprintf(out + n, size - n, "]");
}

static lrl_status check_shape(const struct lrl_checkpoint *k, const struct lrl_dataset *d,
                              const struct lrl_param *p) {
  bool same = d->ndim == p->ndim && (d->type == LRL_DATA_F32 || d->type == LRL_DATA_BF16);
  for (int i = 0; same && i < p->ndim; i++)
    same = d->dim[i] == p->dim[i];
  if (same)
    return LRL_OK;
  char in_file[96], in_model[96];
  print_shape(in_file, sizeof in_file, d->ndim, d->dim);
  print_shape(in_model, sizeof in_model, p->ndim, p->dim);
  return LRL_FAIL(LRL_ERR_SHAPE, "%s: the tensor %s has the shape %s there and %s in the model",
                  k->path, d->name, in_file, in_model);
}

/* Opens a tensor and checks that it fits p. */
lrl_status lrl_tensor_open(struct lrl_checkpoint *k, const char *name, const struct lrl_param *p,
                           struct lrl_dataset *d) {
  *d = (struct lrl_dataset){.id = -1};
  LRL_TRY(lrl_dataset_open(k, name, d));
  return check_shape(k, d, p);
}

static bool is_head(const char *name) {
  return strcmp(name, "score.weight") == 0 || strcmp(name, "output.weight") == 0;
}

lrl_status lrl_tensor_check_names(struct lrl_checkpoint *k, const char *group,
                                  struct lrl_param_set *set, enum lrl_tensor_need need) {
  const bool trainable = need == LRL_TENSOR_TRAINED;
  H5G_info_t info;
  if (H5Lexists(k->file, group, H5P_DEFAULT) <= 0 ||
      H5Gget_info_by_name(k->file, group, &info, H5P_DEFAULT) < 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the checkpoint %s has no %s", k->path, group);
  for (hsize_t i = 0; i < info.nlinks; i++) {
    char name[2 * LRL_NAME_MAX];
    struct lrl_param_unit *unit;
    if (H5Lget_name_by_idx(k->file, group, H5_INDEX_NAME, H5_ITER_NATIVE, i, name, sizeof name,
                           H5P_DEFAULT) < 0)
      name[0] = '\0';
    if (need == LRL_TENSOR_KNOWN_OR_HEAD && is_head(name))
      continue;
    if (lrl_param_find(set, name, &unit) == NULL || (trainable && !unit->trainable))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: %s holds a tensor %s that the model does not %s",
                      k->path, group, name, trainable ? "train" : "have");
  }
  return LRL_OK;
}

/* ---- parameters ---- */

static void *param_data(const struct lrl_param_unit *u, const struct lrl_param *p) {
  return (char *)u->data + p->offset * lrl_dtype_bytes(u->dtype);
}

lrl_status lrl_tensor_write(struct lrl_checkpoint *k, struct lrl_ctx *ctx, struct lrl_dataset *d,
                            const void *data, size_t bytes) {
  if (ctx == NULL || ctx->backend->read == NULL)
    return lrl_dataset_write(k, d, data, bytes);
  for (size_t at = 0; at < bytes; at += LRL_COMM_BUCKET) {
    const size_t n = bytes - at < LRL_COMM_BUCKET ? bytes - at : LRL_COMM_BUCKET;
    LRL_TRY(lrl_read(ctx, k->staging, (const char *)data + at, n));
    LRL_TRY(lrl_dataset_write(k, d, k->staging, n));
  }
  return LRL_OK;
}

static lrl_status write_params(struct lrl_checkpoint *k, struct lrl_ctx *ctx, const char *group,
                               struct lrl_param_set *set) {
  uint64_t bytes = 0;
  int64_t n = 0;
  for (int u = 0; u < set->n_units; u++) {
    bytes += (uint64_t)(set->units[u].n * lrl_dtype_bytes(set->units[u].dtype));
    n += set->units[u].n_params;
  }
  LRL_TRY(lrl_file_reserve(k, bytes, n));
  LRL_TRY(lrl_file_group(k, group));
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++) {
      struct lrl_param_unit *unit = &set->units[u];
      const struct lrl_param *p = &unit->params[i];
      char name[2 * LRL_NAME_MAX];
      snprintf(name, sizeof name, "%s/%s", group, p->name);
      struct lrl_dataset d = lrl_tensor_shape(p, unit->dtype);
      lrl_status s = lrl_dataset_create(k, name, &d);
      if (s == LRL_OK)
        s = lrl_param_ready(unit);
      if (s == LRL_OK)
        s = lrl_tensor_write(k, ctx, &d, param_data(unit, p), (size_t)d.bytes);
      LRL_TRY(lrl_dataset_end(k, &d, s));
    }
  return LRL_OK;
}

lrl_status lrl_checkpoint_put_params(struct lrl_checkpoint *k, struct lrl_ctx *ctx,
                                     const char *group, struct lrl_param_set *set) {
  lrl_status s = lrl_checkpoint_root(k) ? write_params(k, ctx, group, set) : LRL_OK;
  return lrl_comm_agree(k->comm, s);
}

/* Reads a tensor of one dtype into memory of the other, by way of the staging buffer. */
static lrl_status read_converted(struct lrl_checkpoint *k, struct lrl_dataset *d, int64_t n,
                                 void *out) {
  const size_t width = d->type == LRL_DATA_F32 ? sizeof(float) : sizeof(uint16_t);
  for (int64_t at = 0; at < n; at += LRL_PIECE_FLOATS) {
    const int64_t m = n - at < LRL_PIECE_FLOATS ? n - at : LRL_PIECE_FLOATS;
    LRL_TRY(lrl_dataset_read(k, d, k->staging, (size_t)m * width));
    for (int64_t i = 0; i < m; i++)
      if (d->type == LRL_DATA_F32)
        ((uint16_t *)out)[at + i] = lrl_f32_to_bf16(((const float *)(void *)k->staging)[i]);
      else
        ((float *)out)[at + i] = lrl_bf16_to_f32(((const uint16_t *)(void *)k->staging)[i]);
  }
  return LRL_OK;
}

static lrl_status read_param(struct lrl_checkpoint *k, const char *group, bool any_head,
                             struct lrl_param_unit *unit, const struct lrl_param *p) {
  char name[2 * LRL_NAME_MAX];
  struct lrl_dataset d;
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  /* Adapters, and a head of another kind, begin on a model without them. */
  const bool may_lack = strstr(name, ".lora_") != NULL || (any_head && is_head(p->name));
  if (may_lack && H5Lexists(k->file, name, H5P_DEFAULT) <= 0)
    return LRL_OK;
  lrl_status s = lrl_tensor_open(k, name, p, &d);
  const bool same = (d.type == LRL_DATA_F32) == (unit->dtype == LRL_F32);
  if (s == LRL_OK)
    s = same ? lrl_dataset_read(k, &d, param_data(unit, p),
                                (size_t)(p->n * lrl_dtype_bytes(unit->dtype)))
             : read_converted(k, &d, p->n, param_data(unit, p));
  return lrl_dataset_end(k, &d, s);
}

static lrl_status read_params(struct lrl_checkpoint *k, const char *group, bool any_head,
                              struct lrl_param_set *set) {
  LRL_TRY(lrl_tensor_check_names(k, group, set,
                                 any_head ? LRL_TENSOR_KNOWN_OR_HEAD : LRL_TENSOR_KNOWN));
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++)
      LRL_TRY(read_param(k, group, any_head, &set->units[u], &set->units[u].params[i]));
  return LRL_OK;
}

static lrl_status get_params(struct lrl_checkpoint *k, const char *group, bool any_head,
                             struct lrl_param_set *set) {
  lrl_status s = lrl_checkpoint_root(k) ? read_params(k, group, any_head, set) : LRL_OK;
  LRL_TRY(lrl_comm_agree(k->comm, s));
  for (int u = 0; u < set->n_units; u++) {
    struct lrl_param_unit *unit = &set->units[u];
    LRL_TRY(lrl_comm_broadcast(k->comm, unit->data,
                               (size_t)(unit->n * lrl_dtype_bytes(unit->dtype)), 0));
    unit->version++;
  }
  return LRL_OK;
}

lrl_status lrl_checkpoint_get_params(struct lrl_checkpoint *k, const char *group,
                                     struct lrl_param_set *set) {
  return get_params(k, group, false, set);
}

lrl_status lrl_checkpoint_get_weights(struct lrl_checkpoint *k, const char *group,
                                      struct lrl_param_set *set) {
  return get_params(k, group, true, set);
}
