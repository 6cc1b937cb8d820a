/* Inside of a corpus: one growable array per column. The table of columns drives saving, opening
 * and checking, so a column cannot be forgotten in one of them. */
#ifndef LRL_DATA_CORPUS_COLUMNS_H
#define LRL_DATA_CORPUS_COLUMNS_H
#include "data/bytes.h"
#include "data/corpus.h"

/* X(name, C type, values per row): *_start columns hold n + 1 offsets. */
#define LRL_CORPUS_COLUMNS(X)                                                                      \
  X(tokens, int32_t)                                                                               \
  X(token_start, int64_t)                                                                          \
  X(lengths, int32_t) /* [pairs][3]: prompt, chosen, rejected */                                   \
  X(spans, int32_t)   /* [spans][7]: struct lrl_corpus_span */                                     \
  X(span_start, int64_t)                                                                           \
  X(margins, float)                                                                                \
  X(pair_source, int32_t)                                                                          \
  X(pair_line, int64_t)                                                                            \
  X(id_text, char)                                                                                 \
  X(id_start, int64_t)                                                                             \
  X(image_bytes, char)                                                                             \
  X(image_start, int64_t)                                                                          \
  X(image_size, int32_t)   /* [images][2]: width, height */                                        \
  X(source_text, char)     /* name, path of each source, zero-terminated */                        \
  X(source_start, int64_t) /* two per source, and the end */                                       \
  X(source_number, double)                                                                         \
  X(source_info, int64_t) /* [sources][5]: given_num, multimodal, rows, kept, first pair */        \
  X(aside_source, int32_t)                                                                         \
  X(aside_line, int64_t)                                                                           \
  X(aside_reason, int32_t)                                                                         \
  X(aside_text, char)                                                                              \
  X(aside_start, int64_t)                                                                          \
  X(tokenizer, char)                                                                               \
  X(settings, char)

enum lrl_corpus_column {
#define X(name, type) LRL_COL_##name,
  LRL_CORPUS_COLUMNS(X)
#undef X
      LRL_COL_COUNT
};

struct lrl_column {
  struct lrl_buffer buffer;
  int64_t n; /* values */
};

struct lrl_corpus {
  struct lrl_column col[LRL_COL_COUNT];
};

/* Part of the settings column. */
#define LRL_CORPUS_TILE_SETTING "\"tile\": %d, \"merged_side\": %d"

#define LRL_SPAN_WIDTH 7
#define LRL_SOURCE_WIDTH 5

static inline const int32_t *lrl_col_i32(const struct lrl_corpus *c, enum lrl_corpus_column k) {
  return c->col[k].buffer.data;
}
static inline const int64_t *lrl_col_i64(const struct lrl_corpus *c, enum lrl_corpus_column k) {
  return c->col[k].buffer.data;
}
static inline const char *lrl_col_text(const struct lrl_corpus *c, enum lrl_corpus_column k) {
  return c->col[k].buffer.data;
}
/* Bytes of one value. */
size_t lrl_column_width(enum lrl_corpus_column k);
/* Appends n values. */
lrl_status lrl_column_add(struct lrl_corpus *c, enum lrl_corpus_column k, const void *values,
                          int64_t n);
lrl_status lrl_column_add_i64(struct lrl_corpus *c, enum lrl_corpus_column k, int64_t value);
/* Appends a text with its 0 byte, then its end to the offsets. */
lrl_status lrl_column_add_text(struct lrl_corpus *c, enum lrl_corpus_column text,
                               enum lrl_corpus_column start, const char *value);
/* An empty corpus with the leading 0 of every offset column. */
lrl_status lrl_corpus_create(struct lrl_corpus **out);
/* "crc32:xxxxxxxx:bytes" */
void lrl_tokenizer_hash(const struct lrl_tokenizer *t, char out[64]);
#endif
