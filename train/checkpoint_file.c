/* The file behind a checkpoint. HDF5 keeps the names and shapes; the bytes of the datasets are
 * written and read past it, at the places it gave them, because a full disk or a damaged page is
 * then a plain errno and never a half-closed HDF5 file. */
#include "train/checkpoint_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#define FORMAT "laurel-checkpoint"
#define METADATA ((uint64_t)1 << 10) /* bytes reserved for the description of one dataset */

static const char *reason(void) { return errno != 0 ? strerror(errno) : "it ends too early"; }

static lrl_status cannot_write(const struct lrl_checkpoint *k) {
  return LRL_FAIL(LRL_ERR_IO, "cannot write the checkpoint %s: %s", k->path, strerror(errno));
}

/* ---- attributes ---- */

static bool put_attribute(hid_t on, const char *name, hid_t type, const void *value) {
  hid_t space = H5Screate(H5S_SCALAR);
  hid_t attr = H5Acreate2(on, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  bool ok = attr >= 0 && H5Awrite(attr, type, value) >= 0;
  if (attr >= 0)
    H5Aclose(attr);
  H5Sclose(space);
  return ok;
}

static bool get_attribute(hid_t on, const char *name, hid_t type, void *value) {
  hid_t attr = H5Aopen(on, name, H5P_DEFAULT);
  if (attr < 0)
    return false;
  hid_t stored = H5Aget_type(attr), space = H5Aget_space(attr);
  bool ok = H5Tget_class(stored) == H5Tget_class(type) && H5Tis_variable_str(stored) <= 0 &&
            H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attr, type, value) >= 0;
  H5Tclose(stored);
  H5Sclose(space);
  H5Aclose(attr);
  return ok;
}

static hid_t text_type(size_t bytes) {
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, bytes);
  return type;
}

/* ---- life of the file ---- */

static hid_t access_list(void) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* its own error text is not for users */
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, false, true); /* fails on some network file systems */
  return access;
}

/* Reserves `bytes` bytes of the disk behind `end`, so that it cannot get full in between. */
static lrl_status reserve(struct lrl_checkpoint *k, uint64_t end, uint64_t bytes) {
  struct rlimit most;
  struct statvfs fs;
  if (getrlimit(RLIMIT_FSIZE, &most) == 0 && end + bytes > most.rlim_cur)
    return LRL_FAIL(LRL_ERR_IO, "cannot write the checkpoint %s: %s", k->path, strerror(EFBIG));
  if (fallocate(k->fd, FALLOC_FL_KEEP_SIZE, (off_t)end, (off_t)bytes) == 0)
    return LRL_OK;
  bool unknown = errno == EOPNOTSUPP || errno == ENOSYS;
  int why = unknown ? ENOSPC : errno;
  if (fstatvfs(k->fd, &fs) != 0)
    return cannot_write(k);
  uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
  if (unknown && room >= bytes)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_IO,
                  "cannot write the checkpoint %s: %s (it needs %.3g GB more, %.3g GB are free)",
                  k->path, strerror(why), (double)bytes * 1e-9, (double)room * 1e-9);
}

lrl_status lrl_file_reserve(struct lrl_checkpoint *k, uint64_t bytes, int64_t n) {
  hsize_t end = 0;
  H5Fget_filesize(k->file, &end);
  return reserve(k, end, bytes + (uint64_t)(64 + n) * METADATA);
}

