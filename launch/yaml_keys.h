/* A YAML file as a row of keys: nested mappings become dotted paths. */
#ifndef LRL_YAML_KEYS_H
#define LRL_YAML_KEYS_H
#include "kernels/status.h"

struct lrl_yaml_key {
  const char *path;        /* "optim.lr" */
  const char *const *item; /* a scalar is one item; a mapping without keys none */
  int64_t n;
  bool list;
  const char *where; /* "run.yaml:12" */
};
typedef lrl_status lrl_yaml_fn(void *user, const struct lrl_yaml_key *key);

/* Calls fn for every key in order; its failure ends the reading and is returned. Anchors, lists of
 * anything but scalars, and mappings nested more than nine deep are LRL_ERR_FORMAT with file:line;
 * LRL_ERR_IO for a file that cannot be read. */
lrl_status lrl_yaml_read(const char *path, lrl_yaml_fn *fn, void *user);
#endif
