/* laurel_golden DIR: checks Laurel against numbers produced by other people's code. It takes any
 * folder with the file formats described in tests/golden/README.md, assumes nothing about sizes,
 * and prints one line per case: name, worst error, tolerance, PASS/FAIL/SKIP. A family registers
 * itself:
 *
 *   static void run(struct golden *g, const char *path, const char *name) { ... golden_check(...);
 * } GOLDEN_FAMILY("C4_", run)
 */
#ifndef LRL_GOLDEN_H
#define LRL_GOLDEN_H
#include <hdf5.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct golden {
  const char *dir; /* the folder given */
  const char
      *assets; /* $LAUREL_ASSETS or ../shared/assets; real images and the official tokenizer */
  const char *device; /* of LRL_DEVICES, "cpu" unless --device says otherwise */
  int n_pass, n_fail, n_skip;
};

/* Called once per file whose name starts with the family's prefix. `name` = file name without
 * suffix. */
typedef void golden_run(struct golden *g, const char *path, const char *name);
void golden_register(const char *prefix, golden_run *run);
#define GOLDEN_FAMILY(prefix, fn)                                                                  \
  __attribute__((constructor)) static void golden_register_##fn(void) {                            \
    golden_register(prefix, fn);                                                                   \
  }

/* One result line. PASS iff worst <= tol (NaN fails). Exact checks: worst = number of mismatches,
 * tol 0. `what` may be "" or name the checked quantity ("hidden", "grads"). */
void golden_check(struct golden *g, const char *name, const char *what, double worst, double tol);
void golden_fail(struct golden *g, const char *name, const char *what, const char *why);
void golden_skip(struct golden *g, const char *name, const char *what, const char *why);
/* As golden_fail with lrl_last_error() as the reason when `status` (an lrl_status) is not LRL_OK;
 * returns true when it is LRL_OK. Clears the error. */
bool golden_ok(struct golden *g, const char *name, const char *what, int status);

/* ---- reading HDF5; the file is open while the family runs ---- */
struct g5 {
  hid_t file;
};
struct g5_array {
  int ndim;
  int64_t dim[8], n; /* n = number of elements; 1 for a scalar dataset */
  float *f32;        /* exactly one of the four is set, by the reader called */
  double *f64;
  int64_t *i64;
  uint8_t *u8;
};
bool g5_open(struct g5 *f, const char *path);
void g5_close(struct g5 *f);
bool g5_has(const struct g5 *f, const char *dataset);
/* False when the dataset is absent; converts the stored type. Free with g5_free. */
bool g5_read_f32(const struct g5 *f, const char *dataset, struct g5_array *out);
bool g5_read_f64(const struct g5 *f, const char *dataset, struct g5_array *out);
bool g5_read_i64(const struct g5 *f, const char *dataset, struct g5_array *out);
bool g5_read_u8(const struct g5 *f, const char *dataset, struct g5_array *out);
void g5_free(struct g5_array *a);
/* Attribute of /config, or the default when absent. Strings go to a caller buffer. */
double g5_num(const struct g5 *f, const char *attr, double otherwise);
bool g5_str(const struct g5 *f, const char *attr, char *out, size_t size);
/* Lists (1-D attributes); returns the number of values, at most max. */
int g5_list(const struct g5 *f, const char *attr, double *out, int max);
/* Calls fn(name) for each member of a group such as "/weights" (names with '.' are flat). */
typedef void g5_visit(const char *name, void *user);
void g5_each(const struct g5 *f, const char *group, g5_visit *fn, void *user);

/* Largest |a-b|; NaN on either side (not both) gives infinity. */
double golden_max_abs(const float *a, const float *b, int64_t n);
double golden_max_abs64(const double *a, const double *b, int64_t n);
#endif
