#include "train/feed.h"

/* The distinct images of a batch: rows and cols as the network wants them, and where each begins
 * among the tiles and among all image tokens. */
struct distinct {
  int64_t n;
  int32_t *rows, *cols;
  int64_t *first_tile, *first_token;
  int64_t n_tokens;
};

/* Index of the image whose tiles begin at first_tile; images are sorted by it. */
static int64_t find(const struct distinct *d, int64_t first_tile) {
  int64_t lo = 0, hi = d->n;
  while (hi - lo > 1) {
    int64_t mid = (lo + hi) / 2;
    if (d->first_tile[mid] <= first_tile)
      lo = mid;
    else
      hi = mid;
  }
  return lo;
}

/* Tiles are stored in the order in which images first appear, so a new image continues them. */
static lrl_status collect(struct lrl_tape *tape, const struct lrl_vit_config *c,
                          const struct lrl_batch *b, struct distinct *d) {
  size_t n = (size_t)b->n_images;
  d->rows = lrl_tape_host(tape, n * sizeof *d->rows);
  d->cols = lrl_tape_host(tape, n * sizeof *d->cols);
  d->first_tile = lrl_tape_host(tape, n * sizeof *d->first_tile);
  d->first_token = lrl_tape_host(tape, n * sizeof *d->first_token);
  LRL_TRY(tape->status);
  int64_t next_tile = 0;
  for (int64_t i = 0; i < b->n_images; i++) {
    const struct lrl_batch_image *im = &b->images[i];
    if (im->first_tile != next_tile)
      continue;
    d->rows[d->n] = im->rows;
    d->cols[d->n] = im->cols;
    d->first_tile[d->n] = im->first_tile;
    d->first_token[d->n++] = d->n_tokens;
    d->n_tokens += lrl_vlm_image_tokens(c, im->rows, im->cols);
    next_tile += im->n_tiles;
  }
  if (next_tile != b->n_tiles)
    return LRL_FAIL(LRL_ERR_SHAPE, "the batch has %lld tiles, its images account for %lld",
                    (long long)b->n_tiles, (long long)next_tile);
  return LRL_OK;
}

/* Names the pair that packed row `row` belongs to; single chats are named by their row. */
static uint64_t pair_of(const struct lrl_batch *b, int64_t row, int64_t *pair) {
  while (*pair < b->n_pairs && b->rejected_last[*pair] < row)
    (*pair)++;
  return *pair < b->n_pairs ? (uint64_t)b->pair_index[*pair] : (uint64_t)row;
}

/* A token is named by its pair and position, so that a prompt that stands twice drops alike. */
static uint64_t key_of(const struct lrl_batch *b, int64_t row, int64_t *pair) {
  return pair_of(b, row, pair) << 32 | (uint64_t)(uint32_t)b->positions[row];
}

static lrl_status key_tokens(struct lrl_tape *tape, const struct lrl_batch *b,
                             struct lrl_vlm_input *in) {
  uint64_t *keys = lrl_tape_host(tape, (size_t)b->n_tokens * sizeof *keys);
  LRL_TRY(tape->status);
  int64_t pair = 0;
  for (int64_t t = 0; t < b->n_tokens; t++)
    keys[t] = key_of(b, t, &pair);
  in->token_key = keys;
  return LRL_OK;
}

lrl_status lrl_feed(struct lrl_tape *tape, const struct lrl_vlm *model, const struct lrl_batch *b,
                    const struct lrl_feed_options *options, struct lrl_vlm_input *in) {
  *in = (struct lrl_vlm_input){.ids = b->ids, .layout = &b->layout};
  if (options->dropout) {
    in->dropout_seed = options->seed ^ (uint64_t)b->step * 0xd1b54a32d192ed03u;
    if (model->cfg.decoder.lora_r > 0)
      LRL_TRY(key_tokens(tape, b, in));
  }
  if (b->n_images == 0)
    return LRL_OK;
  const struct lrl_vit_config *c = &model->cfg.vit;
  if (!model->cfg.has_vision || c->image_size != b->tile)
    return LRL_FAIL(LRL_ERR_SHAPE, "tiles of %d pixels do not fit the model's vision tower (%lld)",
                    (int)b->tile, model->cfg.has_vision ? (long long)c->image_size : 0);
  struct distinct d = {0};
  LRL_TRY(collect(tape, c, b, &d));
  int64_t n = 0, pair = 0;
  for (int64_t i = 0; i < b->n_images; i++)
    n += b->images[i].n_rows;
  int32_t *rows = lrl_tape_host(tape, (size_t)n * sizeof *rows);
  int32_t *tokens = lrl_tape_host(tape, (size_t)n * sizeof *tokens);
  uint64_t *keys = lrl_tape_host(tape, (size_t)n * sizeof *keys);
  struct lrl_vlm_images *images = lrl_tape_host(tape, sizeof *images);
  LRL_TRY(tape->status);
  bool in_order = n == d.n_tokens;
  n = 0;
  for (int64_t i = 0; i < b->n_images; i++) {
    const struct lrl_batch_image *im = &b->images[i];
    int64_t first = d.first_token[find(&d, im->first_tile)];
    for (int64_t k = 0; k < im->n_rows; k++, n++) {
      rows[n] = (int32_t)(im->first_row + k);
      tokens[n] = (int32_t)(first + k);
      keys[n] = key_of(b, rows[n], &pair);
      in_order = in_order && tokens[n] == n;
    }
  }
  *images = (struct lrl_vlm_images){d.n, b->n_tiles, d.rows, d.cols, b->tiles};
  in->images = images;
  in->image_rows = rows;
  in->image_tokens = in_order ? NULL : tokens;
  in->n_image_rows = n;
  in->row_key = options->dropout ? keys : NULL;
  return LRL_OK;
}
