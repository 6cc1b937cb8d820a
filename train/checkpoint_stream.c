/* Parameters that pass through in pieces, for models that are larger than memory. */
#include "train/checkpoint_impl.h"

#include <stdio.h>
#include <string.h>

static int64_t piece(int64_t n, int64_t at) {
  return n - at < LRL_PIECE_FLOATS ? n - at : LRL_PIECE_FLOATS;
}

static lrl_status put_one(struct lrl_checkpoint *k, const char *group, lrl_dtype dtype,
                          const struct lrl_param *p, lrl_param_read *read, void *user) {
  char name[2 * LRL_NAME_MAX];
  struct lrl_dataset d = lrl_tensor_shape(p, dtype);
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  lrl_status s = lrl_dataset_create(k, name, &d);
  for (int64_t at = 0; at < p->n && s == LRL_OK; at += LRL_PIECE_FLOATS) {
    const int64_t n = piece(p->n, at);
    s = read(user, p, dtype, at, n, k->staging);
    if (s == LRL_OK)
      s = lrl_dataset_write(k, &d, k->staging, (size_t)(n * lrl_dtype_bytes(dtype)));
  }
  return lrl_dataset_end(k, &d, s);
}

lrl_status lrl_checkpoint_put_stream(struct lrl_checkpoint *k, const char *group,
                                     const struct lrl_param_set *set, lrl_param_read *read,
                                     void *user) {
  uint64_t bytes = 0;
  int64_t n = 0;
  LRL_ASSERT(lrl_comm_size(k->comm) == 1);
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++, n++)
      bytes += (uint64_t)(set->units[u].params[i].n * lrl_dtype_bytes(set->units[u].dtype));
  LRL_TRY(lrl_file_reserve(k, bytes, n));
  LRL_TRY(lrl_file_group(k, group));
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++)
      LRL_TRY(put_one(k, group, set->units[u].dtype, &set->units[u].params[i], read, user));
  return LRL_OK;
}

static lrl_status get_one(struct lrl_checkpoint *k, const char *group, const struct lrl_param *p,
                          lrl_param_write *write, void *user) {
  char name[2 * LRL_NAME_MAX];
  struct lrl_dataset d;
  snprintf(name, sizeof name, "%s/%s", group, p->name);
  lrl_status s = lrl_tensor_open(k, name, p, &d);
  const lrl_dtype dtype = d.type == LRL_DATA_F32 ? LRL_F32 : LRL_BF16;
  for (int64_t at = 0; at < p->n && s == LRL_OK; at += LRL_PIECE_FLOATS) {
    const int64_t n = piece(p->n, at);
    s = lrl_dataset_read(k, &d, k->staging, (size_t)(n * lrl_dtype_bytes(dtype)));
    if (s == LRL_OK)
      s = write(user, p, dtype, at, n, k->staging);
  }
  return lrl_dataset_end(k, &d, s);
}

lrl_status lrl_checkpoint_get_stream(struct lrl_checkpoint *k, const char *group,
                                     struct lrl_param_set *set, lrl_param_write *write,
                                     void *user) {
  LRL_ASSERT(lrl_comm_size(k->comm) == 1);
  LRL_TRY(lrl_tensor_check_names(k, group, set, LRL_TENSOR_KNOWN));
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++)
      LRL_TRY(get_one(k, group, &set->units[u].params[i], write, user));
  return LRL_OK;
}
