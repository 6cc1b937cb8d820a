/* Values, stack and memo of the unpickler. */
#include "model/unpickle_impl.h"

#include <stdlib.h>

static lrl_status no_memory(const struct lrl_unpickler *u) {
  return LRL_FAIL(LRL_ERR_MEMORY, "no memory to read %s", u->path);
}

lrl_status lrl_pickle_new(struct lrl_unpickler *u, const struct lrl_pickle_value *v, int32_t *out) {
  struct lrl_pickle *p = u->p;
  if (p->n == p->cap) {
    const int64_t cap = p->cap * 2 + 256;
    struct lrl_pickle_value *more =
        cap > INT32_MAX ? NULL : realloc(p->values, (size_t)cap * sizeof *more);
    if (more == NULL)
      return no_memory(u);
    p->values = more;
    p->cap = cap;
  }
  p->values[p->n] = *v;
  *out = (int32_t)p->n++;
  return LRL_OK;
}

lrl_status lrl_pickle_append(struct lrl_unpickler *u, int32_t container, int32_t item) {
  struct lrl_pickle_value *c = &u->p->values[container];
  if (++u->n_items / 4 > u->n) /* one list copied into dicts again and again */
    return lrl_pickle_broken(u, "its containers are too large for it");
  if (c->n == c->cap) {
    const int64_t cap = c->cap * 2 + 4;
    int32_t *more = realloc(c->items, (size_t)cap * sizeof *more);
    if (more == NULL)
      return no_memory(u);
    c->items = more;
    c->cap = cap;
  }
  c->items[c->n++] = item;
  return LRL_OK;
}

lrl_status lrl_pickle_push(struct lrl_unpickler *u, int32_t v) {
  if (u->n_stack == u->cap_stack) {
    const int64_t cap = u->cap_stack * 2 + 256;
    int32_t *more = realloc(u->stack, (size_t)cap * sizeof *more);
    if (more == NULL)
      return no_memory(u);
    u->stack = more;
    u->cap_stack = cap;
  }
  u->stack[u->n_stack++] = v;
  return LRL_OK;
}

lrl_status lrl_pickle_push_new(struct lrl_unpickler *u, const struct lrl_pickle_value *v) {
  int32_t i;
  LRL_TRY(lrl_pickle_new(u, v, &i));
  return lrl_pickle_push(u, i);
}

lrl_status lrl_pickle_pop(struct lrl_unpickler *u, int32_t *v) {
  if (u->n_stack == 0 || u->stack[u->n_stack - 1] == LRL_PICKLE_MARK)
    return lrl_pickle_broken(u, "its stack is empty");
  *v = u->stack[--u->n_stack];
  return LRL_OK;
}

lrl_status lrl_pickle_find_mark(const struct lrl_unpickler *u, int64_t *first) {
  for (int64_t i = u->n_stack; i-- > 0;)
    if (u->stack[i] == LRL_PICKLE_MARK) {
      *first = i + 1;
      return LRL_OK;
    }
  return lrl_pickle_broken(u, "it has no mark");
}

lrl_status lrl_pickle_gather(struct lrl_unpickler *u, enum lrl_pickle_kind kind, int64_t first,
                             int64_t cut) {
  int32_t c;
  if (first < 0)
    return lrl_pickle_broken(u, "its stack is empty");
  LRL_TRY(lrl_pickle_new(u, &(struct lrl_pickle_value){.kind = kind}, &c));
  for (int64_t i = first; i < u->n_stack; i++) {
    if (u->stack[i] == LRL_PICKLE_MARK)
      return lrl_pickle_broken(u, "its stack is empty");
    LRL_TRY(lrl_pickle_append(u, c, u->stack[i]));
  }
  if (kind == LRL_PICKLE_DICT && u->p->values[c].n % 2 != 0)
    return lrl_pickle_broken(u, "a key has no value");
  u->n_stack = cut;
  return lrl_pickle_push(u, c);
}

lrl_status lrl_pickle_extend(struct lrl_unpickler *u, enum lrl_pickle_kind kind, int64_t first,
                             int64_t gap) {
  const int64_t at = first - 1 - gap;
  if (at < 0 || u->stack[at] == LRL_PICKLE_MARK || u->p->values[u->stack[at]].kind != kind)
    return lrl_pickle_broken(u, "something is put into what is no container for it");
  if (kind == LRL_PICKLE_DICT && (u->n_stack - first) % 2 != 0)
    return lrl_pickle_broken(u, "a key has no value");
  for (int64_t i = first; i < u->n_stack; i++) {
    if (u->stack[i] == LRL_PICKLE_MARK)
      return lrl_pickle_broken(u, "its stack is empty");
    LRL_TRY(lrl_pickle_append(u, u->stack[at], u->stack[i]));
  }
  u->n_stack = at + 1;
  return LRL_OK;
}

lrl_status lrl_pickle_memo_put(struct lrl_unpickler *u, uint64_t i) {
  if (u->n_stack == 0 || u->stack[u->n_stack - 1] == LRL_PICKLE_MARK)
    return lrl_pickle_broken(u, "its stack is empty");
  if (i >= u->n) /* honest pickles number from 0 */
    return lrl_pickle_broken(u, "its memo is too large");
  if ((int64_t)i >= u->n_memo) {
    const int64_t n = (int64_t)i * 2 + 64;
    int32_t *more = realloc(u->memo, (size_t)n * sizeof *more);
    if (more == NULL)
      return no_memory(u);
    for (int64_t k = u->n_memo; k < n; k++)
      more[k] = -1;
    u->memo = more;
    u->n_memo = n;
  }
  u->memo[i] = u->stack[u->n_stack - 1];
  return LRL_OK;
}

lrl_status lrl_pickle_memo_get(struct lrl_unpickler *u, uint64_t i) {
  if (i >= (uint64_t)u->n_memo || u->memo[i] < 0)
    return lrl_pickle_broken(u, "it takes something from its memo that is not there");
  return lrl_pickle_push(u, u->memo[i]);
}
