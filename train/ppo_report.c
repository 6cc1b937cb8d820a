/* What is written about an iteration. Every figure is of live tokens, or responses, of all ranks.
 */
#include "kernels/log.h"
#include "train/cudnn.h"
#include "train/ppo_figures.h"

#include <math.h>

static void put_actor(json_t *o, const struct lrl_ppo_trainer *t,
                      const struct lrl_ppo_update_report *u, double lr) {
  const struct lrl_ppo_policy_stats *p = &u->policy.policy;
  const double steps = (double)u->actor_steps;
  lrl_ppo_put(o, "actor/", "kl_coef", t->at.kl.kl_coef);
  lrl_ppo_put(o, "actor/", "steps", steps);
  if (u->actor_steps == 0)
    return;
  lrl_ppo_put(o, "actor/", "pg_loss", p->loss / steps);
  lrl_ppo_put(o, "actor/", "pg_clipfrac", p->clipped / p->tokens);
  lrl_ppo_put(o, "actor/", "pg_clipfrac_lower", p->clipped_lower / p->tokens);
  lrl_ppo_put(o, "actor/", "ppo_kl", p->kl1 / p->tokens);
  lrl_ppo_put(o, "actor/", "ppo_kl_k2", p->kl2 / p->tokens);
  lrl_ppo_put(o, "actor/", "ppo_kl_k3", p->kl3 / p->tokens);
  lrl_ppo_put(o, "actor/", "entropy", p->entropy / p->tokens);
  lrl_ppo_put(o, "actor/", "ratio", p->ratio / p->tokens);
  lrl_ppo_put(o, "actor/", "ratio_max_abs", p->ratio_dev_max);
  lrl_ppo_put(o, "actor/", "ratio_first_epoch_max_abs", u->first_ratio_dev);
  lrl_ppo_put(o, "actor/", "grad_norm", u->actor_grad_norm / steps);
  lrl_ppo_put(o, "actor/", "lr", lr);
  lrl_ppo_put(o, "actor/", "stopped", u->stopped);
  if (t->objective.kl_loss)
    lrl_ppo_put(o, "actor/", "kl_loss", u->policy.kl_loss / steps);
  if (t->ptx_next != NULL)
    lrl_ppo_put(o, "actor/", "ptx_loss", u->ptx[0] / u->ptx[1]);
}

static void put_critic(json_t *o, const struct lrl_ppo_figures *f,
                       const struct lrl_ppo_update_report *u, double lr) {
  const double steps = (double)u->critic_steps;
  lrl_ppo_put(o, "critic/", "vf_loss", u->value.loss / steps);
  lrl_ppo_put(o, "critic/", "vf_clipfrac", u->value.clipped / u->value.tokens);
  lrl_ppo_put(o, "critic/", "vpred_mean", lrl_ppo_mean(f, LRL_PPO_VALUE));
  lrl_ppo_put(o, "critic/", "vf_explained_var",
              lrl_explained_variance(&f->m[LRL_PPO_RESIDUAL], &f->m[LRL_PPO_RETURN]));
  lrl_ppo_put(o, "critic/", "grad_norm", u->critic_grad_norm / steps);
  lrl_ppo_put(o, "critic/", "lr", lr);
  lrl_ppo_put_range(o, "critic/values", f, LRL_PPO_VALUE);
}

static lrl_status write_timing(struct lrl_ppo_trainer *t, const struct lrl_ppo_figures *f) {
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
static void warn_of_kl(const struct lrl_ppo_trainer *t, const struct lrl_ppo_figures *f) {
  const double kl = lrl_ppo_mean(f, LRL_PPO_KL),
               noise = sqrt(lrl_variance(&f->m[LRL_PPO_KL], true) / f->responses);
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
  struct lrl_ppo_figures f;
  lrl_ppo_figures_clear(&f);
  for (int64_t k = 0; k < e->n_responses; k++)
    lrl_ppo_figures_response(&f, e, k);
  lrl_ppo_figures_rest(&f, e);
  LRL_TRY(lrl_ppo_figures_all(t->comm, &f));
  lrl_metrics_clear_line(&t->metrics);
  lrl_log(LRL_LOG_INFO, "ppo",
          "step %lld/%lld score %.4f gold %.3f kl %.3f length %.1f unfinished %.2f entropy %.2f "
          "ppo_kl %.4f clipfrac %.3f explained %.2f, gen %.1f s, update %.1f s, all %.1f s",
          (long long)t->at.step, (long long)t->n_steps, lrl_ppo_mean(&f, LRL_PPO_SCORE),
          lrl_ppo_mean(&f, LRL_PPO_GOLD), lrl_ppo_mean(&f, LRL_PPO_KL),
          lrl_ppo_mean(&f, LRL_PPO_LENGTH), 1.0 - f.finished / f.responses,
          lrl_ppo_mean(&f, LRL_PPO_ENTROPY),
          u->actor_steps > 0 ? u->policy.policy.kl3 / u->policy.policy.tokens : 0.0,
          u->actor_steps > 0 ? u->policy.policy.clipped / u->policy.policy.tokens : 0.0,
          e->values != NULL ? lrl_explained_variance(&f.m[LRL_PPO_RESIDUAL], &f.m[LRL_PPO_RETURN])
                            : NAN,
          t->seconds.gen, t->seconds.update_actor + t->seconds.update_critic, t->seconds.step);
  warn_of_kl(t, &f);
  lrl_cudnn_tell(&t->ctx);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(t->at.step));
  lrl_ppo_put_objective(o, "", &f);
  lrl_ppo_put(o, "", "objective/non_score_reward",
              lrl_ppo_mean(&f, LRL_PPO_NON_SCORE) - lrl_ppo_mean(&f, LRL_PPO_SHAPED));
  lrl_ppo_put(o, "", "objective/rlhf_reward", lrl_ppo_mean(&f, LRL_PPO_NON_SCORE));
  put_actor(o, t, u, actor_lr);
  lrl_ppo_put(o, "actor/", "rollout_logprob_max_abs_diff", f.rollout_diff);
  if (u->critic_steps > 0)
    put_critic(o, &f, u, critic_lr);
  lrl_ppo_put_range(o, "critic/score", &f, LRL_PPO_SCORE);
  lrl_ppo_put_range(o, "critic/rewards", &f, LRL_PPO_SHAPED);
  lrl_ppo_put_range(o, "critic/advantages", &f, LRL_PPO_ADVANTAGE);
  lrl_ppo_put_range(o, "critic/returns", &f, LRL_PPO_RETURN);
  lrl_ppo_put_range(o, "prompt_length", &f, LRL_PPO_PROMPT);
  lrl_ppo_put(o, "data/", "num_prompts", f.prompts);
  lrl_ppo_put(o, "data/", "num_responses", f.responses);
  lrl_ppo_put(o, "data/", "set_aside", f.aside);
  lrl_ppo_put(o, "train/", "skipped_steps", (double)t->at.skipped);
  LRL_TRY(lrl_metrics_write(&t->metrics, o));
  LRL_TRY(write_timing(t, &f));
  /* The next iteration's coefficient; the unit is nats a response, as TRL's. */
  lrl_kl_controller_update(&t->at.kl, lrl_ppo_mean(&f, LRL_PPO_KL), f.responses);
  return LRL_OK;
}
