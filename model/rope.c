#include "model/rope.h"

#include <math.h>

/* Rows for the positions first, first + 1, ... */
static void fill(const struct lrl_rope_config *c, double base, int64_t first, int64_t n,
                 float *cos_out, float *sin_out) {
  int64_t half = c->head_dim / 2;
  for (int64_t i = 0; i < half; i++) {
    float inv_freq = 1.0f / powf((float)base, (float)(2 * i) / (float)c->head_dim);
    for (int64_t p = 0; p < n; p++) {
      float t = (float)(first + p);
      if (c->scaling == LRL_ROPE_LINEAR)
        t /= (float)c->factor;
      float angle = t * inv_freq;
      cos_out[p * half + i] = cosf(angle);
      sin_out[p * half + i] = sinf(angle);
    }
  }
}

/* Whether a sequence of `extent` positions has a table of its own. */
static bool outgrown(const struct lrl_rope_config *c, int64_t extent) {
  return c->scaling == LRL_ROPE_DYNAMIC && extent > c->max_position_embeddings;
}

static double base_of(const struct lrl_rope_config *c, int64_t extent) {
  double d = (double)c->head_dim, m = (double)c->max_position_embeddings;
  if (!outgrown(c, extent))
    return c->theta;
  double grow = c->factor * (double)extent / m - (c->factor - 1.0);
  return c->theta * pow(grow, d / (d - 2.0));
}

static int64_t family_of(const struct lrl_layout *l, int64_t s) {
  return l->parent != NULL && l->parent[s] >= 0 ? l->parent[s] : s;
}

/* Tables of `rows` rows, on the host until settle(). */
struct tables {
  int64_t rows;
  float *cos, *sin, *host_cos, *host_sin;
  size_t mark;
};
static lrl_status make_tables(struct lrl_tape *tape, int64_t rows, int64_t half,
                              struct tables *out) {
  const size_t bytes = (size_t)(rows * half) * sizeof(float);
  *out = (struct tables){.rows = rows};
  out->cos = lrl_tape_alloc(tape, bytes);
  out->sin = lrl_tape_alloc(tape, bytes);
  out->mark = lrl_arena_mark(tape->arena);
  out->host_cos = lrl_tape_host(tape, bytes);
  out->host_sin = lrl_tape_host(tape, bytes);
  return tape->status;
}
static void settle(struct lrl_tape *tape, struct tables *t, int64_t half) {
  const size_t bytes = (size_t)(t->rows * half) * sizeof(float);
  lrl_move(tape->ctx, t->cos, t->host_cos, bytes);
  lrl_move(tape->ctx, t->sin, t->host_sin, bytes);
  lrl_arena_reset(tape->arena, t->mark);
}

lrl_status lrl_rope_keep(struct lrl_tape *tape, const struct lrl_rope_config *cfg,
                         int64_t n_positions, struct lrl_rope_kept *out) {
  const int64_t most = cfg->max_position_embeddings, n = n_positions < most ? n_positions : most;
  struct tables t;
  LRL_TRY(make_tables(tape, n, cfg->head_dim / 2, &t));
  fill(cfg, cfg->theta, 0, n, t.host_cos, t.host_sin);
  settle(tape, &t, cfg->head_dim / 2);
  *out = (struct lrl_rope_kept){n, t.cos, t.sin};
  return LRL_OK;
}

/* row[t]: the position of token t; extent[f]: how far family f goes. */
static lrl_status list_positions(const struct lrl_layout *layout, const int32_t *positions,
                                 int32_t *row, int32_t *extent) {
  for (int64_t s = 0; s < layout->n_seqs; s++)
    extent[s] = 0;
  for (int64_t s = 0; s < layout->n_seqs; s++) {
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
  return LRL_OK;
}

lrl_status lrl_rope_tables(struct lrl_tape *tape, const struct lrl_rope_config *cfg,
                           const struct lrl_layout *layout, const int32_t *positions,
                           const struct lrl_rope_kept *kept, struct lrl_rope *out) {
  int64_t n_seqs = layout->n_seqs, half = cfg->head_dim / 2, longest = 0;
  int32_t *row = lrl_tape_host(tape, (size_t)layout->n_tokens * sizeof *row);
  int32_t *extent = lrl_tape_host(tape, (size_t)n_seqs * sizeof *extent);
  int64_t *first_row = lrl_tape_host(tape, (size_t)n_seqs * sizeof *first_row);
  struct tables table;
  if (tape->status != LRL_OK)
    return tape->status;
  LRL_TRY(list_positions(layout, positions, row, extent));
  /* One shared table for unscaled families, one of its own for each that outgrew the trained
   * length. */
  int64_t shared = 0, rows = 0;
  for (int64_t s = 0; s < n_seqs; s++) {
    longest = extent[s] > longest ? extent[s] : longest;
    if (!outgrown(cfg, extent[s]) && extent[s] > shared)
      shared = extent[s];
  }
  if (kept != NULL && longest <= kept->n_positions) {
    *out = (struct lrl_rope){kept->n_positions, kept->cos, kept->sin, row};
    return LRL_OK;
  }
  rows = shared;
  for (int64_t s = 0; s < n_seqs; s++) {
    first_row[s] = outgrown(cfg, extent[s]) ? rows : 0;
    rows += outgrown(cfg, extent[s]) ? extent[s] : 0;
  }
  bool by_token = layout->n_tokens < rows; /* decoding: few tokens at high positions */
  LRL_TRY(make_tables(tape, by_token ? layout->n_tokens : rows, half, &table));
  float *c = table.host_cos, *sn = table.host_sin;
  if (!by_token)
    fill(cfg, cfg->theta, 0, shared, c, sn);
  for (int64_t s = 0; s < n_seqs; s++) {
    int64_t f = family_of(layout, s), end = layout->start[s] + layout->length[s];
    if (!by_token && outgrown(cfg, extent[s]))
      fill(cfg, base_of(cfg, extent[s]), 0, extent[s], c + first_row[s] * half,
           sn + first_row[s] * half);
    for (int64_t t = layout->start[s]; t < end; t++) {
      if (by_token)
        fill(cfg, base_of(cfg, extent[f]), row[t], 1, c + t * half, sn + t * half);
      row[t] = by_token ? (int32_t)t : row[t] + (int32_t)first_row[f];
    }
  }
  settle(tape, &table, half);
  *out = (struct lrl_rope){table.rows, table.cos, table.sin, row};
  return LRL_OK;
}
