#include "kernels/philox.h"

#include <math.h>

void lrl_philox(uint64_t seed, uint32_t purpose, uint64_t index, uint32_t k, uint32_t out[4]) {
  uint32_t c[4] = {k, purpose, (uint32_t)index, (uint32_t)(index >> 32)};
  uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ key0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ key1;
    c[1] = (uint32_t)p1;
    c[3] = (uint32_t)p0;
    c[0] = n0;
    c[2] = n2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 4; i++)
    out[i] = c[i];
}

struct lrl_rng lrl_rng_make(uint64_t seed, uint32_t purpose, uint64_t index) {
  return (struct lrl_rng){.seed = seed, .index = index, .purpose = purpose, .used = 4};
}

uint32_t lrl_rng_u32(struct lrl_rng *r) {
  if (r->used == 4) {
    lrl_philox(r->seed, r->purpose, r->index, r->k++, r->buf);
    r->used = 0;
  }
  return r->buf[r->used++];
}

uint64_t lrl_rng_u64(struct lrl_rng *r) {
  uint64_t hi = lrl_rng_u32(r);
  return hi << 32 | lrl_rng_u32(r);
}

uint64_t lrl_rng_below(struct lrl_rng *r, uint64_t n) {
  uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
  do {
    x = lrl_rng_u64(r);
  } while (x >= limit);
  return x % n;
}

float lrl_rng_uniform(struct lrl_rng *r) { return (float)(lrl_rng_u32(r) >> 8) * 0x1p-24f; }

float lrl_rng_normal(struct lrl_rng *r) {
  double u = ((double)lrl_rng_u32(r) + 1.0) * 0x1p-32, v = (double)lrl_rng_u32(r) * 0x1p-32;
  return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

void lrl_rng_shuffle(struct lrl_rng *r, int64_t *items, int64_t n) {
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = (int64_t)lrl_rng_below(r, (uint64_t)i + 1), t = items[i];
    items[i] = items[j];
    items[j] = t;
  }
}
