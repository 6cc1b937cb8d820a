/* Packed sequences. Every activation in the program is [tokens, width] without padding; a layout
 * says which rows form which sequence. A sequence may continue a parent: it sees all of its
 * parent's tokens and, causally, its own. A preference pair is one prompt with two children, so the
 * prompt and its image tokens are computed once, exactly (DESIGN 3). */
#ifndef LRL_LAYOUT_H
#define LRL_LAYOUT_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_layout {
  int64_t n_tokens; /* rows of the packed tensors = sum of lengths */
  int64_t n_seqs;
  /* Arrays of n_seqs, caller-owned. Sequences are stored in order and contiguously: start[0] = 0,
   * start[s+1] = start[s] + length[s]. */
  const int32_t *start;
  const int32_t *length;    /* >= 0 */
  const int32_t *parent;    /* -1, or an earlier sequence whose own parent is -1; NULL = all -1 */
  const int32_t *first_pos; /* position of the first token; NULL = 0, or the parent's end */
};

/* Position id of the first token of sequence s. */
static inline int32_t lrl_layout_first_pos(const struct lrl_layout *l, int64_t s) {
  if (l->first_pos != NULL)
    return l->first_pos[s];
  int32_t p = l->parent == NULL ? -1 : l->parent[s];
  return p < 0 ? 0 : lrl_layout_first_pos(l, p) + l->length[p];
}

/* Refuses layouts that break the rules above. */
lrl_status lrl_layout_check(const struct lrl_layout *l);

#ifdef __cplusplus
}
#endif
#endif
