/* One row of a preference or chat file: its images, its tokens, its place in the corpus. */
#include "data/corpus_build_impl.h"
#include "data/video_decode.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Sets the pair aside with the pending error's sentence, unless the machine is out of memory. */
static lrl_status aside_from_error(struct lrl_pair *p, enum lrl_aside reason, lrl_status status) {
  if (status == LRL_ERR_MEMORY)
    return status;
  lrl_pair_set_aside(p, reason, "%s", lrl_last_error());
  lrl_error_clear();
  return LRL_OK;
}

static lrl_status store_image(struct lrl_corpus_builder *b, const char *bytes, size_t n,
                              const struct lrl_image_grid *g, int32_t *out) {
  uint32_t key = (uint32_t)crc32_z(0, (const Bytef *)bytes, n);
  struct lrl_corpus_image image;
  for (int64_t at = -1, row; (row = lrl_corpus_index_next(&b->images, key, &at)) >= 0;) {
    lrl_corpus_get_image(b->c, row, &image);
    if (image.n_bytes == n && memcmp(image.bytes, bytes, n) == 0) {
      *out = (int32_t)row;
      return LRL_OK;
    }
  }
  int64_t row = lrl_corpus_n_images(b->c);
  LRL_TRY(lrl_column_add(b->c, LRL_COL_image_bytes, bytes, (int64_t)n));
  LRL_TRY(lrl_column_add_i64(b->c, LRL_COL_image_start, b->c->col[LRL_COL_image_bytes].n));
  LRL_TRY(lrl_column_add(b->c, LRL_COL_image_size, (int32_t[]){g->width, g->height}, 2));
  *out = (int32_t)row;
  return lrl_corpus_index_add(&b->images, key, row);
}

/* Far above any setting of the tiling (SPEC 3), far below what overflows. */
enum { MAX_TILES = 4096 };

/* Image k: its grid and token count; the bytes are kept. */
static lrl_status take_image(struct lrl_corpus_builder *b, struct lrl_pair *p, int64_t k) {
  struct lrl_image_grid *g = (struct lrl_image_grid *)b->grids.data + k;
  char *path = lrl_path_join(b->image_root, p->images[k]), *bytes = NULL;
  size_t n = 0;
  if (path == NULL)
    return LRL_ERR_MEMORY;
  lrl_status status = lrl_file_read_raw(path, &bytes, &n);
  if (status == LRL_OK)
    status = b->opt->images->grid(b->opt->images->user, bytes, n, p->n_images, g);
  if (status == LRL_OK && (g->rows < 1 || g->cols < 1 || g->rows > MAX_TILES / g->cols))
    status = LRL_FAIL(LRL_ERR_FORMAT, "%s: an image of %d x %d tiles cannot be used", p->images[k],
                      (int)g->rows, (int)g->cols);
  if (status != LRL_OK)
    status = aside_from_error(
        p,
        bytes != NULL && lrl_video_container(bytes, n) != NULL ? LRL_ASIDE_VIDEO : LRL_ASIDE_IMAGE,
        status);
  else
    status = store_image(b, bytes, n, g, (int32_t *)b->indices.data + k);
  if (status == LRL_OK && p->aside == LRL_ASIDE_NONE)
    ((int64_t *)b->counts.data)[k] = lrl_image_ops_tokens(b->opt->images, g);
  free(bytes);
  free(path);
  return status;
}

static lrl_status take_images(struct lrl_corpus_builder *b, struct lrl_pair *p) {
  size_t n = (size_t)p->n_images;
  if (n == 0)
    return LRL_OK;
  if (b->opt->images == NULL) {
    lrl_pair_set_aside(p, LRL_ASIDE_IMAGE, "the pair has an image, but images are off");
    return LRL_OK;
  }
  LRL_TRY(lrl_buffer_reserve(&b->counts, n * sizeof(int64_t)));
  LRL_TRY(lrl_buffer_reserve(&b->grids, n * sizeof(struct lrl_image_grid)));
  LRL_TRY(lrl_buffer_reserve(&b->indices, n * sizeof(int32_t)));
  for (int64_t k = 0; k < p->n_images && p->aside == LRL_ASIDE_NONE; k++)
    LRL_TRY(take_image(b, p, k));
  return LRL_OK;
}

static int64_t code_points(const char *s) {
  int64_t n = 0;
  for (; *s != '\0'; s++)
    n += ((unsigned char)*s & 0xc0) != 0x80;
  return n;
}

static lrl_status reply_length(const struct lrl_corpus_builder *b, const char *reply,
                               int64_t *out) {
  *out = code_points(reply);
  if (b->opt->length_unit == LRL_LENGTH_CHARS)
    return LRL_OK;
  struct lrl_ids ids = {0};
  lrl_status status =
      lrl_tokenizer_encode(b->opt->tokenizer, reply, (int64_t)strlen(reply), false, &ids);
  *out = ids.n;
  lrl_ids_free(&ids);
  return status;
}

