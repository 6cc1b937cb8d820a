/* Reads YAML files into a struct described by an option table (train/options.h, which also has
 * defaults, single values and overrides). */
#ifndef LRL_CONFIG_H
#define LRL_CONFIG_H
#include "train/options.h"

#include <stdio.h>

/* Nested mappings become dotted paths; a list of scalars becomes a comma-separated string.
 * Duplicate keys, unknown keys, anchors and wrong types are errors with file:line. */
lrl_status lrl_config_load(const struct lrl_option_table *t, void *out, const char *yaml_path);
/* Every key with type, default, unit and help. */
void lrl_config_help(const struct lrl_option_table *t, FILE *to);

#endif
