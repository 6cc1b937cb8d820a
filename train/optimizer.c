#include "train/optimizer.h"

#include <math.h>
#include <string.h>

lrl_status lrl_optimizer_init(struct lrl_optimizer *o, const struct lrl_optimizer_options *options,
                              struct lrl_ctx *ctx, struct lrl_param_set *params,
                              struct lrl_comm *comm, struct lrl_arena *arena) {
  *o = (struct lrl_optimizer){.options = *options, .ctx = ctx, .params = params, .comm = comm};
  if (lrl_comm_size(comm) > 1)
    return LRL_FAIL(LRL_ERR_COMM, "training on several ranks is not in this version");
  for (int i = 0; i < params->n_units; i++) {
    struct lrl_param_unit *u = &params->units[i];
    size_t bytes = (size_t)u->n * sizeof(float);
    if (!u->trainable)
      continue;
    o->m[i] = lrl_arena_alloc(arena, bytes);
    o->v[i] = lrl_arena_alloc(arena, bytes);
    o->master[i] = u->dtype == LRL_F32 ? u->data : lrl_arena_alloc(arena, bytes);
    if (o->m[i] == NULL || o->v[i] == NULL || o->master[i] == NULL)
      return LRL_ERR_MEMORY;
    memset(o->m[i], 0, bytes);
    memset(o->v[i], 0, bytes);
    if (u->dtype != LRL_F32)
      LRL_TRY(lrl_cast(
          ctx, &(struct lrl_cast_args){
                   .n = u->n, .from = u->dtype, .to = LRL_F32, .x = u->data, .y = o->master[i]}));
  }
  return LRL_OK;
}

void lrl_optimizer_attach(struct lrl_optimizer *o, struct lrl_tape *tape, bool last_micro_batch) {
  (void)o;
  (void)tape;
  (void)last_micro_batch;
}

void lrl_optimizer_range(const struct lrl_optimizer *o, int unit, int rank, int64_t *lo,
                         int64_t *hi) {
  (void)rank;
  *lo = 0;
  *hi = o->params->units[unit].n;
}

void lrl_optimizer_destroy(struct lrl_optimizer *o) { *o = (struct lrl_optimizer){0}; }

static lrl_status update(struct lrl_optimizer *o, int unit, const struct lrl_param *p, double lr,
                         double scale) {
  struct lrl_param_unit *u = &o->params->units[unit];
  return lrl_adamw(o->ctx, &(struct lrl_adamw_args){
                               .n = p->n,
                               .param_dtype = u->dtype,
                               .param = (char *)u->data + p->offset * lrl_dtype_bytes(u->dtype),
                               .master = o->master[unit] + p->offset,
                               .m = o->m[unit] + p->offset,
                               .v = o->v[unit] + p->offset,
                               .grad = u->grad + p->offset,
                               .lr = lr,
                               .beta1 = o->options.beta1,
                               .beta2 = o->options.beta2,
                               .eps = o->options.eps,
                               .weight_decay = p->decay ? o->options.weight_decay : 0.0,
                               .grad_scale = scale,
                               .step = o->step});
}

lrl_status lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                              struct lrl_optimizer_stats *stats) {
  double total = 0;
  for (int i = 0; i < o->params->n_units; i++) {
    const struct lrl_param_unit *u = &o->params->units[i];
    double sum = 0;
    if (u->trainable)
      LRL_TRY(lrl_sumsq(o->ctx, &(struct lrl_sumsq_args){.n = u->n, .x = u->grad, .out = &sum}));
    total += sum;
  }
  stats->grad_norm = sqrt(total);
  stats->skipped = !isfinite(total);
  double scale = 1.0;
  if (o->options.max_grad_norm > 0)
    scale = fmin(1.0, o->options.max_grad_norm / (stats->grad_norm + 1e-6));
  o->step += !stats->skipped;
  for (int i = 0; i < o->params->n_units; i++) {
    struct lrl_param_unit *u = &o->params->units[i];
    if (!u->trainable)
      continue;
    for (int j = 0; j < u->n_params && !stats->skipped; j++)
      LRL_TRY(update(o, i, &u->params[j], lr, scale));
    u->version += !stats->skipped;
    memset(u->grad, 0, (size_t)u->n * sizeof *u->grad);
  }
  return LRL_OK;
}
