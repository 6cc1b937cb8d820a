/* Finding the files of a set of weights and bringing their tensors together. */
#include "model/safetensors.h"
#include "model/torch_bin.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_INDEX ((size_t)100 << 20) /* bytes */
#define MAX_FILES 4096

struct opener {
  struct lrl_weights *w;
  const char *path;
};

static bool is_zip(const struct lrl_mapped_file *f) {
  return f->n >= 4 && memcmp(f->data, "PK\3\4", 4) == 0;
}

/* The first byte of a header is at 8; a torch file begins with a zip member or a pickle. */
static bool is_safetensors(const struct lrl_mapped_file *f) {
  return f->n > 8 && f->data[8] == '{';
}

/* What is often taken for weights and is something else; NULL: nothing of that kind. */
static const char *taken_for_weights(const struct lrl_mapped_file *f) {
  static const struct {
    const char *magic, *what;
  } kinds[] = {
      {"GGUF",
       "a GGUF file of llama.cpp, which Laurel does not read: take the model's safetensors"},
      {"version https://git-lfs", "a Git LFS pointer and not the file: fetch it with git lfs pull"},
      {"\x89HDF\r\n", "an HDF5 file, such as a checkpoint of Laurel or Keras weights"},
      {"<!DOCTYPE", "a web page"},
      {"<html", "a web page"},
  };
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (f->n >= strlen(kinds[i].magic) &&
        memcmp(f->data, kinds[i].magic, strlen(kinds[i].magic)) == 0)
      return kinds[i].what;
  return NULL;
}

