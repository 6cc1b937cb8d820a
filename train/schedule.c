#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* Factor of the peak at `step` past the warm-up; `progress` goes from 0 to 1 at step n_steps. */
static double decay(const struct lrl_schedule *s, int64_t step) {
  int64_t rest = s->n_steps - s->n_warmup > 1 ? s->n_steps - s->n_warmup : 1;
  double progress = (double)(step - s->n_warmup) / (double)rest;
  double cosine = 0.5 * (1.0 + cos(pi * progress));
  switch (s->kind) {
  case LRL_SCHEDULE_COSINE:
    return fmax(0.0, cosine);
  case LRL_SCHEDULE_COSINE_WITH_MIN_LR:
    return fmax(0.0, s->min_lr_ratio + (1.0 - s->min_lr_ratio) * cosine);
  case LRL_SCHEDULE_LINEAR:
    return fmax(0.0, (double)(s->n_steps - step) / (double)rest);
  case LRL_SCHEDULE_COSINE_WITH_RESTARTS:
    if (progress >= 1.0)
      return 0.0;
    return 0.5 * (1.0 + cos(pi * fmod((double)s->num_cycles * progress, 1.0)));
  case LRL_SCHEDULE_POLYNOMIAL: {
    double end = s->lr_end / s->lr;
    return progress >= 1.0 ? end : end + (1.0 - end) * pow(1.0 - progress, s->power);
  }
  case LRL_SCHEDULE_CONSTANT:
  case LRL_SCHEDULE_CONSTANT_WITH_WARMUP:
    break;
  }
  return 1.0;
}

double lrl_schedule_lr(const struct lrl_schedule *s, int64_t step) {
  if (s->kind == LRL_SCHEDULE_CONSTANT)
    return s->lr;
  if (step < s->n_warmup)
    return s->lr * ((double)step / (double)s->n_warmup);
  return s->lr * decay(s, step);
}
