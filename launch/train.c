/* `laurel reward CONFIG.yaml key=value ...`, `laurel sft` and `laurel ppo` likewise. */
#include "train/ppo.h"
#include "train/reward.h"
#include "train/sft.h"

#include "kernels/log.h"
#include "launch/commands.h"
#include "launch/train_config.h"

#include <stdlib.h>
#include <string.h>

/* A command that trains: its table describes *cfg. */
struct command {
  const char *name;
  struct lrl_option_table table;
  void *cfg;
  lrl_status (*train)(const void *cfg, struct lrl_comm *comm, const char *config_text);
};

static int run(const struct command *k, int argc, char **argv) {
  char usage[160];
  snprintf(usage, sizeof usage,
           "usage: laurel %s CONFIG.yaml [key=value ...] [--resume auto|CHECKPOINT]\n", k->name);
  if (argc == 0) {
    fprintf(stderr, "%s\"laurel %s --help\" lists every key with its default\n", usage, k->name);
    return 2;
  }
  if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
    printf("%s\n", usage);
    lrl_config_help(&k->table, stdout);
    return 0;
  }
  struct lrl_comm *comm = NULL;
  char *text = NULL;
  lrl_status s = lrl_comm_create(&comm);
  int rank = lrl_comm_rank(comm);
  lrl_log_setup(LRL_LOG_INFO, rank, lrl_comm_size(comm));
  if (s == LRL_OK)
    s = lrl_train_config_read(&k->table, k->cfg, argc, argv);
  if (s == LRL_OK && (text = lrl_config_text(&k->table, k->cfg)) == NULL)
    s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for the config");
  if (s == LRL_OK)
    s = k->train(k->cfg, comm, text);
  free(text);
  if (s != LRL_OK && rank == 0)
    fprintf(stderr, "laurel %s: %s\n", k->name, lrl_last_error());
  lrl_comm_destroy(comm);
  return s == LRL_OK ? 0 : 1;
}

static lrl_status train_reward(const void *cfg, struct lrl_comm *comm, const char *text) {
  return lrl_reward_train(cfg, comm, text);
}
int lrl_command_reward(int argc, char **argv) {
  static struct lrl_reward_config cfg; /* large */
  const struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  return run(&(struct command){"reward", table, &cfg, train_reward}, argc, argv);
}

static lrl_status train_sft(const void *cfg, struct lrl_comm *comm, const char *text) {
  return lrl_sft_train(cfg, comm, text);
}
int lrl_command_sft(int argc, char **argv) {
  static struct lrl_sft_config cfg;
  const struct lrl_option_table table = {lrl_sft_options, lrl_n_sft_options};
  return run(&(struct command){"sft", table, &cfg, train_sft}, argc, argv);
}

static lrl_status train_ppo(const void *cfg, struct lrl_comm *comm, const char *text) {
  return lrl_ppo_train(cfg, comm, text);
}
int lrl_command_ppo(int argc, char **argv) {
  static struct lrl_ppo_config cfg;
  const struct lrl_option_table table = {lrl_ppo_options, lrl_n_ppo_options};
  return run(&(struct command){"ppo", table, &cfg, train_ppo}, argc, argv);
}
