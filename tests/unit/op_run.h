/* What a case of tests/unit/op_cases.h runs in: operands come from a fixed stream, outputs start as
 * NaN between guard bands. The same case with the same sizes always gets the same inputs, and in an
 * f32 run with `values` bf16 the same numbers as in a bf16 run: the oracle's outputs are not
 * rounded. */
#ifndef LRL_TESTS_OP_RUN_H
#define LRL_TESTS_OP_RUN_H
#include "kernels/backend.h"
#include "kernels/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 64, GUARD = 64 };

struct buffer {
  lrl_dtype dtype;
  int64_t n;
  bool output;
  char *memory; /* GUARD bytes, the elements, GUARD bytes */
  const struct lrl_arena_source *source;
};

struct op_run {
  struct lrl_ctx *ctx, *ref; /* under test; the oracle, for the inputs of backward ops */
  uint64_t seed;
  lrl_dtype dtype, values; /* of the tensors; what their inputs are rounded to */
  int64_t n, w;

  int n_buffers;
  struct buffer buffers[MAX_BUFFERS];
};

/* Memory that the device under test reaches, with bounds of its own where a checker watches them.
 */
static inline char *take(const struct op_run *r, size_t bytes) {
  const struct lrl_arena_source *source = r->ctx->backend->memory;
  return source != NULL ? source->reserve(&bytes) : malloc(bytes);
}
static inline void give_back(struct buffer *b) {
  if (b->source != NULL)
    b->source->release(b->memory, 0);
  else
    free(b->memory);
}

static inline void *add_buffer(struct op_run *r, lrl_dtype t, int64_t n, bool output) {
  if (r->n_buffers == MAX_BUFFERS)
    abort(); /* the case needs a larger MAX_BUFFERS */
  struct buffer *b = &r->buffers[r->n_buffers++];
  const size_t bytes = (size_t)(n * lrl_dtype_bytes(t));
  *b = (struct buffer){t, n, output, take(r, bytes + 2 * GUARD), r->ctx->backend->memory};
  memset(b->memory, 0xff, bytes + 2 * GUARD); /* NaN in every float type */
  return b->memory + GUARD;
}
/* An output nothing may read. */
static inline void *out(struct op_run *r, lrl_dtype t, int64_t n) {
  return add_buffer(r, t, n, true);
}
static inline void put(lrl_dtype t, void *p, int64_t i, float x) {
  if (t == LRL_BF16)
    ((uint16_t *)p)[i] = lrl_f32_to_bf16(x);
  else
    ((float *)p)[i] = x;
}
static inline double get(lrl_dtype t, const void *p, int64_t i) {
  if (t == LRL_BF16)
    return (double)lrl_bf16_to_f32(((const uint16_t *)p)[i]);
  return t == LRL_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}
/* Normal numbers: number i of a buffer of a run. From a table, since making them took half the
 * time. */
static inline float number(const struct op_run *r, int64_t i) {
  enum { N = 65521 }; /* prime */
  static float table[N];
  static bool made;
  struct lrl_rng g = lrl_rng_make(7, LRL_RNG_TEST, 0);
  for (int k = 0; k < N && !made; k++)
    table[k] = lrl_rng_normal(&g);
  made = true;
  return table[(r->seed * 12289 + (uint64_t)r->n_buffers * 7919 + (uint64_t)i) % N];
}
/* Numbers of type `values`: an input, or an output that is accumulated into. */
static inline void *filled(struct op_run *r, lrl_dtype t, lrl_dtype values, int64_t n,
                           bool output) {
  void *p = add_buffer(r, t, n, output);
  for (int64_t i = 0; i < n; i++) {
    const float x = number(r, i);
    put(t, p, i, values == LRL_BF16 ? lrl_bf16_to_f32(lrl_f32_to_bf16(x)) : x);
  }
  return p;
}
/* Indices in [lo, hi). */
static inline int32_t *ids(struct op_run *r, int64_t n, int64_t lo, int64_t hi) {
  int32_t *p = add_buffer(r, LRL_I32, n, false);
  struct lrl_rng g = lrl_rng_make(r->seed + 1, LRL_RNG_TEST, (uint64_t)r->n_buffers);
  for (int64_t i = 0; i < n; i++)
    p[i] = (int32_t)(lo + (int64_t)lrl_rng_below(&g, (uint64_t)(hi - lo)));
  return p;
}
/* About three live elements of four. */
static inline uint8_t *mask(struct op_run *r, int64_t n) {
  uint8_t *p = add_buffer(r, LRL_U8, n, false);
  struct lrl_rng g = lrl_rng_make(r->seed + 2, LRL_RNG_TEST, (uint64_t)r->n_buffers);
  for (int64_t i = 0; i < n; i++)
    p[i] = lrl_rng_below(&g, 4) != 0;
  return p;
}
/* n tokens as a prompt with two children and, behind them, a sequence alone. */
static inline void split(struct lrl_layout *l, int32_t arrays[12], int64_t n) {
  const int32_t q = (int32_t)(n / 4), len[4] = {(int32_t)n - 3 * q, q, q, q};
  const int32_t parent[4] = {-1, 0, 0, -1};
  for (int s = 0, at = 0; s < 4; at += len[s], s++) {
    arrays[s] = at;
    arrays[4 + s] = len[s];
    arrays[8 + s] = parent[s];
  }
  *l = (struct lrl_layout){n, 4, arrays, arrays + 4, arrays + 8, NULL};
}
#endif
