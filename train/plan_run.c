#include "train/plan_run.h"

#include "train/shard_impl.h"

#include <stdlib.h>
#include <string.h>

lrl_status lrl_plan_vocabulary(const struct lrl_model_options *model, const char *tokenizer,
                               struct lrl_tokenizer_info *out) {
  struct lrl_tokenizer *t;
  if (tokenizer[0] != '\0' && lrl_tokenizer_open(tokenizer, &t) == LRL_OK) {
    *out = *lrl_tokenizer_info(t);
    lrl_tokenizer_close(t);
    return LRL_OK;
  }
  lrl_error_clear();
  *out = (struct lrl_tokenizer_info){.n_vocab = (int32_t)model->vocab_size, .pad = 2};
  return model->vocab_size > 0
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_ARG,
                        "the vocabulary is not known: model.tokenizer (%s) cannot be read and "
                        "model.vocab_size is 0",
                        tokenizer[0] != '\0' ? tokenizer : "not named");
}

void lrl_plan_count_params(const struct lrl_param_set *set, struct lrl_plan_report *out) {
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++) {
      out->n_params += set->units[u].params[i].n;
      out->n_trained += set->units[u].trainable ? set->units[u].params[i].n : 0;
    }
}

static size_t rounded(int64_t n, size_t size) {
  return ((size_t)n * size + LRL_ALIGN - 1) / LRL_ALIGN * LRL_ALIGN;
}

void lrl_plan_optimizer_bytes(const struct lrl_optimizer *o, struct lrl_plan_bytes *out) {
  const struct lrl_shard *s = &o->shard;
  for (int i = 0; i < s->n; i++) {
    int64_t lo, hi;
    const size_t arrays = lrl_shard_unit(s, i)->dtype == LRL_F32 ? 2 : 3; /* moments, master */
    lrl_optimizer_range(o, s->unit_at[i], lrl_comm_rank(o->comm), &lo, &hi);
    out->optimizer += arrays * rounded(hi - lo, sizeof(float));
  }
}

lrl_status lrl_plan_comm(const struct lrl_plan_setting *s, bool nccl, struct lrl_comm **comm,
                         struct lrl_comm **made) {
  *made = NULL;
  if (s->comm == NULL && s->ranks > 1 && !nccl)
    return LRL_FAIL(LRL_ERR_ARG, "sums over ranks through the host (train.nccl=false) are not "
                                 "planned");
  if (s->comm == NULL && s->ranks > 1)
    LRL_TRY(lrl_comm_create_planned(s->ranks, made));
  *comm = s->comm != NULL ? s->comm : *made;
  return LRL_OK;
}

static void add_count(struct lrl_plan_count *to, const struct lrl_plan_count *from, int64_t n) {
  to->calls += n * from->calls;
  to->flops += (double)n * from->flops;
  to->bytes += (double)n * from->bytes;
  to->seconds += (double)n * from->seconds;
}
void lrl_plan_take(struct lrl_plan *p, int64_t n, struct lrl_plan *work) {
  if (p == NULL)
    return;
  add_count(&work->all, &p->all, n);
  for (int i = 0; i < LRL_PLAN_N; i++)
    add_count(&work->op[i], &p->op[i], n);
  memset(&p->all, 0, sizeof p->all);
  memset(p->op, 0, sizeof p->op);
}

void lrl_plan_phase(struct lrl_plan *p, const char *name, struct lrl_plan_report *out) {
  if (p == NULL)
    return;
  LRL_ASSERT(out->n_phases < (int)(sizeof out->phase / sizeof out->phase[0]));
  out->phase[out->n_phases].name = name;
  out->phase[out->n_phases++].all = p->all;
  lrl_plan_take(p, 1, &out->work);
}

/* ---- training on a fixed corpus ---- */

