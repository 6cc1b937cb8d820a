#include "data/order.h"

#include "kernels/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct lrl_order {
  const struct lrl_corpus *c;
  enum lrl_order_kind kind;
  uint64_t seed;
  int64_t batch, run, n_sources, total, cached_epoch;
  int64_t *count; /* [n_sources] pairs an epoch takes from each */
  int64_t *items; /* [total] the cached epoch */
  int64_t *pool;  /* scratch: one source's pairs */
};

static int64_t wanted(const struct lrl_corpus_source_info *s) {
  if (s->number <= 0 || s->n_kept == 0)
    return s->n_kept;
  double n = s->given_num ? s->number * 1000 : s->number * (double)s->n_kept;
  return (int64_t)llround(n);
}

/* Shares an epoch's pairs out anew. Rounding the running sum keeps their number. */
static void temper(struct lrl_order *o, double temperature) {
  double most = 1, sum = 0, at = 0;
  for (int64_t s = 0; s < o->n_sources; s++)
    most = fmax(most, (double)o->count[s]);
  for (int64_t s = 0; s < o->n_sources; s++)
    sum += pow((double)o->count[s] / most, 1 / temperature);
  for (int64_t s = 0, given = 0; s < o->n_sources; s++) {
    at += pow((double)o->count[s] / most, 1 / temperature);
    const int64_t end = (int64_t)llround(at / sum * (double)o->total);
    o->count[s] = end - given;
    given = end;
  }
}

