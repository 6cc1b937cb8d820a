/* The opcodes of pickle protocols 2 to 5 that a file of tensors needs. Every one makes at most one
 * value, so memory stays in proportion to the pickle. */
#include "model/unpickle_impl.h"

#include <stdlib.h>

#define VALUE(...) (&(struct lrl_pickle_value){__VA_ARGS__})

static lrl_status take(struct lrl_unpickler *u, uint64_t n, const unsigned char **p) {
  if (n > u->n - u->at)
    return lrl_pickle_broken(u, "it is cut off");
  *p = u->bytes + u->at;
  u->at += (size_t)n;
  return LRL_OK;
}

static lrl_status number(struct lrl_unpickler *u, int bytes, uint64_t *out) {
  const unsigned char *p;
  LRL_TRY(take(u, (uint64_t)bytes, &p));
  *out = 0;
  for (int i = bytes - 1; i >= 0; i--)
    *out = *out << 8 | p[i];
  return LRL_OK;
}

static lrl_status push_text(struct lrl_unpickler *u, int bytes) {
  uint64_t n;
  const unsigned char *p;
  LRL_TRY(number(u, bytes, &n));
  LRL_TRY(take(u, n, &p));
  return lrl_pickle_push_new(
      u, VALUE(.kind = LRL_PICKLE_STRING, .s = (const char *)p, .n = (int64_t)n));
}

static lrl_status push_integer(struct lrl_unpickler *u, int bytes) {
  uint64_t v;
  LRL_TRY(number(u, bytes, &v));
  return lrl_pickle_push_new(
      u,
      VALUE(.kind = LRL_PICKLE_INT, .i = bytes == 4 ? (int64_t)(int32_t)(uint32_t)v : (int64_t)v));
}

/* Two's complement of any length. */
static lrl_status push_long(struct lrl_unpickler *u, int bytes) {
  uint64_t n, v = 0;
  const unsigned char *p;
  LRL_TRY(number(u, bytes, &n));
  LRL_TRY(take(u, n, &p));
  if (n > 8)
    return lrl_pickle_push_new(u, VALUE(.kind = LRL_PICKLE_LONG));
  for (uint64_t i = 8; i-- > 0;)
    v = v << 8 | (i < n ? p[i] : n > 0 && p[n - 1] >= 128 ? 255u : 0u);
  int64_t i;
  memcpy(&i, &v, sizeof i);
  return lrl_pickle_push_new(u, VALUE(.kind = LRL_PICKLE_INT, .i = i));
}

static lrl_status read_line(struct lrl_unpickler *u, const char **s, size_t *n) {
  const void *end = memchr(u->bytes + u->at, '\n', u->n - u->at);
  if (end == NULL)
    return lrl_pickle_broken(u, "it is cut off");
  *s = (const char *)u->bytes + u->at;
  *n = (size_t)((const char *)end - *s);
  u->at += *n + 1;
  return LRL_OK;
}

static lrl_status push_global(struct lrl_unpickler *u, int a) {
  const char *module, *name;
  size_t n_module, n_name;
  int32_t v;
  (void)a;
  LRL_TRY(read_line(u, &module, &n_module));
  LRL_TRY(read_line(u, &name, &n_name));
  LRL_TRY(lrl_pickle_global(u, module, n_module, name, n_name, &v));
  return lrl_pickle_push(u, v);
}

static lrl_status stack_global(struct lrl_unpickler *u, int a) {
  int32_t module, name, v;
  (void)a;
  LRL_TRY(lrl_pickle_pop(u, &name));
  LRL_TRY(lrl_pickle_pop(u, &module));
  const struct lrl_pickle_value *m = &u->p->values[module], *n = &u->p->values[name];
  if (m->kind != LRL_PICKLE_STRING || n->kind != LRL_PICKLE_STRING)
    return lrl_pickle_broken(u, "the name of a class is no text");
  LRL_TRY(lrl_pickle_global(u, m->s, (size_t)m->n, n->s, (size_t)n->n, &v));
  return lrl_pickle_push(u, v);
}

static lrl_status call(struct lrl_unpickler *u, int a) {
  int32_t arguments, global, v;
  (void)a;
  LRL_TRY(lrl_pickle_pop(u, &arguments));
  LRL_TRY(lrl_pickle_pop(u, &global));
  LRL_TRY(lrl_pickle_call(u, global, arguments, &v));
  return lrl_pickle_push(u, v);
}

