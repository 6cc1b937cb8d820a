/* Which pairs a step takes: a pure function of (seed, step), so that resuming, another number of
 * ranks or of loader threads changes nothing. */
#ifndef LRL_DATA_ORDER_H
#define LRL_DATA_ORDER_H
#include "data/corpus.h"

enum lrl_order_kind {
  LRL_ORDER_SEQUENTIAL,   /* one pass, as in the corpus; evaluation */
  LRL_ORDER_SHUFFLE,      /* each epoch a permutation of the mixture's pairs; steps run on over the
                             end of an epoch */
  LRL_ORDER_PROPORTIONAL, /* draws with replacement: a source by its share, then a pair */
  LRL_ORDER_OFFICIAL,     /* the same, in runs of one kind: multimodal, multimodal, text, and again
                             (SPEC 5.7); where one kind is missing, the other is drawn */
};

struct lrl_order_options {
  enum lrl_order_kind kind;
  uint64_t seed;
  int64_t batch_pairs; /* of a step, over all ranks */
  /* A source has the share n^(1/temperature) / sum of n^(1/temperature) of an epoch, which stays as
   * long; n: its pairs in one, see below. 1, or 0: n itself; large: all sources alike (mT5, section
   * 3.1). Not in sequential order. */
  double temperature;
  int64_t run_pairs; /* pairs of a run in official order, over all ranks; 0: a step */
};

struct lrl_order;
/* LRL_ERR_ARG when there are no pairs, or no batch. The corpus must outlive the order. Free with
 * lrl_order_destroy. */
lrl_status lrl_order_create(const struct lrl_corpus *c, const struct lrl_order_options *options,
                            struct lrl_order **out);
void lrl_order_destroy(struct lrl_order *o);
/* Pairs of an epoch: of each source number*1000 or number*size, or all of it (SPEC 5.7; a source
 * that is too small is topped up with replacement). */
int64_t lrl_order_epoch_pairs(const struct lrl_order *o);
/* Whole steps of an epoch, at least 1; in sequential order the last one may be short. */
int64_t lrl_order_epoch_steps(const struct lrl_order *o);
/* The pairs of a step into out[batch_pairs]; *n of them (0 behind the end in sequential order). */
lrl_status lrl_order_step(struct lrl_order *o, int64_t step, int64_t *out, int64_t *n);
#endif
