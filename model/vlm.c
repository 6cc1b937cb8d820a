#include "model/vlm.h"

#include "model/param_build.h"

#include <string.h>

enum { PROJ_W1, PROJ_B1, PROJ_W2, PROJ_B2 };
enum { GN_SUB, GN_GLB };

static lrl_status build(struct lrl_vlm *m) {
  const struct lrl_vlm_config *c = &m->cfg;
  int64_t hidden = c->decoder.hidden_size, merged = 4 * c->vit.hidden_size;
  double range = c->decoder.initializer_range;
  if (c->has_vision) {
    LRL_TRY(lrl_vit_build(&m->vit, &c->vit, LRL_VLM_TOWER, &m->params, c->dtype, c->train_vision));
    if (c->vit.image_size % (2 * c->vit.patch_size) != 0)
      return LRL_FAIL(LRL_ERR_SHAPE, "a tile of %lld pixels is no multiple of two patches of %lld",
                      (long long)c->vit.image_size, (long long)c->vit.patch_size);
    /* The two GN vectors are rows 0 and 1 of one table, so they must be adjacent. */
    if (merged % 16 != 0)
      return LRL_FAIL(LRL_ERR_SHAPE, "the vision tower's width %lld is no multiple of 4",
                      (long long)c->vit.hidden_size);
    /* Nothing freezes them in the original: they train with the decoder (SPEC 5.2). */
    m->gn_unit = lrl_param_unit_add(&m->params, "plora_GN", c->dtype,
                                    c->train_decoder && c->decoder.lora_r == 0);
    lrl_param_add(&m->params, m->gn_unit, "plora_sub_GN", merged, 0, 0.0f);
    lrl_param_add(&m->params, m->gn_unit, "plora_glb_GN", merged, 0, 0.0f);
    m->projector_unit = lrl_param_unit_add(&m->params, "vision_proj", c->dtype, c->train_projector);
    lrl_param_add(&m->params, m->projector_unit, "vision_proj.0.weight", hidden, merged,
                  lrl_param_std(range, merged));
    lrl_param_add(&m->params, m->projector_unit, "vision_proj.0.bias", hidden, 0, 0.0f);
    lrl_param_add(&m->params, m->projector_unit, "vision_proj.2.weight", hidden, hidden,
                  lrl_param_std(range, hidden));
    lrl_param_add(&m->params, m->projector_unit, "vision_proj.2.bias", hidden, 0, 0.0f);
  }
  LRL_TRY(lrl_decoder_build(&m->decoder, &c->decoder, &m->params, c->dtype, c->train_decoder));
  bool language = c->head == LRL_VLM_LANGUAGE;
  m->head_unit =
      lrl_param_unit_add(&m->params, language ? "output" : "score", c->dtype, !c->freeze_head);
  if (language)
    lrl_param_add(&m->params, m->head_unit, "output.weight", c->decoder.vocab_size, hidden,
                  lrl_param_std(range, hidden));
  else
    lrl_param_add(&m->params, m->head_unit, "score.weight", 1, hidden,
                  lrl_param_std(range, hidden));
  return LRL_OK;
}

lrl_status lrl_vlm_describe(struct lrl_vlm *m, const struct lrl_vlm_config *cfg) {
  *m = (struct lrl_vlm){.cfg = *cfg, .gn_unit = -1, .projector_unit = -1};
  const lrl_status s = build(m);
  if (s != LRL_OK)
    lrl_vlm_free(m);
  return s;
}

lrl_status lrl_vlm_init(struct lrl_vlm *m, const struct lrl_vlm_config *cfg) {
  LRL_TRY(lrl_vlm_describe(m, cfg));
  lrl_status s = lrl_arena_init(&m->weights, "model weights and gradients", (size_t)1 << 40);
  if (s == LRL_OK)
    s = lrl_param_set_alloc(&m->params, &m->weights);
  if (s != LRL_OK)
    lrl_vlm_free(m);
  return s;
}

