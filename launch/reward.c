/* `laurel reward CONFIG.yaml key=value ...` */
#include "train/reward.h"

#include "launch/commands.h"
#include "launch/config.h"

#include <stdlib.h>
#include <string.h>

int lrl_command_reward(int argc, char **argv) {
  struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  struct lrl_reward_config cfg;
  lrl_config_defaults(&table, &cfg);
  if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
    FILE *to = argc == 0 ? stderr : stdout;
    fprintf(to, "usage: laurel reward CONFIG.yaml [key=value ...]\n\n");
    lrl_config_help(&table, to);
    return argc == 0 ? 2 : 0;
  }
  lrl_status s = LRL_OK;
  for (int i = 0; i < argc && s == LRL_OK; i++)
    s = i == 0 && strchr(argv[0], '=') == NULL ? lrl_config_load(&table, &cfg, argv[0])
                                               : lrl_config_override(&table, &cfg, argv[i]);
  char *text = s == LRL_OK ? lrl_config_text(&table, &cfg) : NULL;
  if (s == LRL_OK)
    s = text != NULL ? lrl_reward_train(&cfg, text) : LRL_FAIL(LRL_ERR_MEMORY, "no memory");
  free(text);
  if (s != LRL_OK)
    fprintf(stderr, "laurel reward: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
