/* What is written about an iteration, and evaluation on held-out prompts. Every figure is of live
 * tokens, or responses, of all ranks. */
#include "kernels/log.h"
#include "train/ppo_trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

/* Quantities with mean, and most with extremes. */
enum {
  Q_SCORE,
  Q_GOLD,
  Q_SHAPED,
  Q_LENGTH,
  Q_PROMPT,
  Q_KL, /* of a response, k1 */
  Q_NON_SCORE,
  Q_LOGPROB, /* of a response under the policy */
  Q_N_RESPONSE,
  Q_KL3 = Q_N_RESPONSE, /* of a token, and the following */
  Q_ENTROPY,
  Q_ADVANTAGE,
  Q_RETURN,
  Q_VALUE,
  Q_RESIDUAL,
  Q_REWARD,
  Q_N
};
struct figures {
  struct lrl_moments m[Q_N];
  double min[Q_N], max[Q_N];
  double finished, responses, tokens, prompts, aside, rollout_diff, repeated;
};

static void take(struct figures *f, int q, double x) {
  if (isnan(x))
    return;
  lrl_moments_merge(&f->m[q], &(struct lrl_moments){.n = 1, .mean = x});
  f->min[q] = fmin(f->min[q], x);
  f->max[q] = fmax(f->max[q], x);
}

static void response(struct figures *f, const struct lrl_ppo_experience *e, int64_t k) {
  double kl = 0, logprob = 0, non_score = 0;
  for (int64_t i = e->start[k]; i < e->start[k] + e->length[k]; i++) {
    const double d = (double)e->old_logprobs[i] - (double)e->ref_logprobs[i];
    kl += d;
    logprob += (double)e->old_logprobs[i];
    take(f, Q_KL3, exp(-d) - 1.0 + d);
    take(f, Q_ENTROPY, (double)e->entropy[i]);
    f->rollout_diff =
        fmax(f->rollout_diff, fabs((double)e->old_logprobs[i] - (double)e->rollout_logprobs[i]));
    if (e->advantages == NULL)
      continue;
    non_score += (double)e->rewards[i];
    take(f, Q_ADVANTAGE, (double)e->advantages[i]);
    take(f, Q_RETURN, (double)e->returns[i]);
    take(f, Q_REWARD, (double)e->rewards[i]);
    if (e->values != NULL) {
      take(f, Q_VALUE, (double)e->values[i]);
      take(f, Q_RESIDUAL, (double)e->returns[i] - (double)e->values[i]);
    }
  }
  take(f, Q_SCORE, e->score[k]);
  take(f, Q_GOLD, e->gold[k]);
  take(f, Q_LENGTH, (double)e->length[k]);
  take(f, Q_KL, kl);
  take(f, Q_LOGPROB, logprob);
  if (e->advantages != NULL) {
    take(f, Q_SHAPED, e->shaped[k]);
    take(f, Q_NON_SCORE, non_score);
  }
  f->finished += e->finished[k];
}

