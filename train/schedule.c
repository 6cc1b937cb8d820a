#include "train/schedule.h"

#include <math.h>

double lrl_schedule_factor(enum lrl_schedule kind, int64_t step, int64_t n_warmup,
                           int64_t n_steps) {
  if (step < n_warmup)
    return (double)step / (double)(n_warmup > 1 ? n_warmup : 1);
  int64_t rest = n_steps - n_warmup > 1 ? n_steps - n_warmup : 1;
  if (kind == LRL_SCHEDULE_CONSTANT)
    return 1.0;
  if (kind == LRL_SCHEDULE_LINEAR)
    return fmax(0.0, (double)(n_steps - step) / (double)rest);
  return fmax(
      0.0, 0.5 * (1.0 + cos(3.14159265358979323846 * ((double)(step - n_warmup) / (double)rest))));
}
