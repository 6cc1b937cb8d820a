#include "train/optimizer.h"

#include <math.h>
#include <string.h>

void lrl_optimizer_range(const struct lrl_optimizer *o, int unit, int rank, int64_t *lo,
                         int64_t *hi) {
  *lo = 0;
  *hi = o->params->units[unit].n;
  if (o->shard.stage > 0)
    lrl_shard_range(&o->shard, unit, rank, lo, hi);
}

static lrl_status make_state(struct lrl_optimizer *o, int unit, struct lrl_arena *arena) {
  const struct lrl_param_unit *u = &o->params->units[unit];
  int64_t lo, hi;
  lrl_optimizer_range(o, unit, lrl_comm_rank(o->comm), &lo, &hi);
  const size_t bytes = (size_t)(hi - lo) * sizeof(float);
  char *own = (char *)u->data + lo * lrl_dtype_bytes(u->dtype);
  o->m[unit] = lrl_arena_zeros(arena, bytes);
  o->v[unit] = lrl_arena_zeros(arena, bytes);
  o->master[unit] = u->dtype == LRL_F32 ? (float *)(void *)own : lrl_arena_alloc(arena, bytes);
  if (o->m[unit] == NULL || o->v[unit] == NULL || o->master[unit] == NULL)
    return LRL_ERR_MEMORY;
  if (u->dtype == LRL_F32 || hi == lo)
    return LRL_OK;
  return lrl_cast(
      o->ctx, &(struct lrl_cast_args){
                  .n = hi - lo, .from = u->dtype, .to = LRL_F32, .x = own, .y = o->master[unit]});
}

lrl_status lrl_optimizer_init(struct lrl_optimizer *o, const struct lrl_optimizer_options *options,
                              struct lrl_ctx *ctx, struct lrl_param_set *params,
                              struct lrl_comm *comm, struct lrl_arena *arena) {
  *o = (struct lrl_optimizer){.options = *options, .ctx = ctx, .params = params, .comm = comm};
  LRL_TRY(
      lrl_shard_init(&o->shard, options->zero_stage, options->host_sums, ctx, params, comm, arena));
  o->squares = lrl_arena_alloc(arena, (size_t)o->shard.n * sizeof *o->squares);
  lrl_status s = o->squares != NULL ? LRL_OK : LRL_ERR_MEMORY;
  for (int i = 0; i < params->n_units && s == LRL_OK; i++)
    if (params->units[i].trainable)
      s = make_state(o, i, arena);
  if (s == LRL_OK)
    s = lrl_ctx_sync(ctx); /* the host may write states, and weights, now */
  return lrl_comm_agree(comm, s);
}

void lrl_optimizer_attach(struct lrl_optimizer *o, struct lrl_tape *tape, bool last_micro_batch) {
  lrl_shard_attach(&o->shard, tape, last_micro_batch);
}

void lrl_optimizer_destroy(struct lrl_optimizer *o) {
  lrl_shard_destroy(&o->shard);
  *o = (struct lrl_optimizer){0};
}

/* Sum of squares of the gradient over all ranks: each adds up its slices. */
static lrl_status square_sum(struct lrl_optimizer *o, double *total) {
  double sums[LRL_MAX_UNITS];
  for (int i = 0; i < o->shard.n; i++) {
    int64_t lo, hi;
    lrl_shard_range(&o->shard, o->shard.unit_at[i], lrl_comm_rank(o->comm), &lo, &hi);
    LRL_TRY(lrl_sumsq(o->ctx, &(struct lrl_sumsq_args){
                                  .n = hi - lo, .x = o->shard.slice[i], .out = &o->squares[i]}));
  }
  LRL_TRY(lrl_read(o->ctx, sums, o->squares, (size_t)o->shard.n * sizeof *sums));
  *total = 0;
  for (int i = o->shard.n - 1; i >= 0; i--) /* forward order */
    *total += sums[i];
  return lrl_comm_sum_f64(o->comm, total, 1);
}

/* Updates the part of p that lies in [lo, hi) of its unit, whose gradient is `grad`. */
static lrl_status update(struct lrl_optimizer *o, int unit, const struct lrl_param *p, int64_t lo,
                         int64_t hi, const float *grad, double lr, double scale) {
  const struct lrl_param_unit *u = &o->params->units[unit];
  const int64_t from = p->offset > lo ? p->offset : lo;
  const int64_t to = p->offset + p->n < hi ? p->offset + p->n : hi;
  if (from >= to)
    return LRL_OK;
  return lrl_adamw(
      o->ctx, &(struct lrl_adamw_args){.n = to - from,
                                       .param_dtype = u->dtype,
                                       .param = (char *)u->data + from * lrl_dtype_bytes(u->dtype),
                                       .master = o->master[unit] + (from - lo),
                                       .m = o->m[unit] + (from - lo),
                                       .v = o->v[unit] + (from - lo),
                                       .grad = grad + (from - lo),
                                       .lr = lr,
                                       .beta1 = o->options.beta1,
                                       .beta2 = o->options.beta2,
                                       .eps = o->options.eps,
                                       .weight_decay = p->decay ? o->options.weight_decay : 0.0,
                                       .grad_scale = scale,
                                       .step = o->step});
}

/* Whatever was gathered last is here: the sums of the gradients waited for it. */
static lrl_status update_units(struct lrl_optimizer *o, double lr, double scale) {
  for (int i = o->shard.n - 1; i >= 0; i--) {
    const int unit = o->shard.unit_at[i];
    struct lrl_param_unit *u = &o->params->units[unit];
    const float *grad = o->shard.stage > 0 ? o->shard.slice[i] : u->grad;
    int64_t lo, hi;
    lrl_optimizer_range(o, unit, lrl_comm_rank(o->comm), &lo, &hi);
    for (int j = 0; j < u->n_params; j++)
      LRL_TRY(update(o, unit, &u->params[j], lo, hi, grad, lr, scale));
    u->version++;
    LRL_TRY(lrl_shard_updated(&o->shard, i));
  }
  return lrl_shard_gather(&o->shard);
}

static lrl_status update_all(struct lrl_optimizer *o, double lr, double scale) {
  o->step++;
  return update_units(o, lr, scale);
}

lrl_status lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                              struct lrl_optimizer_stats *stats) {
  double total, scale = 1.0;
  LRL_TRY(lrl_shard_finish(&o->shard));
  LRL_TRY(square_sum(o, &total));
  stats->grad_norm = sqrt(total);
  stats->skipped = !isfinite(total);
  if (o->options.max_grad_norm > 0)
    scale = fmin(1.0, o->options.max_grad_norm / (stats->grad_norm + 1e-6));
  if (!stats->skipped)
    LRL_TRY(update_all(o, lr, scale));
  return lrl_shard_clear(&o->shard);
}
