/* The folder of a run: config.yaml, metrics.jsonl, timing.jsonl, machine.jsonl,
 * checkpoints/step_*.h5. Every
 * trainer starts, resumes and saves through this. */
#ifndef LRL_RUN_H
#define LRL_RUN_H
#include "train/checkpoint.h"
#include "train/option_rows.h"

struct lrl_run_options {
  char output_dir[LRL_OPTION_TEXT], resume[LRL_OPTION_TEXT];
  bool overwrite;
  int64_t save_steps, keep_last;
};
#define LRL_RUN_AT(S, m, f) (offsetof(S, m) + offsetof(struct lrl_run_options, f))
#define LRL_RUN_OPTION_ROWS(S, m, folder)                                                          \
  LRL_ROW_TEXT("train.output_dir", LRL_RUN_AT(S, m, output_dir), folder,                           \
               "config, metrics and checkpoints go here"),                                         \
      LRL_ROW_BOOL("train.overwrite", LRL_RUN_AT(S, m, overwrite), "false",                        \
                   "begin anew in a folder that holds a run already"),                             \
      LRL_ROW_TEXT("train.resume", LRL_RUN_AT(S, m, resume), "",                                   \
                   "auto: go on from the newest checkpoint of output_dir, if any; or a file"),     \
      LRL_ROW_INT("train.save_steps", LRL_RUN_AT(S, m, save_steps), "0", 0, 1e12, "steps",         \
                  "between checkpoints; 0: one at the end"),                                       \
      LRL_ROW_INT("train.keep_last", LRL_RUN_AT(S, m, keep_last), "2", 1, 1e6, "checkpoints",      \
                  "older ones are removed, but not the best")

struct lrl_run {
  const struct lrl_run_options *options;
  struct lrl_comm *comm;
  const char *config_text;
  char checkpoints[LRL_OPTION_TEXT + 32]; /* folder */
  char resume[LRL_OPTION_TEXT + 96];      /* checkpoint to go on from; "" for a new run */
  bool locked; /* rank 0 holds the folder: two runs at once would write over each other */
  int lock;
};

/* Collective. Finds what to resume; makes the folders. Refuses a folder that another run is writing
 * to, or that holds a run when it is neither resumed nor overwritten. A new run writes config.yaml
 * (config_text). Close with lrl_run_close, also after a failure. */
lrl_status lrl_run_open(struct lrl_run *r, const struct lrl_run_options *options,
                        struct lrl_comm *comm, const char *config_text);
void lrl_run_close(struct lrl_run *r);
/* Compares the config a checkpoint was made with to this run's, line by line. Keys in `free_keys`
 * (NULL-terminated; "train.threads", ...) may differ; another difference is LRL_ERR_ARG and names
 * the key and both values. */
lrl_status lrl_run_check_config(const struct lrl_run *r, const char *saved,
                                const char *const *free_keys);
/* (checkpoints)/step_00000042.h5 into path [size]. */
void lrl_run_checkpoint_path(const struct lrl_run *r, int64_t step, char *path, size_t size);

/* SIGINT and SIGTERM ask for an end after the present step; a second one ends at once. */
void lrl_run_catch_signals(void);
bool lrl_run_stop_requested(void);
#endif
