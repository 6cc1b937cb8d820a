/* Between data/corpus_build.c (files and settings), data/corpus_row.c (one pair or chat) and
 * data/corpus_index.c (finding equal ones). */
#ifndef LRL_DATA_CORPUS_BUILD_IMPL_H
#define LRL_DATA_CORPUS_BUILD_IMPL_H
#include "data/corpus.h"
#include "data/corpus_columns.h"

/* CRC-32 to rows; whoever asks compares. Starts from {0}. */
struct lrl_corpus_index {
  int64_t *rows; /* -1 = free; open addressing, a power of two of slots */
  uint32_t *keys;
  int64_t n, cap;
};
void lrl_corpus_index_free(struct lrl_corpus_index *x);
/* LRL_ERR_MEMORY leaves it as it was. */
lrl_status lrl_corpus_index_add(struct lrl_corpus_index *x, uint32_t key, int64_t row);
/* Next row with this key; *at starts as -1. -1 when there are no more. */
int64_t lrl_corpus_index_next(const struct lrl_corpus_index *x, uint32_t key, int64_t *at);

struct lrl_corpus_builder {
  const struct lrl_corpus_options *opt;
  struct lrl_corpus *c;
  struct lrl_corpus_index images, pairs;
  int32_t source;
  const char *image_root;
  int64_t n_rows, first_pair;
  bool multimodal;
  struct lrl_buffer counts, grids, indices; /* per image of the pair at hand */
};

/* Adds a row that data/pairs.h has read and checked, with its images, or sets it aside with what
 * is wrong with it. LRL_ERR_MEMORY. */
lrl_status lrl_corpus_add_row(struct lrl_corpus_builder *b, struct lrl_pair *p);
#endif
