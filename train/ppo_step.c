#include "train/ppo_step.h"

/* Final states of the rows before the response tokens. */
static struct lrl_tensor *states(struct lrl_tape *tape, struct lrl_vlm *m,
                                 const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass) {
  struct lrl_decoder_input in = {.ids = b->ids,
                                 .layout = &b->layout,
                                 .image_rows = b->image_rows,
                                 .n_image_rows = b->n_image_rows,
                                 .without_lora = pass->without_lora};
  struct lrl_decoder_output out;
  if (b->n_image_rows > 0)
    in.images = lrl_tensor_wrap(tape, m->cfg.dtype, b->n_image_rows, m->cfg.decoder.hidden_size,
                                pass->images);
  tape->recompute = pass->recompute;
  lrl_decoder_forward(tape, &m->decoder, &in, &out);
  return lrl_decoder_final(tape, &m->decoder, &out, b->row, b->responses.n_tokens);
}

static struct lrl_tensor *head(struct lrl_tape *tape, struct lrl_vlm *m, enum lrl_vlm_head kind) {
  struct lrl_param_unit *u = &m->params.units[m->head_unit];
  if (m->cfg.head != kind)
    lrl_tape_ok(tape, LRL_FAIL(LRL_ERR_ARG, kind == LRL_VLM_SCORE ? "a critic needs a scalar head"
                                                                  : "a policy needs a language "
                                                                    "head"));
  lrl_tape_unit_begin(tape, u);
  return lrl_tensor_param(tape, u, 0);
}

struct lrl_tensor *lrl_ppo_logprobs(struct lrl_tape *tape, struct lrl_vlm *policy,
                                    const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                                    struct lrl_tensor **entropy) {
  struct lrl_tensor *x = states(tape, policy, b, pass);
  struct lrl_tensor *w = head(tape, policy, LRL_VLM_LANGUAGE);
  return lrl_nn_linear_logprob(tape, x, w, b->token, pass->temperature, entropy);
}

struct lrl_tensor *lrl_ppo_values(struct lrl_tape *tape, struct lrl_vlm *critic,
                                  const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass) {
  struct lrl_tensor *x = states(tape, critic, b, pass);
  return lrl_nn_head(tape, x, head(tape, critic, LRL_VLM_SCORE));
}

static const float *weights(struct lrl_tape *tape, const struct lrl_ppo_batch *b,
                            const struct lrl_ppo_objective *o, const struct lrl_loss_count *step,
                            double scale) {
  float *w = lrl_tape_host(tape, (size_t)b->responses.n_seqs * sizeof *w);
  if (w != NULL)
    lrl_loss_weights(o->loss_agg, &b->responses, b->mask, step, o->norm_length, w);
  for (int64_t s = 0; w != NULL && s < b->responses.n_seqs; s++)
    w[s] *= (float)scale;
  return w;
}

lrl_status
lrl_ppo_policy_micro_batch(struct lrl_tape *tape, struct lrl_vlm *policy,
                           const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                           const struct lrl_ppo_targets *targets, const struct lrl_ppo_objective *o,
                           const struct lrl_loss_count *step, struct lrl_ppo_policy_sums *sums) {
  const size_t n = (size_t)b->responses.n_tokens;
  struct lrl_tensor *entropy, *logprobs = lrl_ppo_logprobs(tape, policy, b, pass, &entropy);
  const float *weight = weights(tape, b, o, step, 1.0);
  float *d_logprobs = lrl_tape_alloc(tape, n * sizeof *d_logprobs);
  float *d_entropy = lrl_tape_alloc(tape, n * sizeof *d_entropy);
  struct lrl_ppo_policy_stats *stats = lrl_tape_alloc(tape, sizeof *stats), seen;
  double *kl = lrl_tape_alloc(tape, sizeof *kl), seen_kl = 0.0;
  LRL_TRY(tape->status);
  LRL_TRY(lrl_ppo_policy(tape->ctx, &(struct lrl_ppo_policy_args){
                                        .layout = &b->responses,
                                        .mask = b->mask,
                                        .ratio = o->ratio,
                                        .clip_low = o->cliprange,
                                        .clip_high = o->cliprange_high,
                                        .dual_clip = o->dual_clip,
                                        .log_ratio_clamp = o->log_ratio_clamp,
                                        .entropy_coef = o->entropy_coef,
                                        .logprobs = logprobs->data,
                                        .old_logprobs = o->ratio_to_ref ? targets->ref_logprobs
                                                                        : targets->old_logprobs,
                                        .advantages = targets->advantages,
                                        .entropy = entropy->data,
                                        .seq_weight = weight,
                                        .stats = stats,
                                        .d_logprobs = d_logprobs,
                                        .d_entropy = d_entropy}));
  if (o->kl_loss)
    LRL_TRY(
        lrl_approx_kl(tape->ctx, &(struct lrl_approx_kl_args){.layout = &b->responses,
                                                              .mask = b->mask,
                                                              .estimator = o->kl_estimator,
                                                              .diff_clamp = o->kl_diff_clamp,
                                                              .kl_clamp = o->kl_clamp,
                                                              .logprobs = logprobs->data,
                                                              .ref_logprobs = targets->ref_logprobs,
                                                              .coef = o->kl_coef,
                                                              .seq_weight = weight,
                                                              .loss = kl,
                                                              .d_logprobs = d_logprobs}));
  if (tape->record) {
    lrl_grad_seed(tape, logprobs, d_logprobs);
    if (o->entropy_coef != 0.0)
      lrl_grad_seed(tape, entropy, d_entropy);
    LRL_TRY(lrl_backward(tape));
  }
  /* Last, so that the device has the backward to do while the host waits. */
  LRL_TRY(lrl_read(tape->ctx, &seen, stats, sizeof seen));
  if (o->kl_loss)
    LRL_TRY(lrl_read(tape->ctx, &seen_kl, kl, sizeof seen_kl));
  lrl_ppo_policy_stats_add(&sums->policy, &seen);
  sums->kl_loss += seen_kl;
  return LRL_OK;
}

lrl_status lrl_ppo_value_micro_batch(struct lrl_tape *tape, struct lrl_vlm *critic,
                                     const struct lrl_ppo_batch *b, const struct lrl_ppo_pass *pass,
                                     const struct lrl_ppo_targets *targets,
                                     const struct lrl_ppo_objective *o,
                                     const struct lrl_loss_count *step,
                                     struct lrl_ppo_value_stats *sums) {
  struct lrl_tensor *values = lrl_ppo_values(tape, critic, b, pass);
  const float *weight = weights(tape, b, o, step, o->vf_coef);
  float *d_values = lrl_tape_alloc(tape, (size_t)b->responses.n_tokens * sizeof *d_values);
  struct lrl_ppo_value_stats *stats = lrl_tape_alloc(tape, sizeof *stats), seen;
  LRL_TRY(tape->status);
  LRL_TRY(lrl_ppo_value(tape->ctx, &(struct lrl_ppo_value_args){.layout = &b->responses,
                                                                .mask = b->mask,
                                                                .cliprange = o->cliprange_value,
                                                                .values = values->data,
                                                                .old_values = targets->old_values,
                                                                .returns = targets->returns,
                                                                .seq_weight = weight,
                                                                .stats = stats,
                                                                .d_values = d_values}));
  if (tape->record) {
    lrl_grad_seed(tape, values, d_values);
    LRL_TRY(lrl_backward(tape));
  }
  LRL_TRY(lrl_read(tape->ctx, &seen, stats, sizeof seen));
  lrl_ppo_value_stats_add(sums, &seen);
  return LRL_OK;
}
