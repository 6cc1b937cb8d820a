#include "model/rope.h"

#include <math.h>

static void fill(const struct lrl_rope_config *c, double base, int64_t n, float *cos_out,
                 float *sin_out) {
  int64_t half = c->head_dim / 2;
  for (int64_t i = 0; i < half; i++) {
    float inv_freq = 1.0f / powf((float)base, (float)(2 * i) / (float)c->head_dim);
    for (int64_t p = 0; p < n; p++) {
      float t = (float)p;
      if (c->scaling == LRL_ROPE_LINEAR)
        t /= (float)c->factor;
      float angle = t * inv_freq;
      cos_out[p * half + i] = cosf(angle);
      sin_out[p * half + i] = sinf(angle);
    }
  }
}

static int64_t family_of(const struct lrl_layout *l, int64_t s) {
  return l->parent != NULL && l->parent[s] >= 0 ? l->parent[s] : s;
}

lrl_status lrl_rope_tables(struct lrl_tape *tape, const struct lrl_rope_config *cfg,
                           const struct lrl_layout *layout, const int32_t *positions,
                           struct lrl_rope *out) {
  int64_t n_seqs = layout->n_seqs, half = cfg->head_dim / 2;
  int32_t *row = lrl_tape_alloc(tape, (size_t)layout->n_tokens * sizeof *row);
  int32_t *extent = lrl_tape_alloc(tape, (size_t)n_seqs * sizeof *extent);
  int64_t *first_row = lrl_tape_alloc(tape, (size_t)n_seqs * sizeof *first_row);
  if (tape->status != LRL_OK)
    return tape->status;
  for (int64_t s = 0; s < n_seqs; s++)
    extent[s] = 0;
  for (int64_t s = 0; s < n_seqs; s++) {
    int32_t first = lrl_layout_first_pos(layout, s);
    int64_t f = family_of(layout, s);
    for (int64_t i = 0; i < layout->length[s]; i++) {
      int64_t t = layout->start[s] + i;
      row[t] = positions != NULL ? positions[t] : first + (int32_t)i;
      if (row[t] < 0)
        return LRL_FAIL(LRL_ERR_ARG, "token %lld has the negative position %d", (long long)t,
                        row[t]);
      extent[f] = row[t] + 1 > extent[f] ? row[t] + 1 : extent[f];
    }
  }
  /* One shared table for unscaled families, one of its own for each that outgrew the trained
   * length. */
  int64_t shared = 0, rows = 0;
  bool dynamic = cfg->scaling == LRL_ROPE_DYNAMIC;
  for (int64_t s = 0; s < n_seqs; s++)
    if (!(dynamic && extent[s] > cfg->max_position_embeddings) && extent[s] > shared)
      shared = extent[s];
  rows = shared;
  for (int64_t s = 0; s < n_seqs; s++) {
    first_row[s] = 0;
    if (dynamic && extent[s] > cfg->max_position_embeddings) {
      first_row[s] = rows;
      rows += extent[s];
    }
  }
  float *c = lrl_tape_alloc(tape, (size_t)(rows * half) * sizeof *c);
  float *sn = lrl_tape_alloc(tape, (size_t)(rows * half) * sizeof *sn);
  if (tape->status != LRL_OK)
    return tape->status;
  fill(cfg, cfg->theta, shared, c, sn);
  double d = (double)cfg->head_dim, m = (double)cfg->max_position_embeddings;
  for (int64_t s = 0; s < n_seqs; s++) {
    if (first_row[s] > 0 || (dynamic && extent[s] > cfg->max_position_embeddings)) {
      double grow = cfg->factor * (double)extent[s] / m - (cfg->factor - 1.0);
      fill(cfg, cfg->theta * pow(grow, d / (d - 2.0)), extent[s], c + first_row[s] * half,
           sn + first_row[s] * half);
    }
    int64_t offset = first_row[family_of(layout, s)];
    for (int64_t i = 0; i < layout->length[s]; i++)
      row[layout->start[s] + i] += (int32_t)offset;
  }
  *out = (struct lrl_rope){.n_positions = rows, .cos = c, .sin = sn, .positions = row};
  return LRL_OK;
}
