/* How large micro-batches can get, before the first is made. */
#include "data/batch_build.h"

#include <math.h>

/* Images of pair i in the batch, and the tiles of the distinct ones. */
static void count_images(const struct lrl_batch_builder *b, const struct lrl_corpus_pair *p,
                         int64_t *n_images, int64_t *n_tiles) {
  *n_images = *n_tiles = 0;
  for (int64_t k = 0; k < p->n_spans && !b->withhold_images; k++) {
    const struct lrl_corpus_span *s = &p->spans[k];
    int64_t first = 0;
    while (p->spans[first].image != s->image)
      first++;
    *n_images += s->seq == 0 && !b->share_prefix ? 2 : 1;
    *n_tiles += first == k ? 1 + (int64_t)s->rows * s->cols : 0;
  }
}

/* A batch of full size has at most max_tokens times the most tiles a token. */
struct lrl_batch_bounds lrl_batch_builder_bounds(const struct lrl_batch_builder *b,
                                                 const struct lrl_corpus *c, int64_t max_pairs,
                                                 int64_t max_tokens) {
  struct lrl_batch_bounds most = {0}; /* of one pair */
  double density = 0;                 /* tiles a token */
  int64_t least = INT64_MAX;          /* tokens of a pair */
  for (int64_t i = 0; i < lrl_corpus_n_pairs(c); i++) {
    struct lrl_corpus_pair p;
    int64_t n_images, n_tiles, cost = lrl_batch_pair_cost(b, c, i);
    lrl_corpus_get(c, i, &p);
    count_images(b, &p, &n_images, &n_tiles);
    cost = cost > 0 ? cost : 1;
    least = cost < least ? cost : least;
    density = fmax(density, (double)n_tiles / (double)cost);
    most.n_tokens = cost > most.n_tokens ? cost : most.n_tokens;
    most.n_images = n_images > most.n_images ? n_images : most.n_images;
    most.n_tiles = n_tiles > most.n_tiles ? n_tiles : most.n_tiles;
  }
  if (max_tokens <= 0)
    return (struct lrl_batch_bounds){.n_tokens = most.n_tokens, .n_pairs = max_pairs};
  const int64_t limit = max_tokens > most.n_tokens ? max_tokens : most.n_tokens,
                fit = limit / least > 1 ? limit / least : 1, n = fit < max_pairs ? fit : max_pairs,
                dense = (int64_t)(density * (double)limit);
  return (struct lrl_batch_bounds){
      .n_pairs = n,
      .n_tokens = limit < n * most.n_tokens ? limit : n * most.n_tokens,
      .n_images = n * most.n_images,
      .n_tiles = dense < n * most.n_tiles ? (dense > most.n_tiles ? dense : most.n_tiles)
                                          : n * most.n_tiles};
}
