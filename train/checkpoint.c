#include "train/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void release(struct lrl_checkpoint *k) {
  if (k == NULL)
    return;
  lrl_file_close(k);
  free(k->temporary);
  free(k->path);
  free(k->extents);
  free(k->staging);
  free(k);
}

static lrl_status new_checkpoint(const char *path, struct lrl_comm *comm,
                                 struct lrl_checkpoint **out) {
  struct lrl_checkpoint *k = *out = calloc(1, sizeof *k);
  if (k == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a checkpoint");
  *k = (struct lrl_checkpoint){.comm = comm, .file = -1, .fd = -1, .path = strdup(path)};
  k->staging = malloc(LRL_COMM_BUCKET);
  return k->path != NULL && k->staging != NULL
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_MEMORY, "no memory for a checkpoint");
}

static lrl_status create(struct lrl_checkpoint *k) {
  if ((k->temporary = malloc(strlen(k->path) + sizeof ".tmp")) == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a path");
  sprintf(k->temporary, "%s.tmp", k->path);
  return lrl_file_create(k);
}

lrl_status lrl_checkpoint_create(const char *path, struct lrl_comm *comm,
                                 struct lrl_checkpoint **out) {
  struct lrl_checkpoint *k;
  *out = NULL;
  lrl_status s = new_checkpoint(path, comm, &k);
  if (s == LRL_OK && lrl_checkpoint_root(k))
    s = create(k);
  s = lrl_comm_agree(comm, s);
  if (s != LRL_OK)
    lrl_checkpoint_discard(k);
  else
    *out = k;
  return s;
}

void lrl_checkpoint_discard(struct lrl_checkpoint *k) {
  if (k != NULL && k->temporary != NULL)
    unlink(k->temporary);
  release(k);
}

lrl_status lrl_checkpoint_commit(struct lrl_checkpoint *k) {
  struct lrl_comm *comm = k->comm;
  lrl_status s = lrl_checkpoint_root(k) ? lrl_file_finish(k) : LRL_OK;
  if (k->temporary != NULL)
    unlink(k->temporary);
  release(k);
  return lrl_comm_agree(comm, s);
}

static lrl_status put_bytes(struct lrl_checkpoint *k, const char *name, const void *bytes, size_t n,
                            bool text) {
  struct lrl_dataset d = {
      .type = text ? LRL_DATA_TEXT : LRL_DATA_U8, .ndim = 1, .dim = {(int64_t)n}};
  LRL_TRY(lrl_file_reserve(k, n, 1));
  lrl_status s = lrl_dataset_create(k, name, &d);
  if (s == LRL_OK)
    s = lrl_dataset_write(k, &d, bytes, n);
  return lrl_dataset_end(k, &d, s);
}

lrl_status lrl_checkpoint_put_text(struct lrl_checkpoint *k, const char *name, const char *text) {
  lrl_status s = LRL_OK;
  if (lrl_checkpoint_root(k))
    s = put_bytes(k, name, text, strlen(text) + 1, true);
  return lrl_comm_agree(k->comm, s);
}

lrl_status lrl_checkpoint_put_blob(struct lrl_checkpoint *k, const char *name, const void *bytes,
                                   size_t n) {
  lrl_status s = lrl_checkpoint_root(k) ? put_bytes(k, name, bytes, n, false) : LRL_OK;
  return lrl_comm_agree(k->comm, s);
}

/* ---- reading ---- */

lrl_status lrl_checkpoint_open(const char *path, struct lrl_comm *comm,
                               struct lrl_checkpoint **out) {
  struct lrl_checkpoint *k;
  *out = NULL;
  lrl_status s = new_checkpoint(path, comm, &k);
  if (s == LRL_OK && lrl_checkpoint_root(k))
    s = lrl_file_open(k);
  s = lrl_comm_agree(comm, s);
  if (s != LRL_OK)
    release(k);
  else
    *out = k;
  return s;
}

void lrl_checkpoint_close(struct lrl_checkpoint *k) { release(k); }

lrl_status lrl_checkpoint_has(struct lrl_checkpoint *k, const char *name, bool *has) {
  *has = lrl_checkpoint_root(k) && H5Lexists(k->file, name, H5P_DEFAULT) > 0;
  return lrl_comm_broadcast(k->comm, has, sizeof *has, 0);
}

static lrl_status get_bytes(struct lrl_checkpoint *k, const char *name, bool text, char **out,
                            uint64_t *n) {
  struct lrl_dataset d = {0};
  lrl_status s = lrl_dataset_open(k, name, &d);
  if (s == LRL_OK && d.type != (text ? LRL_DATA_TEXT : LRL_DATA_U8))
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is no %s", k->path, name, text ? "text" : "blob");
  if (s == LRL_OK && (*out = malloc((size_t)d.bytes + 1)) == NULL)
    s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for %s of %s", name, k->path);
  if (s == LRL_OK) {
    (*out)[d.bytes] = '\0';
    *n = d.bytes;
    s = lrl_dataset_read(k, &d, *out, (size_t)d.bytes);
  }
  return lrl_dataset_end(k, &d, s);
}

/* Rank 0's bytes, or its failure, on every rank. */
static lrl_status share_bytes(struct lrl_checkpoint *k, lrl_status s, char **out, uint64_t *n) {
  LRL_TRY(lrl_comm_agree(k->comm, s));
  LRL_TRY(lrl_comm_broadcast(k->comm, n, sizeof *n, 0));
  if (*out == NULL && (*out = malloc((size_t)*n + 1)) == NULL)
    s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for %llu bytes of %s", (unsigned long long)*n, k->path);
  LRL_TRY(lrl_comm_agree(k->comm, s));
  LRL_ASSERT(*out != NULL); /* lrl_comm_agree fails where this rank failed */
  (*out)[*n] = '\0';
  return lrl_comm_broadcast(k->comm, *out, (size_t)*n, 0);
}

static lrl_status get(struct lrl_checkpoint *k, const char *name, bool text, char **out,
                      uint64_t *n) {
  *out = NULL;
  *n = 0;
  lrl_status s = lrl_checkpoint_root(k) ? get_bytes(k, name, text, out, n) : LRL_OK;
  s = share_bytes(k, s, out, n);
  if (s != LRL_OK) {
    free(*out);
    *out = NULL;
    *n = 0;
  }
  return s;
}

lrl_status lrl_checkpoint_get_text(struct lrl_checkpoint *k, const char *name, char **text) {
  uint64_t n;
  return get(k, name, true, text, &n);
}

lrl_status lrl_checkpoint_get_blob(struct lrl_checkpoint *k, const char *name, void **bytes,
                                   size_t *n) {
  uint64_t size;
  char *out;
  lrl_status s = get(k, name, false, &out, &size);
  *bytes = out;
  *n = (size_t)size;
  return s;
}

lrl_status lrl_checkpoint_get_tokenizer(struct lrl_checkpoint *k, struct lrl_tokenizer **out) {
  void *bytes = NULL;
  size_t n;
  lrl_status s = lrl_checkpoint_get_blob(k, "tokenizer", &bytes, &n);
  if (s == LRL_OK)
    s = lrl_tokenizer_open_bytes(bytes, n, k->path, NULL, out);
  free(bytes);
  return s;
}
