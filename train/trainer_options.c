#include "train/trainer_options.h"

#include <math.h>

struct lrl_schedule lrl_optim_schedule(const struct lrl_optim_options *o, int64_t n_steps) {
  return (struct lrl_schedule){.kind = (enum lrl_schedule_kind)o->schedule,
                               .lr = o->lr,
                               .n_warmup = (int64_t)ceil(o->warmup_ratio * (double)n_steps),
                               .n_steps = n_steps,
                               .num_cycles = o->num_cycles,
                               .power = o->power,
                               .lr_end = o->lr_end,
                               .min_lr_ratio = o->min_lr_ratio};
}

struct lrl_optimizer_options lrl_optim_adamw(const struct lrl_optim_options *o, int64_t zero_stage,
                                             bool nccl) {
  return (struct lrl_optimizer_options){.beta1 = o->beta1,
                                        .beta2 = o->beta2,
                                        .eps = o->eps,
                                        .weight_decay = o->weight_decay,
                                        .max_grad_norm = o->max_grad_norm,
                                        .zero_stage = (int)zero_stage,
                                        .host_sums = !nccl};
}