lrl_status lrl_file_create(struct lrl_checkpoint *k) {
  k->fd = open(k->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (k->fd < 0)
    return cannot_write(k);
  /* HDF5 crashes at exit when it could not write what it must: ask before it tries. */
  LRL_TRY(reserve(k, 0, 64 * METADATA));
  hid_t access = access_list();
  errno = 0;
  k->file = H5Fcreate(k->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Pclose(access);
  if (k->file < 0)
    return cannot_write(k);
  LRL_TRY(lrl_file_reserve(k, 0, 0));
  hid_t text = text_type(sizeof FORMAT);
  bool ok = put_attribute(k->file, "format", text, FORMAT);
  H5Tclose(text);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_LIB, "HDF5 cannot write to %s", k->temporary);
}

lrl_status lrl_file_open(struct lrl_checkpoint *k) {
  if ((k->fd = open(k->path, O_RDONLY | O_CLOEXEC)) < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the checkpoint %s: %s", k->path, strerror(errno));
  LRL_TRY(lrl_seal_check(k->fd, k->path));
  hid_t access = access_list();
  k->file = H5Fopen(k->path, H5F_ACC_RDONLY, access);
  H5Pclose(access);
  return k->file >= 0 ? LRL_OK
                      : LRL_FAIL(LRL_ERR_FORMAT, "HDF5 cannot open the checkpoint %s", k->path);
}

void lrl_file_close(struct lrl_checkpoint *k) {
  if (k->file >= 0)
    H5Fclose(k->file);
  if (k->fd >= 0)
    close(k->fd);
  k->file = -1;
  k->fd = -1;
}

lrl_status lrl_file_group(struct lrl_checkpoint *k, const char *name) {
  hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  hid_t group = H5Gcreate2(k->file, name, links, H5P_DEFAULT, H5P_DEFAULT);
  H5Pclose(links);
  if (group < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the checkpoint %s already has a %s, or HDF5 failed", k->path,
                    name);
  H5Gclose(group);
  return LRL_OK;
}

static int by_offset(const void *a, const void *b) {
  const struct lrl_extent *x = a, *y = b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static lrl_status sync_folder(const struct lrl_checkpoint *k) {
  char *folder = strdup(k->path);
  if (folder == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a path");
  char *slash = strrchr(folder, '/');
  if (slash != NULL)
    slash[slash == folder] = '\0';
  int fd = open(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  bool ok = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0)
    close(fd);
  return ok ? LRL_OK : cannot_write(k);
}

lrl_status lrl_file_finish(struct lrl_checkpoint *k) {
  hid_t file = k->file;
  k->file = -1;
  if (H5Fclose(file) < 0)
    return LRL_FAIL(LRL_ERR_LIB, "HDF5 cannot finish the checkpoint %s", k->path);
  if (k->n_extents > 0)
    qsort(k->extents, (size_t)k->n_extents, sizeof *k->extents, by_offset);
  if (!lrl_seal_write(k->fd, k->extents, k->n_extents) || fsync(k->fd) != 0 ||
      rename(k->temporary, k->path) != 0)
    return cannot_write(k);
  free(k->temporary);
  k->temporary = NULL;
  return sync_folder(k);
}

/* ---- datasets ---- */

static lrl_status begin(struct lrl_dataset *d, const char *name) {
  snprintf(d->name, sizeof d->name, "%s", name);
  d->id = -1;
  d->at = 0;
  d->hash = XXH3_createState();
  if (d->hash == NULL || XXH3_64bits_reset(d->hash) != XXH_OK)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a checksum");
  return LRL_OK;
}

static lrl_status add_extent(struct lrl_checkpoint *k, const struct lrl_dataset *d) {
  if (d->bytes == 0)
    return LRL_OK;
  if (k->n_extents == k->max_extents) {
    int64_t most = k->max_extents * 2 + 256;
    void *more = realloc(k->extents, (size_t)most * sizeof *k->extents);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld datasets", (long long)most);
    k->extents = more;
    k->max_extents = most;
  }
  k->extents[k->n_extents++] = (struct lrl_extent){d->offset, d->bytes};
  return LRL_OK;
}

static hid_t make(struct lrl_checkpoint *k, struct lrl_dataset *d) {
  hsize_t dims[4];
  uint64_t n = 1;
  for (int i = 0; i < d->ndim; i++)
    n *= dims[i] = (hsize_t)d->dim[i];
  const bool text = d->type == LRL_DATA_TEXT;
  static const size_t width[] = {1, 1, 4, 2};
  d->bytes = n * width[d->type];
  hid_t types[] = {H5T_C_S1, H5T_STD_U8LE, H5T_IEEE_F32LE, H5T_STD_U16LE};
  hid_t type = text ? text_type((size_t)d->bytes) : types[d->type];
  hid_t space = text ? H5Screate(H5S_SCALAR) : H5Screate_simple(d->ndim, dims, NULL);
  hid_t how = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_obj_track_times(how, false); /* the same state gives the same bytes */
  H5Pset_layout(how, H5D_CONTIGUOUS);
  H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(how, H5D_FILL_TIME_NEVER);
  hid_t id = H5Dcreate2(k->file, d->name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
  H5Pclose(how);
  H5Sclose(space);
  if (text)
    H5Tclose(type);
  return id;
}

lrl_status lrl_dataset_create(struct lrl_checkpoint *k, const char *name, struct lrl_dataset *d) {
  LRL_TRY(begin(d, name));
  d->id = make(k, d);
  haddr_t at = d->id >= 0 && d->bytes > 0 ? H5Dget_offset(d->id) : 0;
  if (d->id < 0 || at == HADDR_UNDEF)
    return LRL_FAIL(LRL_ERR_LIB, "HDF5 cannot add %s to the checkpoint %s", name, k->path);
  d->offset = at;
  if (d->type == LRL_DATA_BF16) {
    hid_t text = text_type(sizeof "bf16");
    bool ok = put_attribute(d->id, "dtype", text, "bf16");
    H5Tclose(text);
    if (!ok)
      return LRL_FAIL(LRL_ERR_LIB, "HDF5 cannot describe %s in %s", name, k->path);
  }
  return add_extent(k, d);
}

lrl_status lrl_dataset_write(struct lrl_checkpoint *k, struct lrl_dataset *d, const void *data,
                             size_t bytes) {
  LRL_ASSERT(bytes <= d->bytes - d->at);
  for (size_t done = 0; done < bytes; done += LRL_PIECE) {
    const char *p = (const char *)data + done;
    size_t n = bytes - done < LRL_PIECE ? bytes - done : LRL_PIECE;
    XXH3_64bits_update(d->hash, p, n);
    if (!lrl_write_at(k->fd, p, n, d->offset + d->at))
      return cannot_write(k);
    /* A hint: the disk begins now, while the next piece is hashed and copied, not at the fsync. */
    sync_file_range(k->fd, (off_t)(d->offset + d->at), (off_t)n, SYNC_FILE_RANGE_WRITE);
    d->at += n;
  }
  return LRL_OK;
}

static void describe_type(struct lrl_dataset *d) {
  hid_t type = H5Dget_type(d->id), text = text_type(sizeof "bf16");
  char dtype[sizeof "bf16"] = "";
  d->type = LRL_DATA_OTHER;
  if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) <= 0)
    d->type = LRL_DATA_TEXT;
  else if (H5Tequal(type, H5T_STD_U8LE) > 0)
    d->type = LRL_DATA_U8;
  else if (H5Tequal(type, H5T_IEEE_F32LE) > 0)
    d->type = LRL_DATA_F32;
  else if (H5Tequal(type, H5T_STD_U16LE) > 0 && get_attribute(d->id, "dtype", text, dtype) &&
           memcmp(dtype, "bf16", sizeof dtype) == 0)
    d->type = LRL_DATA_BF16;
  H5Tclose(text);
  H5Tclose(type);
}

lrl_status lrl_dataset_open(struct lrl_checkpoint *k, const char *name, struct lrl_dataset *d) {
  LRL_TRY(begin(d, name));
  if ((d->id = H5Dopen2(k->file, name, H5P_DEFAULT)) < 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the checkpoint %s has no %s", k->path, name);
  hid_t space = H5Dget_space(d->id);
  hsize_t dims[H5S_MAX_RANK];
  d->ndim = H5Sget_simple_extent_dims(space, dims, NULL);
  H5Sclose(space);
  for (int i = 0; i < d->ndim && i < 4; i++)
    d->dim[i] = (int64_t)dims[i];
  describe_type(d);
  d->bytes = H5Dget_storage_size(d->id);
  d->offset = d->bytes > 0 ? H5Dget_offset(d->id) : 0;
  if (d->type == LRL_DATA_OTHER || d->ndim < 0 || d->ndim > 4 || d->offset == HADDR_UNDEF ||
      !get_attribute(d->id, "xxh3_64", H5T_NATIVE_UINT64, &d->checksum))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is of a kind that a checkpoint does not hold", k->path,
                    name);
  return LRL_OK;
}

lrl_status lrl_dataset_read(struct lrl_checkpoint *k, struct lrl_dataset *d, void *data,
                            size_t bytes) {
  if (bytes > d->bytes - d->at)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is shorter than its shape says", k->path, d->name);
  for (size_t done = 0; done < bytes; done += LRL_PIECE) {
    char *p = (char *)data + done;
    size_t n = bytes - done < LRL_PIECE ? bytes - done : LRL_PIECE;
    if (!lrl_read_at(k->fd, p, n, d->offset + d->at))
      return LRL_FAIL(LRL_ERR_IO, "cannot read %s of the checkpoint %s: %s", d->name, k->path,
                      reason());
    XXH3_64bits_update(d->hash, p, n);
    d->at += n;
  }
  return LRL_OK;
}

lrl_status lrl_dataset_end(struct lrl_checkpoint *k, struct lrl_dataset *d, lrl_status s) {
  uint64_t sum = d->hash == NULL ? 0 : XXH3_64bits_digest(d->hash);
  if (s == LRL_OK && d->at != d->bytes)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is longer than its shape says", k->path, d->name);
  if (s == LRL_OK && k->temporary != NULL &&
      !put_attribute(d->id, "xxh3_64", H5T_NATIVE_UINT64, &sum))
    s = LRL_FAIL(LRL_ERR_LIB, "HDF5 cannot describe %s in %s", d->name, k->path);
  if (s == LRL_OK && k->temporary == NULL && sum != d->checksum)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is damaged (its checksum differs)", k->path, d->name);
  if (d->id >= 0)
    H5Dclose(d->id);
  XXH3_freeState(d->hash);
  return s;
}
