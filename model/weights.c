#include "model/weights.h"

#include "model/half.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
  const char *name;
  int64_t bytes;
} types[] = {
    [LRL_WEIGHT_F64] = {"F64", 8},   [LRL_WEIGHT_F32] = {"F32", 4}, [LRL_WEIGHT_F16] = {"F16", 2},
    [LRL_WEIGHT_BF16] = {"BF16", 2}, [LRL_WEIGHT_I64] = {"I64", 8}, [LRL_WEIGHT_I32] = {"I32", 4},
    [LRL_WEIGHT_I16] = {"I16", 2},   [LRL_WEIGHT_I8] = {"I8", 1},   [LRL_WEIGHT_U8] = {"U8", 1},
    [LRL_WEIGHT_BOOL] = {"BOOL", 1}};

const char *lrl_weight_dtype_name(enum lrl_weight_dtype t) { return types[t].name; }

bool lrl_weight_dtype_parse(const char *name, size_t n, enum lrl_weight_dtype *out) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (strlen(types[i].name) == n && memcmp(types[i].name, name, n) == 0) {
      *out = (enum lrl_weight_dtype)i;
      return true;
    }
  return false;
}

int64_t lrl_weight_dtype_bytes(enum lrl_weight_dtype t) { return types[t].bytes; }

bool lrl_weight_count(struct lrl_weight *t) {
  int64_t n = 1, filled = 1; /* filled: as if empty dims were 1, so that strides stay finite */
  for (int i = t->ndim - 1; i >= 0; i--) {
    t->stride[i] = filled;
    if (t->dim[i] < 0 || __builtin_mul_overflow(n, t->dim[i], &n) ||
        __builtin_mul_overflow(filled, t->dim[i] > 0 ? t->dim[i] : 1, &filled))
      return false;
  }
  t->n = n;
  return n <= INT64_MAX / 8;
}

lrl_status lrl_weights_add(struct lrl_weights *w, struct lrl_weight *t) {
  if (w->n == w->cap) {
    const int64_t cap = w->cap * 2 + 64;
    struct lrl_weight *more = realloc(w->items, (size_t)cap * sizeof *more);
    if (more == NULL) {
      free(t->name);
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld tensors", (long long)cap);
    }
    w->items = more;
    w->cap = cap;
  }
  w->items[w->n++] = *t;
  return LRL_OK;
}

const struct lrl_weight *lrl_weights_find(const struct lrl_weights *w, const char *name) {
  int64_t lo = 0, hi = w->n;
  while (lo < hi) {
    const int64_t mid = lo + (hi - lo) / 2;
    const int c = strcmp(name, w->items[mid].name);
    if (c == 0)
      return &w->items[mid];
    if (c < 0)
      hi = mid;
    else
      lo = mid + 1;
  }
  return NULL;
}

void lrl_weights_close(struct lrl_weights *w) {
  if (w == NULL)
    return;
  for (int64_t i = 0; i < w->n; i++)
    free(w->items[i].name);
  for (int i = 0; i < w->n_files; i++)
    lrl_mapped_file_close(&w->files[i]);
  free(w->items);
  free(w->files);
  free(w);
}

void lrl_weight_shape(const struct lrl_weight *w, char *out, size_t size) {
  size_t n = (size_t)snprintf(out, size, "[");
  for (int i = 0; i < w->ndim && n < size; i++)
    n += (size_t)snprintf(out + n, size - n, i > 0 ? ", %lld" : "%lld", (long long)w->dim[i]);
  if (n < size)
    snprintf(out + n, size - n, "]");
}

/* ---- reading values ---- */

#define LOAD(type)                                                                                 \
  type v;                                                                                          \
  memcpy(&v, p, sizeof v)

static double value(enum lrl_weight_dtype t, const unsigned char *p) {
  switch (t) {
  case LRL_WEIGHT_F64: {
    LOAD(double);
    return v;
  }
  case LRL_WEIGHT_F32: {
    LOAD(float);
    return (double)v;
  }
  case LRL_WEIGHT_F16: {
    LOAD(uint16_t);
    return (double)lrl_f16_to_f32(v);
  }
  case LRL_WEIGHT_BF16: {
    LOAD(uint16_t);
    return (double)lrl_bf16_to_f32(v);
  }
  case LRL_WEIGHT_I64: {
    LOAD(int64_t);
    return (double)v;
  }
  case LRL_WEIGHT_I32: {
    LOAD(int32_t);
    return v;
  }
  case LRL_WEIGHT_I16: {
    LOAD(int16_t);
    return v;
  }
  case LRL_WEIGHT_I8:
    return (double)(signed char)*p;
  default:
    return *p;
  }
}

static void store(lrl_dtype to, void *out, int64_t i, double v) {
  if (to == LRL_F64)
    ((double *)out)[i] = v;
  else if (to == LRL_F32)
    ((float *)out)[i] = (float)v;
  else
    ((uint16_t *)out)[i] = lrl_f32_to_bf16((float)v);
}

static bool same_type(enum lrl_weight_dtype from, lrl_dtype to) {
  return (from == LRL_WEIGHT_F32 && to == LRL_F32) || (from == LRL_WEIGHT_F64 && to == LRL_F64) ||
         (from == LRL_WEIGHT_BF16 && to == LRL_BF16);
}

static bool rows_in_order(const struct lrl_weight *w) {
  struct lrl_weight plain = *w;
  lrl_weight_count(&plain);
  for (int i = 0; i < w->ndim; i++)
    if (w->dim[i] > 1 && w->stride[i] != plain.stride[i])
      return false;
  return true;
}

/* Where element `i` of the row-major order lies, in elements. */
static int64_t place(const struct lrl_weight *w, int64_t i) {
  int64_t at = 0;
  for (int d = w->ndim - 1; d >= 0; d--) {
    at += i % w->dim[d] * w->stride[d];
    i /= w->dim[d];
  }
  return at;
}

void lrl_weight_read(const struct lrl_weight *w, int64_t first, int64_t n, lrl_dtype to,
                     void *out) {
  const int64_t width = types[w->dtype].bytes;
  LRL_ASSERT(first >= 0 && n >= 0 && first + n <= w->n);
  const bool plain = n > 0 && rows_in_order(w);
  if (plain && same_type(w->dtype, to)) /* bit for bit, NaNs too */
    memcpy(out, w->data + first * width, (size_t)(n * width));
  else
    for (int64_t i = 0; i < n; i++) {
      const int64_t at = plain ? first + i : place(w, first + i);
      if (same_type(w->dtype, to))
        memcpy((char *)out + i * width, w->data + at * width, (size_t)width);
      else
        store(to, out, i, value(w->dtype, w->data + at * width));
    }
}

void lrl_weight_drop(const struct lrl_weights *w, const struct lrl_weight *t) {
  const struct lrl_mapped_file *f = &w->files[t->file];
  if (t->n > 0)
    lrl_mapped_file_drop(f, (size_t)(t->data - f->data), (size_t)(t->n * types[t->dtype].bytes));
}