static lrl_status check_ratio(const struct lrl_corpus_builder *b, struct lrl_pair *p) {
  double rho = b->opt->length_ratio;
  int64_t chosen, rejected;
  if (rho <= 0 || p->n_rejected == 0)
    return LRL_OK;
  LRL_TRY(reply_length(b, p->chosen[p->n_chosen - 1].content, &chosen));
  LRL_TRY(reply_length(b, p->rejected[p->n_rejected - 1].content, &rejected));
  if ((double)chosen > rho * (double)rejected)
    lrl_pair_set_aside(p, LRL_ASIDE_RATIO, "the chosen reply has %lld %s, over %g times %lld",
                       (long long)chosen,
                       b->opt->length_unit == LRL_LENGTH_CHARS ? "characters" : "tokens", rho,
                       (long long)rejected);
  return LRL_OK;
}

/* Length of the shared prefix: the longest common one that leaves each side a token and cuts no
 * image in two. */
static int64_t shared_prefix(const struct lrl_chat_ids *a, const struct lrl_chat_ids *b) {
  int64_t most = (a->ids.n < b->ids.n ? a->ids.n : b->ids.n) - 1, n = 0;
  while (n < most && a->ids.data[n] == b->ids.data[n])
    n++;
  const struct lrl_chat_ids *side[2] = {a, b};
  for (int k = 0; k < 2; k++)
    for (int64_t i = 0; i < side[k]->n_spans; i++) {
      const struct lrl_image_span *s = &side[k]->spans[i];
      if (s->start < n && s->start + s->count > n)
        n = s->start;
    }
  return n;
}

static lrl_status add_spans(struct lrl_corpus_builder *b, const struct lrl_pair *p,
                            const struct lrl_chat_ids *ids, int64_t prefix, int32_t side) {
  for (int64_t i = 0; i < ids->n_spans; i++) {
    const struct lrl_image_span *s = &ids->spans[i];
    bool in_prefix = s->start < prefix;
    if (in_prefix != (side == 0))
      continue;
    const struct lrl_image_grid *g = (const struct lrl_image_grid *)b->grids.data + s->image;
    int32_t start = (int32_t)(s->start - (in_prefix ? 0 : prefix));
    int32_t row[LRL_SPAN_WIDTH] = {((const int32_t *)b->indices.data)[s->image],
                                   side,
                                   start,
                                   (int32_t)s->count,
                                   g->rows,
                                   g->cols,
                                   (int32_t)p->n_images};
    LRL_TRY(lrl_column_add(b->c, LRL_COL_spans, row, LRL_SPAN_WIDTH));
  }
  return LRL_OK;
}

static bool same_pair(const struct lrl_corpus *c, int64_t i, const struct lrl_chat_ids *a,
                      const struct lrl_chat_ids *r, const int32_t *images, int64_t prefix) {
  struct lrl_corpus_pair q;
  lrl_corpus_get(c, i, &q);
  if (q.n_prompt != prefix || q.n_prompt + q.n_chosen != a->ids.n ||
      q.n_prompt + q.n_rejected != r->ids.n)
    return false;
  for (int64_t k = 0; k < q.n_spans && k < a->n_spans; k++)
    if (q.spans[k].image != images[a->spans[k].image])
      return false;
  return memcmp(q.prompt, a->ids.data, (size_t)a->ids.n * sizeof(int32_t)) == 0 &&
         (q.n_rejected == 0 ||
          memcmp(q.rejected, r->ids.data + prefix, (size_t)q.n_rejected * sizeof(int32_t)) == 0);
}

static lrl_status check_duplicate(struct lrl_corpus_builder *b, struct lrl_pair *p,
                                  const struct lrl_chat_ids *a, const struct lrl_chat_ids *r,
                                  int64_t prefix) {
  if (!b->opt->drop_duplicates)
    return LRL_OK;
  uint32_t key = (uint32_t)crc32_z(0, (const Bytef *)a->ids.data, (size_t)a->ids.n * 4);
  if (r->ids.n > 0)
    key = (uint32_t)crc32_z(key, (const Bytef *)r->ids.data, (size_t)r->ids.n * 4);
  for (int64_t at = -1, row; (row = lrl_corpus_index_next(&b->pairs, key, &at)) >= 0;)
    if (same_pair(b->c, row, a, r, b->indices.data, prefix)) {
      struct lrl_corpus_pair q;
      lrl_corpus_get(b->c, row, &q);
      lrl_pair_set_aside(p, LRL_ASIDE_DUPLICATE, "the same pair as line %lld of source %d",
                         (long long)q.line, (int)q.source + 1);
      return LRL_OK;
    }
  return lrl_corpus_index_add(&b->pairs, key, lrl_corpus_n_pairs(b->c));
}

