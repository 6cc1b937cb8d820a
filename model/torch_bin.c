#include "model/torch_bin.h"

#include "model/torch_zip.h"
#include "model/unpickle.h"

#include <stdio.h>
#include <stdlib.h>

/* Bounds of a walk over containers that may hold each other many times. */
enum { MAX_DEPTH = 32, MAX_VISITS = 1000000, MAX_NAME = 1000 };

struct walk {
  struct lrl_weights *w;
  int file;
  const char *path;
  const struct lrl_zip *zip;
  const struct lrl_pickle *pickle;
  size_t root; /* characters of the members' common folder, "archive/" */
  int64_t visits;
  char name[MAX_NAME];
};

static bool ends_with(const struct lrl_zip_member *m, const char *tail) {
  const size_t n = strlen(tail);
  return m->name_n >= n && memcmp(m->name + m->name_n - n, tail, n) == 0;
}

/* The member folder/name. */
static const struct lrl_zip_member *find(const struct walk *k, const char *folder, const char *name,
                                         size_t n) {
  const char *root = k->zip->members[0].name;
  const size_t n_folder = strlen(folder);
  for (size_t i = 0; i < k->zip->n; i++) {
    const struct lrl_zip_member *m = &k->zip->members[i];
    if (m->name_n == k->root + n_folder + n && memcmp(m->name, root, k->root) == 0 &&
        memcmp(m->name + k->root, folder, n_folder) == 0 &&
        memcmp(m->name + k->root + n_folder, name, n) == 0)
      return m;
  }
  return NULL;
}

static lrl_status add_tensor(struct walk *k, const struct lrl_pickle_value *v) {
  const struct lrl_pickle_value *storage = &k->pickle->values[v->items[0]];
  const struct lrl_zip_member *m = find(k, "data/", storage->s, (size_t)storage->n);
  struct lrl_weight t = *v->shape;
  const int64_t width = lrl_weight_dtype_bytes(storage->dtype);
  if (m == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s does not hold the data of the tensor %.200s", k->path,
                    k->name);
  if (storage->i > (int64_t)m->n / width)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s holds %zu bytes for the tensor %.200s, %lld elements of %s",
                    k->path, m->n, k->name, (long long)storage->i,
                    lrl_weight_dtype_name(storage->dtype));
  t.dtype = storage->dtype;
  t.file = k->file;
  t.data = t.n > 0 ? m->data + v->i * width : NULL;
  if ((t.name = strdup(k->name)) == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to read %s", k->path);
  return lrl_weights_add(k->w, &t);
}

static lrl_status visit(struct walk *k, int32_t index, size_t n_name, int depth);

/* Visits an item under its key (NULL: its number in brackets); n_name: characters of k->name. */
static lrl_status visit_item(struct walk *k, const struct lrl_pickle_value *key, int64_t number,
                             int32_t index, size_t n_name, int depth) {
  const size_t room = MAX_NAME - n_name;
  char *end = k->name + n_name;
  int n;
  if (key == NULL)
    n = snprintf(end, room, "[%lld]", (long long)number);
  else if (key->kind == LRL_PICKLE_STRING && memchr(key->s, '\0', (size_t)key->n) == NULL)
    n = snprintf(end, room, "%s%.*s", n_name > 0 ? "." : "", (int)(key->n < 900 ? key->n : 900),
                 key->s);
  else
    n = snprintf(end, room, "%s%lld", n_name > 0 ? "." : "", (long long)key->i);
  if ((size_t)n >= room || (key != NULL && key->kind == LRL_PICKLE_STRING && key->n >= 900))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s holds a tensor whose name is too long", k->path);
  return visit(k, index, n_name + (size_t)n, depth);
}

static lrl_status visit(struct walk *k, int32_t index, size_t n_name, int depth) {
  const struct lrl_pickle_value *v = &k->pickle->values[index];
  if (++k->visits > MAX_VISITS || depth > MAX_DEPTH)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s holds containers inside of containers without end",
                    k->path);
  k->name[n_name] = '\0';
  switch (v->kind) {
  case LRL_PICKLE_TENSOR:
    return add_tensor(k, v);
  case LRL_PICKLE_DICT:
    for (int64_t i = 0; i + 1 < v->n; i += 2)
      LRL_TRY(
          visit_item(k, &k->pickle->values[v->items[i]], 0, v->items[i + 1], n_name, depth + 1));
    return LRL_OK;
  case LRL_PICKLE_TUPLE:
  case LRL_PICKLE_LIST:
    for (int64_t i = 0; i < v->n; i++)
      LRL_TRY(visit_item(k, NULL, i, v->items[i], n_name, depth + 1));
    return LRL_OK;
  default:
    return LRL_OK;
  }
}

static lrl_status read_archive(struct walk *k, const struct lrl_zip *zip) {
  const struct lrl_zip_member *pickle = NULL;
  struct lrl_pickle p;
  for (size_t i = 0; i < zip->n && pickle == NULL; i++)
    if (ends_with(&zip->members[i], "/data.pkl"))
      pickle = &zip->members[i];
  if (pickle == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s is a zip archive, but not of torch.save: it has no data.pkl", k->path);
  k->zip = zip;
  k->root = pickle->name_n - strlen("data.pkl");
  if (zip->members[0].name_n < k->root || memcmp(zip->members[0].name, pickle->name, k->root) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s has its data.pkl in another folder than the rest", k->path);
  const struct lrl_zip_member *order = find(k, "byteorder", "", 0);
  if (order != NULL && (order->n < 6 || memcmp(order->data, "little", 6) != 0))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s was written on a big-endian machine, which is not read",
                    k->path);
  LRL_TRY(lrl_unpickle(pickle->data, pickle->n, k->path, &p));
  k->pickle = &p;
  const lrl_status s = visit(k, p.root, 0, 0);
  k->pickle = NULL;
  lrl_pickle_free(&p);
  return s;
}

/* The number that begins torch.save's old format, as a pickle of its own. */
static const unsigned char legacy[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c,
                                       0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

lrl_status lrl_torch_bin_read(struct lrl_weights *w, int file, const char *path) {
  const struct lrl_mapped_file *f = &w->files[file];
  struct walk k = {.w = w, .file = file, .path = path};
  struct lrl_zip zip;
  if (f->n >= sizeof legacy && memcmp(f->data, legacy, sizeof legacy) == 0)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s is in the format of PyTorch before 1.6; load it with PyTorch and save it "
                    "again with torch.save",
                    path);
  if (f->n < 4 || memcmp(f->data, "PK", 2) != 0) {
    const bool pickle = f->n >= 2 && f->data[0] == 0x80 && f->data[1] <= 5;
    return LRL_FAIL(LRL_ERR_FORMAT,
                    pickle ? "%s is a bare pickle, not a file of torch.save"
                           : "%s is neither safetensors nor a zip archive of torch.save",
                    path);
  }
  LRL_TRY(lrl_zip_open(f, path, &zip));
  const lrl_status s = read_archive(&k, &zip);
  lrl_zip_close(&zip);
  return s;
}
