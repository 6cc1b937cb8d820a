#include "launch/bench_parts.h"

#include <string.h>

bool lrl_bench_help(const char *part, const struct lrl_option_table *table, int argc, char **argv) {
  if (argc == 0 || (strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-h") != 0))
    return false;
  printf("usage: laurel bench %s [key=value ...]\n\n", part);
  lrl_config_help(table, stdout);
  return true;
}

lrl_status lrl_bench_options(const struct lrl_option_table *table, void *out, int argc,
                             char **argv) {
  lrl_config_defaults(table, out);
  for (int i = 0; i < argc; i++)
    LRL_TRY(lrl_config_override(table, out, argv[i]));
  return LRL_OK;
}

int lrl_bench_by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}