/* Attributes of an OrderedDict (the versions of modules) say nothing about tensors. */
static lrl_status build(struct lrl_unpickler *u, int a) {
  int32_t attributes, object;
  (void)a;
  LRL_TRY(lrl_pickle_pop(u, &attributes));
  LRL_TRY(lrl_pickle_pop(u, &object));
  if (u->p->values[object].kind != LRL_PICKLE_DICT)
    return lrl_pickle_broken(u, "attributes are set on what has none");
  return lrl_pickle_push(u, object);
}

static lrl_status persistent(struct lrl_unpickler *u, int a) {
  int32_t id, v;
  (void)a;
  LRL_TRY(lrl_pickle_pop(u, &id));
  LRL_TRY(lrl_pickle_persistent(u, id, &v));
  return lrl_pickle_push(u, v);
}

static lrl_status memo_put(struct lrl_unpickler *u, int bytes) {
  uint64_t i;
  LRL_TRY(number(u, bytes, &i));
  return lrl_pickle_memo_put(u, i);
}

static lrl_status memo_get(struct lrl_unpickler *u, int bytes) {
  uint64_t i;
  LRL_TRY(number(u, bytes, &i));
  return lrl_pickle_memo_get(u, i);
}

static lrl_status skip(struct lrl_unpickler *u, int bytes) {
  const unsigned char *p;
  return take(u, (uint64_t)bytes, &p);
}

static lrl_status mark(struct lrl_unpickler *u, int a) {
  (void)a;
  return lrl_pickle_push(u, LRL_PICKLE_MARK);
}

static lrl_status discard(struct lrl_unpickler *u, int to_mark) {
  int64_t first;
  int32_t v;
  if (!to_mark)
    return lrl_pickle_pop(u, &v);
  LRL_TRY(lrl_pickle_find_mark(u, &first));
  u->n_stack = first - 1;
  return LRL_OK;
}

static lrl_status none(struct lrl_unpickler *u, int a) {
  (void)a;
  return lrl_pickle_push_new(u, VALUE(.kind = LRL_PICKLE_NONE));
}

static lrl_status boolean(struct lrl_unpickler *u, int value) {
  return lrl_pickle_push_new(u, VALUE(.kind = LRL_PICKLE_BOOL, .i = value));
}

static lrl_status real(struct lrl_unpickler *u, int bytes) {
  LRL_TRY(skip(u, bytes));
  return lrl_pickle_push_new(u, VALUE(.kind = LRL_PICKLE_FLOAT));
}

/* A tuple of the n values on top, an empty container, a container of what is above the mark. */
static lrl_status tuple(struct lrl_unpickler *u, int n) {
  return lrl_pickle_gather(u, LRL_PICKLE_TUPLE, u->n_stack - n, u->n_stack - n);
}
static lrl_status empty(struct lrl_unpickler *u, int kind) {
  return lrl_pickle_gather(u, (enum lrl_pickle_kind)kind, u->n_stack, u->n_stack);
}
static lrl_status marked(struct lrl_unpickler *u, int kind) {
  int64_t first;
  LRL_TRY(lrl_pickle_find_mark(u, &first));
  return lrl_pickle_gather(u, (enum lrl_pickle_kind)kind, first, first - 1);
}

/* One item, or what is above the mark, into the container below. */
static lrl_status put(struct lrl_unpickler *u, int kind) {
  const int64_t n = kind == LRL_PICKLE_DICT ? 2 : 1;
  return lrl_pickle_extend(u, (enum lrl_pickle_kind)kind, u->n_stack - n, 0);
}
static lrl_status put_marked(struct lrl_unpickler *u, int kind) {
  int64_t first;
  LRL_TRY(lrl_pickle_find_mark(u, &first));
  return lrl_pickle_extend(u, (enum lrl_pickle_kind)kind, first, 1);
}

