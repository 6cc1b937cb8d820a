#include "model/unpickle_impl.h"

#include <stdlib.h>

enum call { STORAGE_TYPE, ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, SIZE };
static const struct {
  const char *module, *name;
  enum call call;
  enum lrl_weight_dtype dtype; /* of a storage type */
} globals[] = {
    {"torch", "DoubleStorage", STORAGE_TYPE, LRL_WEIGHT_F64},
    {"torch", "FloatStorage", STORAGE_TYPE, LRL_WEIGHT_F32},
    {"torch", "HalfStorage", STORAGE_TYPE, LRL_WEIGHT_F16},
    {"torch", "BFloat16Storage", STORAGE_TYPE, LRL_WEIGHT_BF16},
    {"torch", "LongStorage", STORAGE_TYPE, LRL_WEIGHT_I64},
    {"torch", "IntStorage", STORAGE_TYPE, LRL_WEIGHT_I32},
    {"torch", "ShortStorage", STORAGE_TYPE, LRL_WEIGHT_I16},
    {"torch", "CharStorage", STORAGE_TYPE, LRL_WEIGHT_I8},
    {"torch", "ByteStorage", STORAGE_TYPE, LRL_WEIGHT_U8},
    {"torch", "BoolStorage", STORAGE_TYPE, LRL_WEIGHT_BOOL},
    {"collections", "OrderedDict", ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor", REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, 0},
    {"torch", "Size", SIZE, 0},
};

static bool same(const char *a, const char *b, size_t n) {
  return strlen(a) == n && memcmp(a, b, n) == 0;
}

lrl_status lrl_pickle_global(struct lrl_unpickler *u, const char *module, size_t n_module,
                             const char *name, size_t n_name, int32_t *out) {
  for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
    if (same(globals[i].module, module, n_module) && same(globals[i].name, name, n_name))
      return lrl_pickle_new(
          u, &(struct lrl_pickle_value){.kind = LRL_PICKLE_GLOBAL, .i = (int64_t)i}, out);
  return LRL_FAIL(LRL_ERR_FORMAT,
                  "%s asks for %.*s.%.*s; only tensors and plain containers are read from a "
                  "pickle, and nothing in it is run",
                  u->path, (int)(n_module < 100 ? n_module : 100), module,
                  (int)(n_name < 100 ? n_name : 100), name);
}

static const struct lrl_pickle_value *item(const struct lrl_unpickler *u, int32_t of, int64_t i) {
  const struct lrl_pickle_value *v = &u->p->values[of];
  return i < v->n ? &u->p->values[v->items[i]] : NULL;
}

static bool is(const struct lrl_pickle_value *v, enum lrl_pickle_kind kind) {
  return v != NULL && v->kind == kind;
}

/* A tuple or list of integers that are not negative. */
static bool read_sizes(const struct lrl_unpickler *u, const struct lrl_pickle_value *v,
                       int64_t *out, int *n) {
  if ((!is(v, LRL_PICKLE_TUPLE) && !is(v, LRL_PICKLE_LIST)) || v->n > LRL_WEIGHT_DIMS)
    return false;
  *n = (int)v->n;
  for (int i = 0; i < *n; i++) {
    const struct lrl_pickle_value *d = &u->p->values[v->items[i]];
    if (d->kind != LRL_PICKLE_INT || d->i < 0)
      return false;
    out[i] = d->i;
  }
  return true;
}

/* Whether all elements lie inside a storage of n elements. */
static bool inside(const struct lrl_weight *t, int64_t offset, int64_t n) {
  int64_t last = offset;
  if (t->n == 0)
    return true;
  for (int i = 0; i < t->ndim; i++) {
    int64_t step;
    if (__builtin_mul_overflow(t->dim[i] - 1, t->stride[i], &step) ||
        __builtin_add_overflow(last, step, &last))
      return false;
  }
  return last < n;
}

/* (storage, offset, size, stride, ...) */
static lrl_status rebuild_tensor(struct lrl_unpickler *u, int32_t args, int32_t *out) {
  const struct lrl_pickle_value *storage = item(u, args, 0), *offset = item(u, args, 1);
  struct lrl_weight t = {0};
  int n_stride = -1;
  if (!is(storage, LRL_PICKLE_STORAGE) || !is(offset, LRL_PICKLE_INT) || offset->i < 0 ||
      !read_sizes(u, item(u, args, 2), t.dim, &t.ndim) || !lrl_weight_count(&t) ||
      !read_sizes(u, item(u, args, 3), t.stride, &n_stride) || n_stride != t.ndim)
    return lrl_pickle_broken(u, "a tensor is not described as torch.save does");
  if (!inside(&t, offset->i, storage->i))
    return lrl_pickle_broken(u, "a tensor reaches behind the end of its storage");
  const int64_t first = offset->i;
  struct lrl_weight *shape = malloc(sizeof *shape);
  if (shape == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to read %s", u->path);
  *shape = t;
  const lrl_status s = lrl_pickle_new(
      u, &(struct lrl_pickle_value){.kind = LRL_PICKLE_TENSOR, .i = first, .shape = shape}, out);
  if (s != LRL_OK) {
    free(shape);
    return s;
  }
  return lrl_pickle_append(u, *out, u->p->values[args].items[0]);
}

/* OrderedDict() or OrderedDict([(key, value), ...]). */
static lrl_status ordered_dict(struct lrl_unpickler *u, int32_t args, int32_t *out) {
  LRL_TRY(lrl_pickle_new(u, &(struct lrl_pickle_value){.kind = LRL_PICKLE_DICT}, out));
  const int64_t n = u->p->values[args].n;
  if (n == 0)
    return LRL_OK;
  const int32_t pairs = u->p->values[args].items[0];
  if (n > 1 || u->p->values[pairs].kind != LRL_PICKLE_LIST)
    return lrl_pickle_broken(u, "an OrderedDict is not made of a list of pairs");
  for (int64_t i = 0; i < u->p->values[pairs].n; i++) {
    const int32_t pair = u->p->values[pairs].items[i];
    const enum lrl_pickle_kind kind = u->p->values[pair].kind;
    if ((kind != LRL_PICKLE_TUPLE && kind != LRL_PICKLE_LIST) || u->p->values[pair].n != 2)
      return lrl_pickle_broken(u, "an OrderedDict is not made of a list of pairs");
    for (int k = 0; k < 2; k++)
      LRL_TRY(lrl_pickle_append(u, *out, u->p->values[pair].items[k]));
  }
  return LRL_OK;
}

lrl_status lrl_pickle_call(struct lrl_unpickler *u, int32_t global, int32_t args, int32_t *out) {
  const struct lrl_pickle_value *g = &u->p->values[global], *a = &u->p->values[args];
  if (g->kind != LRL_PICKLE_GLOBAL || a->kind != LRL_PICKLE_TUPLE)
    return lrl_pickle_broken(u, "something is called that cannot be");
  switch (globals[g->i].call) {
  case ORDERED_DICT:
    return ordered_dict(u, args, out);
  case REBUILD_TENSOR:
    return rebuild_tensor(u, args, out);
  case REBUILD_PARAMETER:
    if (!is(item(u, args, 0), LRL_PICKLE_TENSOR))
      break;
    *out = a->items[0];
    return LRL_OK;
  case SIZE:
    if (!is(item(u, args, 0), LRL_PICKLE_TUPLE) && !is(item(u, args, 0), LRL_PICKLE_LIST))
      break;
    *out = a->items[0];
    return LRL_OK;
  default:
    break;
  }
  return lrl_pickle_broken(u, "something is called that cannot be");
}

/* ('storage', type, key, location, elements) */
lrl_status lrl_pickle_persistent(struct lrl_unpickler *u, int32_t id, int32_t *out) {
  const bool tuple = u->p->values[id].kind == LRL_PICKLE_TUPLE;
  const struct lrl_pickle_value *word = tuple ? item(u, id, 0) : NULL,
                                *type = tuple ? item(u, id, 1) : NULL,
                                *key = tuple ? item(u, id, 2) : NULL,
                                *n = tuple ? item(u, id, 4) : NULL;
  if (!is(word, LRL_PICKLE_STRING) || !same("storage", word->s, (size_t)word->n) ||
      !is(type, LRL_PICKLE_GLOBAL) || globals[type->i].call != STORAGE_TYPE ||
      !is(key, LRL_PICKLE_STRING) || !is(n, LRL_PICKLE_INT) || n->i < 0)
    return lrl_pickle_broken(u, "a storage is not named as torch.save does");
  return lrl_pickle_new(u,
                        &(struct lrl_pickle_value){.kind = LRL_PICKLE_STORAGE,
                                                   .dtype = globals[type->i].dtype,
                                                   .s = key->s,
                                                   .n = key->n,
                                                   .i = n->i},
                        out);
}
