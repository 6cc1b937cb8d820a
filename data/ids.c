#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static lrl_status reserve(struct lrl_ids *ids, int64_t more) {
  int64_t need = ids->n + more;
  if (need <= ids->cap)
    return LRL_OK;
  int64_t cap = ids->cap * 2 > need ? ids->cap * 2 : need + 16;
  int32_t *p = realloc(ids->data, (size_t)cap * sizeof *p);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld token ids", (long long)cap);
  ids->data = p;
  ids->cap = cap;
  return LRL_OK;
}

lrl_status lrl_ids_push(struct lrl_ids *ids, int32_t id) { return lrl_ids_fill(ids, id, 1); }

lrl_status lrl_ids_append(struct lrl_ids *ids, const int32_t *from, int64_t n) {
  LRL_TRY(reserve(ids, n));
  if (n > 0)
    memcpy(ids->data + ids->n, from, (size_t)n * sizeof *from);
  ids->n += n;
  return LRL_OK;
}

lrl_status lrl_ids_fill(struct lrl_ids *ids, int32_t id, int64_t n) {
  LRL_TRY(reserve(ids, n));
  for (int64_t i = 0; i < n; i++)
    ids->data[ids->n++] = id;
  return LRL_OK;
}

void lrl_ids_free(struct lrl_ids *ids) {
  free(ids->data);
  *ids = (struct lrl_ids){0};
}
