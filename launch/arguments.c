#include "launch/arguments.h"

#include <string.h>

bool lrl_arguments_help(int argc, char **argv) {
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
      return true;
  return false;
}

int lrl_arguments_usage(const struct lrl_option_table *t, const char *usage, int argc,
                        char **argv) {
  if (argc > 0 && !lrl_arguments_help(argc, argv))
    return -1;
  FILE *to = argc == 0 ? stderr : stdout;
  fputs(usage, to);
  lrl_config_help(t, to);
  return argc == 0 ? 2 : 0;
}

/* Both "--best-of" and "--best_of". */
static bool same_key(const char *a, const char *b) {
  for (; *a != '\0' && (*a == '-' ? '_' : *a) == (*b == '-' ? '_' : *b); a++)
    b++;
  return *a == '\0' && *b == '\0';
}

static const struct lrl_option *find(const struct lrl_option_table *t, const char *key) {
  for (int i = 0; i < t->n; i++)
    if (same_key(t->options[i].path, key))
      return &t->options[i];
  return NULL;
}

lrl_status lrl_arguments_parse(const struct lrl_option_table *t, void *out, int argc, char **argv,
                               int *n_rest) {
  bool all_rest = false;
  lrl_config_defaults(t, out);
  *n_rest = 0;
  for (int i = 0; i < argc; i++) {
    if (all_rest || strncmp(argv[i], "--", 2) != 0) {
      argv[(*n_rest)++] = argv[i];
      continue;
    }
    if (argv[i][2] == '\0') {
      all_rest = true;
      continue;
    }
    char key[64];
    const char *equals = strchr(argv[i], '='), *value = equals == NULL ? NULL : equals + 1;
    size_t n = equals == NULL ? strlen(argv[i]) - 2 : (size_t)(equals - argv[i] - 2);
    n = n < sizeof key ? n : sizeof key - 1;
    memcpy(key, argv[i] + 2, n);
    key[n] = '\0';
    const struct lrl_option *o = find(t, key);
    if (value == NULL && o != NULL)
      value = o->type == LRL_OPTION_BOOL ? "true" : ++i < argc ? argv[i] : NULL;
    if (value == NULL && o != NULL)
      return LRL_FAIL(LRL_ERR_ARG, "--%s needs a value", key);
    LRL_TRY(lrl_config_set(t, out, o != NULL ? o->path : key, value == NULL ? "" : value,
                           "command line"));
  }
  return LRL_OK;
}
