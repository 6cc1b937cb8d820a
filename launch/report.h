/* The parts of `laurel report`: report.c (the command), report_read.c (a run's folder),
 * report_page.c, report_parts.c and report_samples.c (the page). Private to them. */
#ifndef LRL_REPORT_H
#define LRL_REPORT_H
#include "kernels/status.h"

#include <jansson.h>
#include <stdio.h>

/* Values of one key of metrics.jsonl or timing.jsonl; NaN for null. */
struct lrl_report_curve {
  char *key;
  double *x, *y; /* x: steps */
  int64_t n, cap;
};
struct lrl_report_run {
  const char *path;
  char name[64]; /* the folder's, or the path where two have the same */
  struct lrl_report_curve *curve;
  int n_curves, cap_curves;
  json_t *first, *last; /* of keys whose values are lists: histograms, samples */
  int64_t first_eval, last_eval;
  json_t *config;  /* key: text, in the order of config.yaml; empty without one */
  json_t *machine; /* list; empty without machine.jsonl */
  int64_t n_lines, n_damaged;
};

/* LRL_ERR_IO when the folder has no metrics.jsonl that can be read. Start from {0}; free with
 * lrl_report_run_free, also after a failure. */
lrl_status lrl_report_read(const char *path, struct lrl_report_run *r);
void lrl_report_run_free(struct lrl_report_run *r);
/* NULL when the run has no such key. */
const struct lrl_report_curve *lrl_report_curve_of(const struct lrl_report_run *r, const char *key);
/* The last value of a key; NaN without one. */
double lrl_report_last(const struct lrl_report_run *r, const char *key);
/* Where the metric begins in a key of one source ("eval/a.b/accuracy": behind "eval/a.b/"); NULL
 * when the key is not of a source. */
const char *lrl_report_of_source(const struct lrl_report_run *r, const char *key);

/* The whole page. LRL_ERR_MEMORY. */
lrl_status lrl_report_page(FILE *f, const char *title, const struct lrl_report_run *r, int n);

/* report_parts.c; a section that has nothing to show writes nothing. */
void lrl_report_sources(FILE *f, const struct lrl_report_run *r, int n);
void lrl_report_margins(FILE *f, const struct lrl_report_run *r, int n);
void lrl_report_config(FILE *f, const struct lrl_report_run *r, int n);
void lrl_report_machine(FILE *f, const struct lrl_report_run *r, int n);
/* report_samples.c: answers to held-out prompts, those of several runs side by side. */
void lrl_report_samples(FILE *f, const struct lrl_report_run *r, int n);
/* "<th>" of every run. */
void lrl_report_heads(FILE *f, const struct lrl_report_run *r, int n);
/* "<td>" with a number; empty for NaN. */
void lrl_report_number(FILE *f, double v);
#endif
