/* Command-line arguments of the commands that have no config file. */
#ifndef LRL_ARGUMENTS_H
#define LRL_ARGUMENTS_H
#include "launch/config.h"

/* Sets `out` (the struct the table describes) to the defaults, then reads "--key value",
 * "--key=value" and, for a bool, "--key"; - and _ are the same in a key. Arguments without "--" and
 * all after "--" are moved to the front of argv in order and counted in *n_rest. LRL_ERR_ARG names
 * the argument. */
lrl_status lrl_arguments_parse(const struct lrl_option_table *t, void *out, int argc, char **argv,
                               int *n_rest);
/* Whether --help or -h is among them. */
bool lrl_arguments_help(int argc, char **argv);
/* Without arguments or with --help: prints `usage` and every key, and returns what the command
 * exits with, 2 or 0. Otherwise -1. */
int lrl_arguments_usage(const struct lrl_option_table *t, const char *usage, int argc, char **argv);
#endif
