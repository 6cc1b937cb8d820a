/* From the reward model's scores to per-token rewards. Scores are f64, one per response. */
#ifndef LRL_REWARDS_H
#define LRL_REWARDS_H
#include "kernels/layout.h"
#include "train/moments.h"

struct lrl_score_options {
  double clip_low, clip_high; /* clip_low >= clip_high: no clip */
  bool normalize;             /* by the running mean and standard deviation */
  double missing_eos_penalty; /* subtracted when the response was cut off */
  /* Soft overlong punishment (DAPO): 0 up to max_length - overlong_buffer tokens, falling to
   * -overlong_penalty at max_length and beyond. overlong_buffer 0: off. */
  double overlong_buffer, overlong_penalty, max_length;
};
/* scores [n] in place: clip, then normalise, then penalties (which are therefore in the units the
 * policy sees, and no clip swallows them). `running`: moments of all clipped scores so far, updated
 * with all ranks' scores before it is used (XTuner); keep it in checkpoints. finished[i]: the
 * response ended by itself (its finish reason, never re-derived from ids). Collective when
 * normalising. */
lrl_status lrl_shape_scores(const struct lrl_score_options *o, struct lrl_comm *comm,
                            struct lrl_moments *running, int64_t n, double *scores,
                            const int32_t *length, const bool *finished);
double lrl_overlong_penalty(const struct lrl_score_options *o, int32_t length);

/* rewards[t] = -kl_coef * kl[t], + scores[s] at the last live token of sequence s; 0 at masked
 * tokens, whose kl is not read. scores [n_seqs]; those of sequences without a live token (prompts)
 * are not read. kl NULL: 0. */
void lrl_token_rewards(const struct lrl_layout *layout, const uint8_t *mask, const float *kl,
                       double kl_coef, const double *scores, float *rewards);
#endif
