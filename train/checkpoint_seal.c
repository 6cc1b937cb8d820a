#include "train/checkpoint_seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define FORMAT "laurel-checkpoint-1"

struct seal {
  char format[24];
  uint64_t hdf5_bytes, n_extents;
  uint64_t rest; /* XXH3 of what no extent covers */
  uint64_t self; /* XXH3 of the extents and the fields above */
};

bool lrl_write_at(int fd, const void *data, size_t bytes, uint64_t offset) {
  const char *p = data;
  while (bytes > 0) {
    ssize_t n = pwrite(fd, p, bytes, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    p += n;
    bytes -= (size_t)n;
    offset += (uint64_t)n;
  }
  return true;
}

bool lrl_read_at(int fd, void *data, size_t bytes, uint64_t offset) {
  char *p = data;
  errno = 0;
  while (bytes > 0) {
    ssize_t n = pread(fd, p, bytes, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    p += n;
    bytes -= (size_t)n;
    offset += (uint64_t)n;
  }
  return true;
}

/* Hashes the bytes of [0, end) outside of the n extents, which ascend. */
static bool hash_rest(int fd, const struct lrl_extent *e, uint64_t n, uint64_t end, uint64_t *out) {
  XXH3_state_t *hash = XXH3_createState();
  char *piece = malloc(LRL_PIECE);
  bool ok = hash != NULL && piece != NULL && XXH3_64bits_reset(hash) == XXH_OK;
  uint64_t at = 0;
  for (uint64_t i = 0; ok && i <= n; i++) {
    uint64_t stop = i < n ? e[i].offset : end;
    while (ok && at < stop) {
      size_t bytes = stop - at < LRL_PIECE ? (size_t)(stop - at) : LRL_PIECE;
      ok = lrl_read_at(fd, piece, bytes, at) && XXH3_64bits_update(hash, piece, bytes) == XXH_OK;
      at += bytes;
    }
    if (i < n)
      at = e[i].offset + e[i].bytes;
  }
  *out = ok ? XXH3_64bits_digest(hash) : 0;
  free(piece);
  XXH3_freeState(hash);
  return ok;
}

static uint64_t hash_self(const struct seal *s, const struct lrl_extent *e) {
  return XXH3_64bits_withSeed(e, s->n_extents * sizeof *e,
                              XXH3_64bits(s, offsetof(struct seal, self)));
}

bool lrl_seal_write(int fd, const struct lrl_extent *extents, int64_t n) {
  struct stat st;
  struct seal s = {.format = FORMAT, .n_extents = (uint64_t)n};
  if (fstat(fd, &st) != 0)
    return false;
  s.hdf5_bytes = (uint64_t)st.st_size;
  if (!hash_rest(fd, extents, s.n_extents, s.hdf5_bytes, &s.rest))
    return false;
  s.self = hash_self(&s, extents);
  const size_t table = (size_t)n * sizeof *extents;
  /* The truncation returns what lrl_file_reserve took too much. */
  return lrl_write_at(fd, extents, table, s.hdf5_bytes) &&
         lrl_write_at(fd, &s, sizeof s, s.hdf5_bytes + table) &&
         ftruncate(fd, (off_t)(s.hdf5_bytes + table + sizeof s)) == 0;
}

static bool seal_holds(int fd, const struct seal *s, const struct lrl_extent *e) {
  uint64_t at = 0, rest;
  if (hash_self(s, e) != s->self)
    return false;
  for (uint64_t i = 0; i < s->n_extents; i++) {
    if (e[i].offset < at || e[i].bytes > s->hdf5_bytes || e[i].offset > s->hdf5_bytes - e[i].bytes)
      return false;
    at = e[i].offset + e[i].bytes;
  }
  return hash_rest(fd, e, s->n_extents, s->hdf5_bytes, &rest) && rest == s->rest;
}

static lrl_status read_seal(int fd, const char *path, struct seal *s, uint64_t *bytes) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot read the checkpoint %s: %s", path, strerror(errno));
  *bytes = (uint64_t)st.st_size;
  if (!S_ISREG(st.st_mode) || *bytes < sizeof *s ||
      !lrl_read_at(fd, s, sizeof *s, *bytes - sizeof *s) ||
      memcmp(s->format, FORMAT, sizeof FORMAT) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a checkpoint of Laurel, or was cut short", path);
  return LRL_OK;
}

lrl_status lrl_seal_name(const char *path, uint64_t *name) {
  struct seal s;
  uint64_t bytes;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot read the checkpoint %s: %s", path, strerror(errno));
  const lrl_status status = read_seal(fd, path, &s, &bytes);
  close(fd);
  LRL_TRY(status);
  *name = s.self;
  return LRL_OK;
}

lrl_status lrl_seal_check(int fd, const char *path) {
  struct seal s;
  uint64_t bytes;
  LRL_TRY(read_seal(fd, path, &s, &bytes));
  const uint64_t table = bytes - sizeof s - s.hdf5_bytes;
  struct lrl_extent *e = NULL;
  bool ok = s.hdf5_bytes <= bytes - sizeof s && table % sizeof *e == 0 &&
            table / sizeof *e == s.n_extents && (e = malloc((size_t)table + 1)) != NULL &&
            lrl_read_at(fd, e, (size_t)table, s.hdf5_bytes) && seal_holds(fd, &s, e);
  free(e);
  return ok ? LRL_OK
            : LRL_FAIL(LRL_ERR_FORMAT, "the checkpoint %s is damaged (its checksum differs)", path);
}
