#include "model/torch_zip.h"

#include <stdlib.h>
#include <string.h>

enum { END = 22, LOCATOR = 20, END64 = 56, CENTRAL = 46, LOCAL = 30 }; /* fixed parts, bytes */

static uint64_t get(const unsigned char *p, int bytes) {
  uint64_t v = 0;
  for (int i = bytes - 1; i >= 0; i--)
    v = v << 8 | p[i];
  return v;
}

static bool has(const struct lrl_mapped_file *f, uint64_t at, uint64_t n) {
  return at <= f->n && n <= f->n - at;
}

static bool signed_as(const struct lrl_mapped_file *f, uint64_t at, uint64_t n, const char *sign) {
  return has(f, at, n) && memcmp(f->data + at, sign, 4) == 0;
}

static lrl_status damaged(const char *path, const char *what) {
  return LRL_FAIL(LRL_ERR_FORMAT, "%s is a damaged or cut off zip archive: %s", path, what);
}

struct directory {
  uint64_t at, bytes, members;
};

/* The end record is the last thing in the file but for a comment of at most 64 KB. */
static bool find_end(const struct lrl_mapped_file *f, uint64_t *at) {
  if (f->n < END)
    return false;
  const uint64_t last = f->n - END, first = last > 65535 ? last - 65535 : 0;
  for (uint64_t i = last + 1; i-- > first;)
    if (signed_as(f, i, END, "PK\5\6") && i + END + get(f->data + i + 20, 2) == f->n) {
      *at = i;
      return true;
    }
  return false;
}

static lrl_status find_directory(const struct lrl_mapped_file *f, const char *path,
                                 struct directory *d) {
  uint64_t end;
  if (!find_end(f, &end))
    return damaged(path, "it has no end record");
  const unsigned char *p = f->data + end;
  *d = (struct directory){.at = get(p + 16, 4), .bytes = get(p + 12, 4), .members = get(p + 10, 2)};
  if (end >= LOCATOR && signed_as(f, end - LOCATOR, LOCATOR, "PK\6\7")) {
    const uint64_t at = get(f->data + end - LOCATOR + 8, 8);
    if (!signed_as(f, at, END64, "PK\6\6"))
      return damaged(path, "its 64-bit end record is not where it should be");
    p = f->data + at;
    *d = (struct directory){
        .at = get(p + 48, 8), .bytes = get(p + 40, 8), .members = get(p + 32, 8)};
  }
  if (!has(f, d->at, d->bytes) || d->members > d->bytes / CENTRAL)
    return damaged(path, "its directory does not fit into the file");
  return LRL_OK;
}

/* Sizes and place that do not fit into 32 bits stand in an extra field, those that are needed. */
static bool read_zip64(const unsigned char *extra, uint64_t n, uint64_t *size, uint64_t *packed,
                       uint64_t *at) {
  uint64_t *wide[3] = {size, packed, at};
  for (uint64_t i = 0; i + 4 <= n; i += 4 + get(extra + i + 2, 2)) {
    const uint64_t bytes = get(extra + i + 2, 2);
    uint64_t from = i + 4;
    if (bytes > n - from)
      return false;
    for (int k = 0; k < 3 && get(extra + i, 2) == 1; k++)
      if (*wide[k] == 0xffffffffu) {
        if (from + 8 > i + 4 + bytes)
          return false;
        *wide[k] = get(extra + from, 8);
        from += 8;
      }
  }
  return true;
}

/* Reads the directory's entry at *at and moves on. */
static lrl_status read_member(const struct lrl_mapped_file *f, const char *path, uint64_t *at,
                              uint64_t end, struct lrl_zip_member *m) {
  if (end - *at < CENTRAL || memcmp(f->data + *at, "PK\1\2", 4) != 0)
    return damaged(path, "its directory has fewer entries than it says");
  const unsigned char *p = f->data + *at;
  const uint64_t n_name = get(p + 28, 2), n_extra = get(p + 30, 2), n_note = get(p + 32, 2);
  uint64_t packed = get(p + 20, 4), size = get(p + 24, 4), local = get(p + 42, 4);
  if (n_name + n_extra + n_note > end - *at - CENTRAL)
    return damaged(path, "an entry of its directory reaches too far");
  *at += CENTRAL + n_name + n_extra + n_note;
  m->name = (const char *)p + CENTRAL;
  m->name_n = (size_t)n_name;
  if (!read_zip64(p + CENTRAL + n_name, n_extra, &size, &packed, &local))
    return damaged(path, "an extra field of its directory is broken");
  if (get(p + 8, 2) & 1u || get(p + 10, 2) != 0 || packed != size)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s has the member %.*s compressed or encrypted, which torch.save never does",
                    path, (int)(n_name < 200 ? n_name : 200), m->name);
  if (!signed_as(f, local, LOCAL, "PK\3\4"))
    return damaged(path, "a member is not where its directory says");
  const uint64_t data = local + LOCAL + get(f->data + local + 26, 2) + get(f->data + local + 28, 2);
  if (!has(f, data, size))
    return damaged(path, "a member reaches behind the end of the file");
  m->data = f->data + data;
  m->n = (size_t)size;
  return LRL_OK;
}

lrl_status lrl_zip_open(const struct lrl_mapped_file *f, const char *path, struct lrl_zip *out) {
  struct directory d;
  *out = (struct lrl_zip){0};
  LRL_TRY(find_directory(f, path, &d));
  out->members = calloc((size_t)d.members + 1, sizeof *out->members);
  if (out->members == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the members of %s", path);
  lrl_status s = LRL_OK;
  for (uint64_t at = d.at; out->n < d.members && s == LRL_OK;)
    if ((s = read_member(f, path, &at, d.at + d.bytes, &out->members[out->n])) == LRL_OK)
      out->n++;
  if (s != LRL_OK)
    lrl_zip_close(out);
  return s;
}

void lrl_zip_close(struct lrl_zip *z) {
  free(z->members);
  *z = (struct lrl_zip){0};
}