lrl_status lrl_order_create(const struct lrl_corpus *c, const struct lrl_order_options *options,
                            struct lrl_order **out) {
  const enum lrl_order_kind kind = options->kind;
  *out = NULL;
  if (options->batch_pairs < 1)
    return LRL_FAIL(LRL_ERR_ARG, "a step needs at least one pair, not %lld",
                    (long long)options->batch_pairs);
  if (!(options->temperature >= 0) || options->run_pairs < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the temperature of a mixture and the pairs of a run must not be "
                                 "negative");
  struct lrl_order *o = calloc(1, sizeof *o);
  int64_t n_pairs = lrl_corpus_n_pairs(c), n_sources = lrl_corpus_n_sources(c);
  if (o == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the order of the pairs");
  *o = (struct lrl_order){.c = c,
                          .kind = kind,
                          .seed = options->seed,
                          .batch = options->batch_pairs,
                          .run = options->run_pairs > 0 ? options->run_pairs : options->batch_pairs,
                          .n_sources = n_sources,
                          .cached_epoch = -1};
  o->count = calloc((size_t)n_sources + 1, sizeof *o->count);
  o->pool = calloc((size_t)n_pairs + 1, sizeof *o->pool);
  for (int64_t s = 0; o->count != NULL && s < n_sources; s++) {
    struct lrl_corpus_source_info info;
    lrl_corpus_get_source(c, s, &info);
    o->count[s] = kind == LRL_ORDER_SEQUENTIAL ? info.n_kept : wanted(&info);
    o->total += o->count[s];
  }
  if (o->total > 0 && kind != LRL_ORDER_SEQUENTIAL && options->temperature > 0 &&
      options->temperature != 1)
    temper(o, options->temperature);
  if (kind == LRL_ORDER_SHUFFLE)
    o->items = calloc((size_t)o->total + 1, sizeof *o->items);
  lrl_status status = LRL_OK;
  if (o->count == NULL || o->pool == NULL || (kind == LRL_ORDER_SHUFFLE && o->items == NULL))
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for the order of %lld pairs", (long long)n_pairs);
  else if (o->total == 0)
    status = LRL_FAIL(LRL_ERR_ARG, "the corpus has no pairs to take: %lld kept, %lld set aside",
                      (long long)n_pairs, (long long)lrl_corpus_n_asides(c));
  if (status != LRL_OK) {
    lrl_order_destroy(o);
    return status;
  }
  *out = o;
  return LRL_OK;
}

void lrl_order_destroy(struct lrl_order *o) {
  if (o == NULL)
    return;
  free(o->count);
  free(o->items);
  free(o->pool);
  free(o);
}

int64_t lrl_order_epoch_pairs(const struct lrl_order *o) { return o->total; }

int64_t lrl_order_epoch_steps(const struct lrl_order *o) {
  if (o->kind == LRL_ORDER_SEQUENTIAL)
    return (o->total + o->batch - 1) / o->batch;
  return o->total < o->batch ? 1 : o->total / o->batch;
}

/* The permutation of an epoch: each source's share, then a shuffle of all. */
static void fill_epoch(struct lrl_order *o, int64_t epoch) {
  int64_t n = 0;
  for (int64_t s = 0; s < o->n_sources; s++) {
    struct lrl_corpus_source_info info;
    lrl_corpus_get_source(o->c, s, &info);
    struct lrl_rng r = lrl_rng_make(o->seed, LRL_RNG_MIXTURE, (uint64_t)(epoch * o->n_sources + s));
    for (int64_t i = 0; i < info.n_kept; i++)
      o->pool[i] = info.first_pair + i;
    if (o->count[s] < info.n_kept)
      lrl_rng_shuffle(&r, o->pool, info.n_kept);
    for (int64_t i = 0; i < o->count[s]; i++)
      o->items[n++] = i < info.n_kept
                          ? o->pool[i]
                          : info.first_pair + (int64_t)lrl_rng_below(&r, (uint64_t)info.n_kept);
  }
  struct lrl_rng r = lrl_rng_make(o->seed, LRL_RNG_SHUFFLE, (uint64_t)epoch);
  lrl_rng_shuffle(&r, o->items, n);
  o->cached_epoch = epoch;
}

static int64_t shuffled(struct lrl_order *o, int64_t g) {
  if (g / o->total != o->cached_epoch)
    fill_epoch(o, g / o->total);
  return o->items[g % o->total];
}

/* Draw number g: a source of the wanted kind (1 multimodal, 0 text, -1 any) by its share, then one
 * of its pairs. */
static int64_t drawn(const struct lrl_order *o, int64_t g, int kind) {
  struct lrl_corpus_source_info info;
  struct lrl_rng r = lrl_rng_make(o->seed, LRL_RNG_MIXTURE, (uint64_t)g);
  int64_t total = 0, s = 0;
  for (; s < o->n_sources; s++) {
    lrl_corpus_get_source(o->c, s, &info);
    total += kind < 0 || info.multimodal == (kind == 1) ? o->count[s] : 0;
  }
  if (total == 0)
    return drawn(o, g, -1);
  int64_t at = (int64_t)lrl_rng_below(&r, (uint64_t)total);
  for (s = 0; s < o->n_sources; s++) {
    lrl_corpus_get_source(o->c, s, &info);
    if (kind >= 0 && info.multimodal != (kind == 1))
      continue;
    if (at < o->count[s])
      break;
    at -= o->count[s];
  }
  return info.first_pair + (int64_t)lrl_rng_below(&r, (uint64_t)info.n_kept);
}

lrl_status lrl_order_step(struct lrl_order *o, int64_t step, int64_t *out, int64_t *n) {
  if (step < 0)
    return LRL_FAIL(LRL_ERR_ARG, "step %lld is negative", (long long)step);
  int64_t first = step * o->batch, count = o->batch;
  if (o->kind == LRL_ORDER_SEQUENTIAL)
    count = first >= o->total ? 0 : o->total - first < count ? o->total - first : count;
  for (int64_t b = 0; b < count; b++) {
    if (o->kind == LRL_ORDER_SEQUENTIAL)
      out[b] = first + b;
    else if (o->kind == LRL_ORDER_SHUFFLE)
      out[b] = shuffled(o, first + b);
    else
      out[b] = drawn(o, first + b,
                     o->kind == LRL_ORDER_PROPORTIONAL ? -1 : (first + b) / o->run % 3 < 2);
  }
  *n = count;
  return LRL_OK;
}
