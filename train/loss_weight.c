#include "train/loss_weight.h"

static int64_t live_tokens(const struct lrl_layout *layout, const uint8_t *mask, int64_t s) {
  int64_t n = 0;
  for (int64_t t = layout->start[s]; t < layout->start[s] + layout->length[s]; t++)
    n += mask == NULL || mask[t] != 0;
  return n;
}

void lrl_loss_count_add(struct lrl_loss_count *count, const struct lrl_layout *layout,
                        const uint8_t *mask) {
  for (int64_t s = 0; s < layout->n_seqs; s++) {
    const int64_t n = live_tokens(layout, mask, s);
    count->tokens += (double)n;
    count->seqs += n > 0 ? 1.0 : 0.0;
  }
}

void lrl_loss_weights(enum lrl_loss_agg mode, const struct lrl_layout *layout, const uint8_t *mask,
                      const struct lrl_loss_count *step, double norm_length, float *seq_weight) {
  for (int64_t s = 0; s < layout->n_seqs; s++) {
    const double n = (double)live_tokens(layout, mask, s);
    double parts = norm_length;
    if (mode == LRL_AGG_TOKEN_MEAN)
      parts = step->tokens;
    else if (mode == LRL_AGG_SEQ_MEAN_TOKEN_SUM)
      parts = step->seqs;
    else if (mode == LRL_AGG_SEQ_MEAN_TOKEN_MEAN)
      parts = step->seqs * n;
    seq_weight[s] = n > 0.0 ? (float)(1.0 / parts) : 0.0f;
  }
}
