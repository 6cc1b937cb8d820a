/* Verbs of `laurel data` that have a file of their own. */
#ifndef LRL_DATA_VERBS_H
#define LRL_DATA_VERBS_H
#include "train/options.h"

extern const struct lrl_option_table lrl_data_synth_table, lrl_data_stories_table;
lrl_status lrl_data_synth(int argc, char **argv);
lrl_status lrl_data_stories(int argc, char **argv);
#endif
