#include "data/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

lrl_status lrl_buffer_reserve(struct lrl_buffer *b, size_t bytes) {
  if (bytes <= b->cap)
    return LRL_OK;
  size_t cap = b->cap + b->cap / 2 > bytes ? b->cap + b->cap / 2 : bytes;
  void *p = realloc(b->data, cap);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a buffer of %zu bytes", cap);
  b->data = p;
  b->cap = cap;
  return LRL_OK;
}

void lrl_buffer_free(struct lrl_buffer *b) {
  free(b->data);
  *b = (struct lrl_buffer){0};
}

/* gzread passes files that are not gzip through unchanged. */
static lrl_status read_gz(gzFile f, const char *path, struct lrl_buffer *b, size_t *n_bytes) {
  size_t n = 0;
  for (;;) {
    LRL_TRY(lrl_buffer_reserve(b, n + (1U << 16) + 1));
    size_t room = b->cap - n - 1;
    int got = gzread(f, (char *)b->data + n, room > (1U << 30) ? 1U << 30 : (unsigned)room);
    if (got < 0) {
      int code;
      const char *text = gzerror(f, &code);
      return LRL_FAIL(code == Z_ERRNO ? LRL_ERR_IO : LRL_ERR_FORMAT, "cannot read %s: %s", path,
                      code == Z_ERRNO ? strerror(errno) : text);
    }
    n += (size_t)got;
    if (got == 0)
      break;
  }
  int code;
  (void)gzerror(f, &code);
  if (code == Z_BUF_ERROR)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s ends in the middle of its gzip stream", path);
  ((char *)b->data)[n] = '\0';
  *n_bytes = n;
  return LRL_OK;
}

static lrl_status check_regular(const char *path, int64_t max_bytes) {
  struct stat st;
  if (stat(path, &st) != 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno));
  if (!S_ISREG(st.st_mode))
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: not a regular file", path);
  if (st.st_size > max_bytes)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: it has %lld bytes, more than %lld", path,
                    (long long)st.st_size, (long long)max_bytes);
  return LRL_OK;
}

lrl_status lrl_file_read(const char *path, char **out, size_t *n_bytes) {
  struct lrl_buffer b = {0};
  *out = NULL;
  LRL_TRY(check_regular(path, INT64_MAX));
  gzFile f = gzopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno));
  lrl_status status = read_gz(f, path, &b, n_bytes);
  gzclose(f);
  if (status != LRL_OK) {
    lrl_buffer_free(&b);
    return status;
  }
  static const char mark[3] = {'\xef', '\xbb', '\xbf'};
  if (*n_bytes >= sizeof mark && memcmp(b.data, mark, sizeof mark) == 0) {
    *n_bytes -= sizeof mark;
    memmove(b.data, (char *)b.data + sizeof mark, *n_bytes + 1);
  }
  *out = b.data;
  return LRL_OK;
}

lrl_status lrl_file_read_raw(const char *path, char **out, size_t *n_bytes) {
  *out = NULL;
  LRL_TRY(check_regular(path, LRL_FILE_RAW_MAX));
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno));
  struct lrl_buffer b = {0};
  size_t n = 0, got;
  lrl_status status;
  do {
    LRL_TRY_GOTO(lrl_buffer_reserve(&b, n + (1U << 16) + 1));
    got = fread((char *)b.data + n, 1, b.cap - n - 1, f);
    n += got;
  } while (got > 0);
  if (ferror(f))
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno)));
  ((char *)b.data)[n] = '\0';
  *n_bytes = n;
done:
  fclose(f);
  if (status != LRL_OK)
    lrl_buffer_free(&b);
  *out = b.data;
  return status;
}

static char *copy(const char *root, size_t n, const char *path) {
  size_t tail = strlen(path);
  char *p = malloc(n + tail + 2);
  if (p == NULL) {
    (void)LRL_FAIL(LRL_ERR_MEMORY, "no memory for a path");
    return NULL;
  }
  if (n > 0) {
    memcpy(p, root, n);
    if (tail > 0)
      p[n++] = '/';
  }
  memcpy(p + n, path, tail + 1);
  return p;
}

char *lrl_path_join(const char *root, const char *path) {
  return copy(root, root == NULL || path[0] == '/' ? 0 : strlen(root), path);
}

char *lrl_path_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL)
    return copy(".", 1, "");
  return copy(path, slash == path ? 1 : (size_t)(slash - path), "");
}

lrl_status lrl_folder_make(const char *path) {
  if (path[0] == '\0')
    return LRL_FAIL(LRL_ERR_IO, "the name of the folder to make is empty");
  char *part = copy(NULL, 0, path);
  if (part == NULL)
    return LRL_ERR_MEMORY;
  lrl_status status = LRL_OK;
  for (char *p = part + 1; status == LRL_OK; p++) {
    char c = *p;
    if (c != '/' && c != '\0')
      continue;
    *p = '\0';
    struct stat st;
    if (mkdir(part, 0777) != 0 && (errno != EEXIST || stat(part, &st) != 0 || !S_ISDIR(st.st_mode)))
      status = LRL_FAIL(LRL_ERR_IO, "cannot make the folder %s: %s", part, strerror(errno));
    if (c == '\0')
      break;
    *p = c;
  }
  free(part);
  return status;
}