void lrl_vlm_free(struct lrl_vlm *m) {
  lrl_decoder_free(&m->decoder);
  lrl_vit_free(&m->vit);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->weights);
}

static bool same_geometry(const struct lrl_vit_config *a, const struct lrl_vit_config *b) {
  return a->image_size == b->image_size && a->patch_size == b->patch_size &&
         a->num_attention_heads == b->num_attention_heads && a->layer_norm_eps == b->layer_norm_eps;
}

static bool share_unit(struct lrl_vlm *to, struct lrl_param_unit *a,
                       const struct lrl_param_unit *b) {
  const size_t bytes = (size_t)(a->n * lrl_dtype_bytes(a->dtype));
  if (a->trainable || b->trainable || a->n != b->n || a->dtype != b->dtype ||
      memcmp(a->data, b->data, bytes) != 0)
    return false;
  lrl_arena_release(&to->weights, a->data, bytes);
  a->data = b->data;
  return true;
}

enum lrl_vision_share lrl_vlm_share_vision(struct lrl_vlm *to, const struct lrl_vlm *from) {
  const int n = to->projector_unit + 1; /* vision comes first, its tower before the rest */
  if (n == 0 || n != from->projector_unit + 1 || !same_geometry(&to->cfg.vit, &from->cfg.vit))
    return LRL_VISION_OWN;
  bool tower = true, rest = true;
  for (int u = 0; u < n; u++) {
    const bool same = share_unit(to, &to->params.units[u], &from->params.units[u]);
    *(u < to->gn_unit ? &tower : &rest) &= same;
  }
  return !tower ? LRL_VISION_OWN : rest ? LRL_VISION_ALL : LRL_VISION_TOWER;
}

static int64_t grid_of(const struct lrl_vit_config *c) { return c->image_size / c->patch_size / 2; }

int64_t lrl_vlm_image_tokens(const struct lrl_vit_config *c, int64_t rows, int64_t cols) {
  int64_t g = grid_of(c);
  return (rows * cols + 1) * g * g + 1 + (rows + 1) * g;
}

/* Vision features of all tiles. A frozen tower runs tile by tile without a record and leaves only
 * its output behind. */
struct lrl_tensor *lrl_vlm_features(struct lrl_tape *tape, struct lrl_vlm *m,
                                    const struct lrl_vlm_images *im) {
  enum { TILES_AT_ONCE = 8 };
  const struct lrl_vit_config *c = &m->cfg.vit;
  if (tape->record && m->cfg.train_vision)
    return lrl_vit_forward(tape, &m->vit, im->tiles, NULL, im->n_tiles, NULL, NULL);
  int64_t tokens = lrl_vit_tokens(c), pixels = 3 * c->image_size * c->image_size;
  struct lrl_tensor *all = lrl_tensor_new(tape, m->cfg.dtype, im->n_tiles * tokens, c->hidden_size);
  int64_t tile_bytes = tokens * c->hidden_size * lrl_dtype_bytes(m->cfg.dtype);
  for (int64_t at = 0; at < im->n_tiles && tape->status == LRL_OK; at += TILES_AT_ONCE) {
    int64_t n = im->n_tiles - at < TILES_AT_ONCE ? im->n_tiles - at : TILES_AT_ONCE;
    size_t mark = lrl_arena_mark(tape->arena);
    struct lrl_tape inner;
    lrl_tape_init(&inner, tape->ctx, tape->arena, false);
    struct lrl_tensor *x =
        lrl_vit_forward(&inner, &m->vit, im->tiles + at * pixels, NULL, n, NULL, NULL);
    if (lrl_tape_ok(tape, inner.status))
      lrl_move(tape->ctx, (char *)all->data + at * tile_bytes, x->data, (size_t)(n * tile_bytes));
    lrl_arena_reset(tape->arena, mark);
  }
  return all;
}

