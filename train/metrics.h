/* What a run writes for programs to read, and the line it shows a person.
 *
 * metrics.jsonl holds what the run computed: a pure function of config, seed and data, the same
 * bytes each time and after a resume. timing.jsonl holds what depends on the machine: seconds,
 * tokens/s, memory. Both have one JSON object a line with the key "step". */
#ifndef LRL_METRICS_H
#define LRL_METRICS_H
#include "kernels/status.h"

#include <jansson.h>
#include <stdio.h>

struct lrl_metrics {
  FILE *values, *timing; /* NULL on ranks other than 0: every call then does nothing */
  bool terminal;         /* stderr is one: a line is redrawn in place */
  bool line_open;
  double last_drawn;
};

/* Opens (folder)/metrics.jsonl and timing.jsonl. A resumed run passes the lengths that its
 * checkpoint recorded (lrl_metrics_position): what was written after it is cut off; a file that is
 * shorter is an error. Pass 0, 0 to begin anew. */
lrl_status lrl_metrics_open(struct lrl_metrics *m, const char *folder, int64_t values_bytes,
                            int64_t timing_bytes);
void lrl_metrics_position(const struct lrl_metrics *m, int64_t *values_bytes,
                          int64_t *timing_bytes);
/* Takes the object (also on failure). Numbers are written with 9 digits. */
lrl_status lrl_metrics_write(struct lrl_metrics *m, json_t *values);
lrl_status lrl_metrics_write_timing(struct lrl_metrics *m, json_t *values);
/* LRL_ERR_IO when the last bytes could not be written. */
lrl_status lrl_metrics_close(struct lrl_metrics *m);

/* JSON has no NaN: null. */
json_t *lrl_metrics_number(double v);

struct lrl_progress {
  int64_t step, n_steps;
  const char *figures; /* "loss 0.3 accuracy 0.8" */
  double tokens_per_second, seconds_left;
};
/* Redraws the progress line, at most five times a second, when stderr is a terminal. */
void lrl_metrics_progress(struct lrl_metrics *m, const struct lrl_progress *p);
/* Clears it before other lines are printed. */
void lrl_metrics_clear_line(struct lrl_metrics *m);
/* Peak resident memory of this process in bytes. */
int64_t lrl_peak_memory(void);
#endif