static lrl_status add_file(struct lrl_weights *w, const char *path) {
  struct lrl_mapped_file *more = realloc(w->files, (size_t)(w->n_files + 1) * sizeof *more);
  if (more == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the files of a model");
  w->files = more;
  LRL_TRY(lrl_mapped_file_open(path, &w->files[w->n_files]));
  const struct lrl_mapped_file *f = &w->files[w->n_files];
  const int file = w->n_files++;
  const size_t n = strlen(path);
  const char *what = taken_for_weights(f);
  if (what != NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is %s", path, what);
  const bool named = n > 12 && strcmp(path + n - 12, ".safetensors") == 0;
  return !is_zip(f) && (named || is_safetensors(f)) ? lrl_safetensors_read(w, file, path)
                                                    : lrl_torch_bin_read(w, file, path);
}

static int by_name(const void *a, const void *b) {
  const struct lrl_weight *x = a, *y = b;
  return strcmp(x->name, y->name);
}

static lrl_status sort(struct lrl_weights *w, const char *path) {
  if (w->n > 0)
    qsort(w->items, (size_t)w->n, sizeof *w->items, by_name);
  for (int64_t i = 0; i + 1 < w->n; i++)
    if (strcmp(w->items[i].name, w->items[i + 1].name) == 0)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s holds the tensor %.200s twice", path, w->items[i].name);
  return LRL_OK;
}

/* ---- an index of shards ---- */

static bool plain_file_name(const char *s) {
  return s != NULL && s[0] != '\0' && s[0] != '.' && strchr(s, '/') == NULL;
}

/* Opens each file that the map names once. */
static lrl_status add_shards(struct lrl_weights *w, const char *folder, const char *index,
                             json_t *map) {
  json_t *seen = json_object(), *value;
  const char *name;
  lrl_status s = seen == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for %s", index) : LRL_OK;
  json_object_foreach(map, name, value) {
    const char *file = json_string_value(value);
    char path[4096];
    if (s != LRL_OK)
      break;
    if (!plain_file_name(file)) {
      s = LRL_FAIL(LRL_ERR_FORMAT, "%s: the file of %.200s is not the name of a file beside it",
                   index, name);
    } else if (json_object_get(seen, file) == NULL) {
      json_object_set_new(seen, file, json_true());
      if (json_object_size(seen) > MAX_FILES)
        s = LRL_FAIL(LRL_ERR_FORMAT, "%s names more than %d files", index, MAX_FILES);
      else if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        s = LRL_FAIL(LRL_ERR_IO, "the path of %.200s is too long", file);
      else
        s = add_file(w, path);
    }
  }
  json_decref(seen);
  return s;
}

/* "a, b, c and 3 more" */
static void note(char *list, size_t size, int64_t *n, const char *name) {
  const size_t used = strlen(list);
  if (++*n <= 3)
    snprintf(list + used, size - used, "%s%.120s", *n > 1 ? ", " : "", name);
}
static const char *more(int64_t n, char *out, size_t size) {
  out[0] = '\0';
  if (n > 3)
    snprintf(out, size, " and %lld more", (long long)(n - 3));
  return out;
}

static lrl_status compare(const struct lrl_weights *w, const char *index, json_t *map) {
  char missing[400] = "", unlisted[400] = "", a[32], b[32];
  int64_t n_missing = 0, n_unlisted = 0;
  const char *name;
  json_t *value;
  json_object_foreach(map, name, value) {
    (void)value;
    if (lrl_weights_find(w, name) == NULL)
      note(missing, sizeof missing, &n_missing, name);
  }
  for (int64_t i = 0; i < w->n; i++)
    if (json_object_get(map, w->items[i].name) == NULL)
      note(unlisted, sizeof unlisted, &n_unlisted, w->items[i].name);
  if (n_missing > 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s names tensors that its files do not hold: %s%s", index,
                    missing, more(n_missing, a, sizeof a));
  if (n_unlisted > 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the files of %s hold tensors that it does not name: %s%s",
                    index, unlisted, more(n_unlisted, b, sizeof b));
  return LRL_OK;
}

static lrl_status open_index(struct lrl_weights *w, const char *folder, const char *index) {
  struct lrl_mapped_file f;
  json_error_t e;
  LRL_TRY(lrl_mapped_file_open(index, &f));
  json_t *root = f.n == 0 || f.n > MAX_INDEX
                     ? NULL
                     : json_loadb((const char *)f.data, f.n, JSON_REJECT_DUPLICATES, &e);
  lrl_mapped_file_close(&f);
  json_t *map = json_object_get(root, "weight_map");
  lrl_status s = LRL_OK;
  if (!json_is_object(map))
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s is no index of weights: it holds no JSON with a weight_map",
                 index);
  if (s == LRL_OK)
    s = add_shards(w, folder, index, map);
  if (s == LRL_OK)
    s = sort(w, folder);
  if (s == LRL_OK)
    s = compare(w, index, map);
  json_decref(root);
  return s;
}

/* A file of the folder that looks like weights, for a message. */
static bool other_weights(const char *folder, char *name, size_t size) {
  static const char *const ends[] = {".safetensors", ".gguf", ".bin", ".pt",     ".pth",
                                     ".onnx",        ".h5",   ".npz", ".msgpack"};
  DIR *d = opendir(folder);
  bool found = false;
  for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;)
    for (size_t i = 0; i < sizeof ends / sizeof *ends && !found; i++) {
      const size_t n = strlen(e->d_name), m = strlen(ends[i]);
      found = n > m && strcmp(e->d_name + n - m, ends[i]) == 0;
      if (found)
        snprintf(name, size, "%s", e->d_name);
    }
  if (d != NULL)
    closedir(d);
  return found;
}

static lrl_status open_folder(struct lrl_weights *w, const char *folder) {
  static const char *const names[] = {"model.safetensors.index.json", "model.safetensors",
                                      "pytorch_model.bin.index.json", "pytorch_model.bin"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) >= (int)sizeof path)
      return LRL_FAIL(LRL_ERR_IO, "the path %.200s... is too long", folder);
    if (access(path, F_OK) != 0)
      continue;
    if (i % 2 == 0)
      return open_index(w, folder, path);
    LRL_TRY(add_file(w, path));
    return sort(w, path);
  }
  char other[256];
  const bool some = other_weights(folder, other, sizeof other);
  return LRL_FAIL(LRL_ERR_IO,
                  "%s holds no model.safetensors, no pytorch_model.bin and no index of either%s%s",
                  folder, some ? ", but " : "", some ? other : "");
}

lrl_status lrl_weights_open(const char *path, struct lrl_weights **out) {
  struct stat st;
  *out = NULL;
  struct lrl_weights *w = calloc(1, sizeof *w);
  if (w == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to open %s", path);
  lrl_status s;
  if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
    s = open_folder(w, path);
  } else {
    s = add_file(w, path);
    if (s == LRL_OK)
      s = sort(w, path);
  }
  if (s == LRL_OK)
    *out = w;
  else
    lrl_weights_close(w);
  return s;
}
