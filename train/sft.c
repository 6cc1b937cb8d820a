#include "train/sft.h"

#include "kernels/log.h"
#include "train/sft_step.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>

const struct lrl_option lrl_sft_options[] = {
    LRL_TRAINER_MODEL_ROWS(struct lrl_sft_config, common),
    LRL_ROW_ENUM("data.answers", offsetof(struct lrl_sft_config, answers), "chosen", "chosen|all",
                 "what to learn of a pair; all: the rejected reply, too, as a chat of its own"),
    LRL_TRAINER_LOOP_ROWS(struct lrl_sft_config, common, "chats", "runs/sft"),
};
const int lrl_n_sft_options = sizeof lrl_sft_options / sizeof lrl_sft_options[0];

/* A plan has no tokenizer: its prompts are image tokens, all others are learned. */
static struct lrl_sft_objective objective(const struct lrl_trainer *t) {
  return (struct lrl_sft_objective){
      .tokenizer = t->tokenizer,
      .form = t->tokenizer == NULL ? LRL_TEMPLATE_TEXT_EOS : lrl_data_options_template(&t->o->data),
      .seed = (uint64_t)t->o->seed};
}

/* A chat weighs as many targets as it has: a step's loss is the mean over all its targets, however
 * it is cut into micro-batches and ranks. */
static lrl_status prepare(struct lrl_trainer *t) {
  const struct lrl_sft_objective o = objective(t);
  const int64_t n = lrl_corpus_n_pairs(t->train);
  int64_t all = 0;
  t->weight = malloc((size_t)n * sizeof *t->weight);
  if (t->weight == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the targets of %lld chats", (long long)n);
  for (int64_t i = 0; i < n; i++) {
    LRL_TRY(lrl_sft_count(o.tokenizer, o.form, t->train, i, &t->weight[i]));
    all += t->weight[i];
  }
  lrl_log(LRL_LOG_INFO, "data", "%lld tokens to learn in %lld chats", (long long)all, (long long)n);
  return all > 0 ? LRL_OK
                 : LRL_FAIL(LRL_ERR_FORMAT, "no chat of data.train has a token to learn; is "
                                            "data.max_length too small?");
}

static lrl_status micro_batch(struct lrl_trainer *t, struct lrl_tape *tape,
                              const struct lrl_batch *b, double *sums, bool by_source) {
  struct lrl_sft_objective o = objective(t);
  o.weight = b->weight_step > 0 ? 1.0 / (double)b->weight_step : 0;
  return lrl_sft_micro_batch(tape, &t->model, b, &o, sums, by_source,
                             tape->record ? lrl_trainer_nonfinite : NULL, t);
}

static double mean_loss(const double *sums) { return sums[LRL_SFT_LOSS] / sums[LRL_SFT_TARGETS]; }

static void describe(const struct lrl_trainer *t, char *text, size_t size) {
  snprintf(text, size, "loss %.4f", mean_loss(t->at.sums));
}

static json_t *count(const double *sums, enum lrl_sft_field k) {
  return json_integer((json_int_t)sums[k]);
}

static void put_figures(json_t *o, const char *prefix, const double *sums) {
  lrl_trainer_put(o, prefix, "loss", lrl_metrics_number(mean_loss(sums)));
  lrl_trainer_put(o, prefix, "num_chats", count(sums, LRL_SFT_CHATS));
  lrl_trainer_put(o, prefix, "num_targets", count(sums, LRL_SFT_TARGETS));
  lrl_trainer_put(o, prefix, "nonfinite", count(sums, LRL_SFT_NONFINITE));
}

static void log_step(const struct lrl_trainer *t, json_t *o) {
  put_figures(o, "train", t->at.sums);
  lrl_trainer_put(o, "train", "num_tokens", count(t->at.sums, LRL_SFT_TOKENS));
  lrl_trainer_put(o, "train", "set_aside", count(t->at.sums, LRL_SFT_SET_ASIDE));
}

static void report(const struct lrl_trainer *t, const char *name, const char *prefix,
                   const double *sums, json_t *o, double *score) {
  const double loss = mean_loss(sums);
  if (name != NULL && sums[LRL_SFT_CHATS] < 1)
    return;
  put_figures(o, prefix, sums);
  lrl_trainer_put(o, prefix, "perplexity", lrl_metrics_number(exp(loss)));
  *score = -loss;
  lrl_log(LRL_LOG_INFO, "eval", "step %lld%s%s: loss %.4f, perplexity %.3f on %.0f chats%s",
          (long long)t->at.step, name == NULL ? "" : "  ", name == NULL ? "" : name, loss,
          exp(loss), sums[LRL_SFT_CHATS],
          sums[LRL_SFT_NONFINITE] > 0 ? "; SOME LOSSES ARE NOT FINITE" : "");
}

_Static_assert((int)LRL_SFT_N <= (int)LRL_TRAINER_SUMS, "the trainer has too few sums");
const struct lrl_trainer_kind lrl_sft_kind = {.name = "sft",
                                              .saved = "language",
                                              .unit = "chats",
                                              .head = LRL_VLM_LANGUAGE,
                                              .form = LRL_FORM_ANSWERS,
                                              .n_sums = LRL_SFT_N,
                                              .tokens = LRL_SFT_TOKENS,
                                              .prepare = prepare,
                                              .micro_batch = micro_batch,
                                              .describe = describe,
                                              .log = log_step,
                                              .report = report};

lrl_status lrl_sft_train(const struct lrl_sft_config *cfg, struct lrl_comm *comm,
                         const char *config_text) {
  struct lrl_trainer_kind k = lrl_sft_kind;
  k.form = cfg->answers == 0 ? LRL_FORM_ANSWERS : LRL_FORM_ALL_ANSWERS;
  return lrl_trainer_run(&k, &cfg->common, cfg, comm, config_text);
}
