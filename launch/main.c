#include "kernels/arena.h"
#include "launch/commands.h"
#include "train/machine.h"

#include <commit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
  const char *name, *help;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"reward", "train a Bradley-Terry reward model on preference pairs", lrl_command_reward},
    {"sft", "fine-tune a language model on answers or texts", lrl_command_sft},
    {"ppo", "train a policy against a reward model or gold rules", lrl_command_ppo},
    {"sweep", "many runs from one file, and one table of what they gave", lrl_command_sweep},
    {"score", "score, compare or rank chats with a trained reward model", lrl_command_score},
    {"eval", "a reward model on VL-RewardBench, RewardBench, RM-Bench", lrl_command_eval},
    {"generate", "sample answers; best-of-N with a reward model", lrl_command_generate},
    {"bon-curve", "best-of-N: learned and gold reward against KL", lrl_command_bon_curve},
    {"convert", "checkpoints of other programs to Laurel's", lrl_command_convert},
    {"filter", "flag chats that a reward model thinks little of", lrl_command_filter},
    {"data", "write a synthetic corpus; pack and inspect preference data", lrl_command_data},
    {"plan", "memory, work and messages of a training run, before it is launched",
     lrl_command_plan},
    {"report", "a page about one or more runs: curves, sources, samples", lrl_command_report},
    {"doctor", "what this machine and this build can do", lrl_command_doctor},
    {"bench", "time ops and training steps against the machine's measured peak", lrl_command_bench},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *to) {
  fprintf(to, "laurel %s: multi-modal reward models\n\nusage: laurel COMMAND [arguments]\n\n",
          LAUREL_VERSION);
  for (int i = 0; i < N_COMMANDS; i++)
    fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
}

/* Idle OpenMP threads spin for milliseconds by default, which on a shared machine costs more than
 * the work itself (docs/experiments.md). The runtime reads its settings before main, so the program
 * starts itself once more with a short spin; a setting of the user's stands. */
static void spin_briefly(char **argv) {
  if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL ||
      setenv("GOMP_SPINCOUNT", "1000", 0) != 0)
    return;
  char self[4096]; /* not /proc/self/exe itself: the process would be named "exe" */
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n > 0) {
    self[n] = '\0';
    execv(self, argv); /* where it cannot, the default is only slower */
  }
}

int main(int argc, char **argv) {
  lrl_commit = LAUREL_COMMIT;
  if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    usage(stdout);
    return 0;
  }
  for (int i = 0; i < N_COMMANDS && argc >= 2; i++)
    if (strcmp(argv[1], commands[i].name) == 0) {
      spin_briefly(argv);
      lrl_malloc_setup();
      return commands[i].run(argc - 2, argv + 2);
    }
  if (argc >= 2)
    fprintf(stderr, "laurel: unknown command '%s'\n", argv[1]);
  usage(stderr);
  return 2;
}
