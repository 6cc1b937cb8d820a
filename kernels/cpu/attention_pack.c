/* Blocks and tiles of the CPU attention (attention_tile.h). */
#include "kernels/cpu/attention_tile.h"

#include <omp.h>

lrl_status CPU_FN(att_plan)(struct lrl_ctx *ctx, const struct lrl_layout *layout, int64_t head_dim,
                            lrl_dtype dtype, struct att_plan *plan) {
  int64_t n = 0;
  for (int64_t s = 0; s < layout->n_seqs; s++)
    n += (layout->length[s] + ATT_BLOCK - 1) / ATT_BLOCK;
  struct att_plan p = {.layout = layout, .n_blocks = n, .d = head_dim, .dtype = dtype};
  p.dp = (head_dim + ATT_PANEL - 1) / ATT_PANEL * ATT_PANEL;
  p.tile = ATT_BLOCK * p.dp;
#if LRL_ISA_AVX512
  p.half = dtype == LRL_BF16;
#endif
  p.elem = p.half ? 2 : 4;
  p.n_threads = ctx->n_threads > 0 ? ctx->n_threads : omp_get_max_threads();
  p.block = lrl_arena_alloc(&ctx->scratch, (size_t)n * sizeof *p.block);
  p.first = lrl_arena_alloc(&ctx->scratch, (size_t)(layout->n_seqs + 1) * sizeof *p.first);
  if (p.block == NULL || p.first == NULL)
    return LRL_ERR_MEMORY;
  int64_t b = 0;
  for (int64_t s = 0; s < layout->n_seqs; s++) {
    p.first[s] = b;
    for (int64_t at = 0; at < layout->length[s]; at += ATT_BLOCK, b++) {
      int64_t left = layout->length[s] - at;
      p.block[b] = (struct att_block){.seq = (int32_t)s,
                                      .n = (int32_t)(left < ATT_BLOCK ? left : ATT_BLOCK),
                                      .row = layout->start[s] + at,
                                      .pos = at};
    }
  }
  p.first[layout->n_seqs] = b;
  *plan = p;
  return LRL_OK;
}

/* Index of (token t, dimension i) in a tile; pairs of k share a word when tiles are bf16. */
ATT_INLINE int64_t tile_index(const struct att_plan *p, enum att_pack layout, int64_t t,
                              int64_t i) {
  switch (layout) {
  case ATT_ROWMAJOR:
    return t * p->dp + i;
  case ATT_TURNED:
    return i * ATT_BLOCK + t;
  case ATT_BY_TOKEN: {
    int64_t at = t / ATT_PANEL * p->dp * ATT_PANEL, lane = t % ATT_PANEL;
    return p->half ? at + (i / 2 * ATT_PANEL + lane) * 2 + i % 2 : at + i * ATT_PANEL + lane;
  }
  default: {
    int64_t at = i / ATT_PANEL * ATT_BLOCK * ATT_PANEL, lane = i % ATT_PANEL;
    return p->half ? at + (t / 2 * ATT_PANEL + lane) * 2 + t % 2 : at + t * ATT_PANEL + lane;
  }
  }
}

ATT_INLINE void pack(const struct att_plan *p, enum att_pack layout, const void *x, int64_t ld,
                     int64_t n, void *tile) {
  if (n < ATT_BLOCK || p->d < p->dp)
    memset(tile, 0, (size_t)(p->tile * p->elem));
  for (int64_t t = 0; t < n; t++)
    for (int64_t i = 0; i < p->d; i++) {
      int64_t to = tile_index(p, layout, t, i);
      if (p->half)
        ((uint16_t *)tile)[to] = ((const uint16_t *)x)[t * ld + i];
      else
        ((float *)tile)[to] = att_get(p, x, t * ld + i);
    }
}

void CPU_FN(att_pack)(const struct att_plan *p, enum att_pack layout, const void *x, int64_t ld,
                      int64_t n, void *tile) {
  switch (layout) {
  case ATT_ROWMAJOR:
    pack(p, ATT_ROWMAJOR, x, ld, n, tile);
    break;
  case ATT_TURNED:
    pack(p, ATT_TURNED, x, ld, n, tile);
    break;
  case ATT_BY_TOKEN:
    pack(p, ATT_BY_TOKEN, x, ld, n, tile);
    break;
  default:
    pack(p, ATT_BY_DIM, x, ld, n, tile);
  }
}
