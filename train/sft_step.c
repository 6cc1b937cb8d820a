#include "train/sft_step.h"

#include <math.h>
#include <stdlib.h>

lrl_status lrl_sft_count(const struct lrl_tokenizer *t, enum lrl_chat_template form,
                         const struct lrl_corpus *c, int64_t i, int32_t *n) {
  struct lrl_corpus_pair p;
  lrl_corpus_get(c, i, &p); /* prompt and chosen lie behind each other */
  const int64_t n_ids = p.n_prompt + p.n_chosen;
  int32_t *targets = malloc((size_t)n_ids * sizeof *targets);
  if (targets == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld tokens", (long long)n_ids);
  const lrl_status s = lrl_chat_targets(t, form, p.prompt, n_ids, targets);
  *n = 0;
  for (int64_t k = 1; k < n_ids && s == LRL_OK; k++)
    *n += targets[k] != LRL_ID_IGNORE;
  free(targets);
  return s;
}

/* The rows of a batch that predict a target. */
struct rows {
  int64_t n;
  int32_t *row, *target, *chat; /* [n] */
};

static lrl_status find_rows(struct lrl_tape *tape, const struct lrl_batch *b,
                            const struct lrl_sft_objective *o, struct rows *r) {
  const size_t bytes = (size_t)b->n_tokens * sizeof(int32_t);
  int32_t *targets = lrl_tape_host(tape, bytes);
  r->row = lrl_tape_host(tape, bytes);
  r->target = lrl_tape_host(tape, bytes);
  r->chat = lrl_tape_host(tape, bytes);
  r->n = 0;
  LRL_TRY(tape->status);
  for (int64_t i = 0; i < b->n_pairs; i++) {
    const int32_t start = b->layout.start[b->chosen_seq[i]];
    const int32_t length = b->layout.length[b->chosen_seq[i]];
    LRL_TRY(lrl_chat_targets(o->tokenizer, o->form, b->ids + start, length, targets));
    for (int32_t k = 1; k < length; k++) {
      if (targets[k] == LRL_ID_IGNORE)
        continue;
      r->row[r->n] = start + k - 1;
      r->target[r->n] = targets[k];
      r->chat[r->n++] = (int32_t)i;
    }
  }
  return LRL_OK;
}

/* Final hidden states [r->n, hidden] and the vocabulary's weight. */
static lrl_status forward(struct lrl_tape *tape, struct lrl_vlm *model, const struct lrl_batch *b,
                          const struct lrl_sft_objective *o, const struct rows *r,
                          struct lrl_tensor **x, struct lrl_tensor **w) {
  const struct lrl_feed_options feed = {.dropout = tape->record, .seed = o->seed};
  struct lrl_vlm_input in;
  struct lrl_decoder_output out;
  if (model->cfg.head != LRL_VLM_LANGUAGE)
    return LRL_FAIL(LRL_ERR_ARG, "the model has no language head");
  LRL_TRY(lrl_feed(tape, model, b, &feed, &in));
  lrl_vlm_decode(tape, model, &in, &out);
  *x = lrl_decoder_final(tape, &model->decoder, &out, r->row, r->n);
  struct lrl_param_unit *head = &model->params.units[model->head_unit];
  lrl_tape_unit_begin(tape, head);
  *w = lrl_tensor_param(tape, head, 0);
  return tape->status;
}

/* Without a gradient: the loss of each chat by itself. */
static lrl_status measure(struct lrl_tape *tape, struct lrl_vlm *model, const struct lrl_batch *b,
                          const struct lrl_sft_objective *o, double *sums, bool by_source,
                          void (*on_nonfinite)(void *user, int64_t chat), void *user) {
  struct rows r;
  struct lrl_tensor *x, *w;
  LRL_TRY(find_rows(tape, b, o, &r));
  if (r.n == 0)
    return LRL_OK;
  LRL_TRY(forward(tape, model, b, o, &r, &x, &w));
  const struct lrl_tensor *logprobs = lrl_nn_linear_logprob(tape, x, w, r.target, 1.0f, NULL);
  float *lp = lrl_tape_host(tape, (size_t)r.n * sizeof *lp);
  LRL_TRY(tape->status);
  LRL_TRY(lrl_read(tape->ctx, lp, logprobs->data, (size_t)r.n * sizeof *lp));
  int64_t at = 0;
  for (int64_t i = 0; i < b->n_pairs; i++) {
    double *s = sums + (by_source ? b->source[i] * LRL_SFT_N : 0), loss = 0;
    const int64_t first = at;
    for (; at < r.n && r.chat[at] == i; at++)
      loss -= (double)lp[at];
    if (!isfinite(loss)) {
      s[LRL_SFT_NONFINITE] += 1;
      if (on_nonfinite != NULL)
        on_nonfinite(user, b->pair_index[i]);
      continue;
    }
    s[LRL_SFT_CHATS] += 1;
    s[LRL_SFT_TARGETS] += (double)(at - first);
    s[LRL_SFT_LOSS] += loss;
  }
  return LRL_OK;
}

/* With the gradient. A loss that is not finite is measured again, to name who made it so. */
static lrl_status learn(struct lrl_tape *tape, struct lrl_vlm *model, const struct lrl_batch *b,
                        const struct lrl_sft_objective *o, double *sums,
                        void (*on_nonfinite)(void *user, int64_t chat), void *user) {
  struct rows r;
  struct lrl_tensor *x, *w;
  const float weight = (float)o->weight;
  LRL_TRY(find_rows(tape, b, o, &r));
  if (r.n == 0)
    return LRL_OK;
  LRL_TRY(forward(tape, model, b, o, &r, &x, &w));
  const float *losses = lrl_nn_linear_cross_entropy(tape, x, w, r.target, weight);
  float *seen = lrl_tape_host(tape, (size_t)r.n * sizeof *seen);
  LRL_TRY(tape->status);
  LRL_TRY(lrl_backward(tape));
  /* Last, so that the device has the backward to do while the host waits. */
  LRL_TRY(lrl_read(tape->ctx, seen, losses, (size_t)r.n * sizeof *seen));
  double loss = 0;
  for (int64_t i = 0; i < r.n; i++)
    loss += (double)seen[i];
  if (isfinite(loss)) {
    sums[LRL_SFT_CHATS] += (double)b->n_pairs;
    sums[LRL_SFT_TARGETS] += (double)r.n;
    sums[LRL_SFT_LOSS] += loss / (double)weight;
    return LRL_OK;
  }
  struct lrl_tape again;
  lrl_tape_init(&again, tape->ctx, tape->arena, false);
  return measure(&again, model, b, o, sums, false, on_nonfinite, user);
}

lrl_status lrl_sft_micro_batch(struct lrl_tape *tape, struct lrl_vlm *model,
                               const struct lrl_batch *b, const struct lrl_sft_objective *o,
                               double *sums, bool by_source,
                               void (*on_nonfinite)(void *user, int64_t chat), void *user) {
  sums[LRL_SFT_SET_ASIDE] += (double)b->n_set_aside;
  if (b->n_pairs == 0)
    return LRL_OK;
  sums[LRL_SFT_TOKENS] += (double)b->n_tokens;
  if (!tape->record)
    return measure(tape, model, b, o, sums, by_source, on_nonfinite, user);
  return learn(tape, model, b, o, sums, on_nonfinite, user);
}
