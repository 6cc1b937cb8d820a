/* The parts of `laurel bench` behind a word of their own, and what they share. */
#ifndef LRL_BENCH_PARTS_H
#define LRL_BENCH_PARTS_H
#include "launch/config.h"

/* As the commands of launch/commands.h. */
int lrl_bench_comm(int argc, char **argv);
int lrl_bench_checkpoint(int argc, char **argv);
int lrl_bench_generate(int argc, char **argv);

/* Prints the keys when the arguments ask for them. */
bool lrl_bench_help(const char *part, const struct lrl_option_table *table, int argc, char **argv);
/* Fills out from the defaults and key=value arguments. */
lrl_status lrl_bench_options(const struct lrl_option_table *table, void *out, int argc,
                             char **argv);
int lrl_bench_by_value(const void *a, const void *b); /* doubles, for qsort */
#endif
