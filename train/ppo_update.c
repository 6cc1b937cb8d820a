/* The optimizer steps of an iteration. A minibatch is a set of prompts of the whole job with all
 * their responses; which, depends on seed, iteration and epoch alone. Each rank works on those of
 * them that it has, and losses are divided by the counts of the whole minibatch. */
#include "kernels/philox.h"
#include "train/ppo_trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

/* The prompts of one minibatch on this rank. */
struct minibatch {
  const int64_t *prompts;
  int64_t n;
  struct lrl_loss_count count; /* of all ranks */
};

static lrl_status count(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                        struct minibatch *b) {
  b->count = (struct lrl_loss_count){0};
  for (int64_t i = 0; i < b->n; i++) {
    const struct lrl_ppo_prompt *p = &e->prompt[b->prompts[i]];
    for (int64_t k = p->first; k < p->first + p->n; k++) {
      b->count.seqs += 1;
      b->count.tokens += (double)e->length[k];
    }
  }
  return lrl_comm_sum_f64(t->comm, &b->count.tokens, 2);
}

/* What differs between the two networks. */
struct side {
  struct lrl_vlm *model;
  struct lrl_optimizer *optimizer;
  const void *images;
  double lr;
  bool critic;
  double ptx[2];
  union {
    struct lrl_ppo_policy_sums policy;
    struct lrl_ppo_value_stats value;
  } sums;
};

static lrl_status micro_batch(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                              const struct minibatch *b, const struct lrl_ppo_slice *slices,
                              int64_t n, bool last, struct side *s) {
  struct lrl_tape tape;
  struct lrl_ppo_packed packed;
  lrl_tape_init(&tape, &t->ctx, &t->steps, true);
  lrl_optimizer_attach(s->optimizer, &tape, last);
  LRL_TRY(tape.status);
  if (n == 0) /* nothing of this minibatch is here: take part with zeros */
    return LRL_OK;
  LRL_TRY(lrl_ppo_pack(&tape, e, slices, n, s->model, s->images, &packed));
  const struct lrl_ppo_pass pass = {.images = packed.images,
                                    .temperature = (float)t->cfg->temperature,
                                    .recompute = t->cfg->gradient_checkpointing};
  struct lrl_ppo_objective o = t->objective;
  o.kl_coef = t->at.kl.kl_coef;
  if (!(o.norm_length > 0.0))
    o.norm_length = (double)t->cfg->max_new_tokens * b->count.seqs;
  if (s->critic)
    return lrl_ppo_value_micro_batch(&tape, s->model, &packed.batch, &pass, &packed.targets, &o,
                                     &b->count, &s->sums.value);
  return lrl_ppo_policy_micro_batch(&tape, s->model, &packed.batch, &pass, &packed.targets, &o,
                                    &b->count, &s->sums.policy);
}

/* Gradients of a minibatch and the optimizer's step. */
static lrl_status step(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                       const struct minibatch *b, struct side *s,
                       struct lrl_optimizer_stats *stats) {
  struct lrl_ppo_cursor cursor = {.prompts = b->prompts, .n = b->n};
  const bool ptx = !s->critic && t->ptx_next != NULL;
  const size_t begin = lrl_arena_mark(&t->steps);
  const size_t bytes = (size_t)(b->n + 1) * sizeof(struct lrl_ppo_slice);
  struct lrl_ppo_slice *slices = lrl_arena_host(&t->steps, bytes);
  if (slices == NULL)
    return LRL_ERR_MEMORY;
  const size_t mark = lrl_arena_mark(&t->steps);
  for (bool last = false; !last;) {
    int64_t n;
    lrl_ppo_next(e, &cursor, t->cfg->micro_batch_tokens, slices, &n);
    last = cursor.at == cursor.n;
    LRL_TRY(micro_batch(t, e, b, slices, n, last && !ptx, s));
    lrl_arena_reset(&t->steps, mark);
  }
  lrl_arena_reset(&t->steps, begin);
  if (ptx)
    LRL_TRY(lrl_ppo_ptx_step(t, s->ptx));
  LRL_TRY(lrl_optimizer_step(s->optimizer, s->lr, stats));
  t->at.skipped += stats->skipped;
  if (t->at.skipped > t->cfg->max_nonfinite)
    return LRL_FAIL(LRL_ERR_NUMERIC,
                    "%lld optimizer steps had a gradient that is not finite; lower the learning "
                    "rates or look at the scores",
                    (long long)t->at.skipped);
  return LRL_OK;
}

/* x of all ranks, the largest. */
static lrl_status largest(struct lrl_comm *comm, double *x) {
  double all[1024] = {0};
  const int n = lrl_comm_size(comm);
  if (n == 1)
    return LRL_OK;
  LRL_ASSERT(n <= 1024);
  all[lrl_comm_rank(comm)] = *x;
  LRL_TRY(lrl_comm_sum_f64(comm, all, n));
  for (int r = 0; r < n; r++)
    *x = all[r] > *x ? all[r] : *x;
  return LRL_OK;
}

