/* A corpus as an HDF5 file: one contiguous dataset per column with its CRC-32 as an attribute, and
 * the format's name as an attribute of the root. The user block in front holds the CRC-32 of all
 * that follows: HDF5 1.10 leaks, and may fail at exit, when it meets damaged metadata, so a damaged
 * file is refused before the library sees it. */
#include "data/corpus_columns.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define FORMAT "laurel-corpus"
#define USER_BLOCK 512 /* bytes; the smallest HDF5 allows */

static const char *const column_names[LRL_COL_COUNT] = {
#define X(name, type) [LRL_COL_##name] = #name,
    LRL_CORPUS_COLUMNS(X)
#undef X
};

static hid_t disk_type(enum lrl_corpus_column k) {
#define X(name, type)                                                                              \
  [LRL_COL_##name] = _Generic((type)0, int32_t : 0, int64_t : 1, float : 2, double : 3, char : 4),
  static const int kind[LRL_COL_COUNT] = {LRL_CORPUS_COLUMNS(X)};
#undef X
  const hid_t types[] = {H5T_STD_I32LE, H5T_STD_I64LE, H5T_IEEE_F32LE, H5T_IEEE_F64LE,
                         H5T_STD_I8LE};
  return types[kind[k]];
}

static uint32_t checksum(const struct lrl_corpus *c, enum lrl_corpus_column k) {
  if (c->col[k].n == 0)
    return 0;
  return (uint32_t)crc32_z(0, c->col[k].buffer.data, (size_t)c->col[k].n * lrl_column_width(k));
}

static bool write_attribute(hid_t on, const char *name, hid_t type, const void *value) {
  hid_t space = H5Screate(H5S_SCALAR);
  hid_t attr = H5Acreate2(on, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  bool ok = attr >= 0 && H5Awrite(attr, type, value) >= 0;
  if (attr >= 0)
    H5Aclose(attr);
  H5Sclose(space);
  return ok;
}

static bool write_column(hid_t file, const struct lrl_corpus *c, enum lrl_corpus_column k) {
  hsize_t n = (hsize_t)c->col[k].n;
  uint32_t crc = checksum(c, k);
  hid_t space = H5Screate_simple(1, &n, NULL), type = disk_type(k);
  hid_t set = H5Dcreate2(file, column_names[k], type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  bool ok =
      set >= 0 && write_attribute(set, "crc32", H5T_STD_U32LE, &crc) &&
      (n == 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, c->col[k].buffer.data) >= 0);
  if (set >= 0)
    H5Dclose(set);
  H5Sclose(space);
  return ok;
}

static bool write_file(const struct lrl_corpus *c, const char *path) {
  hid_t create = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_userblock(create, USER_BLOCK);
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, create, H5P_DEFAULT);
  H5Pclose(create);
  if (file < 0)
    return false;
  hid_t text = H5Tcopy(H5T_C_S1);
  bool ok = H5Tset_size(text, sizeof FORMAT) >= 0 && write_attribute(file, "format", text, FORMAT);
  H5Tclose(text);
  for (int k = 0; ok && k < LRL_COL_COUNT; k++)
    ok = write_column(file, c, (enum lrl_corpus_column)k);
  return H5Fclose(file) >= 0 && ok;
}

/* CRC-32 of everything behind the user block, as it stands in it. */
static bool user_block(FILE *f, char out[USER_BLOCK]) {
  static const size_t chunk = 1U << 20;
  unsigned char *bytes = malloc(chunk);
  unsigned long crc = 0;
  size_t got, total = 0;
  bool ok = bytes != NULL && fseek(f, USER_BLOCK, SEEK_SET) == 0;
  while (ok && (got = fread(bytes, 1, chunk, f)) > 0) {
    crc = crc32_z(crc, bytes, got);
    total += got;
  }
  free(bytes);
  memset(out, 0, USER_BLOCK);
  snprintf(out, USER_BLOCK, FORMAT " crc32 %08lx bytes %zu\n", crc, total);
  return ok && !ferror(f);
}

static bool seal(const char *path) {
  char block[USER_BLOCK];
  FILE *f = fopen(path, "r+b");
  if (f == NULL)
    return false;
  bool ok = user_block(f, block) && fseek(f, 0, SEEK_SET) == 0 &&
            fwrite(block, 1, USER_BLOCK, f) == USER_BLOCK;
  return fclose(f) == 0 && ok;
}

static lrl_status check_seal(const char *path) {
  char stored[USER_BLOCK], block[USER_BLOCK];
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot read the corpus %s: %s", path, strerror(errno));
  bool known = fread(stored, 1, USER_BLOCK, f) == USER_BLOCK &&
               memcmp(stored, FORMAT, sizeof FORMAT - 1) == 0;
  bool read = known && user_block(f, block);
  fclose(f);
  if (!known)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a packed corpus", path);
  if (!read)
    return LRL_FAIL(LRL_ERR_IO, "cannot read the corpus %s", path);
  if (memcmp(stored, block, USER_BLOCK) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the corpus %s is damaged (its checksum differs)", path);
  return LRL_OK;
}

static bool sync_path(const char *path) {
  int fd = open(path, O_RDONLY);
  bool ok = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0)
    close(fd);
  return ok;
}

/* HDF5's own error text is kept off the terminal while `f` runs. */
struct quiet {
  H5E_auto2_t func;
  void *data;
};
static struct quiet hush(void) {
  struct quiet q;
  H5Eget_auto2(H5E_DEFAULT, &q.func, &q.data);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  return q;
}
static void unhush(struct quiet q) { H5Eset_auto2(H5E_DEFAULT, q.func, q.data); }

lrl_status lrl_corpus_save(const struct lrl_corpus *c, const char *path) {
  char *temporary = malloc(strlen(path) + sizeof ".tmp"), *folder = lrl_path_folder(path);
  lrl_status status = LRL_OK;
  if (temporary == NULL || folder == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for a path"));
  sprintf(temporary, "%s.tmp", path);
  errno = 0;
  struct quiet q = hush();
  bool ok = write_file(c, temporary);
  unhush(q);
  if (!ok || !seal(temporary) || !sync_path(temporary) || rename(temporary, path) != 0 ||
      !sync_path(folder)) {
    status = LRL_FAIL(LRL_ERR_IO, "cannot write the corpus %s: %s", path,
                      errno != 0 ? strerror(errno) : "HDF5 failed");
    unlink(temporary);
  }
done:
  free(temporary);
  free(folder);
  return status;
}

/* ---- opening ---- */

static bool read_attribute(hid_t on, const char *name, hid_t type, void *value) {
  hid_t attr = H5Aopen(on, name, H5P_DEFAULT);
  if (attr < 0)
    return false;
  /* Text of variable length would come back as a pointer, not as bytes. */
  hid_t stored = H5Aget_type(attr), space = H5Aget_space(attr);
  bool ok = stored >= 0 && H5Tget_class(stored) == H5Tget_class(type) &&
            H5Sget_simple_extent_npoints(space) == 1 && H5Tis_variable_str(stored) <= 0 &&
            H5Aread(attr, type, value) >= 0;
  if (stored >= 0)
    H5Tclose(stored);
  if (space >= 0)
    H5Sclose(space);
  H5Aclose(attr);
  return ok;
}

static lrl_status read_column_data(hid_t set, hid_t space, struct lrl_corpus *c,
                                   enum lrl_corpus_column k, const char *path) {
  hssize_t n = H5Sget_simple_extent_npoints(space);
  hsize_t stored = H5Dget_storage_size(set);
  size_t width = lrl_column_width(k);
  hid_t type = disk_type(k), own = H5Dget_type(set);
  bool same = own >= 0 && H5Tequal(own, type) > 0;
  if (own >= 0)
    H5Tclose(own);
  uint32_t crc;
  if (n < 0 || !same || stored != (hsize_t)n * width ||
      !read_attribute(set, "crc32", H5T_STD_U32LE, &crc))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the dataset %s has another form than a corpus has", path,
                    column_names[k]);
  LRL_TRY(lrl_buffer_reserve(&c->col[k].buffer, (size_t)n * width + 1));
  c->col[k].n = n;
  if (n > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, c->col[k].buffer.data) < 0)
    return LRL_FAIL(LRL_ERR_IO, "%s: the dataset %s cannot be read", path, column_names[k]);
  if (checksum(c, k) != crc)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the dataset %s is damaged (its checksum differs)", path,
                    column_names[k]);
  return LRL_OK;
}

