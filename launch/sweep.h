/* What the files of `laurel sweep` share: a sweep as its file tells it, the runs it comes to, and
 * what they gave. launch/sweep.c tells the order in which the parts are called. */
#ifndef LRL_LAUNCH_SWEEP_H
#define LRL_LAUNCH_SWEEP_H
#include "train/options.h"

#include <jansson.h>
#include <stdio.h>

/* ---- the file (sweep_file.c) ---- */

struct lrl_sweep_setting {
  char *key, *value, *where; /* where: "sweep.yaml:12" */
};
struct lrl_sweep_settings {
  struct lrl_sweep_setting *at;
  int64_t n, cap;
};

/* An axis takes its choices in turn. A choice of a list is its value; a named choice (variants)
 * sets several keys at once. Keys here begin with a stage's name. */
struct lrl_sweep_choice {
  char *name;
  struct lrl_sweep_settings settings;
};
struct lrl_sweep_axis {
  char *name;
  bool variants, seeds; /* seeds: averaged over in the table */
  struct lrl_sweep_choice *choice;
  int64_t n, cap;
};

/* A command of laurel that a stage can run. */
struct lrl_sweep_command {
  const char *name;
  const char *words[2]; /* after "laurel"; words[1] may be NULL */
  bool trainer;         /* key=value, train.output_dir, train.resume; may run under mpirun */
  struct lrl_option_table table;
  const char *out, *out_file; /* others: the option that names the output; a file of the folder */
};
const struct lrl_sweep_command *lrl_sweep_command_find(const char *name); /* NULL: none */
#define LRL_SWEEP_COMMANDS "reward, sft, ppo, generate, data synth"

struct lrl_sweep_stage {
  char *name;
  const struct lrl_sweep_command *command;
  struct lrl_sweep_settings settings, files; /* "config" and "files" are among the files */
  char *config;                              /* NULL: none */
  uint32_t axes, needs; /* bits: axes, and stages before, that its runs depend on */
};

struct lrl_sweep_column {
  char *title, *metric, *where;
  int64_t stage;
  char *against; /* the choice to compare with; NULL: the metric itself */
  int64_t axis;  /* which it is of */
};

enum { LRL_SWEEP_AXES = 16, LRL_SWEEP_STAGES = 32, LRL_SWEEP_COLUMNS = 32 };
struct lrl_sweep {
  char *file, *output_dir;
  bool staged; /* the file has stages; else the file is one */
  struct lrl_sweep_axis axis[LRL_SWEEP_AXES];
  struct lrl_sweep_stage stage[LRL_SWEEP_STAGES];
  struct lrl_sweep_column column[LRL_SWEEP_COLUMNS];
  int64_t n_axes, n_stages, n_columns;

  struct lrl_sweep_run *run;
  struct lrl_sweep_point *point;
  int64_t n_runs, cap_runs, n_points;
};

/* Reads FILE and then the n overrides "key=value". *s starts as {0}; free it also after a failure,
 * whose sentence names file and line. */
lrl_status lrl_sweep_read(const char *file, int n, char **overrides, struct lrl_sweep *s);
void lrl_sweep_free(struct lrl_sweep *s);
/* Appends, or replaces the value of the same key. */
lrl_status lrl_sweep_set(struct lrl_sweep_settings *s, const char *key, const char *value,
                         const char *where, bool replace);
void lrl_sweep_settings_free(struct lrl_sweep_settings *s);

/* ---- the runs (sweep_plan.c) ---- */

enum lrl_sweep_state {
  LRL_SWEEP_PENDING,
  LRL_SWEEP_FINISHED,
  LRL_SWEEP_FAILED,
  LRL_SWEEP_SKIPPED /* one that it needs failed */
};
struct lrl_sweep_run {
  char *name, *dir;
  int64_t stage;
  struct lrl_sweep_settings words; /* values: the arguments after "laurel" */
  uint32_t choice[LRL_SWEEP_AXES]; /* of the first point that it is part of */
  int64_t need[LRL_SWEEP_STAGES], n_need;
  enum lrl_sweep_state state;
  bool before; /* finished by an earlier call */
  json_t *metrics;
};
/* A combination of choices: a row of results, and a run of every stage. Points that agree in what a
 * stage depends on share its run. */
struct lrl_sweep_point {
  uint32_t choice[LRL_SWEEP_AXES];
  int64_t run[LRL_SWEEP_STAGES];
};
/* Fills point and run, each run's arguments checked against the tables of its command. */
lrl_status lrl_sweep_plan(struct lrl_sweep *s);

/* ---- running them (sweep_run.c) ---- */

/* Marks what earlier calls finished. LRL_ERR_ARG when that was done with other arguments. */
lrl_status lrl_sweep_look(struct lrl_sweep *s);
/* Runs what is left, one after another; failures of runs are told, not returned. *stopped: SIGINT
 * or SIGTERM came. launcher: words before the trainers' command ("mpirun -np 2"), may be "". */
lrl_status lrl_sweep_run_all(struct lrl_sweep *s, const char *launcher, bool *stopped);

/* ---- the table (sweep_metrics.c, sweep_table.c) ---- */

/* Reads what a finished run wrote into metrics: of a trainer the last value of every key, of
 * generate "tokens", "gold", "score", "unfinished" and, of what best-of-N picked, "best_tokens",
 * "best_gold", "best_score": each a mean over rows, with the rows' own in "rows". */
lrl_status lrl_sweep_metrics(const struct lrl_sweep *s, struct lrl_sweep_run *r);
/* Reads the words of a column's metric; before lrl_sweep_value. LRL_ERR_ARG. */
lrl_status lrl_sweep_column_parse(const struct lrl_sweep *s, struct lrl_sweep_column *c);
/* Value of a column at a point; NaN when there is none. */
double lrl_sweep_value(const struct lrl_sweep *s, int64_t point, const struct lrl_sweep_column *c);
/* Prints the table and writes results.{csv,jsonl}, a line per point, and table.{csv,jsonl}, means
 * and deviations over seeds, into the sweep's folder. */
lrl_status lrl_sweep_table(const struct lrl_sweep *s, FILE *to);
#endif
