/* `laurel sweep FILE [key=value ...]`: many runs from one file, and one table of what they gave. */
#include "launch/sweep.h"

#include "data/bytes.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/option_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct sweep_options {
  char launcher[LRL_OPTION_TEXT];
  bool dry_run;
};
#define AT(f) offsetof(struct sweep_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_BOOL("dry_run", AT(dry_run), "false", "list the runs and start none"),
    LRL_ROW_TEXT("launcher", AT(launcher), "",
                 "words before the command of each trainer, such as \"mpirun -np 2\""),
};
#undef AT
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

static const char usage_text[] =
    "usage: laurel sweep FILE.yaml [key=value ...] [options]\n"
    "\n"
    "FILE is the config of one command with three keys more, or a list of stages; docs/sweeps.md\n"
    "tells all. In short:\n"
    "\n"
    "  command: reward                     # the rest of the file is its config\n"
    "  output_dir: runs/rates              # a folder for each run, and the table\n"
    "  sweep: {optim.lr: [1e-4, 3e-4], seed: [0, 1, 2]}\n"
    "  table: [eval/accuracy, eval/loss]   # mean and deviation over seeds\n"
    "\n"
    "Runs go one after another. One that fails is told and the others go on. The same call again\n"
    "starts what is not finished, from its last checkpoint if it has one. key=value changes a key "
    "of\n"
    "the file; sweep.AXIS=a,b the values of an axis.\n\n";

/* Two sweeps at once in a folder would start the same runs. The lock ends with the process. */
static lrl_status lock(const struct lrl_sweep *s) {
  LRL_TRY(lrl_folder_make(s->output_dir));
  const int folder = open(s->output_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the folder %s: %s", s->output_dir, strerror(errno));
  if (flock(folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_ARG, "another sweep is running in %s now", s->output_dir);
}

static void list(const struct lrl_sweep *s) {
  for (int64_t i = 0; i < s->n_runs; i++) {
    const struct lrl_sweep_run *r = &s->run[i];
    printf("%s%s:", r->name, r->before ? " (finished)" : "");
    for (int64_t k = 0; k < r->words.n; k++)
      printf(" %s", r->words.at[k].value);
    printf("\n");
  }
  printf("%lld runs, %lld rows of results\n", (long long)s->n_runs, (long long)s->n_points);
}

static lrl_status run(const struct sweep_options *o, struct lrl_sweep *s, bool *complete) {
  bool stopped;
  int64_t n_failed = 0, n_left = 0;
  LRL_TRY(lock(s));
  LRL_TRY(lrl_sweep_run_all(s, o->launcher, &stopped));
  for (int64_t i = 0; i < s->n_runs; i++) {
    struct lrl_sweep_run *r = &s->run[i];
    n_failed += r->state == LRL_SWEEP_FAILED;
    n_left += r->state == LRL_SWEEP_SKIPPED || r->state == LRL_SWEEP_PENDING;
    if (r->state == LRL_SWEEP_FINISHED)
      LRL_TRY(lrl_sweep_metrics(s, r));
  }
  LRL_TRY(lrl_sweep_table(s, stdout));
  printf("%s/table.csv and .jsonl hold these, results.csv and .jsonl each seed's\n", s->output_dir);
  *complete = n_failed + n_left == 0;
  if (!*complete)
    fprintf(stderr, "laurel sweep: %lld of %lld runs failed, %lld were not run%s\n",
            (long long)n_failed, (long long)s->n_runs, (long long)n_left,
            stopped ? "; stopped as asked, the same call goes on" : "");
  return LRL_OK;
}

static lrl_status sweep(const struct sweep_options *o, int n, char **argv, bool *complete) {
  static struct lrl_sweep s; /* large */
  lrl_status status;
  if (n == 0)
    return LRL_FAIL(LRL_ERR_ARG, "name the file of the sweep");
  LRL_TRY_GOTO(lrl_sweep_read(argv[0], n - 1, argv + 1, &s));
  LRL_TRY_GOTO(lrl_sweep_plan(&s));
  for (int64_t i = 0; i < s.n_columns; i++)
    LRL_TRY_GOTO(lrl_sweep_column_parse(&s, &s.column[i]));
  LRL_TRY_GOTO(lrl_sweep_look(&s));
  if (o->dry_run)
    list(&s);
  else
    LRL_TRY_GOTO(run(o, &s, complete));
done:
  lrl_sweep_free(&s);
  return status;
}

int lrl_command_sweep(int argc, char **argv) {
  struct sweep_options o;
  int n_rest = 0;
  bool complete = true;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK)
    s = sweep(&o, n_rest, argv, &complete);
  if (s != LRL_OK)
    fprintf(stderr, "laurel sweep: %s\n", lrl_last_error());
  return s == LRL_OK && complete ? 0 : 1;
}