static lrl_status keep(struct lrl_corpus_builder *b, const struct lrl_pair *p,
                       const struct lrl_chat_ids *a, const struct lrl_chat_ids *r, int64_t prefix) {
  struct lrl_corpus *c = b->c;
  int64_t n_rejected = r->ids.n - prefix;
  int32_t lengths[3] = {(int32_t)prefix, (int32_t)(a->ids.n - prefix), (int32_t)n_rejected};
  LRL_TRY(lrl_column_add(c, LRL_COL_tokens, a->ids.data, a->ids.n));
  if (n_rejected > 0)
    LRL_TRY(lrl_column_add(c, LRL_COL_tokens, r->ids.data + prefix, n_rejected));
  LRL_TRY(lrl_column_add_i64(c, LRL_COL_token_start, c->col[LRL_COL_tokens].n));
  LRL_TRY(lrl_column_add(c, LRL_COL_lengths, lengths, 3));
  LRL_TRY(add_spans(b, p, a, prefix, 0));
  LRL_TRY(add_spans(b, p, a, prefix, 1));
  LRL_TRY(add_spans(b, p, r, prefix, 2));
  LRL_TRY(lrl_column_add_i64(c, LRL_COL_span_start, c->col[LRL_COL_spans].n / LRL_SPAN_WIDTH));
  LRL_TRY(lrl_column_add(c, LRL_COL_pair_source, &b->source, 1));
  LRL_TRY(lrl_column_add_i64(c, LRL_COL_pair_line, p->line));
  LRL_TRY(lrl_column_add_text(c, LRL_COL_id_text, LRL_COL_id_start, p->id));
  return lrl_column_add(c, LRL_COL_margins, &p->margin, 1);
}

static lrl_status judge(struct lrl_corpus_builder *b, struct lrl_pair *p,
                        const struct lrl_chat_ids *a, const struct lrl_chat_ids *r) {
  const bool pair = r->ids.data != NULL; /* not an answer alone */
  int64_t prefix = pair ? shared_prefix(a, r) : 0, max = b->opt->chat.max_length;
  if (b->opt->filter_overlong && max > 0 && (a->n_full > max || r->n_full > max))
    lrl_pair_set_aside(p, LRL_ASIDE_LONG, "the conversation has %lld tokens, over max_length %lld",
                       (long long)(a->n_full > r->n_full ? a->n_full : r->n_full), (long long)max);
  else if (pair && a->ids.n == r->ids.n &&
           memcmp(a->ids.data, r->ids.data, (size_t)a->ids.n * sizeof(int32_t)) == 0)
    lrl_pair_set_aside(p, LRL_ASIDE_SAME, "chosen and rejected are the same tokens%s",
                       a->n_full > a->ids.n ? " up to max_length" : "");
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(check_duplicate(b, p, a, r, prefix));
  return p->aside == LRL_ASIDE_NONE ? keep(b, p, a, r, prefix) : LRL_OK;
}

/* `a` against `r`, or, when n_r is 0, `a` alone. */
static lrl_status encode(struct lrl_corpus_builder *b, struct lrl_pair *p,
                         const struct lrl_message *a, int64_t n_a, const struct lrl_message *r,
                         int64_t n_r) {
  const struct lrl_corpus_options *o = b->opt;
  const int64_t *counts = b->counts.data;
  struct lrl_chat_ids ids_a = {0}, ids_r = {0};
  lrl_status status = lrl_chat_encode(o->tokenizer, a, n_a, counts, p->n_images, &o->chat, &ids_a);
  if (status == LRL_OK && n_r > 0)
    status = lrl_chat_encode(o->tokenizer, r, n_r, counts, p->n_images, &o->chat, &ids_r);
  if (status == LRL_OK)
    status = judge(b, p, &ids_a, &ids_r);
  else if (status == LRL_ERR_FORMAT)
    status = aside_from_error(p, LRL_ASIDE_IMAGE, status);
  lrl_chat_ids_free(&ids_a);
  lrl_chat_ids_free(&ids_r);
  return status;
}

static lrl_status encode_row(struct lrl_corpus_builder *b, struct lrl_pair *p) {
  if (b->opt->form == LRL_FORM_PAIRS)
    return encode(b, p, p->chosen, p->n_chosen, p->rejected, p->n_rejected);
  LRL_TRY(encode(b, p, p->chosen, p->n_chosen, NULL, 0));
  return p->n_rejected > 0 && p->aside == LRL_ASIDE_NONE
             ? encode(b, p, p->rejected, p->n_rejected, NULL, 0)
             : LRL_OK;
}

lrl_status lrl_corpus_add_row(struct lrl_corpus_builder *b, struct lrl_pair *p) {
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(check_ratio(b, p));
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(take_images(b, p));
  return p->aside == LRL_ASIDE_NONE ? encode_row(b, p) : LRL_OK;
}