static const struct {
  lrl_status (*run)(struct lrl_unpickler *u, int a);
  int a;
} opcodes[256] = {
    [0x80] = {skip, 1}, /* PROTO */
    [0x95] = {skip, 8}, /* FRAME */
    ['('] = {mark, 0},
    ['0'] = {discard, 0}, /* POP */
    ['1'] = {discard, 1}, /* POP_MARK */
    ['N'] = {none, 0},
    [0x88] = {boolean, 1},
    [0x89] = {boolean, 0},
    ['J'] = {push_integer, 4}, /* BININT, BININT1, BININT2 */
    ['K'] = {push_integer, 1},
    ['M'] = {push_integer, 2},
    [0x8a] = {push_long, 1}, /* LONG1, LONG4 */
    [0x8b] = {push_long, 4},
    ['G'] = {real, 8},
    ['U'] = {push_text, 1}, /* strings, bytes, unicode with 1, 4 and 8 bytes of length */
    ['C'] = {push_text, 1},
    [0x8c] = {push_text, 1},
    ['T'] = {push_text, 4},
    ['B'] = {push_text, 4},
    ['X'] = {push_text, 4},
    [0x8d] = {push_text, 8},
    [0x8e] = {push_text, 8},
    [0x96] = {push_text, 8},
    [')'] = {tuple, 0}, /* EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3 */
    [0x85] = {tuple, 1},
    [0x86] = {tuple, 2},
    [0x87] = {tuple, 3},
    ['t'] = {marked, LRL_PICKLE_TUPLE},
    [']'] = {empty, LRL_PICKLE_LIST}, /* list, set */
    [0x8f] = {empty, LRL_PICKLE_LIST},
    ['l'] = {marked, LRL_PICKLE_LIST}, /* LIST, FROZENSET */
    [0x91] = {marked, LRL_PICKLE_LIST},
    ['a'] = {put, LRL_PICKLE_LIST},        /* APPEND */
    ['e'] = {put_marked, LRL_PICKLE_LIST}, /* APPENDS, ADDITEMS */
    [0x90] = {put_marked, LRL_PICKLE_LIST},
    ['}'] = {empty, LRL_PICKLE_DICT},
    ['d'] = {marked, LRL_PICKLE_DICT},
    ['s'] = {put, LRL_PICKLE_DICT},        /* SETITEM */
    ['u'] = {put_marked, LRL_PICKLE_DICT}, /* SETITEMS */
    ['q'] = {memo_put, 1},                 /* BINPUT, LONG_BINPUT */
    ['r'] = {memo_put, 4},
    ['h'] = {memo_get, 1}, /* BINGET, LONG_BINGET */
    ['j'] = {memo_get, 4},
    ['c'] = {push_global, 0},
    [0x93] = {stack_global, 0},
    ['R'] = {call, 0}, /* REDUCE */
    ['b'] = {build, 0},
    ['Q'] = {persistent, 0}, /* BINPERSID */
};

static lrl_status run(struct lrl_unpickler *u) {
  int64_t n_memo = 0; /* MEMOIZE numbers in order */
  for (;;) {
    if (u->at >= u->n)
      return lrl_pickle_broken(u, "it is cut off");
    const unsigned char op = u->bytes[u->at++];
    if (op == '.') /* STOP */
      return lrl_pickle_pop(u, &u->p->root);
    if (op == 0x94) /* MEMOIZE */
      LRL_TRY(lrl_pickle_memo_put(u, (uint64_t)n_memo++));
    else if (opcodes[op].run == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT,
                      "%s: its pickle has the opcode 0x%02x at byte %zu, which a file of tensors "
                      "does not need",
                      u->path, op, u->at - 1);
    else
      LRL_TRY(opcodes[op].run(u, opcodes[op].a));
  }
}

lrl_status lrl_unpickle(const unsigned char *bytes, size_t n, const char *path,
                        struct lrl_pickle *out) {
  struct lrl_unpickler u = {.bytes = bytes, .n = n, .path = path, .p = out};
  *out = (struct lrl_pickle){0};
  const lrl_status s = run(&u);
  free(u.stack);
  free(u.memo);
  if (s != LRL_OK)
    lrl_pickle_free(out);
  return s;
}

void lrl_pickle_free(struct lrl_pickle *p) {
  for (int64_t i = 0; i < p->n; i++) {
    free(p->values[i].items);
    free(p->values[i].shape);
  }
  free(p->values);
  *p = (struct lrl_pickle){0};
}
