#include "train/reward.h"

#include "kernels/log.h"
#include "train/reward_step.h"
#include "train/trainer.h"

static struct lrl_reward_objective objective(const struct lrl_trainer *t) {
  const struct lrl_reward_config *c = t->cfg;
  return (struct lrl_reward_objective){
      .loss = {.rank = (enum lrl_rank_loss)c->rank_loss,
               .penalty = (enum lrl_penalty)c->penalty,
               .focal_gamma = (float)c->focal_gamma,
               .penalty_weight = (float)c->penalty_weight,
               .center_weight = (float)c->center_rewards_coefficient,
               .barrier_lo = -(float)c->barrier,
               .barrier_hi = (float)c->barrier,
               .barrier_eps = 1e-3f,
               .barrier_gradient_outside = true},
      .recompute = t->o->gradient_checkpointing,
      .seed = (uint64_t)t->o->seed,
  };
}

static lrl_status micro_batch(struct lrl_trainer *t, struct lrl_tape *tape,
                              const struct lrl_batch *b, double *sums, bool by_source) {
  const struct lrl_reward_objective o = objective(t);
  return lrl_reward_micro_batch(tape, &t->model, b, &o, (struct lrl_tally *)sums, by_source,
                                tape->record ? lrl_trainer_nonfinite : NULL, t);
}

static void describe(const struct lrl_trainer *t, char *text, size_t size) {
  const struct lrl_reward_figures f = lrl_reward_figures((const struct lrl_tally *)t->at.sums);
  snprintf(text, size, "loss %.4f accuracy %.3f margin %.3f", f.loss, f.accuracy, f.margin);
}

static json_t *count(const double *sums, enum lrl_tally_field k) {
  return json_integer((json_int_t)sums[k]);
}

static void log_step(const struct lrl_trainer *t, json_t *o) {
  const double *y = t->at.sums;
  const struct lrl_reward_figures f = lrl_reward_figures((const struct lrl_tally *)y);
  lrl_trainer_put(o, "train", "loss", lrl_metrics_number(f.loss));
  lrl_trainer_put(o, "train", "accuracy", lrl_metrics_number(f.accuracy));
  lrl_trainer_put(o, "train", "margin", lrl_metrics_number(f.margin));
  lrl_trainer_put(o, "train", "margin_std", lrl_metrics_number(f.margin_std));
  lrl_trainer_put(o, "train", "mean_reward", lrl_metrics_number(f.mean_reward));
  lrl_trainer_put(o, "train", "num_pairs", count(y, LRL_TALLY_PAIRS));
  lrl_trainer_put(o, "train", "num_tokens", count(y, LRL_TALLY_TOKENS));
  lrl_trainer_put(o, "train", "nonfinite", count(y, LRL_TALLY_NONFINITE));
  lrl_trainer_put(o, "train", "set_aside", count(y, LRL_TALLY_SET_ASIDE));
}

/* Counts of margins: below -5, bins of 0.5, from 5 on. */
static json_t *histogram(const double *sums) {
  json_t *a = json_array();
  for (int i = 0; i < 22; i++)
    json_array_append_new(a, json_integer((json_int_t)sums[LRL_TALLY_HISTOGRAM + i]));
  return a;
}

static void put_figures(json_t *o, const char *prefix, const double *sums,
                        const struct lrl_reward_figures *f) {
  lrl_trainer_put(o, prefix, "accuracy", lrl_metrics_number(f->accuracy));
  lrl_trainer_put(o, prefix, "loss", lrl_metrics_number(f->loss));
  lrl_trainer_put(o, prefix, "margin", lrl_metrics_number(f->margin));
  lrl_trainer_put(o, prefix, "margin_std", lrl_metrics_number(f->margin_std));
  lrl_trainer_put(o, prefix, "chosen_reward", lrl_metrics_number(f->chosen_mean));
  lrl_trainer_put(o, prefix, "chosen_reward_std", lrl_metrics_number(f->chosen_std));
  lrl_trainer_put(o, prefix, "rejected_reward", lrl_metrics_number(f->rejected_mean));
  lrl_trainer_put(o, prefix, "rejected_reward_std", lrl_metrics_number(f->rejected_std));
  lrl_trainer_put(o, prefix, "length_baseline", lrl_metrics_number(f->length_baseline));
  lrl_trainer_put(o, prefix, "length_correlation", lrl_metrics_number(f->length_correlation));
  lrl_trainer_put(o, prefix, "ties", count(sums, LRL_TALLY_TIES));
  lrl_trainer_put(o, prefix, "num_pairs", count(sums, LRL_TALLY_PAIRS));
  lrl_trainer_put(o, prefix, "nonfinite", count(sums, LRL_TALLY_NONFINITE));
  lrl_trainer_put(o, prefix, "margin_histogram", histogram(sums));
}

static void report(const struct lrl_trainer *t, const char *name, const char *prefix,
                   const double *sums, json_t *o, double *score) {
  const struct lrl_reward_figures f = lrl_reward_figures((const struct lrl_tally *)sums);
  const double n = sums[LRL_TALLY_PAIRS];
  if (name != NULL && n < 1)
    return;
  put_figures(o, prefix, sums, &f);
  *score = f.accuracy;
  if (name != NULL)
    lrl_log(LRL_LOG_INFO, "eval",
            "step %lld  %-32s accuracy %.4f on %.0f pairs (longer answer: %.4f), margin %.3f",
            (long long)t->at.step, name, f.accuracy, n, f.length_baseline, f.margin);
  else
    lrl_log(LRL_LOG_INFO, "eval",
            "step %lld: accuracy %.4f on %.0f held-out pairs (the longer answer is chosen in "
            "%.4f), loss %.4f, margin %.3f +- %.3f, %.0f ties%s",
            (long long)t->at.step, f.accuracy, n, f.length_baseline, f.loss, f.margin, f.margin_std,
            sums[LRL_TALLY_TIES],
            sums[LRL_TALLY_NONFINITE] > 0 ? "; SOME SCORES ARE NOT FINITE" : "");
}

_Static_assert((int)LRL_TALLY_N <= (int)LRL_TRAINER_SUMS, "the trainer has too few sums");
const struct lrl_trainer_kind lrl_reward_kind = {.name = "reward",
                                                 .saved = "reward",
                                                 .unit = "pairs",
                                                 .head = LRL_VLM_SCORE,
                                                 .form = LRL_FORM_PAIRS,
                                                 .n_sums = LRL_TALLY_N,
                                                 .tokens = LRL_TALLY_TOKENS,
                                                 .micro_batch = micro_batch,
                                                 .describe = describe,
                                                 .log = log_step,
                                                 .report = report};

lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, struct lrl_comm *comm,
                            const char *config_text) {
  return lrl_trainer_run(&lrl_reward_kind, &cfg->common, cfg, comm, config_text);
}
