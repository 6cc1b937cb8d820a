#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHARDS = 512 }; /* all are open at once */

struct tensor {
  struct lrl_weight_entry e; /* its name is the one below */
  char *name;
  int64_t bytes, put, at; /* size, bytes written, place in the shard's data */
  int shard;
};
struct lrl_safetensors_writer {
  char *folder;
  int64_t n;
  struct tensor *tensors;
  int n_shards;
  int fd[MAX_SHARDS];
  int64_t data[MAX_SHARDS]; /* where the data begins */
};

static lrl_status cannot_write(const char *path) {
  return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static void shard_name(const struct lrl_safetensors_writer *w, int i, char *out, size_t size) {
  if (w->n_shards == 1)
    snprintf(out, size, "model.safetensors");
  else
    snprintf(out, size, "model-%05d-of-%05d.safetensors", i + 1, w->n_shards);
}

/* Fills shards in order; a tensor larger than a shard gets one of its own. */
static lrl_status plan(struct lrl_safetensors_writer *w, const struct lrl_weight_entry *entries,
                       int64_t max_shard_bytes) {
  int64_t used = 0;
  w->n_shards = 1;
  for (int64_t i = 0; i < w->n; i++) {
    struct tensor *t = &w->tensors[i];
    t->e = entries[i];
    t->bytes = lrl_weight_dtype_bytes(t->e.dtype);
    for (int d = 0; d < t->e.ndim; d++)
      t->bytes *= t->e.dim[d];
    if (used > 0 && used + t->bytes > max_shard_bytes) {
      if (w->n_shards == MAX_SHARDS)
        return LRL_FAIL(LRL_ERR_ARG, "a model in more than %d files; allow larger ones",
                        MAX_SHARDS);
      w->n_shards++;
      used = 0;
    }
    t->shard = w->n_shards - 1;
    t->at = used;
    used += t->bytes;
    if ((t->e.name = t->name = strdup(entries[i].name)) == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the names of tensors");
  }
  return LRL_OK;
}

static json_t *describe(const struct tensor *t) {
  json_t *shape = json_array();
  for (int d = 0; d < t->e.ndim; d++)
    json_array_append_new(shape, json_integer(t->e.dim[d]));
  return json_pack("{ss so s[II]}", "dtype", lrl_weight_dtype_name(t->e.dtype), "shape", shape,
                   "data_offsets", (json_int_t)t->at, (json_int_t)t->at + (json_int_t)t->bytes);
}

/* The header as text, blanks at the end so that the data begins at a multiple of 8. */
static char *header_of(const struct lrl_safetensors_writer *w, int shard, size_t *n) {
  json_t *o = json_pack("{s{ss}}", "__metadata__", "format", "pt");
  for (int64_t i = 0; i < w->n; i++)
    if (w->tensors[i].shard == shard)
      json_object_set_new(o, w->tensors[i].e.name, describe(&w->tensors[i]));
  char *text = json_dumps(o, JSON_COMPACT);
  json_decref(o);
  if (text == NULL)
    return NULL;
  const size_t used = strlen(text);
  *n = (used + 7) / 8 * 8;
  char *padded = realloc(text, *n + 1);
  if (padded == NULL) {
    free(text);
    return NULL;
  }
  memset(padded + used, ' ', *n - used);
  return padded;
}

static bool write_at(int fd, const void *data, size_t n, int64_t at) {
  for (size_t done = 0; done < n;) {
    const ssize_t k = pwrite(fd, (const char *)data + done, n - done, (off_t)at + (off_t)done);
    if (k < 0 && errno == EINTR)
      continue;
    if (k <= 0)
      return false;
    done += (size_t)k;
  }
  return true;
}

static lrl_status begin_shard(struct lrl_safetensors_writer *w, int shard) {
  char name[64], path[4096];
  unsigned char length[8];
  size_t n = 0;
  shard_name(w, shard, name, sizeof name);
  snprintf(path, sizeof path, "%s/%s", w->folder, name);
  char *header = header_of(w, shard, &n);
  if (header == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the header of %s", path);
  for (int i = 0; i < 8; i++)
    length[i] = (unsigned char)((uint64_t)n >> 8 * i);
  w->data[shard] = (int64_t)n + 8;
  w->fd[shard] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  const bool ok = w->fd[shard] >= 0 && write_at(w->fd[shard], length, 8, 0) &&
                  write_at(w->fd[shard], header, n, 8);
  free(header);
  return ok ? LRL_OK : cannot_write(path);
}

lrl_status lrl_safetensors_create(const char *folder, const struct lrl_weight_entry *entries,
                                  int64_t n, int64_t max_shard_bytes,
                                  struct lrl_safetensors_writer **out) {
  *out = NULL;
  struct lrl_safetensors_writer *w = calloc(1, sizeof *w);
  if (w == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to write weights");
  for (int i = 0; i < MAX_SHARDS; i++)
    w->fd[i] = -1;
  w->folder = strdup(folder);
  w->tensors = calloc((size_t)n + 1, sizeof *w->tensors);
  w->n = w->tensors == NULL ? 0 : n;
  lrl_status s = w->folder == NULL || w->tensors == NULL
                     ? LRL_FAIL(LRL_ERR_MEMORY, "no memory to write weights")
                     : plan(w, entries, max_shard_bytes);
  for (int i = 0; i < w->n_shards && s == LRL_OK; i++)
    s = begin_shard(w, i);
  if (s == LRL_OK)
    *out = w;
  else
    lrl_safetensors_abandon(w);
  return s;
}

lrl_status lrl_safetensors_put(struct lrl_safetensors_writer *w, int64_t i, int64_t at,
                               const void *data, size_t bytes) {
  LRL_ASSERT(i >= 0 && i < w->n);
  struct tensor *t = &w->tensors[i];
  LRL_ASSERT(at >= 0 && at + (int64_t)bytes <= t->bytes);
  t->put += (int64_t)bytes;
  return write_at(w->fd[t->shard], data, bytes, w->data[t->shard] + t->at + at)
             ? LRL_OK
             : cannot_write(w->folder);
}

static lrl_status write_index(const struct lrl_safetensors_writer *w) {
  char path[4096], name[64];
  json_int_t total = 0;
  json_t *map = json_object();
  for (int64_t i = 0; i < w->n; i++) {
    shard_name(w, w->tensors[i].shard, name, sizeof name);
    json_object_set_new(map, w->tensors[i].e.name, json_string(name));
    total += w->tensors[i].bytes;
  }
  json_t *o = json_pack("{s{sI}so}", "metadata", "total_size", total, "weight_map", map);
  snprintf(path, sizeof path, "%s/model.safetensors.index.json", w->folder);
  const bool ok = o != NULL && json_dump_file(o, path, JSON_INDENT(2)) == 0;
  json_decref(o);
  return ok ? LRL_OK : cannot_write(path);
}

lrl_status lrl_safetensors_finish(struct lrl_safetensors_writer *w) {
  lrl_status s = LRL_OK;
  for (int64_t i = 0; i < w->n; i++)
    LRL_ASSERT(w->tensors[i].put == w->tensors[i].bytes);
  for (int i = 0; i < w->n_shards; i++)
    if (s == LRL_OK && fsync(w->fd[i]) != 0)
      s = cannot_write(w->folder);
  if (s == LRL_OK && w->n_shards > 1)
    s = write_index(w);
  lrl_safetensors_abandon(w);
  return s;
}

void lrl_safetensors_abandon(struct lrl_safetensors_writer *w) {
  if (w == NULL)
    return;
  for (int i = 0; i < MAX_SHARDS; i++)
    if (w->fd[i] >= 0)
      close(w->fd[i]);
  for (int64_t i = 0; i < w->n; i++)
    free(w->tensors[i].name);
  free(w->tensors);
  free(w->folder);
  free(w);
}
