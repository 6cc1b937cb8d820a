#include "kernels/layout.h"

lrl_status lrl_layout_check(const struct lrl_layout *l) {
  int64_t next = 0;
  for (int64_t s = 0; s < l->n_seqs; s++) {
    if (l->start[s] != next || l->length[s] < 0)
      return LRL_FAIL(LRL_ERR_SHAPE,
                      "layout: sequence %lld starts at %d with length %d, expected %lld",
                      (long long)s, l->start[s], l->length[s], (long long)next);
    next += l->length[s];
    int32_t p = l->parent == NULL ? -1 : l->parent[s];
    if (p >= s || p < -1 || (p >= 0 && l->parent[p] != -1))
      return LRL_FAIL(LRL_ERR_SHAPE, "layout: sequence %lld cannot continue sequence %d",
                      (long long)s, p);
  }
  if (next != l->n_tokens)
    return LRL_FAIL(LRL_ERR_SHAPE, "layout: sequences hold %lld tokens, the tensors %lld",
                    (long long)next, (long long)l->n_tokens);
  return LRL_OK;
}
