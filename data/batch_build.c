#include "data/batch_build.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  IDS,
  MASK,
  POSITIONS,
  START,
  LENGTH,
  PARENT,
  LAST_ROW,
  CHOSEN_SEQ,
  REJECTED_SEQ,
  CHOSEN_LAST,
  REJECTED_LAST,
  SOURCE,
  PAIR_INDEX,
  CHOSEN_LEN,
  REJECTED_LEN,
  MARGIN,
  IMAGES,
  TILES,
  N_BUFFERS
};
_Static_assert(N_BUFFERS <= 20, "struct lrl_batch_builder has too few buffers");

void lrl_batch_builder_init(struct lrl_batch_builder *b, const struct lrl_image_ops *images) {
  *b = (struct lrl_batch_builder){.images = images, .share_prefix = true};
  lrl_batch_builder_reset(b);
}

void lrl_batch_builder_free(struct lrl_batch_builder *b) {
  for (int i = 0; i < N_BUFFERS; i++)
    lrl_buffer_free(&b->buffer[i]);
  lrl_buffer_free(&b->tile_of);
}

void lrl_batch_builder_reset(struct lrl_batch_builder *b) {
  b->batch = (struct lrl_batch){
      .tile = b->images == NULL ? 0 : b->images->tile, .n_micro = 1, .set_aside_reason = b->reason};
  b->reason[0] = '\0';
}

static lrl_status reserve_seqs(struct lrl_batch_builder *b, int64_t n_seqs, int64_t tokens) {
  size_t n = (size_t)tokens, s = (size_t)n_seqs;
  if (n > INT32_MAX)
    return LRL_FAIL(LRL_ERR_SHAPE, "a micro-batch of %zu tokens is too large", n);
  LRL_TRY(lrl_buffer_reserve(&b->buffer[IDS], n * sizeof(int32_t)));
  LRL_TRY(lrl_buffer_reserve(&b->buffer[MASK], n));
  LRL_TRY(lrl_buffer_reserve(&b->buffer[POSITIONS], n * sizeof(int32_t)));
  for (int i = START; i <= LAST_ROW; i++)
    LRL_TRY(lrl_buffer_reserve(&b->buffer[i], s * sizeof(int32_t)));
  return LRL_OK;
}

static int32_t *i32(const struct lrl_batch_builder *b, int k) { return b->buffer[k].data; }

/* Begins a sequence with room for `tokens`; *seq = its index. */
static lrl_status begin_seq(struct lrl_batch_builder *b, int32_t parent, int64_t tokens,
                            int32_t *seq) {
  struct lrl_batch *t = &b->batch;
  LRL_TRY(reserve_seqs(b, t->n_seqs + 1, t->n_tokens + tokens));
  int64_t s = t->n_seqs++;
  i32(b, START)[s] = (int32_t)t->n_tokens;
  i32(b, LENGTH)[s] = 0;
  i32(b, PARENT)[s] = parent;
  i32(b, LAST_ROW)[s] = -1;
  *seq = (int32_t)s;
  return LRL_OK;
}

static void add_tokens(struct lrl_batch_builder *b, int32_t seq, const int32_t *ids, int64_t n) {
  struct lrl_batch *t = &b->batch;
  int32_t parent = i32(b, PARENT)[seq], *length = &i32(b, LENGTH)[seq];
  int32_t first = parent < 0 ? 0 : i32(b, LENGTH)[parent];
  for (int64_t k = 0; k < n; k++) {
    if (ids[k] == LRL_ID_IMAGE && b->withhold_images)
      continue;
    int64_t row = t->n_tokens++;
    i32(b, IDS)[row] = ids[k];
    ((uint8_t *)b->buffer[MASK].data)[row] = ids[k] == LRL_ID_IMAGE;
    i32(b, POSITIONS)[row] = first + (*length)++;
    i32(b, LAST_ROW)[seq] = (int32_t)row;
  }
}

static lrl_status reserve_images(struct lrl_batch_builder *b, int64_t n) {
  return lrl_buffer_reserve(&b->buffer[IMAGES], (size_t)n * sizeof(struct lrl_batch_image));
}
static size_t tile_bytes(const struct lrl_batch_builder *b) {
  return (size_t)b->batch.tile * (size_t)b->batch.tile * 3 * sizeof(float);
}
static lrl_status reserve_tiles(struct lrl_batch_builder *b, int64_t n) {
  return lrl_buffer_reserve(&b->buffer[TILES], (size_t)n * tile_bytes(b));
}
static lrl_status reserve_pairs(struct lrl_batch_builder *b, int64_t n) {
  for (int i = CHOSEN_SEQ; i <= MARGIN; i++)
    LRL_TRY(lrl_buffer_reserve(&b->buffer[i], (size_t)n * sizeof(int64_t)));
  return LRL_OK;
}

