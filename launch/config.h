/* Reads YAML files and key=value overrides into a struct described by an option table
 * (train/options.h). Errors name the file and line, or the command line, and the nearest known key.
 */
#ifndef LRL_CONFIG_H
#define LRL_CONFIG_H
#include "train/options.h"

#include <stdio.h>

struct lrl_option_table {
  const struct lrl_option *options;
  int n;
};

/* Fills `out` (the struct the table describes) with the defaults. */
void lrl_config_defaults(const struct lrl_option_table *t, void *out);
/* One value; `where` ("run.yaml:12", "command line") begins the error message. */
lrl_status lrl_config_set(const struct lrl_option_table *t, void *out, const char *path,
                          const char *value, const char *where);
/* "key=value". */
lrl_status lrl_config_override(const struct lrl_option_table *t, void *out, const char *assignment);
/* Nested mappings become dotted paths; a list of scalars becomes a comma-separated string.
 * Duplicate keys, unknown keys, anchors and wrong types are errors with file:line. */
lrl_status lrl_config_load(const struct lrl_option_table *t, void *out, const char *yaml_path);
/* Every key with type, default, unit and help. */
void lrl_config_help(const struct lrl_option_table *t, FILE *to);
/* "key: value" per line in table order: what a checkpoint keeps, and what its hash covers.
 * malloc'ed; NULL without memory. */
char *lrl_config_text(const struct lrl_option_table *t, const void *values);

#endif
