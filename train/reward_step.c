#include "train/reward_step.h"

#include <math.h>

static void count(struct lrl_tally *t, double c, double r, double loss, double length) {
  double *v = t->v, margin = c - r;
  v[LRL_TALLY_PAIRS] += 1;
  v[LRL_TALLY_LOSS] += loss;
  v[LRL_TALLY_CORRECT] += c > r;
  v[LRL_TALLY_TIES] += !(c > r) && !(c < r);
  v[LRL_TALLY_CHOSEN] += c;
  v[LRL_TALLY_REJECTED] += r;
  v[LRL_TALLY_CHOSEN_SQ] += c * c;
  v[LRL_TALLY_REJECTED_SQ] += r * r;
  v[LRL_TALLY_MARGIN_SQ] += margin * margin;
  v[LRL_TALLY_LONGER] += length > 0;
  v[LRL_TALLY_LENGTH] += length;
  v[LRL_TALLY_LENGTH_SQ] += length * length;
  v[LRL_TALLY_LENGTH_MARGIN] += length * margin;
  double bin = floor((margin + 5.0) / 0.5) + 1.0;
  v[LRL_TALLY_HISTOGRAM + (int)fmin(fmax(bin, 0.0), 21.0)] += 1;
}

static lrl_status score(struct lrl_tape *tape, struct lrl_vlm *model, const struct lrl_batch *b,
                        const struct lrl_reward_objective *o, struct lrl_tensor **out) {
  int64_t n = b->n_pairs;
  int32_t *rows = lrl_tape_host(tape, (size_t)n * 4 * sizeof *rows);
  LRL_TRY(tape->status);
  for (int64_t i = 0; i < n; i++) {
    rows[i] = b->chosen_last[i];
    rows[n + i] = b->rejected_last[i];
    rows[2 * n + i] = b->chosen_seq[i];
    rows[3 * n + i] = b->rejected_seq[i];
  }
  struct lrl_vlm_input in;
  LRL_TRY(lrl_feed(tape, model, b,
                   &(struct lrl_feed_options){.dropout = tape->record, .seed = o->seed}, &in));
  in.n_scores = 2 * n;
  in.score_rows = rows;
  in.score_seqs = rows + 2 * n;
  tape->recompute = o->recompute;
  *out = lrl_vlm_scores(tape, model, &in);
  return tape->status;
}

/* Puts the losses and scores of a batch, [n] chosen before [n] rejected, into its tallies. */
static void tally(const struct lrl_batch *b, const double *loss, const float *s,
                  struct lrl_tally *tallies, bool by_source,
                  void (*on_nonfinite)(void *user, int64_t pair), void *user) {
  const int64_t n = b->n_pairs;
  for (int64_t i = 0; i < n; i++) {
    struct lrl_tally *t = &tallies[by_source ? b->source[i] : 0];
    if (isfinite(loss[i])) {
      count(t, (double)s[i], (double)s[n + i], loss[i],
            (double)(b->chosen_len[i] - b->rejected_len[i]));
      continue;
    }
    t->v[LRL_TALLY_NONFINITE] += 1;
    if (on_nonfinite != NULL)
      on_nonfinite(user, b->pair_index[i]);
  }
  tallies[0].v[LRL_TALLY_TOKENS] += (double)b->n_tokens;
}

lrl_status lrl_reward_micro_batch(struct lrl_tape *tape, struct lrl_vlm *model,
                                  const struct lrl_batch *b, const struct lrl_reward_objective *o,
                                  struct lrl_tally *tallies, bool by_source,
                                  void (*on_nonfinite)(void *user, int64_t pair), void *user) {
  int64_t n = b->n_pairs;
  tallies[0].v[LRL_TALLY_SET_ASIDE] += (double)b->n_set_aside;
  if (n == 0)
    return LRL_OK;
  struct lrl_tensor *scores;
  LRL_TRY(score(tape, model, b, o, &scores));
  const size_t loss_bytes = (size_t)n * sizeof(double), bytes = (size_t)n * 2 * sizeof(float);
  double *loss = lrl_tape_alloc(tape, loss_bytes), *seen_loss = lrl_tape_host(tape, loss_bytes);
  float *grad = lrl_tape_alloc(tape, bytes), *seen = lrl_tape_host(tape, bytes);
  LRL_TRY(tape->status);
  const float *s = scores->data;
  struct lrl_bradley_terry_args a = o->loss;
  a.n = n;
  a.weight = 1.0f / (float)b->n_pairs_step;
  a.chosen = s;
  a.rejected = s + n;
  a.margin = b->margin;
  a.loss = loss;
  a.d_chosen = grad;
  a.d_rejected = grad + n;
  LRL_TRY(lrl_bradley_terry(tape->ctx, &a));
  if (tape->record) {
    lrl_grad_seed(tape, scores, grad);
    LRL_TRY(lrl_backward(tape));
  }
  /* Last, so that the device has the backward to do while the host waits. */
  LRL_TRY(lrl_read(tape->ctx, seen_loss, loss, loss_bytes));
  LRL_TRY(lrl_read(tape->ctx, seen, s, bytes));
  tally(b, seen_loss, seen, tallies, by_source, on_nonfinite, user);
  return LRL_OK;
}

void lrl_tally_add(struct lrl_tally *to, const struct lrl_tally *from) {
  for (int i = 0; i < LRL_TALLY_N; i++)
    to->v[i] += from->v[i];
}

static double std(double sum, double square, double n) {
  double mean = sum / n;
  return sqrt(fmax(0.0, square / n - mean * mean));
}

struct lrl_reward_figures lrl_reward_figures(const struct lrl_tally *t) {
  const double *v = t->v, n = v[LRL_TALLY_PAIRS];
  double margin = v[LRL_TALLY_CHOSEN] - v[LRL_TALLY_REJECTED];
  double margin_std = std(margin, v[LRL_TALLY_MARGIN_SQ], n);
  double length_std = std(v[LRL_TALLY_LENGTH], v[LRL_TALLY_LENGTH_SQ], n);
  double covariance = v[LRL_TALLY_LENGTH_MARGIN] / n - margin / n * (v[LRL_TALLY_LENGTH] / n);
  return (struct lrl_reward_figures){
      .loss = v[LRL_TALLY_LOSS] / n,
      .accuracy = v[LRL_TALLY_CORRECT] / n,
      .margin = margin / n,
      .margin_std = margin_std,
      .mean_reward = (v[LRL_TALLY_CHOSEN] + v[LRL_TALLY_REJECTED]) / (2 * n),
      .chosen_mean = v[LRL_TALLY_CHOSEN] / n,
      .chosen_std = std(v[LRL_TALLY_CHOSEN], v[LRL_TALLY_CHOSEN_SQ], n),
      .rejected_mean = v[LRL_TALLY_REJECTED] / n,
      .rejected_std = std(v[LRL_TALLY_REJECTED], v[LRL_TALLY_REJECTED_SQ], n),
      .length_baseline = v[LRL_TALLY_LONGER] / n,
      .length_correlation = covariance / (margin_std * length_std),
  };
}