static lrl_status build(struct lrl_trainer *t, const struct lrl_plan_setting *s) {
  struct lrl_vlm_config m;
  struct lrl_tokenizer_info info;
  LRL_TRY(lrl_plan_vocabulary(&t->o->model, t->o->tokenizer, &info));
  LRL_TRY(lrl_model_options_config(&t->o->model, &info, &m));
  m.head = t->kind->head;
  LRL_TRY(lrl_ctx_init(&t->ctx, s->device, (int)t->o->threads));
  if (lrl_plan_of(&t->ctx) != NULL)
    lrl_plan_of(&t->ctx)->machine = s->machine;
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)1 << 40));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)4 << 40));
  LRL_TRY(lrl_vlm_init(&t->model, &m));
  const struct lrl_optimizer_options adamw =
      lrl_optim_adamw(&t->o->optim, t->o->zero_stage, t->o->nccl);
  return lrl_optimizer_init(&t->optimizer, &adamw, &t->ctx, &t->model.params, t->comm, &t->state);
}

static lrl_status micro_batch(struct lrl_trainer *t, const struct lrl_batch *b, bool last) {
  struct lrl_tape tape;
  double sums[LRL_TRAINER_SUMS] = {0};
  lrl_tape_init(&tape, &t->ctx, &t->steps, true);
  tape.recompute = t->o->gradient_checkpointing;
  lrl_optimizer_attach(&t->optimizer, &tape, last);
  LRL_TRY(t->kind->micro_batch(t, &tape, b, sums, false));
  lrl_arena_reset(&t->steps, 0);
  return LRL_OK;
}

/* All micro-batches but the last cost the same, so one stands for them. */
static lrl_status step(struct lrl_trainer *t, const struct lrl_plan_setting *s,
                       struct lrl_plan_report *out) {
  struct lrl_plan *p = lrl_plan_of(&t->ctx);
  struct lrl_batch b;
  struct lrl_optimizer_stats stats;
  lrl_status status;
  lrl_plan_take(p, 0, &out->work); /* what building cost */
  LRL_TRY_GOTO(
      lrl_plan_batch_make(&s->batch, &t->model.cfg.vit, s->batch.n * s->n_micro * s->ranks, &b));
  if (s->n_micro > 1) {
    LRL_TRY_GOTO(micro_batch(t, &b, false));
    lrl_plan_take(p, s->n_micro - 1, &out->work);
  }
  LRL_TRY_GOTO(micro_batch(t, &b, true));
  LRL_TRY_GOTO(lrl_optimizer_step(&t->optimizer, 1e-5, &stats));
  if (p != NULL)
    out->traffic = p->traffic;
  if (t->optimizer.shard.stage == 2 && s->n_micro > 2) /* which sums after each micro-batch */
    out->traffic.sums *= (double)s->n_micro / 2;
  lrl_plan_take(p, 1, &out->work);
done:
  lrl_plan_batch_free(&b);
  return status;
}

lrl_status lrl_plan_training(const struct lrl_trainer_kind *kind,
                             const struct lrl_trainer_options *o, const void *cfg,
                             const struct lrl_plan_setting *s, struct lrl_plan_report *out) {
  struct lrl_trainer *t = calloc(1, sizeof *t);
  struct lrl_comm *made = NULL;
  lrl_status status = LRL_OK;
  *out = (struct lrl_plan_report){0};
  if (t == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  t->kind = kind;
  t->o = o;
  t->cfg = cfg;
  LRL_TRY_GOTO(lrl_plan_comm(s, o->nccl, &t->comm, &made));
  LRL_TRY_GOTO(build(t, s));
  lrl_plan_count_params(&t->model.params, out);
  LRL_TRY_GOTO(step(t, s, out));
  out->bytes.weights = t->model.weights.peak;
  out->bytes.activations = t->steps.peak;
  out->bytes.scratch = t->ctx.scratch.peak;
  lrl_plan_optimizer_bytes(&t->optimizer, &out->bytes);
  out->bytes.gradients = t->state.peak - out->bytes.optimizer;
done:
  lrl_optimizer_destroy(&t->optimizer);
  lrl_vlm_free(&t->model);
  lrl_arena_free(&t->steps);
  lrl_arena_free(&t->state);
  if (t->ctx.backend != NULL)
    lrl_ctx_free(&t->ctx);
  lrl_comm_destroy(made);
  free(t);
  return status;
}
