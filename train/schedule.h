/* Learning-rate schedules with linear warm-up, as transformers defines them; float64. */
#ifndef LRL_SCHEDULE_H
#define LRL_SCHEDULE_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* In the order of LRL_SCHEDULE_NAMES. */
enum lrl_schedule_kind {
  LRL_SCHEDULE_COSINE = 0,
  LRL_SCHEDULE_LINEAR,
  LRL_SCHEDULE_CONSTANT, /* no warm-up */
  LRL_SCHEDULE_CONSTANT_WITH_WARMUP,
  LRL_SCHEDULE_COSINE_WITH_RESTARTS,
  LRL_SCHEDULE_POLYNOMIAL,
  LRL_SCHEDULE_COSINE_WITH_MIN_LR,
};
#define LRL_SCHEDULE_NAMES                                                                         \
  "cosine|linear|constant|constant_with_warmup|cosine_with_restarts|polynomial|cosine_with_min_lr"

struct lrl_schedule {
  enum lrl_schedule_kind kind;
  double lr; /* the peak */
  int64_t n_warmup, n_steps;
  int64_t num_cycles;  /* cosine_with_restarts: times it falls from the peak to 0 */
  double power;        /* polynomial: lr_end + (lr - lr_end) * (1 - progress)^power */
  double lr_end;       /* polynomial: the rate at the end and after it */
  double min_lr_ratio; /* cosine_with_min_lr: ends at min_lr_ratio * lr */
};

/* The rate of optimizer step `step` (from 0). Step 0 of a warm-up has rate 0 and the last step of a
 * decay is not quite at its end, as in the original (SPEC 10.12); past n_steps the cosine rises
 * again, as there. Source: transformers optimization.py, get_*_schedule_with_warmup;
 * cosine_with_min_lr is also verl's cosine with min_lr_ratio. */
double lrl_schedule_lr(const struct lrl_schedule *s, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
