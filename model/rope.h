/* Rotary position tables (SPEC 1.4): none, linear and dynamic-NTK scaling. */
#ifndef LRL_ROPE_H
#define LRL_ROPE_H
#include "model/nn.h"
#ifdef __cplusplus
extern "C" {
#endif

enum lrl_rope_scaling { LRL_ROPE_NONE = 0, LRL_ROPE_LINEAR = 1, LRL_ROPE_DYNAMIC = 2 };

struct lrl_rope_config {
  int64_t head_dim, max_position_embeddings;
  double theta, factor;
  enum lrl_rope_scaling scaling;
};

/* Tables that are kept for many passes: rows of the positions below n_positions, which is at most
 * max_position_embeddings, so that they are those of any sequence not longer than that. */
struct lrl_rope_kept {
  int64_t n_positions;
  const float *cos, *sin; /* [n_positions, head_dim/2], of an arena */
};
/* Room for them is taken from the tape's arena. */
lrl_status lrl_rope_keep(struct lrl_tape *tape, const struct lrl_rope_config *cfg,
                         int64_t n_positions, struct lrl_rope_kept *out);

/* Tables for the packed sequences of `layout`, in the tape's step memory; out->positions[t] is the
 * row of token t. All in float32 in the order of the original. Dynamic NTK is a pure function of
 * the length of the longest sequence of a family (a prompt and what continues it), unlike the
 * original, whose tables stick after a long sequence (SPEC 10.7). `positions` [n_tokens] overrides
 * the layout's position ids when not NULL. kept (may be NULL) is used where it goes far enough. */
lrl_status lrl_rope_tables(struct lrl_tape *tape, const struct lrl_rope_config *cfg,
                           const struct lrl_layout *layout, const int32_t *positions,
                           const struct lrl_rope_kept *kept, struct lrl_rope *out);

#ifdef __cplusplus
}
#endif
#endif
