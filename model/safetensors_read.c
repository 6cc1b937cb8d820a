#include "model/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_HEADER ((uint64_t)100000000) /* bytes, as in the original reader */

struct range {
  int64_t begin, end;
};

static int by_begin(const void *a, const void *b) {
  const struct range *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

static lrl_status read_shape(struct lrl_weight *t, json_t *shape, const char *path,
                             const char *name) {
  if (!json_is_array(shape) || json_array_size(shape) > LRL_WEIGHT_DIMS)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the tensor %.200s has no shape of at most %d dimensions",
                    path, name, LRL_WEIGHT_DIMS);
  t->ndim = (int)json_array_size(shape);
  for (int i = 0; i < t->ndim; i++) {
    json_t *d = json_array_get(shape, (size_t)i);
    t->dim[i] = json_is_integer(d) ? json_integer_value(d) : -1;
  }
  return lrl_weight_count(t)
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_FORMAT, "%s: the shape of the tensor %.200s is not one", path,
                        name);
}

/* One entry of the header; data: where offsets start, n_data bytes. */
static lrl_status read_entry(struct lrl_weight *t, const char *name, json_t *entry,
                             const unsigned char *data, int64_t n_data, const char *path,
                             struct range *range) {
  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  json_t *at = json_object_get(entry, "data_offsets");
  if (dtype == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the tensor %.200s has no dtype", path, name);
  if (!lrl_weight_dtype_parse(dtype, strlen(dtype), &t->dtype))
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s: the tensor %.200s is of type %.40s, which this program does not read",
                    path, name, dtype);
  LRL_TRY(read_shape(t, json_object_get(entry, "shape"), path, name));
  json_t *begin = json_array_get(at, 0), *end = json_array_get(at, 1);
  if (json_array_size(at) != 2 || !json_is_integer(begin) || !json_is_integer(end))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the tensor %.200s has no data_offsets", path, name);
  *range = (struct range){json_integer_value(begin), json_integer_value(end)};
  if (range->begin < 0 || range->end < range->begin || range->end > n_data)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the tensor %.200s does not lie inside the file", path,
                    name);
  if (range->end - range->begin != t->n * lrl_weight_dtype_bytes(t->dtype))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the tensor %.200s has %lld bytes, its shape needs %lld",
                    path, name, (long long)(range->end - range->begin),
                    (long long)(t->n * lrl_weight_dtype_bytes(t->dtype)));
  t->data = t->n > 0 ? data + range->begin : NULL;
  return LRL_OK;
}

/* The format allows neither gaps nor shared bytes. */
static lrl_status check_ranges(struct range *r, int64_t n, int64_t n_data, const char *path) {
  int64_t at = 0;
  if (n > 0)
    qsort(r, (size_t)n, sizeof *r, by_begin);
  for (int64_t i = 0; i < n; at = r[i++].end)
    if (r[i].begin != at)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: its tensors overlap or leave a gap at byte %lld", path,
                      (long long)at);
  if (at != n_data)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: its tensors end at byte %lld of %lld", path, (long long)at,
                    (long long)n_data);
  return LRL_OK;
}

static lrl_status read_header(struct lrl_weights *w, int file, json_t *header,
                              const unsigned char *data, int64_t n_data, const char *path) {
  struct range *ranges = malloc((json_object_size(header) + 1) * sizeof *ranges);
  int64_t n = 0;
  const char *name;
  json_t *entry;
  lrl_status s = ranges == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for %s", path) : LRL_OK;
  json_object_foreach(header, name, entry) {
    if (s != LRL_OK)
      break;
    if (strcmp(name, "__metadata__") == 0)
      continue;
    struct lrl_weight t = {.file = file};
    s = read_entry(&t, name, entry, data, n_data, path, &ranges[n]);
    n++;
    if (s == LRL_OK && (t.name = strdup(name)) == NULL)
      s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for %s", path);
    if (s == LRL_OK)
      s = lrl_weights_add(w, &t);
  }
  if (s == LRL_OK)
    s = check_ranges(ranges, n, n_data, path);
  free(ranges);
  return s;
}

lrl_status lrl_safetensors_read(struct lrl_weights *w, int file, const char *path) {
  const struct lrl_mapped_file *f = &w->files[file];
  uint64_t n = 0;
  json_error_t e;
  for (int i = 7; i >= 0 && f->n >= 8; i--)
    n = n << 8 | f->data[i];
  if (f->n < 8 || n < 2 || n > f->n - 8)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s is no safetensors file, or is cut off: its header does not "
                    "fit into its %zu bytes",
                    path, f->n);
  if (n > MAX_HEADER)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s has a header of %llu bytes; at most 100 MB are read", path,
                    (unsigned long long)n);
  json_t *header = json_loadb((const char *)f->data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &e);
  lrl_status s;
  if (!json_is_object(header))
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s is no safetensors file: its header is not JSON (%s)", path,
                 header == NULL ? e.text : "no object");
  else
    s = read_header(w, file, header, f->data + 8 + n, (int64_t)(f->n - 8 - n), path);
  json_decref(header);
  return s;
}
