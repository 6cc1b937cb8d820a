#include "kernels/status.h"
#include "tests/golden/golden.h"

#include <stdlib.h>
#include <string.h>

bool g5_open(struct g5 *f, const char *path) {
  f->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  return f->file >= 0;
}

void g5_close(struct g5 *f) { H5Fclose(f->file); }

bool g5_has(const struct g5 *f, const char *dataset) {
  hid_t d = H5Dopen2(f->file, dataset, H5P_DEFAULT);
  if (d >= 0)
    H5Dclose(d);
  return d >= 0;
}

/* Reads a whole dataset as `type`; returns malloc'ed memory or NULL. */
static void *read_all(const struct g5 *f, const char *dataset, hid_t type, size_t item,
                      struct g5_array *out) {
  memset(out, 0, sizeof *out);
  hid_t d = H5Dopen2(f->file, dataset, H5P_DEFAULT);
  if (d < 0)
    return NULL;
  hid_t s = H5Dget_space(d);
  hsize_t dims[8] = {0};
  out->ndim = H5Sget_simple_extent_ndims(s);
  LRL_ASSERT(out->ndim <= 8);
  H5Sget_simple_extent_dims(s, dims, NULL);
  out->n = 1;
  for (int i = 0; i < out->ndim; i++) {
    out->dim[i] = (int64_t)dims[i];
    out->n *= out->dim[i];
  }
  void *data = malloc((size_t)(out->n > 0 ? out->n : 1) * item);
  if (out->n > 0 && H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
    free(data);
    data = NULL;
  }
  H5Sclose(s);
  H5Dclose(d);
  return data;
}

bool g5_read_f32(const struct g5 *f, const char *dataset, struct g5_array *out) {
  void *p = read_all(f, dataset, H5T_NATIVE_FLOAT, 4, out);
  return (out->f32 = p) != NULL;
}
bool g5_read_f64(const struct g5 *f, const char *dataset, struct g5_array *out) {
  void *p = read_all(f, dataset, H5T_NATIVE_DOUBLE, 8, out);
  return (out->f64 = p) != NULL;
}
bool g5_read_i64(const struct g5 *f, const char *dataset, struct g5_array *out) {
  void *p = read_all(f, dataset, H5T_NATIVE_INT64, 8, out);
  return (out->i64 = p) != NULL;
}
bool g5_read_u8(const struct g5 *f, const char *dataset, struct g5_array *out) {
  void *p = read_all(f, dataset, H5T_NATIVE_UINT8, 1, out);
  return (out->u8 = p) != NULL;
}

void g5_free(struct g5_array *a) {
  free(a->f32);
  free(a->f64);
  free(a->i64);
  free(a->u8);
  memset(a, 0, sizeof *a);
}

static hid_t open_attr(const struct g5 *f, const char *attr) {
  if (H5Aexists_by_name(f->file, "/config", attr, H5P_DEFAULT) <= 0)
    return -1;
  return H5Aopen_by_name(f->file, "/config", attr, H5P_DEFAULT, H5P_DEFAULT);
}

int g5_list(const struct g5 *f, const char *attr, double *out, int max) {
  hid_t a = open_attr(f, attr);
  if (a < 0)
    return 0;
  hid_t s = H5Aget_space(a), t = H5Aget_type(a);
  int64_t n = H5Sget_simple_extent_npoints(s);
  int count = 0;
  if (H5Tget_class(t) != H5T_STRING && n > 0) {
    double *all = malloc((size_t)n * sizeof *all);
    if (H5Aread(a, H5T_NATIVE_DOUBLE, all) >= 0)
      for (; count < n && count < max; count++)
        out[count] = all[count];
    free(all);
  }
  H5Tclose(t);
  H5Sclose(s);
  H5Aclose(a);
  return count;
}

double g5_num(const struct g5 *f, const char *attr, double otherwise) {
  double v;
  return g5_list(f, attr, &v, 1) == 1 ? v : otherwise;
}

bool g5_str(const struct g5 *f, const char *attr, char *out, size_t size) {
  out[0] = '\0';
  hid_t a = open_attr(f, attr);
  if (a < 0)
    return false;
  hid_t t = H5Aget_type(a);
  bool ok = false;
  if (H5Tget_class(t) == H5T_STRING && H5Tis_variable_str(t) > 0) {
    char *s = NULL;
    hid_t m = H5Tcopy(t);
    ok = H5Aread(a, m, &s) >= 0 && s != NULL;
    if (ok) {
      strncpy(out, s, size - 1);
      out[size - 1] = '\0';
      H5free_memory(s);
    }
    H5Tclose(m);
  } else if (H5Tget_class(t) == H5T_STRING) {
    size_t n = H5Tget_size(t);
    char *s = calloc(n + 1, 1);
    ok = H5Aread(a, t, s) >= 0;
    strncpy(out, s, size - 1);
    out[size - 1] = '\0';
    free(s);
  }
  H5Tclose(t);
  H5Aclose(a);
  return ok;
}

struct each {
  g5_visit *fn;
  void *user;
};
static herr_t visit(hid_t group, const char *name, const H5L_info_t *info, void *user) {
  (void)group;
  (void)info;
  struct each *e = user;
  e->fn(name, e->user);
  return 0;
}
void g5_each(const struct g5 *f, const char *group, g5_visit *fn, void *user) {
  struct each e = {fn, user};
  H5Literate_by_name(f->file, group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, &e, H5P_DEFAULT);
}
