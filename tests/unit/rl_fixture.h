/* Random responses for the RL tests: sequences of 0 to 12 tokens, about a quarter of the tokens
 * masked, every array NaN where masked. */
#ifndef LRL_TESTS_RL_FIXTURE_H
#define LRL_TESTS_RL_FIXTURE_H
#include "kernels/backend.h"
#include "kernels/philox.h"
#include "train/loss_weight.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQS = 40, LONGEST = 12, MOST = SEQS * LONGEST };

struct batch {
  struct lrl_layout layout;
  int32_t start[SEQS], length[SEQS];
  uint8_t mask[MOST];
  float logprobs[MOST], old[MOST], ref[MOST], adv[MOST], entropy[MOST];
  float values[MOST], old_values[MOST], returns[MOST], rewards[MOST];
  float weight[SEQS];
};

static inline void rl_fill(struct lrl_rng *r, const struct batch *b, float *x, double mean,
                           double std) {
  for (int64_t t = 0; t < b->layout.n_tokens; t++) {
    const float v = (float)(mean + std * (double)lrl_rng_normal(r));
    x[t] = b->mask[t] != 0 ? v : NAN;
  }
}
static inline void rl_point(struct batch *b) {
  b->layout.start = b->start;
  b->layout.length = b->length;
}
static inline void rl_make(struct batch *b, uint64_t seed) {
  struct lrl_rng r = lrl_rng_make(seed, LRL_RNG_TEST, 0);
  memset(b, 0, sizeof *b);
  rl_point(b);
  b->layout.n_seqs = SEQS;
  for (int s = 0; s < SEQS; s++) {
    b->start[s] = (int32_t)b->layout.n_tokens;
    b->length[s] = (int32_t)lrl_rng_below(&r, LONGEST + 1);
    for (int t = 0; t < b->length[s]; t++)
      b->mask[b->layout.n_tokens++] = lrl_rng_below(&r, 4) != 0;
  }
  rl_fill(&r, b, b->logprobs, -1.5, 0.7);
  rl_fill(&r, b, b->old, -1.5, 0.7);
  rl_fill(&r, b, b->ref, -1.5, 0.7);
  rl_fill(&r, b, b->adv, 0.0, 1.0);
  rl_fill(&r, b, b->entropy, 1.0, 0.1);
  rl_fill(&r, b, b->values, 0.0, 1.0);
  rl_fill(&r, b, b->old_values, 0.0, 1.0);
  rl_fill(&r, b, b->returns, 0.0, 1.0);
  rl_fill(&r, b, b->rewards, 0.0, 1.0);
}
/* Sequences `order[0..n)` of a, in that order. */
static inline void rl_pick(const struct batch *a, const int *order, int n, struct batch *b) {
  memset(b, 0, sizeof *b);
  rl_point(b);
  b->layout.n_seqs = n;
  for (int i = 0; i < n; i++) {
    const int64_t from = a->start[order[i]], count = a->length[order[i]], to = b->layout.n_tokens;
    b->start[i] = (int32_t)to;
    b->length[i] = (int32_t)count;
    b->weight[i] = a->weight[order[i]];
    b->layout.n_tokens += count;
    for (int64_t t = 0; t < count; t++) {
      b->mask[to + t] = a->mask[from + t];
      b->logprobs[to + t] = a->logprobs[from + t];
      b->old[to + t] = a->old[from + t];
      b->ref[to + t] = a->ref[from + t];
      b->adv[to + t] = a->adv[from + t];
      b->entropy[to + t] = a->entropy[from + t];
      b->values[to + t] = a->values[from + t];
      b->old_values[to + t] = a->old_values[from + t];
      b->returns[to + t] = a->returns[from + t];
      b->rewards[to + t] = a->rewards[from + t];
    }
  }
}
static inline void rl_near(double got, double want, double tol) {
  if (!(fabs(got - want) <= tol * fmax(1.0, fabs(want))))
    fail_msg("got %.9g, expected %.9g within %g", got, want, tol);
}
static inline void rl_near_all(const float *got, const double *want, int n, double tol) {
  for (int i = 0; i < n; i++)
    if (!(fabs((double)got[i] - want[i]) <= tol * fmax(1.0, fabs(want[i]))))
      fail_msg("element %d: got %.9g, expected %.9g within %g", i, (double)got[i], want[i], tol);
}
static inline struct lrl_layout rl_one(const int32_t *zero, const int32_t *n) {
  return (struct lrl_layout){*n, 1, zero, n, NULL, NULL};
}
#endif