static lrl_status extremes(struct lrl_comm *comm, struct figures *f) {
  const int n = lrl_comm_size(comm), rank = lrl_comm_rank(comm);
  enum { EACH = 2 * Q_N + 1 };
  if (n == 1)
    return LRL_OK;
  double *all = calloc((size_t)n * EACH, sizeof *all);
  if (all == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the figures of %d ranks", n);
  for (int q = 0; q < Q_N; q++) {

    all[rank * EACH + q] = f->min[q];
    all[rank * EACH + Q_N + q] = f->max[q];
  }
  all[rank * EACH + 2 * Q_N] = f->rollout_diff;
  const lrl_status s = lrl_comm_sum_f64(comm, all, (int64_t)n * EACH);
  for (int r = 0; r < n && s == LRL_OK; r++) {
    for (int q = 0; q < Q_N; q++) {
      f->min[q] = fmin(f->min[q], all[r * EACH + q]);
      f->max[q] = fmax(f->max[q], all[r * EACH + Q_N + q]);
    }
    f->rollout_diff = fmax(f->rollout_diff, all[r * EACH + 2 * Q_N]);
  }
  free(all);
  return s;
}

/* Adds this rank's responses. */
static void collect(struct figures *f, const struct lrl_ppo_experience *e) {
  for (int64_t i = 0; i < e->n_prompts; i++)
    take(f, Q_PROMPT, (double)e->prompt[i].data.n_ids);
  for (int64_t k = 0; k < e->n_responses; k++)
    response(f, e, k);
  f->responses += (double)e->n_responses;
  f->tokens += (double)(e->n_tokens + e->prefill_tokens);
  f->prompts += (double)e->n_prompts;
  f->aside += (double)e->n_aside;
}
static void clear(struct figures *f) {
  *f = (struct figures){0};
  for (int q = 0; q < Q_N; q++) {
    f->min[q] = INFINITY;
    f->max[q] = -INFINITY;
  }
}
static lrl_status all_ranks(struct lrl_comm *comm, struct figures *f) {
  double sums[] = {f->finished, f->responses, f->tokens, f->prompts, f->aside};
  LRL_TRY(lrl_moments_all(comm, f->m, Q_N));
  LRL_TRY(extremes(comm, f));
  LRL_TRY(lrl_comm_sum_f64(comm, sums, 5));
  f->finished = sums[0];
  f->responses = sums[1];
  f->tokens = sums[2];
  f->prompts = sums[3];
  f->aside = sums[4];
  return LRL_OK;
}

/* ---- writing ---- */

static void put(json_t *o, const char *prefix, const char *name, double x) {
  char key[120];
  snprintf(key, sizeof key, "%s%s", prefix, name);
  json_object_set_new(o, key, lrl_metrics_number(x));
}
static double mean(const struct figures *f, int q) { return f->m[q].n > 0 ? f->m[q].mean : NAN; }

static void put_range(json_t *o, const char *name, const struct figures *f, int q) {
  put(o, name, "/mean", mean(f, q));
  if (f->m[q].n > 0) {
    put(o, name, "/max", f->max[q]);
    put(o, name, "/min", f->min[q]);
    put(o, name, "/std", sqrt(lrl_variance(&f->m[q], false)));
  }
}

static void put_objective(json_t *o, const char *prefix, const struct figures *f) {
  put(o, prefix, "objective/scores", mean(f, Q_SCORE));
  put(o, prefix, "objective/gold", mean(f, Q_GOLD));
  put(o, prefix, "objective/kl", mean(f, Q_KL));
  put(o, prefix, "objective/kl_k3", mean(f, Q_KL3));
  put(o, prefix, "objective/entropy", mean(f, Q_ENTROPY));
  put(o, prefix, "response_length/mean", mean(f, Q_LENGTH));
  put(o, prefix, "response_length/max", f->max[Q_LENGTH]);
  put(o, prefix, "response_length/min", f->min[Q_LENGTH]);
  put(o, prefix, "response_length/clip_ratio", 1.0 - f->finished / f->responses);
}

static void put_actor(json_t *o, const struct lrl_ppo_trainer *t,
                      const struct lrl_ppo_update_report *u, double lr) {
  const struct lrl_ppo_policy_stats *p = &u->policy.policy;
  const double steps = (double)u->actor_steps;
  put(o, "actor/", "kl_coef", t->at.kl.kl_coef);
  put(o, "actor/", "steps", steps);
  if (u->actor_steps == 0)
    return;
  put(o, "actor/", "pg_loss", p->loss / steps);
  put(o, "actor/", "pg_clipfrac", p->clipped / p->tokens);
  put(o, "actor/", "pg_clipfrac_lower", p->clipped_lower / p->tokens);
  put(o, "actor/", "ppo_kl", p->kl1 / p->tokens);
  put(o, "actor/", "ppo_kl_k2", p->kl2 / p->tokens);
  put(o, "actor/", "ppo_kl_k3", p->kl3 / p->tokens);
  put(o, "actor/", "entropy", p->entropy / p->tokens);
  put(o, "actor/", "ratio", p->ratio / p->tokens);
  put(o, "actor/", "ratio_max_abs", p->ratio_dev_max);
  put(o, "actor/", "ratio_first_epoch_max_abs", u->first_ratio_dev);
  put(o, "actor/", "grad_norm", u->actor_grad_norm / steps);
  put(o, "actor/", "lr", lr);
  put(o, "actor/", "stopped", u->stopped);
  if (t->objective.kl_loss)
    put(o, "actor/", "kl_loss", u->policy.kl_loss / steps);
  if (t->ptx != NULL)
    put(o, "actor/", "ptx_loss", u->ptx[0] / u->ptx[1]);
}

static void put_critic(json_t *o, const struct figures *f, const struct lrl_ppo_update_report *u,
                       double lr) {
  const double steps = (double)u->critic_steps;
  put(o, "critic/", "vf_loss", u->value.loss / steps);
  put(o, "critic/", "vf_clipfrac", u->value.clipped / u->value.tokens);
  put(o, "critic/", "vpred_mean", mean(f, Q_VALUE));
  put(o, "critic/", "vf_explained_var", lrl_explained_variance(&f->m[Q_RESIDUAL], &f->m[Q_RETURN]));
  put(o, "critic/", "grad_norm", u->critic_grad_norm / steps);
  put(o, "critic/", "lr", lr);
  put_range(o, "critic/values", f, Q_VALUE);
}

static lrl_status write_timing(struct lrl_ppo_trainer *t, const struct figures *f) {
  const struct lrl_ppo_seconds *s = &t->seconds;
  return lrl_metrics_write_timing(
      &t->metrics,
      json_pack("{sI sf sf sf sf sf sf sf sf sf sf sI}", "step", (json_int_t)t->at.step,
                "timing_s/gen", s->gen, "timing_s/score", s->score, "timing_s/old", s->old,
                "timing_s/ref", s->ref, "timing_s/values", s->values, "timing_s/adv", s->adv,
                "timing_s/update_actor", s->update_actor, "timing_s/update_critic",
                s->update_critic, "timing_s/step", s->step, "perf/throughput", f->tokens / s->step,
                "perf/max_memory_bytes", (json_int_t)lrl_peak_memory()));
}

/* KL(policy || reference) cannot be negative; its estimate from samples of another distribution
 * can. */
static void warn_of_kl(const struct lrl_ppo_trainer *t, const struct figures *f) {
  const double kl = mean(f, Q_KL), noise = sqrt(lrl_variance(&f->m[Q_KL], true) / f->responses);
  if (kl > -0.05 || kl > -4.0 * noise)
    return;
  const bool filtered = t->cfg->top_p < 1.0 || t->cfg->top_k > 0 ||
                        t->cfg->repetition_penalty > 1.0 || t->cfg->repetition_penalty < 1.0;
  lrl_log(LRL_LOG_WARN, "ppo", "the KL to the reference is negative (%.3f nats): %s", kl,
          filtered ? "top_p, top_k or the repetition penalty draw from another distribution than "
                     "the log-probs are of"
                   : "the responses are not what the policy would say");
}

lrl_status lrl_ppo_log(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                       const struct lrl_ppo_update_report *u, double actor_lr, double critic_lr) {
  struct figures f;
  clear(&f);
  collect(&f, e);
  LRL_TRY(all_ranks(t->comm, &f));
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "ppo",
          "step %lld/%lld score %.4f gold %.3f kl %.3f length %.1f unfinished %.2f entropy %.2f "
          "ppo_kl %.4f clipfrac %.3f explained %.2f, gen %.1f s, update %.1f s, all %.1f s",
          (long long)t->at.step, (long long)t->n_steps, mean(&f, Q_SCORE), mean(&f, Q_GOLD),
          mean(&f, Q_KL), mean(&f, Q_LENGTH), 1.0 - f.finished / f.responses, mean(&f, Q_ENTROPY),
          u->actor_steps > 0 ? u->policy.policy.kl3 / u->policy.policy.tokens : 0.0,
          u->actor_steps > 0 ? u->policy.policy.clipped / u->policy.policy.tokens : 0.0,
          e->values != NULL ? lrl_explained_variance(&f.m[Q_RESIDUAL], &f.m[Q_RETURN]) : NAN,
          t->seconds.gen, t->seconds.update_actor + t->seconds.update_critic, t->seconds.step);
  warn_of_kl(t, &f);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  put_objective(o, "", &f);
  put(o, "", "objective/non_score_reward", mean(&f, Q_NON_SCORE) - mean(&f, Q_SHAPED));
  put(o, "", "objective/rlhf_reward", mean(&f, Q_NON_SCORE));
  put_actor(o, t, u, actor_lr);
  put(o, "actor/", "rollout_logprob_max_abs_diff", f.rollout_diff);
  if (u->critic_steps > 0)
    put_critic(o, &f, u, critic_lr);
  put_range(o, "critic/score", &f, Q_SCORE);
  put_range(o, "critic/rewards", &f, Q_SHAPED);
  put_range(o, "critic/advantages", &f, Q_ADVANTAGE);
  put_range(o, "critic/returns", &f, Q_RETURN);
  put_range(o, "prompt_length", &f, Q_PROMPT);
  put(o, "data/", "num_prompts", f.prompts);
  put(o, "data/", "num_responses", f.responses);
  put(o, "data/", "set_aside", f.aside);
  put(o, "train/", "skipped_steps", (double)t->at.skipped);
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  LRL_TRY(write_timing(t, &f));
  /* The next iteration's coefficient; the unit is nats a response, as TRL's. */
  lrl_kl_controller_update(&t->at.kl, mean(&f, Q_KL), f.responses);
  return LRL_OK;
}

