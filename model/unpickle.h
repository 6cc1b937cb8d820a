/* A restricted unpickler: it builds None, booleans, integers, floats, strings, tuples, lists, dicts
 * and descriptions of tensors, and calls nothing. Whatever else a pickle names is refused. */
#ifndef LRL_UNPICKLE_H
#define LRL_UNPICKLE_H
#include "model/weights.h"
#ifdef __cplusplus
extern "C" {
#endif

enum lrl_pickle_kind {
  LRL_PICKLE_NONE,
  LRL_PICKLE_BOOL, /* i */
  LRL_PICKLE_INT,  /* i; kept only where it fits */
  LRL_PICKLE_LONG, /* an integer of more than 64 bits; its value is not kept */
  LRL_PICKLE_FLOAT,
  LRL_PICKLE_STRING,  /* text or bytes: s, n */
  LRL_PICKLE_TUPLE,   /* items */
  LRL_PICKLE_LIST,    /* items; sets too */
  LRL_PICKLE_DICT,    /* items: key, value, key, value ... */
  LRL_PICKLE_GLOBAL,  /* i: an enum lrl_pickle_global */
  LRL_PICKLE_STORAGE, /* dtype; s, n: its key; i: elements */
  LRL_PICKLE_TENSOR,  /* items[0]: storage; i: its first element there; shape */
};
/* Values name each other by index, for a list may hold itself. */
struct lrl_pickle_value {
  enum lrl_pickle_kind kind;
  enum lrl_weight_dtype dtype;
  int64_t i;
  const char *s; /* in the pickle, not terminated */
  int64_t n;     /* of s or items */
  int64_t cap;
  int32_t *items;
  struct lrl_weight *shape; /* ndim, dim, stride and n are set */
};
struct lrl_pickle {
  struct lrl_pickle_value *values;
  int64_t n, cap;
  int32_t root;
};

/* `bytes` must outlive the result; `path` is for messages. Free with lrl_pickle_free. */
lrl_status lrl_unpickle(const unsigned char *bytes, size_t n, const char *path,
                        struct lrl_pickle *out);
void lrl_pickle_free(struct lrl_pickle *p);

#ifdef __cplusplus
}
#endif
#endif