/* Writes the four source rows of one merged token. */
static void merge_sources(int32_t *out, int64_t tile, int64_t tokens, int64_t patches_a_row,
                          int64_t i, int64_t j) {
  int64_t first = tile * tokens + 1 + 2 * i * patches_a_row + 2 * j;
  out[0] = (int32_t)first;
  out[1] = (int32_t)(first + 1);
  out[2] = (int32_t)(first + patches_a_row);
  out[3] = (int32_t)(first + patches_a_row + 1);
}

static void gn_sources(int32_t *source, int32_t *gn, int64_t token, int32_t which) {
  for (int k = 0; k < 4; k++)
    source[4 * token + k] = -1;
  gn[token] = which;
}

/* Sources of one image's tokens from token `t` on: global block, separator, tile block (SPEC 2.2).
 * Returns the token after the last. */
static int64_t image_sources(const struct lrl_vit_config *c, int64_t first_tile, int64_t rows,
                             int64_t cols, int64_t t, int32_t *source, int32_t *gn) {
  int64_t g = grid_of(c), per_row = c->image_size / c->patch_size, tokens = lrl_vit_tokens(c);
  for (int64_t i = 0; i < g; i++) {
    for (int64_t j = 0; j < g; j++, t++)
      merge_sources(source + 4 * t, first_tile, tokens, per_row, i, j);
    gn_sources(source, gn, t++, GN_SUB);
  }
  gn_sources(source, gn, t++, GN_GLB);
  for (int64_t i = 0; i < rows * g; i++) {
    for (int64_t j = 0; j < cols * g; j++, t++)
      merge_sources(source + 4 * t, first_tile + 1 + i / g * cols + j / g, tokens, per_row, i % g,
                    j % g);
    gn_sources(source, gn, t++, GN_SUB);
  }
  return t;
}

struct lrl_tensor *lrl_vlm_merged(struct lrl_tape *tape, struct lrl_vlm *m,
                                  const struct lrl_vlm_images *im, struct lrl_tensor *features) {
  const struct lrl_vit_config *c = &m->cfg.vit;
  int64_t total = 0, tiles = 0;
  for (int64_t i = 0; i < im->n_images; i++) {
    total += lrl_vlm_image_tokens(c, im->rows[i], im->cols[i]);
    tiles += 1 + (int64_t)im->rows[i] * im->cols[i];
  }
  if (tiles != im->n_tiles)
    lrl_tape_ok(tape, LRL_FAIL(LRL_ERR_SHAPE, "%lld tiles were given for images that have %lld",
                               (long long)im->n_tiles, (long long)tiles));
  int32_t *source = lrl_tape_host(tape, (size_t)total * 4 * sizeof *source);
  int32_t *gn = lrl_tape_host(tape, (size_t)total * sizeof *gn);
  int32_t *gn_rows = lrl_tape_host(tape, (size_t)total * sizeof *gn_rows);
  if (tape->status != LRL_OK)
    return lrl_tensor_new(tape, m->cfg.dtype, 0, 0);
  for (int64_t t = 0; t < total; t++)
    gn[t] = -1;
  int64_t t = 0, tile = 0;
  for (int64_t i = 0; i < im->n_images; i++) {
    t = image_sources(c, tile, im->rows[i], im->cols[i], t, source, gn);
    tile += 1 + (int64_t)im->rows[i] * im->cols[i];
  }
  int64_t n_gn = 0;
  for (t = 0; t < total; t++)
    if (gn[t] >= 0) {
      gn_rows[n_gn] = (int32_t)t;
      gn[n_gn++] = gn[t];
    }
  struct lrl_tensor *x = lrl_nn_gather(
      tape, features != NULL ? features : lrl_vlm_features(tape, m, im), source, total * 4);
  struct lrl_tensor *merged = lrl_nn_reshape(tape, x, total, 4 * c->hidden_size);
  struct lrl_param_unit *unit = &m->params.units[m->gn_unit];
  lrl_tape_unit_begin(tape, unit);
  struct lrl_tensor *table = lrl_tensor_param(tape, unit, GN_SUB);
  if (tape->status == LRL_OK)
    table->rows = 2;
  lrl_nn_splice(tape, merged, lrl_nn_embedding(tape, table, gn, n_gn, -1), gn_rows, n_gn);
  return merged;
}

