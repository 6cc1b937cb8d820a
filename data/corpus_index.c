#include "data/corpus_build_impl.h"

#include <stdlib.h>
#include <string.h>

void lrl_corpus_index_free(struct lrl_corpus_index *x) {
  free(x->rows);
  free(x->keys);
}

static void index_put(struct lrl_corpus_index *x, uint32_t key, int64_t row) {
  int64_t at = (int64_t)key & (x->cap - 1);
  while (x->rows[at] >= 0)
    at = (at + 1) & (x->cap - 1);
  x->rows[at] = row;
  x->keys[at] = key;
}

lrl_status lrl_corpus_index_add(struct lrl_corpus_index *x, uint32_t key, int64_t row) {
  if (2 * (x->n + 1) > x->cap) {
    struct lrl_corpus_index old = *x;
    x->cap = old.cap == 0 ? 256 : 2 * old.cap;
    x->rows = malloc((size_t)x->cap * sizeof *x->rows);
    x->keys = malloc((size_t)x->cap * sizeof *x->keys);
    if (x->rows == NULL || x->keys == NULL) {
      lrl_corpus_index_free(x);
      *x = old;
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for an index of %lld rows", (long long)old.n);
    }
    memset(x->rows, 0xff, (size_t)x->cap * sizeof *x->rows);
    for (int64_t i = 0; i < old.cap; i++)
      if (old.rows[i] >= 0)
        index_put(x, old.keys[i], old.rows[i]);
    lrl_corpus_index_free(&old);
  }
  index_put(x, key, row);
  x->n++;
  return LRL_OK;
}

int64_t lrl_corpus_index_next(const struct lrl_corpus_index *x, uint32_t key, int64_t *at) {
  if (x->cap == 0)
    return -1;
  *at = *at < 0 ? (int64_t)key & (x->cap - 1) : (*at + 1) & (x->cap - 1);
  for (; x->rows[*at] >= 0; *at = (*at + 1) & (x->cap - 1))
    if (x->keys[*at] == key)
      return x->rows[*at];
  return -1;
}
