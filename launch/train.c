/* `laurel reward CONFIG.yaml key=value ...`, `laurel sft` and `laurel ppo` likewise. */
#include "train/checkpoint.h"
#include "train/model_options.h"
#include "train/ppo.h"
#include "train/reward.h"
#include "train/sft.h"

#include "kernels/log.h"
#include "launch/commands.h"
#include "launch/config.h"

#include <stdlib.h>
#include <string.h>

/* "--resume auto" is short for train.resume=auto. */
static lrl_status override(const struct lrl_option_table *t, void *cfg, int argc, char **argv,
                           int *i) {
  if (strcmp(argv[*i], "--resume") != 0)
    return lrl_config_override(t, cfg, argv[*i]);
  if (++*i == argc)
    return LRL_FAIL(LRL_ERR_ARG, "--resume needs \"auto\" or a checkpoint");
  return lrl_config_set(t, cfg, "train.resume", argv[*i], "command line");
}

static const char *text_of(const struct lrl_option_table *t, const void *cfg, const char *path) {
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->options[i].path, path) == 0)
      return (const char *)cfg + t->options[i].offset;
  return "";
}

/* The network that model.init_from describes. A run that is resumed has it in its own config and
 * may have lost what it began from. */
static lrl_status inherit(const struct lrl_option_table *t, void *cfg) {
  const char *from = text_of(t, cfg, "model.init_from");
  const bool resumed = text_of(t, cfg, "train.resume")[0] != '\0';
  char path[LRL_OPTION_TEXT + 96], *text = NULL, *kind = NULL;
  struct lrl_checkpoint *c;
  if (from[0] == '\0')
    return LRL_OK;
  lrl_status s = lrl_checkpoint_find(from, path, sizeof path);
  if (s == LRL_OK)
    s = lrl_checkpoint_open(path, NULL, &c);
  if (s != LRL_OK)
    return resumed ? LRL_OK : s;
  if ((s = lrl_checkpoint_get_text(c, "kind", &kind)) == LRL_OK &&
      (s = lrl_checkpoint_get_text(c, "config", &text)) == LRL_OK) {
    lrl_config_defaults(t, cfg);
    s = lrl_model_options_inherit(t, cfg, text, strcmp(kind, "vision") == 0, path);
  }
  free(kind);
  free(text);
  lrl_checkpoint_close(c);
  return s;
}

static lrl_status read_words(const struct lrl_option_table *t, void *cfg, int argc, char **argv) {
  int first = strchr(argv[0], '=') == NULL && argv[0][0] != '-';
  if (first == 1)
    LRL_TRY(lrl_config_load(t, cfg, argv[0]));
  for (int i = first; i < argc; i++)
    LRL_TRY(override(t, cfg, argc, argv, &i));
  return LRL_OK;
}
/* Defaults, then the network of model.init_from, then what the user says. */
static lrl_status read_config(const struct lrl_option_table *t, void *cfg, int argc, char **argv) {
  lrl_config_defaults(t, cfg);
  LRL_TRY(read_words(t, cfg, argc, argv));
  LRL_TRY(inherit(t, cfg));
  return read_words(t, cfg, argc, argv);
}

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
    s = read_config(&k->table, k->cfg, argc, argv);
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
