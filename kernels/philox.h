/* Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A draw is a pure function
 * of (seed, purpose, index, k): never of time, thread, rank or batch slot, so results survive
 * resuming, re-batching and a different number of ranks. */
#ifndef LRL_PHILOX_H
#define LRL_PHILOX_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* What a draw is for; two purposes never share a stream. Append only: the values are part of what a
 * seed means. */
enum lrl_rng_purpose {
  LRL_RNG_INIT = 1,
  LRL_RNG_SHUFFLE = 2,
  LRL_RNG_MIXTURE = 3,
  LRL_RNG_SYNTH = 4,
  LRL_RNG_DROPOUT = 5,
  LRL_RNG_SAMPLE = 6,
  LRL_RNG_TEST = 7,
  LRL_RNG_MINIBATCH = 8,
  LRL_RNG_STORIES = 9,
};

/* out[4] = block `k` of stream (seed, purpose, index). */
void lrl_philox(uint64_t seed, uint32_t purpose, uint64_t index, uint32_t k, uint32_t out[4]);

/* A sequential reader over one stream; zero-cost to copy, plain data. */
struct lrl_rng {
  uint64_t seed, index;
  uint32_t purpose, k, used, buf[4];
};
struct lrl_rng lrl_rng_make(uint64_t seed, uint32_t purpose, uint64_t index);
uint32_t lrl_rng_u32(struct lrl_rng *r);
uint64_t lrl_rng_u64(struct lrl_rng *r);
/* Uniform in [0, n), unbiased (Lemire's rejection). n >= 1. */
uint64_t lrl_rng_below(struct lrl_rng *r, uint64_t n);
/* Uniform in [0, 1) with 24 bits. */
float lrl_rng_uniform(struct lrl_rng *r);
/* Standard normal (Box-Muller, float64 inside). */
float lrl_rng_normal(struct lrl_rng *r);
/* Fisher-Yates. */
void lrl_rng_shuffle(struct lrl_rng *r, int64_t *items, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
