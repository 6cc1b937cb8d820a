/* The supervised loss that is mixed into the policy's steps (PTX): answers of people, so that what
 * the rewards do not speak of is not unlearnt. */
#include "train/ppo_trainer.h"
#include "train/sft_step.h"

#include <stdlib.h>

static struct lrl_data_options data_options(const struct lrl_ppo_trainer *t) {
  const struct lrl_ppo_config *c = t->cfg;
  struct lrl_data_options o = t->models.policy.data; /* image geometry and template */
  snprintf(o.train, sizeof o.train, "%s", c->ptx_data);
  o.eval[0] = '\0';
  o.holdout = 0;
  o.order = 0;
  o.max_length = c->ptx_max_length;
  return o;
}

/* Starts the loader where the run stands. */
static lrl_status start(struct lrl_ppo_trainer *t) {
  const struct lrl_loader_options o = {.order = {.kind = LRL_ORDER_SHUFFLE,
                                                 .seed = (uint64_t)t->cfg->seed,
                                                 .batch_pairs = t->cfg->ptx_batch_size},
                                       .rank = lrl_comm_rank(t->comm),
                                       .n_ranks = lrl_comm_size(t->comm),
                                       .first_step = t->at.ptx_steps,
                                       .max_tokens = t->cfg->micro_batch_tokens,
                                       .answers_only = true,
                                       .weight = t->ptx_weight,
                                       .images = t->images,
                                       .prefetch = 2};
  return lrl_loader_create(t->ptx, &o, &t->ptx_loader);
}

static lrl_status next(struct lrl_ppo_trainer *t, const struct lrl_batch **b) {
  if (t->ptx_loader == NULL)
    LRL_TRY(start(t));
  LRL_TRY(lrl_loader_next(t->ptx_loader, b));
  return *b != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_FORMAT, "ptx.data ended");
}

lrl_status lrl_ppo_ptx_open(struct lrl_ppo_trainer *t) {
  const struct lrl_data_options o = data_options(t);
  const enum lrl_chat_template form = lrl_data_options_template(&o);
  int64_t all = 0;
  if (!(t->cfg->ptx_coef > 0.0))
    return LRL_OK;
  if (o.train[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "ptx.data names no file, but ptx.coef is not 0");
  LRL_TRY(lrl_data_options_read(&o, "ptx.data", LRL_FORM_ANSWERS, t->models.tokenizer, t->images,
                                &t->ptx));
  t->ptx_weight = malloc((size_t)lrl_corpus_n_pairs(t->ptx) * sizeof *t->ptx_weight);
  if (t->ptx_weight == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the chats of ptx.data");
  for (int64_t i = 0; i < lrl_corpus_n_pairs(t->ptx); i++) {
    LRL_TRY(lrl_sft_count(t->models.tokenizer, form, t->ptx, i, &t->ptx_weight[i]));
    all += t->ptx_weight[i];
  }
  if (all == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "no chat of ptx.data has a token to learn");
  t->fingerprint ^= lrl_corpus_fingerprint(t->ptx);
  t->ptx_next = next;
  return LRL_OK;
}

lrl_status lrl_ppo_ptx_step(struct lrl_ppo_trainer *t, double sums[2]) {
  const struct lrl_data_options data = data_options(t);
  double y[LRL_SFT_N] = {0};
  const struct lrl_batch *b;
  do {
    struct lrl_tape tape;
    LRL_TRY(t->ptx_next(t, &b));
    const struct lrl_sft_objective o = {
        .tokenizer = t->models.tokenizer,
        .form = lrl_data_options_template(&data),
        .weight = b->weight_step > 0 ? t->cfg->ptx_coef / (double)b->weight_step : 0.0,
        .seed = (uint64_t)t->cfg->seed};
    const size_t mark = lrl_arena_mark(&t->steps);
    lrl_tape_init(&tape, &t->ctx, &t->steps, true);
    lrl_optimizer_attach(&t->actor, &tape, b->micro + 1 == b->n_micro);
    tape.recompute = t->cfg->gradient_checkpointing;
    LRL_TRY(lrl_sft_micro_batch(&tape, &t->models.policy.model, b, &o, y, false, NULL, NULL));
    lrl_arena_reset(&t->steps, mark);
  } while (b->micro + 1 < b->n_micro);
  t->at.ptx_steps++;
  sums[0] = y[LRL_SFT_LOSS];
  sums[1] = y[LRL_SFT_TARGETS];
  return LRL_OK;
}

void lrl_ppo_ptx_close(struct lrl_ppo_trainer *t) {
  lrl_loader_destroy(t->ptx_loader);
  lrl_corpus_free(t->ptx);
  free(t->ptx_weight);
}
