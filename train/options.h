/* One table per struct drives parsing, range checks, defaults, --help, docs/config.md and the hash
 * kept in checkpoints. Keys are dotted paths ("optim.lr"); YAML nesting and key=value overrides
 * give the same paths. The YAML reader is launch/config.h. */
#ifndef LRL_OPTIONS_H
#define LRL_OPTIONS_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

#define LRL_OPTION_TEXT 512 /* bytes of a string option in the struct, final 0 included */

enum lrl_option_type {
  LRL_OPTION_BOOL,   /* bool */
  LRL_OPTION_INT,    /* int64_t */
  LRL_OPTION_FLOAT,  /* double */
  LRL_OPTION_STRING, /* char[LRL_OPTION_TEXT] */
  LRL_OPTION_ENUM,   /* int; `choices` = "name|name|..." in the order of values 0, 1, ... */
};

struct lrl_option {
  const char *path;
  enum lrl_option_type type;
  size_t offset;
  const char *default_text; /* parsed like user input; "" for an empty string */
  double min, max;          /* inclusive, for INT and FLOAT; min == max == 0: no limits */
  const char *choices;      /* ENUM only */
  const char *unit;         /* "tokens", "pairs", "" ... */
  const char *help;         /* one sentence */
};

struct lrl_option_table {
  const struct lrl_option *options;
  int n;
};

/* Fills `out` (the struct the table describes) with the defaults. */
void lrl_config_defaults(const struct lrl_option_table *t, void *out);
/* The option of a path; LRL_ERR_ARG names the nearest known key. `where` ("run.yaml:12", "command
 * line") begins the message, here and below. */
lrl_status lrl_config_find(const struct lrl_option_table *t, const char *path, const char *where,
                           const struct lrl_option **out);
/* One value, parsed and checked against its range. */
lrl_status lrl_config_set(const struct lrl_option_table *t, void *out, const char *path,
                          const char *value, const char *where);
/* "key=value". */
lrl_status lrl_config_override(const struct lrl_option_table *t, void *out, const char *assignment);
/* "key: value" per line in table order: what a checkpoint keeps. malloc'ed; NULL without memory. */
char *lrl_config_text(const struct lrl_option_table *t, const void *values);
/* Reads what lrl_config_text wrote; keys that the table does not have are passed over, keys that
 * the text does not have keep their value. */
lrl_status lrl_config_parse_text(const struct lrl_option_table *t, void *out, const char *text,
                                 const char *where);

#ifdef __cplusplus
}
#endif
#endif
