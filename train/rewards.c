#include "train/rewards.h"

#include <math.h>

double lrl_overlong_penalty(const struct lrl_score_options *o, int32_t length) {
  if (!(o->overlong_buffer > 0.0))
    return 0.0;
  const double over = (double)length - (o->max_length - o->overlong_buffer);
  const double share = over / o->overlong_buffer;
  return share <= 0.0 ? 0.0 : -o->overlong_penalty * (share < 1.0 ? share : 1.0);
}

lrl_status lrl_shape_scores(const struct lrl_score_options *o, struct lrl_comm *comm,
                            struct lrl_moments *running, int64_t n, double *scores,
                            const int32_t *length, const bool *finished) {
  for (int64_t i = 0; i < n && o->clip_low < o->clip_high; i++) {
    const double x = scores[i];
    scores[i] = x < o->clip_low ? o->clip_low : x > o->clip_high ? o->clip_high : x;
  }
  if (o->normalize) {
    struct lrl_moments batch = lrl_moments_of(n, scores);
    LRL_TRY(lrl_moments_all(comm, &batch, 1));
    lrl_moments_merge(running, &batch);
    const double std = sqrt(lrl_variance(running, false)) + 1e-8;
    for (int64_t i = 0; i < n; i++)
      scores[i] = (scores[i] - running->mean) / std;
  }
  for (int64_t i = 0; i < n; i++)
    scores[i] += lrl_overlong_penalty(o, length[i]) - (finished[i] ? 0.0 : o->missing_eos_penalty);
  return LRL_OK;
}

void lrl_token_rewards(const struct lrl_layout *layout, const uint8_t *mask, const float *kl,
                       double kl_coef, const double *scores, float *rewards) {
  for (int64_t s = 0; s < layout->n_seqs; s++) {
    const int64_t begin = layout->start[s];
    bool last = true;
    for (int64_t t = begin + layout->length[s] - 1; t >= begin; t--) {
      double r = 0.0;
      if (mask == NULL || mask[t] != 0) {
        r = (kl == NULL ? 0.0 : -kl_coef * (double)kl[t]) + (last ? scores[s] : 0.0);
        last = false;
      }
      rewards[t] = (float)r;
    }
  }
}