static lrl_status read_column(hid_t file, struct lrl_corpus *c, enum lrl_corpus_column k,
                              const char *path) {
  hid_t set = H5Dopen2(file, column_names[k], H5P_DEFAULT);
  if (set < 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the dataset %s is missing", path, column_names[k]);
  hid_t space = H5Dget_space(set);
  lrl_status status = read_column_data(set, space, c, k, path);
  H5Sclose(space);
  H5Dclose(set);
  return status;
}

/* A *_start column: n + 1 ascending offsets from 0 to the end of what they point into. Where that
 * is text, each piece ends with a 0 byte. */
static bool check_starts(const struct lrl_corpus *c, enum lrl_corpus_column start, int64_t n,
                         enum lrl_corpus_column of, int64_t width, bool text) {
  const int64_t *at = lrl_col_i64(c, start);
  if (c->col[start].n != n + 1 || at[0] != 0 || at[n] * width != c->col[of].n)
    return false;
  for (int64_t i = 0; i < n; i++)
    if (at[i] > at[i + 1] || at[i + 1] * width > c->col[of].n ||
        (text && (at[i] == at[i + 1] || lrl_col_text(c, of)[at[i + 1] - 1] != '\0')))
      return false;
  return true;
}

static bool check_pair(const struct lrl_corpus *c, int64_t i, int64_t n_sources, int64_t n_images) {
  const int32_t *len = lrl_col_i32(c, LRL_COL_lengths) + 3 * i;
  const int64_t *at = lrl_col_i64(c, LRL_COL_token_start) + i;
  if (len[0] < 0 || len[1] < 1 || len[2] < 0 || (int64_t)len[0] + len[1] + len[2] != at[1] - at[0])
    return false;
  struct lrl_corpus_pair p;
  lrl_corpus_get(c, i, &p);
  if (p.source < 0 || p.source >= n_sources)
    return false;
  const int32_t *part[3] = {p.prompt, p.chosen, p.rejected};
  int64_t in_spans = 0, holes = 0;
  for (int64_t k = 0; k < p.n_spans; k++) {
    const struct lrl_corpus_span *s = &p.spans[k];
    if (s->image < 0 || s->image >= n_images || s->seq < 0 || s->seq > 2 || s->start < 0 ||
        s->count < 1 || s->count > len[s->seq] - s->start || s->rows < 1 || s->cols < 1)
      return false;
    for (int32_t j = 0; j < s->count; j++)
      in_spans += part[s->seq][s->start + j] == LRL_ID_IMAGE;
    holes += s->count;
  }
  int64_t n_image_ids = 0;
  for (int64_t j = 0; j < at[1] - at[0]; j++) {
    if (p.prompt[j] < LRL_ID_IMAGE)
      return false;
    n_image_ids += p.prompt[j] == LRL_ID_IMAGE;
  }
  return in_spans == holes && holes == n_image_ids;
}

static bool check_sources(const struct lrl_corpus *c, int64_t n_pairs, int64_t n_sources) {
  int64_t next = 0;
  for (int64_t i = 0; i < n_sources; i++) {
    struct lrl_corpus_source_info s;
    lrl_corpus_get_source(c, i, &s);
    if (s.first_pair != next || s.n_kept < 0 || s.n_kept > n_pairs - next || s.n_rows < s.n_kept)
      return false;
    next += s.n_kept;
  }
  return next == n_pairs;
}

static bool is_text(const struct lrl_corpus *c, enum lrl_corpus_column k) {
  int64_t n = c->col[k].n;
  return n > 0 && lrl_col_text(c, k)[n - 1] == '\0';
}

static bool check_corpus(const struct lrl_corpus *c) {
  int64_t n = c->col[LRL_COL_margins].n, n_sources = c->col[LRL_COL_source_number].n;
  int64_t n_images = c->col[LRL_COL_image_start].n - 1, n_asides = c->col[LRL_COL_aside_line].n;
  bool ok = c->col[LRL_COL_lengths].n == 3 * n && c->col[LRL_COL_pair_source].n == n &&
            c->col[LRL_COL_pair_line].n == n && n_images >= 0 &&
            c->col[LRL_COL_image_size].n == 2 * n_images &&
            c->col[LRL_COL_source_info].n == LRL_SOURCE_WIDTH * n_sources &&
            c->col[LRL_COL_aside_source].n == n_asides &&
            c->col[LRL_COL_aside_reason].n == n_asides && is_text(c, LRL_COL_tokenizer) &&
            is_text(c, LRL_COL_settings) &&
            check_starts(c, LRL_COL_token_start, n, LRL_COL_tokens, 1, false) &&
            check_starts(c, LRL_COL_span_start, n, LRL_COL_spans, LRL_SPAN_WIDTH, false) &&
            check_starts(c, LRL_COL_id_start, n, LRL_COL_id_text, 1, true) &&
            check_starts(c, LRL_COL_image_start, n_images, LRL_COL_image_bytes, 1, false) &&
            check_starts(c, LRL_COL_source_start, 2 * n_sources, LRL_COL_source_text, 1, true) &&
            check_starts(c, LRL_COL_aside_start, n_asides, LRL_COL_aside_text, 1, true) &&
            check_sources(c, n, n_sources);
  for (int64_t i = 0; ok && i < n_asides; i++) {
    int32_t source = lrl_col_i32(c, LRL_COL_aside_source)[i];
    ok = source >= 0 && source < n_sources;
  }
  for (int64_t i = 0; ok && i < n; i++)
    ok = check_pair(c, i, n_sources, n_images);
  return ok;
}

static lrl_status read_file(const char *path, struct lrl_corpus *c) {
  LRL_TRY(check_seal(path));
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is not an HDF5 file, or damaged", path);
  char format[sizeof FORMAT] = "";
  hid_t text = H5Tcopy(H5T_C_S1);
  H5Tset_size(text, sizeof FORMAT);
  bool known =
      read_attribute(file, "format", text, format) && memcmp(format, FORMAT, sizeof FORMAT) == 0;
  H5Tclose(text);
  lrl_status status = LRL_OK;
  if (!known)
    status = LRL_FAIL(LRL_ERR_FORMAT, "%s is an HDF5 file but not a packed corpus", path);
  for (int k = 0; status == LRL_OK && k < LRL_COL_COUNT; k++)
    status = read_column(file, c, (enum lrl_corpus_column)k, path);
  H5Fclose(file);
  if (status == LRL_OK && !check_corpus(c))
    status = LRL_FAIL(LRL_ERR_FORMAT, "%s: the parts of the corpus do not fit together", path);
  return status;
}

lrl_status lrl_corpus_open(const char *path, struct lrl_corpus **out) {
  *out = NULL;
  struct lrl_corpus *c = calloc(1, sizeof *c);
  if (c == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a corpus");
  struct quiet q = hush();
  lrl_status status = read_file(path, c);
  unhush(q);
  if (status != LRL_OK) {
    lrl_corpus_free(c);
    return status;
  }
  *out = c;
  return LRL_OK;
}