struct lrl_tensor *lrl_vlm_project(struct lrl_tape *tape, struct lrl_vlm *m,
                                   struct lrl_tensor *merged) {
  struct lrl_param_unit *u = &m->params.units[m->projector_unit];
  lrl_tape_unit_begin(tape, u);
  struct lrl_tensor *x = lrl_nn_linear(tape, merged, lrl_tensor_param(tape, u, PROJ_W1),
                                       lrl_tensor_param(tape, u, PROJ_B1));
  x = lrl_nn_gelu(tape, x, LRL_GELU_ERF);
  return lrl_nn_linear(tape, x, lrl_tensor_param(tape, u, PROJ_W2),
                       lrl_tensor_param(tape, u, PROJ_B2));
}

struct lrl_tensor *lrl_vlm_embed_images(struct lrl_tape *tape, struct lrl_vlm *m,
                                        const struct lrl_vlm_input *in) {
  struct lrl_tensor *x = NULL;
  if (in->image_embeds != NULL)
    return in->image_embeds;
  if (in->images == NULL || in->images->n_images == 0)
    return NULL;
  if (!m->cfg.has_vision)
    lrl_tape_ok(tape,
                LRL_FAIL(LRL_ERR_ARG, "this model has no vision tower, but the chat has images"));
  if (m->cfg.has_vision)
    x = lrl_vlm_project(tape, m, lrl_vlm_merged(tape, m, in->images, NULL));
  if (tape->status == LRL_OK && in->image_tokens != NULL)
    x = lrl_nn_gather(tape, x, in->image_tokens, in->n_image_rows);
  if (tape->status == LRL_OK && x->rows != in->n_image_rows)
    lrl_tape_ok(tape,
                LRL_FAIL(LRL_ERR_SHAPE, "the images give %lld tokens, the chat has room for %lld",
                         (long long)x->rows, (long long)in->n_image_rows));
  return x;
}

void lrl_vlm_decode(struct lrl_tape *tape, struct lrl_vlm *m, const struct lrl_vlm_input *in,
                    struct lrl_decoder_output *out) {
  struct lrl_decoder_input d = {.ids = in->ids,
                                .layout = in->layout,
                                .images = lrl_vlm_embed_images(tape, m, in),
                                .image_rows = in->image_rows,
                                .n_image_rows = in->n_image_rows,
                                .dropout_seed = in->dropout_seed,
                                .row_key = in->row_key,
                                .token_key = in->token_key,
                                .without_lora = in->without_lora};
  lrl_decoder_forward(tape, &m->decoder, &d, out);
}

struct lrl_tensor *lrl_vlm_scores(struct lrl_tape *tape, struct lrl_vlm *m,
                                  const struct lrl_vlm_input *in) {
  struct lrl_decoder_output x;
  if (m->cfg.head != LRL_VLM_SCORE)
    lrl_tape_ok(tape, LRL_FAIL(LRL_ERR_ARG, "a language model gives no scores"));
  lrl_vlm_decode(tape, m, in, &x);
  bool last = m->cfg.pooling == LRL_POOLING_LAST;
  struct lrl_tensor *h =
      lrl_decoder_final(tape, &m->decoder, &x, last ? in->score_rows : NULL, in->n_scores);
  if (!last)
    h = lrl_nn_mean_pool(tape, h, in->layout, in->score_seqs, in->n_scores);
  struct lrl_param_unit *head = &m->params.units[m->head_unit];
  lrl_tape_unit_begin(tape, head);
  return lrl_nn_head(tape, h, lrl_tensor_param(tape, head, 0));
}
