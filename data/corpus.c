#include "data/corpus.h"

#include "data/corpus_columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

size_t lrl_column_width(enum lrl_corpus_column k) {
  static const size_t width[LRL_COL_COUNT] = {
#define X(name, type) [LRL_COL_##name] = sizeof(type),
      LRL_CORPUS_COLUMNS(X)
#undef X
  };
  return width[k];
}

lrl_status lrl_column_add(struct lrl_corpus *c, enum lrl_corpus_column k, const void *values,
                          int64_t n) {
  struct lrl_column *col = &c->col[k];
  size_t width = lrl_column_width(k);
  LRL_TRY(lrl_buffer_reserve(&col->buffer, (size_t)(col->n + n) * width));
  if (n > 0)
    memcpy((char *)col->buffer.data + (size_t)col->n * width, values, (size_t)n * width);
  col->n += n;
  return LRL_OK;
}

lrl_status lrl_column_add_i64(struct lrl_corpus *c, enum lrl_corpus_column k, int64_t value) {
  return lrl_column_add(c, k, &value, 1);
}

lrl_status lrl_column_add_text(struct lrl_corpus *c, enum lrl_corpus_column text,
                               enum lrl_corpus_column start, const char *value) {
  LRL_TRY(lrl_column_add(c, text, value, (int64_t)strlen(value) + 1));
  return lrl_column_add_i64(c, start, c->col[text].n);
}

lrl_status lrl_corpus_create(struct lrl_corpus **out) {
  static const enum lrl_corpus_column starts[] = {LRL_COL_token_start,  LRL_COL_span_start,
                                                  LRL_COL_id_start,     LRL_COL_image_start,
                                                  LRL_COL_source_start, LRL_COL_aside_start};
  struct lrl_corpus *c = calloc(1, sizeof *c);
  *out = c;
  if (c == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a corpus");
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    LRL_TRY(lrl_column_add_i64(c, starts[i], 0));
  return LRL_OK;
}

void lrl_corpus_free(struct lrl_corpus *c) {
  if (c == NULL)
    return;
  for (int k = 0; k < LRL_COL_COUNT; k++)
    lrl_buffer_free(&c->col[k].buffer);
  free(c);
}

int64_t lrl_corpus_n_pairs(const struct lrl_corpus *c) { return c->col[LRL_COL_margins].n; }

void lrl_corpus_get(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_pair *out) {
  const int32_t *len = lrl_col_i32(c, LRL_COL_lengths) + 3 * i;
  const int64_t *span = lrl_col_i64(c, LRL_COL_span_start) + i;
  const int32_t *tokens = lrl_col_i32(c, LRL_COL_tokens) + lrl_col_i64(c, LRL_COL_token_start)[i];
  *out = (struct lrl_corpus_pair){
      .prompt = tokens,
      .chosen = tokens + len[0],
      .rejected = tokens + len[0] + len[1],
      .n_prompt = len[0],
      .n_chosen = len[1],
      .n_rejected = len[2],
      .spans = span[0] == span[1]
                   ? NULL
                   : (const struct lrl_corpus_span *)c->col[LRL_COL_spans].buffer.data + span[0],
      .n_spans = span[1] - span[0],
      .source = lrl_col_i32(c, LRL_COL_pair_source)[i],
      .line = lrl_col_i64(c, LRL_COL_pair_line)[i],
      .margin = ((const float *)c->col[LRL_COL_margins].buffer.data)[i],
      .id = lrl_col_text(c, LRL_COL_id_text) + lrl_col_i64(c, LRL_COL_id_start)[i]};
}

int64_t lrl_corpus_n_images(const struct lrl_corpus *c) {
  return c->col[LRL_COL_image_start].n - 1;
}

void lrl_corpus_get_image(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_image *out) {
  const int64_t *start = lrl_col_i64(c, LRL_COL_image_start) + i;
  const int32_t *size = lrl_col_i32(c, LRL_COL_image_size) + 2 * i;
  *out = (struct lrl_corpus_image){lrl_col_text(c, LRL_COL_image_bytes) + start[0],
                                   (size_t)(start[1] - start[0]), size[0], size[1]};
}

int64_t lrl_corpus_n_sources(const struct lrl_corpus *c) { return c->col[LRL_COL_source_number].n; }

void lrl_corpus_get_source(const struct lrl_corpus *c, int64_t i,
                           struct lrl_corpus_source_info *out) {
  const int64_t *start = lrl_col_i64(c, LRL_COL_source_start) + 2 * i;
  const int64_t *info = lrl_col_i64(c, LRL_COL_source_info) + LRL_SOURCE_WIDTH * i;
  const char *text = lrl_col_text(c, LRL_COL_source_text);
  *out = (struct lrl_corpus_source_info){
      .name = text + start[0],
      .path = text + start[1],
      .number = ((const double *)c->col[LRL_COL_source_number].buffer.data)[i],
      .given_num = info[0] != 0,
      .multimodal = info[1] != 0,
      .n_rows = info[2],
      .n_kept = info[3],
      .first_pair = info[4]};
}

int64_t lrl_corpus_n_asides(const struct lrl_corpus *c) { return c->col[LRL_COL_aside_line].n; }

void lrl_corpus_get_aside(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_aside *out) {
  *out = (struct lrl_corpus_aside){
      lrl_col_i32(c, LRL_COL_aside_source)[i], lrl_col_i64(c, LRL_COL_aside_line)[i],
      (enum lrl_aside)lrl_col_i32(c, LRL_COL_aside_reason)[i],
      lrl_col_text(c, LRL_COL_aside_text) + lrl_col_i64(c, LRL_COL_aside_start)[i]};
}

void lrl_tokenizer_hash(const struct lrl_tokenizer *t, char out[64]) {
  size_t n;
  const void *bytes = lrl_tokenizer_model_bytes(t, &n);
  snprintf(out, 64, "crc32:%08lx:%zu", crc32_z(0, bytes, n), n);
}

const char *lrl_corpus_tokenizer_hash(const struct lrl_corpus *c) {
  return lrl_col_text(c, LRL_COL_tokenizer);
}

lrl_status lrl_corpus_check_tokenizer(const struct lrl_corpus *c, const struct lrl_tokenizer *t) {
  char hash[64];
  lrl_tokenizer_hash(t, hash);
  if (strcmp(hash, lrl_corpus_tokenizer_hash(c)) != 0)
    return LRL_FAIL(LRL_ERR_ARG,
                    "the corpus was packed with another tokenizer (%s) than the one given (%s); "
                    "pack it again",
                    lrl_corpus_tokenizer_hash(c), hash);
  return LRL_OK;
}