lrl_status lrl_batch_builder_reserve(struct lrl_batch_builder *b,
                                     const struct lrl_batch_bounds *n) {
  LRL_TRY(reserve_seqs(b, 3 * n->n_pairs, n->n_tokens));
  LRL_TRY(reserve_pairs(b, n->n_pairs));
  LRL_TRY(reserve_images(b, n->n_images));
  return reserve_tiles(b, n->n_tiles);
}

static lrl_status add_image(struct lrl_batch_builder *b, const struct lrl_batch_image *image) {
  struct lrl_batch *t = &b->batch;
  LRL_TRY(reserve_images(b, t->n_images + 1));
  ((struct lrl_batch_image *)b->buffer[IMAGES].data)[t->n_images++] = *image;
  return LRL_OK;
}

/* One of prompt, chosen, rejected into `seq`, with the images that lie in it. */
static lrl_status add_part(struct lrl_batch_builder *b, const struct lrl_corpus_pair *p,
                           int32_t part, int32_t seq) {
  const int32_t *ids[3] = {p->prompt, p->chosen, p->rejected};
  const int64_t n[3] = {p->n_prompt, p->n_chosen, p->n_rejected};
  int64_t row = b->batch.n_tokens;
  add_tokens(b, seq, ids[part], n[part]);
  for (int64_t k = 0; k < p->n_spans && !b->withhold_images; k++) {
    const struct lrl_corpus_span *s = &p->spans[k];
    if (s->seq != part)
      continue;
    const struct lrl_batch_image image = {s->rows,
                                          s->cols,
                                          ((const int64_t *)b->tile_of.data)[k],
                                          1 + (int64_t)s->rows * s->cols,
                                          row + s->start,
                                          s->count};
    LRL_TRY(add_image(b, &image));
  }
  return LRL_OK;
}

static lrl_status add_tiles(struct lrl_batch_builder *b, const void *bytes, size_t n_bytes,
                            int32_t rows, int32_t cols, int64_t n_in_chat, int64_t *first) {
  struct lrl_batch *t = &b->batch;
  int64_t n = 1 + (int64_t)rows * cols;
  LRL_TRY(reserve_tiles(b, t->n_tiles + n));
  LRL_TRY(b->images->tiles(b->images->user, bytes, n_bytes, n_in_chat,
                           (float *)b->buffer[TILES].data +
                               (size_t)t->n_tiles * (tile_bytes(b) / sizeof(float))));
  *first = t->n_tiles;
  t->n_tiles += n;
  return LRL_OK;
}

/* Tiles of every image of the pair, each once. */
static lrl_status add_pair_tiles(struct lrl_batch_builder *b, const struct lrl_corpus *c,
                                 const struct lrl_corpus_pair *p) {
  if (p->n_spans == 0 || b->withhold_images)
    return LRL_OK;
  if (b->images == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "the pair has an image, but images are off");
  LRL_TRY(lrl_buffer_reserve(&b->tile_of, (size_t)p->n_spans * sizeof(int64_t)));
  int64_t *tile_of = b->tile_of.data;
  for (int64_t k = 0; k < p->n_spans; k++) {
    const struct lrl_corpus_span *s = &p->spans[k];
    int64_t seen = 0;
    if (s->seq == 2 && b->answers_only)
      continue;
    while (p->spans[seen].image != s->image)
      seen++;
    if (seen < k) {
      tile_of[k] = tile_of[seen];
      continue;
    }
    struct lrl_corpus_image image;
    lrl_corpus_get_image(c, s->image, &image);
    struct lrl_image_grid g;
    LRL_TRY(b->images->grid(b->images->user, image.bytes, image.n_bytes, s->n_in_chat, &g));
    if (g.rows != s->rows || g.cols != s->cols)
      return LRL_FAIL(LRL_ERR_ARG,
                      "the corpus was packed with another image geometry (%dx%d tiles, now %dx%d); "
                      "pack it again",
                      (int)s->rows, (int)s->cols, (int)g.rows, (int)g.cols);
    LRL_TRY(add_tiles(b, image.bytes, image.n_bytes, s->rows, s->cols, s->n_in_chat, &tile_of[k]));
  }
  return LRL_OK;
}

static int64_t n_kept(const struct lrl_batch_builder *b, const int32_t *ids, int64_t n) {
  int64_t kept = 0;
  for (int64_t i = 0; i < n; i++)
    kept += ids[i] != LRL_ID_IMAGE || !b->withhold_images;
  return kept;
}

/* Row the score is read at: the sequence's last, or its parent's when withholding left it empty. */
static int32_t score_row(const struct lrl_batch_builder *b, int32_t seq) {
  int32_t row = i32(b, LAST_ROW)[seq], parent = i32(b, PARENT)[seq];
  return row >= 0 || parent < 0 ? row : i32(b, LAST_ROW)[parent];
}

