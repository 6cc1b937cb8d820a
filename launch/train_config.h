/* What the commands that train are told. */
#ifndef LRL_TRAIN_CONFIG_H
#define LRL_TRAIN_CONFIG_H
#include "launch/config.h"

/* "[CONFIG.yaml] [key=value ...] [--resume auto|CHECKPOINT]" into *cfg: the defaults, then the
 * network of model.init_from, then what the user says. argc is at least 1. */
lrl_status lrl_train_config_read(const struct lrl_option_table *t, void *cfg, int argc,
                                 char **argv);
#endif
