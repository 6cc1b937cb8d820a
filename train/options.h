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

#ifdef __cplusplus
}
#endif
#endif
