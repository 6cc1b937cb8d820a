/* `laurel bench`: without a word behind it, the ops and a training step in both types. */
#include "launch/bench_parts.h"
#include "launch/commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
  const char *name, *help;
  int (*run)(int argc, char **argv);
} parts[] = {
    {"ops", "every op against the measured peak of arithmetic or memory", lrl_bench_ops},
    {"step", "a whole training step of a decoder", lrl_bench_step},
    {"prefix", "pairs that share their prompt against pairs that repeat it", lrl_bench_prefix},
    {"generate", "cached decoding against the rate of reading the weights", lrl_bench_generate},
    {"checkpoint", "writing a checkpoint against write() and fsync()", lrl_bench_checkpoint},
    {"comm", "sums over ranks; start it with mpirun -np 2", lrl_bench_comm},
};
enum { N_PARTS = sizeof parts / sizeof parts[0] };

static void usage(FILE *to) {
  fprintf(to, "usage: laurel bench [PART [key=value ...]]\n\n"
              "Without a part: ops, step dtype=f32, step dtype=bf16, prefix. Best on a quiet "
              "machine.\n\n");
  for (int i = 0; i < N_PARTS; i++)
    fprintf(to, "  %-12s %s\n", parts[i].name, parts[i].help);
  fprintf(to, "\nlaurel bench PART --help lists the keys of a part.\n");
}

int lrl_command_bench(int argc, char **argv) {
  if (argc == 0) {
    char *f32[] = {"dtype=f32"}, *bf16[] = {"dtype=bf16"};
    int failed = lrl_bench_ops(0, NULL);
    printf("\n");
    failed |= lrl_bench_step(1, f32);
    printf("\n");
    failed |= lrl_bench_step(1, bf16);
    printf("\n");
    return failed | lrl_bench_prefix(0, NULL);
  }
  for (int i = 0; i < N_PARTS; i++)
    if (strcmp(argv[0], parts[i].name) == 0)
      return parts[i].run(argc - 1, argv + 1);
  const bool asked = strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0;
  if (!asked)
    fprintf(stderr, "laurel bench: there is no part '%s'\n", argv[0]);
  usage(asked ? stdout : stderr);
  return asked ? 0 : 2;
}
