/* Inside of the unpickler: unpickle.c reads opcodes, unpickle_torch.c knows what the names of a
 * PyTorch file stand for. */
#ifndef LRL_UNPICKLE_IMPL_H
#define LRL_UNPICKLE_IMPL_H
#include "model/unpickle.h"

struct lrl_unpickler {
  const unsigned char *bytes;
  size_t n, at;
  const char *path;
  struct lrl_pickle *p;
  int32_t *stack; /* of values */
  int64_t n_stack, cap_stack;
  int32_t *memo; /* -1: nothing there */
  int64_t n_memo;
  size_t n_items; /* of all containers */
};

#define LRL_PICKLE_MARK (-1)

/* Fails with the place in the pickle. */
static inline lrl_status lrl_pickle_broken(const struct lrl_unpickler *u, const char *what) {
  return LRL_FAIL(LRL_ERR_FORMAT, "%s: its pickle is damaged near byte %zu: %s", u->path, u->at,
                  what);
}
/* Makes a value and puts its index into *out. */
lrl_status lrl_pickle_new(struct lrl_unpickler *u, const struct lrl_pickle_value *v, int32_t *out);
lrl_status lrl_pickle_append(struct lrl_unpickler *u, int32_t container, int32_t item);

lrl_status lrl_pickle_push(struct lrl_unpickler *u, int32_t v);
lrl_status lrl_pickle_push_new(struct lrl_unpickler *u, const struct lrl_pickle_value *v);
/* The top value, which must not be a mark. */
lrl_status lrl_pickle_pop(struct lrl_unpickler *u, int32_t *v);
/* Where the values above the last mark begin; the mark is one below. */
lrl_status lrl_pickle_find_mark(const struct lrl_unpickler *u, int64_t *first);
/* Makes a container of the stack from `first` on, cuts the stack to `cut` and pushes it. */
lrl_status lrl_pickle_gather(struct lrl_unpickler *u, enum lrl_pickle_kind kind, int64_t first,
                             int64_t cut);
/* Moves the stack from `first` on into the container of that kind at first - 1 - gap. */
lrl_status lrl_pickle_extend(struct lrl_unpickler *u, enum lrl_pickle_kind kind, int64_t first,
                             int64_t gap);
/* The top of the stack under number i, and back. */
lrl_status lrl_pickle_memo_put(struct lrl_unpickler *u, uint64_t i);
lrl_status lrl_pickle_memo_get(struct lrl_unpickler *u, uint64_t i);

/* The global `module`.`name`; refuses what is not on the list. */
lrl_status lrl_pickle_global(struct lrl_unpickler *u, const char *module, size_t n_module,
                             const char *name, size_t n_name, int32_t *out);
/* What calling a global with a tuple of arguments gives. */
lrl_status lrl_pickle_call(struct lrl_unpickler *u, int32_t global, int32_t arguments,
                           int32_t *out);
/* The storage that a persistent id names. */
lrl_status lrl_pickle_persistent(struct lrl_unpickler *u, int32_t id, int32_t *out);
#endif