static lrl_status add_sequences(struct lrl_batch_builder *b, const struct lrl_corpus_pair *p,
                                int32_t seq[2]) {
  bool share = b->share_prefix && p->n_prompt > 0 && !b->answers_only;
  const int64_t n[2] = {p->n_chosen, p->n_rejected};
  int32_t prompt = -1;
  if (share) {
    LRL_TRY(begin_seq(b, -1, p->n_prompt, &prompt));
    LRL_TRY(add_part(b, p, 0, prompt));
  }
  for (int32_t k = 0; k < (b->answers_only ? 1 : 2); k++) {
    LRL_TRY(begin_seq(b, prompt, n[k] + (share ? 0 : p->n_prompt), &seq[k]));
    if (!share)
      LRL_TRY(add_part(b, p, 0, seq[k]));
    LRL_TRY(add_part(b, p, k + 1, seq[k]));
  }
  if (b->answers_only)
    seq[1] = seq[0];
  return LRL_OK;
}

lrl_status lrl_batch_builder_add_pair(struct lrl_batch_builder *b, const struct lrl_corpus *c,
                                      int64_t i) {
  struct lrl_batch *t = &b->batch;
  struct lrl_corpus_pair p;
  int64_t n_tiles = t->n_tiles;
  lrl_corpus_get(c, i, &p);
  lrl_status status = add_pair_tiles(b, c, &p);
  if (status == LRL_ERR_MEMORY || status == LRL_ERR_ARG)
    return status;
  if (status != LRL_OK) {
    snprintf(b->reason, sizeof b->reason, "pair %lld (line %lld): %.150s", (long long)i,
             (long long)p.line, lrl_last_error());
    lrl_error_clear();
    t->n_tiles = n_tiles;
    t->n_set_aside++;
    return LRL_OK;
  }
  int32_t seq[2];
  LRL_TRY(reserve_pairs(b, t->n_pairs + 1));
  LRL_TRY(add_sequences(b, &p, seq));
  int64_t k = t->n_pairs++;
  i32(b, CHOSEN_SEQ)[k] = seq[0];
  i32(b, REJECTED_SEQ)[k] = seq[1];
  i32(b, CHOSEN_LAST)[k] = score_row(b, seq[0]);
  i32(b, REJECTED_LAST)[k] = score_row(b, seq[1]);
  i32(b, SOURCE)[k] = p.source;
  ((int64_t *)b->buffer[PAIR_INDEX].data)[k] = i;
  ((int64_t *)b->buffer[CHOSEN_LEN].data)[k] = n_kept(b, p.chosen, p.n_chosen);
  ((int64_t *)b->buffer[REJECTED_LEN].data)[k] = n_kept(b, p.rejected, p.n_rejected);
  ((float *)b->buffer[MARGIN].data)[k] = p.margin;
  return LRL_OK;
}

/* ---- single chats ---- */

struct chat_image {
  char *bytes;
  size_t n;
  struct lrl_image_grid grid;
  int64_t first_tile;
};

static lrl_status load_chat_image(const struct lrl_batch_builder *b, const char *root,
                                  const char *path, int64_t n_images, struct chat_image *im,
                                  int64_t *count) {
  char *full = lrl_path_join(root, path);
  if (full == NULL)
    return LRL_ERR_MEMORY;
  lrl_status status = lrl_file_read_raw(full, &im->bytes, &im->n);
  free(full);
  LRL_TRY(status);
  LRL_TRY(b->images->grid(b->images->user, im->bytes, im->n, n_images, &im->grid));
  *count = lrl_image_ops_tokens(b->images, &im->grid);
  return LRL_OK;
}

/* Tiles first: an image that cannot be decoded must leave no sequence behind. */
static lrl_status add_chat(struct lrl_batch_builder *b, const struct lrl_chat_ids *ids,
                           struct chat_image *im, int64_t n_images) {
  int64_t n_tiles = b->batch.n_tiles, row = b->batch.n_tokens;
  for (int64_t k = 0; k < ids->n_spans && !b->withhold_images; k++) {
    struct chat_image *m = &im[ids->spans[k].image];
    lrl_status status =
        add_tiles(b, m->bytes, m->n, m->grid.rows, m->grid.cols, n_images, &m->first_tile);
    if (status != LRL_OK) {
      b->batch.n_tiles = n_tiles;
      return status;
    }
  }
  int32_t seq;
  LRL_TRY(begin_seq(b, -1, ids->ids.n, &seq));
  add_tokens(b, seq, ids->ids.data, ids->ids.n);
  for (int64_t k = 0; k < ids->n_spans && !b->withhold_images; k++) {
    const struct lrl_image_span *s = &ids->spans[k];
    const struct chat_image *m = &im[s->image];
    LRL_TRY(add_image(b, &(struct lrl_batch_image){m->grid.rows, m->grid.cols, m->first_tile,
                                                   1 + (int64_t)m->grid.rows * m->grid.cols,
                                                   row + s->start, s->count}));
  }
  b->chat_tokens = ids->n_full;
  return LRL_OK;
}