static lrl_status actor_step(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                             const struct minibatch *b, double lr,
                             struct lrl_ppo_update_report *report) {
  struct side s = {
      .model = &t->models.policy.model, .optimizer = &t->actor, .images = e->images[0], .lr = lr};
  struct lrl_optimizer_stats stats;
  LRL_TRY(step(t, e, b, &s, &stats));
  struct lrl_ppo_policy_stats *p = &s.sums.policy.policy;
  double dev = p->ratio_dev_max;
  LRL_TRY(lrl_comm_sum_f64(t->comm, &p->loss,
                           offsetof(struct lrl_ppo_policy_stats, ratio_dev_max) / sizeof(double)));
  LRL_TRY(lrl_comm_sum_f64(t->comm, &s.sums.policy.kl_loss, 1));
  LRL_TRY(lrl_comm_sum_f64(t->comm, s.ptx, 2));
  LRL_TRY(largest(t->comm, &dev));
  p->ratio_dev_max = dev;
  if (report->actor_steps == 0)
    report->first_ratio_dev = dev;
  report->stopped = t->cfg->target_kl_stop > 0.0 && p->kl3 / p->tokens > t->cfg->target_kl_stop;
  lrl_ppo_policy_stats_add(&report->policy.policy, p);
  report->policy.kl_loss += s.sums.policy.kl_loss;
  report->ptx[0] += s.ptx[0];
  report->ptx[1] += s.ptx[1];
  report->actor_grad_norm += stats.grad_norm;
  report->actor_steps++;
  if (t->models.ema.present && !stats.skipped)
    LRL_TRY(
        lrl_ppo_average(&t->ctx, &t->models.ema.model, &t->models.policy.model, t->cfg->ema_beta));
  return LRL_OK;
}

static lrl_status critic_step(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                              const struct minibatch *b, double lr,
                              struct lrl_ppo_update_report *report) {
  const struct lrl_ppo_network *critic = &t->models.critic;
  struct side s = {.model = &t->models.critic.model,
                   .optimizer = &t->value,
                   .images = e->images[critic->vision == LRL_VISION_ALL ? 0 : 1],
                   .lr = lr,
                   .critic = true};
  struct lrl_optimizer_stats stats;
  LRL_TRY(step(t, e, b, &s, &stats));
  LRL_TRY(lrl_comm_sum_f64(t->comm, &s.sums.value.loss, sizeof s.sums.value / sizeof(double)));
  lrl_ppo_value_stats_add(&report->value, &s.sums.value);
  report->critic_grad_norm += stats.grad_norm;
  report->critic_steps++;
  return LRL_OK;
}

/* Positions [lo, hi) of a permutation: those that are on this rank, as indices of e->prompt. */
static void local(const int64_t *order, int64_t lo, int64_t hi, const int64_t *index_of,
                  int64_t *prompts, struct minibatch *b) {

  *b = (struct minibatch){.prompts = prompts};
  for (int64_t i = lo; i < hi; i++)
    if (index_of[order[i]] >= 0)
      prompts[b->n++] = index_of[order[i]];
}

lrl_status lrl_ppo_update(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                          double actor_lr, double critic_lr, struct lrl_ppo_update_report *report) {
  const struct lrl_ppo_config *c = t->cfg;
  const int64_t n = c->rollout_batch_size, size = c->mini_batch_size;
  int64_t *order = lrl_arena_host(&t->memory, (size_t)n * 3 * sizeof *order);
  if (order == NULL)
    return LRL_ERR_MEMORY;
  int64_t *index_of = order + n, *prompts = index_of + n;
  for (int64_t i = 0; i < n; i++)
    index_of[i] = -1;
  for (int64_t i = 0; i < e->n_prompts; i++)
    index_of[e->prompt[i].position] = i;
  *report = (struct lrl_ppo_update_report){0};
  for (int64_t epoch = 0; epoch < c->num_ppo_epochs; epoch++) {
    struct lrl_rng r = lrl_rng_make((uint64_t)c->seed, LRL_RNG_MINIBATCH,
                                    (uint64_t)(t->at.step * c->num_ppo_epochs + epoch));
    for (int64_t i = 0; i < n; i++)
      order[i] = i;
    lrl_rng_shuffle(&r, order, n);
    for (int64_t lo = 0; lo < n; lo += size) {
      struct minibatch b;
      local(order, lo, lo + size < n ? lo + size : n, index_of, prompts, &b);
      LRL_TRY(count(t, e, &b));
      if (b.count.seqs < 1) /* every image of it was damaged */
        continue;
      const double t0 = omp_get_wtime();
      if (t->at.step >= c->critic_warmup && !report->stopped)
        LRL_TRY(actor_step(t, e, &b, actor_lr, report));
      const double t1 = omp_get_wtime();
      if (t->models.critic.present)
        LRL_TRY(critic_step(t, e, &b, critic_lr, report));
      t->seconds.update_actor += t1 - t0;
      t->seconds.update_critic += omp_get_wtime() - t1;
    }
  }
  return LRL_OK;
}

lrl_status lrl_ppo_average(struct lrl_ctx *ctx, struct lrl_vlm *ema, struct lrl_vlm *policy,
                           double beta) {
  for (int u = 0; u < policy->params.n_units; u++) {
    struct lrl_param_unit *from = &policy->params.units[u];
    struct lrl_param_unit *to = &ema->params.units[u];
    if (!from->trainable)
      continue;
    LRL_TRY(lrl_param_ready(from));
    LRL_TRY(lrl_ema(
        ctx,
        &(struct lrl_ema_args){
            .n = from->n, .dtype = from->dtype, .beta = beta, .x = from->data, .y = to->data}));
    to->version++;
  }
  return LRL_OK;
}
