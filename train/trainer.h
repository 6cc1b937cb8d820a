/* What trainers on a fixed corpus share: set-up, the loop over steps, evaluation, logs, saving and
 * resuming. What a kind of training does differently is a struct lrl_trainer_kind; read reward.c or
 * sft.c for one.
 *
 * A kind counts in f64 sums ("tally"), so that ranks and micro-batches add them up as one array. */
#ifndef LRL_TRAINER_H
#define LRL_TRAINER_H
#include "data/loader.h"
#include "train/metrics.h"
#include "train/trainer_options.h"

enum { LRL_TRAINER_SUMS = 64 };

struct lrl_trainer;
struct lrl_trainer_kind {
  const char *name;  /* in messages: "reward" */
  const char *saved; /* "kind" of its checkpoints */
  const char *unit;  /* what it trains on: "pairs" */
  enum lrl_vlm_head head;
  enum lrl_corpus_form form;
  int n_sums, tokens; /* at most LRL_TRAINER_SUMS; which of them counts packed tokens */
  /* Once data and tokenizer are there, before the first step; may be NULL. */
  lrl_status (*prepare)(struct lrl_trainer *t);
  /* Adds a micro-batch to sums[source][n_sums], or with by_source false to one row; when the tape
   * records, adds its gradient. */
  lrl_status (*micro_batch)(struct lrl_trainer *t, struct lrl_tape *tape, const struct lrl_batch *b,
                            double *sums, bool by_source);
  /* What t->at.sums say of the steps since the last log line: for people, and as "train/...". */
  void (*describe)(const struct lrl_trainer *t, char *text, size_t size);
  void (*log)(const struct lrl_trainer *t, json_t *o);
  /* The figures of an evaluation: prefix is "eval" (name NULL) or "eval/NAME". Puts them into o and
   * logs a line. *score, the higher the better, chooses the best checkpoint. */
  void (*report)(const struct lrl_trainer *t, const char *name, const char *prefix,
                 const double *sums, json_t *o, double *score);
};

struct lrl_trainer {
  const struct lrl_trainer_kind *kind;
  const struct lrl_trainer_options *o;
  const void *cfg; /* the kind's own options */
  struct lrl_comm *comm;
  struct lrl_run run;
  struct lrl_tokenizer *tokenizer;
  struct lrl_image_ops image_ops;
  const struct lrl_image_ops *images; /* NULL without a vision tower */
  struct lrl_corpus *train, *eval;    /* eval NULL: none */
  int32_t *weight; /* of each item of train, or NULL; see lrl_loader_options. The kind fills it */
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm model;
  struct lrl_optimizer optimizer;
  struct lrl_metrics metrics;
  int64_t *step_items; /* corpus indices of what this rank had in the present step */
  int64_t n_step_items;

  /* What a checkpoint keeps besides weights and optimizer. */
  struct {
    int64_t step;                  /* optimizer steps done */
    double sums[LRL_TRAINER_SUMS]; /* over all ranks since the last log line */
    double grad_norm;              /* of the last step */
    int64_t skipped;               /* steps without an update so far */
    double best;                   /* score on data.eval */
    int64_t best_step;             /* -1: none */
  } at;
  int64_t n_steps;
  double t_log;         /* wall clock of the last log line */
  uint64_t fingerprint; /* of the training corpus */
};

/* Collective. Trains and evaluates as the options say; the run's folder is described in
 * train/run.h. config_text: "key: value" lines, kept in config.yaml and in checkpoints. Log lines
 * go through kernels/log.h. Failures that all ranks see are returned by all; a rank that fails
 * alone says so and ends the whole job. An interrupted run saves, returns LRL_OK and says how to go
 * on. */
lrl_status lrl_trainer_run(const struct lrl_trainer_kind *kind,
                           const struct lrl_trainer_options *options, const void *cfg,
                           struct lrl_comm *comm, const char *config_text);

/* reward.c, sft.c */
extern const struct lrl_trainer_kind lrl_reward_kind, lrl_sft_kind;

/* For kinds: warns that the loss of item `item` of the corpus is not finite. user: the trainer. */
void lrl_trainer_nonfinite(void *user, int64_t item);
/* "prefix/name": value into o. */
void lrl_trainer_put(json_t *o, const char *prefix, const char *name, json_t *value);

/* ---- for trainer*.c ---- */

/* trainer_eval.c */
lrl_status lrl_trainer_evaluate(struct lrl_trainer *t);
lrl_status lrl_trainer_log_step(struct lrl_trainer *t, double lr);

/* trainer_state.c. save is collective and rotates older checkpoints away. */
lrl_status lrl_trainer_save(struct lrl_trainer *t);
lrl_status lrl_trainer_resume(struct lrl_trainer *t, int64_t *values_bytes, int64_t *timing_bytes);
/* Weights of model.init_from; before the optimizer is made. */
lrl_status lrl_trainer_init_from(struct lrl_trainer *t);
#endif
