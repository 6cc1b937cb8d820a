/* `laurel plan CONFIG.yaml [key=value ...] --gpu h100 --ranks 8`: memory, work and messages before
 * anything is launched. */
#include "launch/plan.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/train_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(struct lrl_plan_options, f)
static const struct lrl_option options[] = {
    {"gpu", LRL_OPTION_STRING, AT(gpu), "h100", 0, 0, NULL, "",
     "a100-40|a100|a100-pcie|h100|h100-pcie|h200|l40s|l4|rtx4090|rtx3090"},
    {"ranks", LRL_OPTION_INT, AT(ranks), "8", 1, 65536, NULL, "", "GPUs, one rank each"},
    {"zero", LRL_OPTION_INT, AT(zero), "-1", -1, 3, NULL, "",
     "ZeRO stage; -1: train.zero_stage of the config"},
    {"model", LRL_OPTION_STRING, AT(model), "", 0, 0, NULL, "",
     "ppo: a config of a reward model whose model.* and vision.* keys describe the networks; "
     "empty: "
     "those of actor.init_from"},
    {"prompt", LRL_OPTION_INT, AT(prompt), "0", 0, 1e6, NULL, "tokens",
     "of a prompt with its image; 0: half of data.max_length, or data.max_prompt_length"},
    {"answer", LRL_OPTION_INT, AT(answer), "0", 0, 1e6, NULL, "tokens",
     "of an answer; 0: the rest of data.max_length, or rollout.max_new_tokens"},
    {"tiles", LRL_OPTION_INT, AT(tiles), "-1", -1, 1000, NULL, "tiles",
     "of a prompt's image, 0: none; -1: data.hd_num"},
    {"per_host", LRL_OPTION_INT, AT(per_host), "8", 1, 1024, NULL, "", "GPUs of a host"},
    {"network", LRL_OPTION_FLOAT, AT(network), "50", 1e-3, 1e6, NULL, "GB/s",
     "between hosts, for each GPU, in one direction"},
    {"ops", LRL_OPTION_BOOL, AT(ops), "false", 0, 0, NULL, "", "list the work of every op"},
};
static const struct lrl_option_table table = {options, sizeof options / sizeof options[0]};

static void usage(FILE *to) {
  fprintf(to, "usage: laurel plan [reward|sft|ppo] CONFIG.yaml [key=value ...] [--gpu NAME] "
              "[--ranks N] [--zero STAGE] ...\n\n"
              "What a rank of a training run would take on a GPU: bytes, work, messages, and the "
              "least time of a step.\nNothing is trained, no data and no weights are read.\n\n");
}

/* The trainer that is named before the config, else the one that the file's name speaks of. */
static enum lrl_planner_kind kind_of(int *argc, char ***argv) {
  for (int k = 0; k < LRL_N_PLANNERS; k++)
    if (strcmp((*argv)[0], lrl_planner((enum lrl_planner_kind)k).command) == 0) {
      --*argc;
      ++*argv;
      return (enum lrl_planner_kind)k;
    }
  const char *slash = strrchr((*argv)[0], '/'), *name = slash != NULL ? slash + 1 : (*argv)[0];
  for (int k = LRL_N_PLANNERS - 1; k > 0; k--)
    if (strstr(name, lrl_planner((enum lrl_planner_kind)k).command) != NULL)
      return (enum lrl_planner_kind)k;
  return LRL_PLANNER_REWARD;
}

static lrl_status zero_stage(const struct lrl_planner *p, const struct lrl_plan_options *o,
                             void *cfg, int64_t *stage) {
  char text[48];
  if (o->zero == 3)
    return LRL_FAIL(LRL_ERR_ARG, "the trainers have no ZeRO stage 3, which shards the weights too; "
                                 "there are 0, 1 and 2");
  if (o->zero >= 0) {
    snprintf(text, sizeof text, "train.zero_stage=%lld", (long long)o->zero);
    LRL_TRY(lrl_config_override(&p->table, cfg, text));
  }
  for (int i = 0; i < p->table.n; i++)
    if (strcmp(p->table.options[i].path, "train.zero_stage") == 0)
      memcpy(stage, (char *)cfg + p->table.options[i].offset, sizeof *stage);
  return LRL_OK;
}

static lrl_status plan(const struct lrl_planner *p, struct lrl_plan_options *o, int argc,
                       char **argv, void *cfg, struct lrl_plan_outcome *out) {
  struct lrl_plan_request q = {.options = o};
  int64_t stage = 0;
  LRL_TRY(lrl_gpu_find(o->gpu, &q.gpu));
  LRL_TRY(lrl_train_config_read(&p->table, cfg, argc, argv));
  LRL_TRY(zero_stage(p, o, cfg, &stage));
  LRL_TRY(p->plan(&q, cfg, out));
  lrl_plan_print(p, &q, argv[0], stage, out);
  if (!lrl_plan_fits(&q, &out->report))
    lrl_plan_advise(p, &q, cfg, lrl_plan_total(&out->report));
  return LRL_OK;
}

int lrl_command_plan(int argc, char **argv) {
  static struct lrl_plan_options o;
  int n = 0;
  if (lrl_arguments_help(argc, argv)) {
    usage(stdout);
    lrl_config_help(&table, stdout);
    return 0;
  }
  if (lrl_arguments_parse(&table, &o, argc, argv, &n) != LRL_OK) {
    fprintf(stderr, "laurel plan: %s\n", lrl_last_error());
    return 1;
  }
  if (n == 0) {
    usage(stderr);
    return 2;
  }
  const struct lrl_planner p = lrl_planner(kind_of(&n, &argv));
  if (n == 0) {
    usage(stderr);
    return 2;
  }
  void *cfg = calloc(1, p.cfg_bytes);
  struct lrl_plan_outcome *out = calloc(1, sizeof *out);
  const lrl_status s = cfg == NULL || out == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for a plan")
                                                  : plan(&p, &o, n, argv, cfg, out);
  if (s != LRL_OK)
    fprintf(stderr, "laurel plan: %s\n", lrl_last_error());
  free(cfg);
  free(out);
  return s == LRL_OK ? 0 : 1;
}
