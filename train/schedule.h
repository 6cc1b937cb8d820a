/* Learning-rate schedules with linear warm-up, as transformers defines them; float64. */
#ifndef LRL_SCHEDULE_H
#define LRL_SCHEDULE_H
#include <stdint.h>

enum lrl_schedule { LRL_SCHEDULE_COSINE = 0, LRL_SCHEDULE_LINEAR = 1, LRL_SCHEDULE_CONSTANT = 2 };

/* Factor of the base rate at optimizer step `step` (from 0) of n_steps. Step 0 of a warm-up has
 * rate 0, as in the original (SPEC 10.12). Source: transformers get_*_schedule_with_warmup. */
double lrl_schedule_factor(enum lrl_schedule kind, int64_t step, int64_t n_warmup, int64_t n_steps);
#endif