lrl_status lrl_ppo_evaluate(struct lrl_ppo_trainer *t) {
  enum { AT_ONCE = 256 };
  const struct lrl_ppo_seconds kept = t->seconds;
  const double t0 = omp_get_wtime();
  struct figures f;
  clear(&f);
  for (int64_t first = 0, n = lrl_prompts_n(t->eval); first < n; first += AT_ONCE) {
    struct lrl_ppo_experience e;
    const struct lrl_ppo_rollout r = {.from = t->eval,
                                      .first = first,
                                      .n = n - first < AT_ONCE ? n - first : AT_ONCE,
                                      .samples = t->cfg->eval_samples,
                                      .seed = (uint64_t)t->cfg->seed ^ 0x9e3779b97f4a7c15u};
    LRL_TRY(lrl_ppo_rollout(t, &r, &e));
    LRL_TRY(lrl_ppo_logprobs_of(t, &e));
    collect(&f, &e);
    lrl_arena_reset(&t->memory, 0);
  }
  LRL_TRY(all_ranks(t->comm, &f));
  t->seconds = kept;
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "eval",
          "step %lld: score %.4f gold %.4f kl %.3f length %.1f unfinished %.3f on %.0f responses "
          "to held-out prompts",
          (long long)t->at.step, mean(&f, Q_SCORE), mean(&f, Q_GOLD), mean(&f, Q_KL),
          mean(&f, Q_LENGTH), 1.0 - f.finished / f.responses, f.responses);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  put_objective(o, "eval/", &f);
  put(o, "eval/", "num_responses", f.responses);
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  return lrl_metrics_write_timing(&t->metrics, json_pack("{sI sf}", "step", (json_int_t)t->at.step,
                                                         "timing_s/eval", omp_get_wtime() - t0));
}
