/* Arrays of one golden case, freed together, and the context they run on. */
#ifndef LRL_TESTS_GOLDEN_BAG_H
#define LRL_TESTS_GOLDEN_BAG_H
#include "kernels/backend.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAG_MAX = 4096 };
struct bag {
  struct g5 file;
  struct lrl_ctx ctx;
  void *p[BAG_MAX];
  int n;
};

static inline void *bag_keep(struct bag *b, void *p) {
  if (p == NULL || b->n == BAG_MAX)
    abort();
  return b->p[b->n++] = p;
}
/* n zeroed elements of `bytes`. */
static inline void *bag_zeros(struct bag *b, int64_t n, size_t bytes) {
  return bag_keep(b, calloc((size_t)n + 1, bytes));
}
static inline float *bag_floats(struct bag *b, int64_t n) { return bag_zeros(b, n, sizeof(float)); }
static inline void bag_clear(struct bag *b) {
  while (b->n > 0)
    free(b->p[--b->n]);
}
/* "<group>/<op>.<tensor>" as f32, NULL when absent; `out` may be NULL. */
static inline float *bag_read(struct bag *b, const char *group, const char *op, const char *tensor,
                              struct g5_array *out) {
  char name[256];
  struct g5_array a;
  snprintf(name, sizeof name, "%s/%s%s%s", group, op, tensor[0] != 0 && op[0] != 0 ? "." : "",
           tensor);
  if (!g5_read_f32(&b->file, name, &a))
    return NULL;
  if (out != NULL)
    *out = a;
  return bag_keep(b, a.f32);
}
/* As bag_read for integers, narrowed to int32. */
static inline int32_t *bag_ids(struct bag *b, const char *op, const char *tensor,
                               struct g5_array *out) {
  char name[256];
  struct g5_array a;
  snprintf(name, sizeof name, "inputs/%s%s%s", op, op[0] != 0 ? "." : "", tensor);
  if (!g5_read_i64(&b->file, name, &a))
    return NULL;
  int32_t *ids = bag_zeros(b, a.n, sizeof *ids);
  for (int64_t i = 0; i < a.n; i++)
    ids[i] = (int32_t)a.i64[i];
  bag_keep(b, a.i64);
  if (out != NULL)
    *out = a;
  return ids;
}
/* The larger error; NaN wins, so that it fails the check (fmax would drop it). */
static inline double bag_worse(double a, double b) { return isnan(a) || a > b ? a : b; }
static inline bool bag_open(struct golden *g, struct bag *b, const char *path, const char *name) {
  memset(b, 0, sizeof *b);
  if (!g5_open(&b->file, path)) {
    golden_fail(g, name, "", "cannot be opened as HDF5");
    return false;
  }
  if (golden_ok(g, name, "device", lrl_ctx_init(&b->ctx, g->device, 0)))
    return true;
  lrl_ctx_free(&b->ctx);
  g5_close(&b->file);
  return false;
}
static inline void bag_close(struct bag *b) {
  bag_clear(b);
  lrl_ctx_free(&b->ctx);
  g5_close(&b->file);
}
#endif