lrl_status lrl_batch_builder_add_chat(struct lrl_batch_builder *b, const struct lrl_tokenizer *t,
                                      const struct lrl_chat_options *options,
                                      const struct lrl_message *messages, int64_t n_messages,
                                      const char *const *image_paths, int64_t n_images,
                                      const char *image_root) {
  if (n_images > 0 && b->images == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "the chat has an image, but images are off");
  struct lrl_chat_ids ids = {0};
  struct chat_image *im = calloc((size_t)n_images + 1, sizeof *im);
  int64_t *counts = calloc((size_t)n_images + 1, sizeof *counts);
  lrl_status status = LRL_OK;
  if (im == NULL || counts == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld images", (long long)n_images));
  for (int64_t k = 0; k < n_images; k++)
    LRL_TRY_GOTO(load_chat_image(b, image_root, image_paths[k], n_images, &im[k], &counts[k]));
  LRL_TRY_GOTO(lrl_chat_encode(t, messages, n_messages, counts, n_images, options, &ids));
  LRL_TRY_GOTO(add_chat(b, &ids, im, n_images));
done:
  for (int64_t k = 0; im != NULL && k < n_images; k++)
    free(im[k].bytes);
  free(im);
  free(counts);
  lrl_chat_ids_free(&ids);
  return status;
}

lrl_status lrl_batch_builder_add_ids(struct lrl_batch_builder *b, const int32_t *ids, int64_t n) {
  int32_t seq;
  LRL_TRY(begin_seq(b, -1, n, &seq));
  add_tokens(b, seq, ids, n);
  return LRL_OK;
}

lrl_status lrl_batch_builder_add_text(struct lrl_batch_builder *b, const struct lrl_tokenizer *t,
                                      const char *text) {
  struct lrl_ids ids = {0};
  int32_t seq;
  lrl_status status = lrl_tokenizer_encode(t, text, (int64_t)strlen(text), true, &ids);
  if (status == LRL_OK)
    status = begin_seq(b, -1, ids.n, &seq);
  if (status == LRL_OK)
    add_tokens(b, seq, ids.data, ids.n);
  lrl_ids_free(&ids);
  return status;
}

void lrl_batch_builder_finish(struct lrl_batch_builder *b) {
  struct lrl_batch *t = &b->batch;
  t->ids = i32(b, IDS);
  t->im_mask = b->buffer[MASK].data;
  t->positions = i32(b, POSITIONS);
  t->layout = (struct lrl_layout){.n_tokens = t->n_tokens,
                                  .n_seqs = t->n_seqs,
                                  .start = i32(b, START),
                                  .length = i32(b, LENGTH),
                                  .parent = i32(b, PARENT)};
  t->last_row = i32(b, LAST_ROW);
  t->chosen_seq = i32(b, CHOSEN_SEQ);
  t->rejected_seq = i32(b, REJECTED_SEQ);
  t->chosen_last = i32(b, CHOSEN_LAST);
  t->rejected_last = i32(b, REJECTED_LAST);
  t->source = i32(b, SOURCE);
  t->pair_index = b->buffer[PAIR_INDEX].data;
  t->chosen_len = b->buffer[CHOSEN_LEN].data;
  t->rejected_len = b->buffer[REJECTED_LEN].data;
  t->images = b->buffer[IMAGES].data;
  t->tiles = b->buffer[TILES].data;
  float *margin = b->buffer[MARGIN].data;
  t->margin = NULL;
  for (int64_t k = 0; k < t->n_pairs; k++)
    if (!isnan(margin[k]))
      t->margin = margin;
  for (int64_t k = 0; k < t->n_pairs && t->margin != NULL; k++)
    if (isnan(margin[k]))
      margin[k] = 0;
}

int64_t lrl_batch_pair_cost(const struct lrl_batch_builder *b, const struct lrl_corpus *c,
                            int64_t i) {
  struct lrl_corpus_pair p;
  lrl_corpus_get(c, i, &p);
  /* How often each part stands in the batch: prompt, chosen, rejected. */
  const int64_t times[3] = {b->share_prefix || b->answers_only ? 1 : 2, 1, !b->answers_only};
  int64_t n = times[0] * p.n_prompt + p.n_chosen + times[2] * p.n_rejected;
  for (int64_t k = 0; k < p.n_spans && b->withhold_images; k++)
    n -= p.spans[k].count * times[p.spans[k].seq];
  return n;
}
