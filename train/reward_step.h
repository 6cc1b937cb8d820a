/* One micro-batch of the Bradley-Terry objective, and sums over pairs. */
#ifndef LRL_REWARD_STEP_H
#define LRL_REWARD_STEP_H
#include "train/feed.h"

/* Sums over pairs, all f64, so that ranks add them up as one array. Index by the enum. */
enum lrl_tally_field {
  LRL_TALLY_PAIRS,
  LRL_TALLY_LOSS,
  LRL_TALLY_CORRECT, /* chosen > rejected, strictly: ties are wrong */
  LRL_TALLY_TIES,
  LRL_TALLY_CHOSEN,
  LRL_TALLY_REJECTED,
  LRL_TALLY_CHOSEN_SQ,
  LRL_TALLY_REJECTED_SQ,
  LRL_TALLY_MARGIN_SQ,
  LRL_TALLY_LONGER,    /* the chosen answer has more tokens than the rejected one */
  LRL_TALLY_LENGTH,    /* difference of the lengths in tokens, and its products */
  LRL_TALLY_LENGTH_SQ, /* with itself and with the margin */
  LRL_TALLY_LENGTH_MARGIN,
  LRL_TALLY_TOKENS,    /* packed tokens computed */
  LRL_TALLY_NONFINITE, /* pairs whose loss is not finite; they are in no other sum but this */
  LRL_TALLY_SET_ASIDE, /* pairs dropped while loading, e.g. for a damaged image */
  LRL_TALLY_HISTOGRAM, /* of margins: below -5, 20 bins of 0.5, from 5 on */
  LRL_TALLY_N = LRL_TALLY_HISTOGRAM + 22
};
struct lrl_tally {
  double v[LRL_TALLY_N];
};

struct lrl_reward_objective {
  struct lrl_bradley_terry_args loss; /* options; n, weight and pointers are filled per batch */
  bool recompute;                     /* activation recomputation */
  uint64_t seed;                      /* of dropout */
};

/* Scores the pairs of b and adds them to tallies[source] (one tally when by_source is false). When
 * tape is to record (training), adds the gradient of sum(loss) / n_pairs_step to the parameters.
 * The tape is initialised by the caller on the arena; the caller resets the arena afterwards.
 * on_nonfinite is told each pair (its index in the corpus) whose loss is not finite; may be NULL.
 */
lrl_status lrl_reward_micro_batch(struct lrl_tape *tape, struct lrl_vlm *model,
                                  const struct lrl_batch *b, const struct lrl_reward_objective *o,
                                  struct lrl_tally *tallies, bool by_source,
                                  void (*on_nonfinite)(void *user, int64_t pair), void *user);

/* Derived figures; 0 pairs give NaN. */
struct lrl_reward_figures {
  double loss, accuracy, margin, margin_std, mean_reward, chosen_mean, chosen_std, rejected_mean,
      rejected_std, length_baseline, length_correlation;
};
struct lrl_reward_figures lrl_reward_figures(const struct lrl_tally *t);
void lrl_tally_add(struct lrl_tally *to, const struct lrl_tally *from);
#endif
