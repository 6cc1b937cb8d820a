/* JSON files of rows: a list, or one object a line (*.jsonl); each also as .gz. And the parts of a
 * row that preference pairs and chats share: texts, messages, image paths. */
#ifndef LRL_DATA_ROWS_H
#define LRL_DATA_ROWS_H
#include "data/bytes.h"
#include "data/chat.h"

#include <jansson.h>

struct lrl_row {
  int64_t row;         /* 0-based */
  int64_t line;        /* 1-based line; row + 1 in a list */
  const json_t *value; /* NULL for a line that is not JSON */
  const char *damage;  /* then a sentence, else NULL */
  const char *text;    /* its own bytes in the file, without blanks around it; not terminated */
  size_t n_text;
};
/* Calls fn for every row in order; the row lives until fn returns. A failure of fn ends the reading
 * and is returned. LRL_ERR_IO for a file that cannot be read, LRL_ERR_FORMAT with line and column
 * for a list that is not JSON. */
lrl_status lrl_rows_read(const char *path, lrl_status (*fn)(void *user, const struct lrl_row *row),
                         void *user);

/* Why a value could not be used; start from {0}. The first reason stays. */
struct lrl_row_error {
  bool set;
  char text[200];
};
void lrl_row_fail(struct lrl_row_error *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The first of two keys that is there. */
const json_t *lrl_row_either(const json_t *object, const char *a, const char *b);
/* The text of a JSON string without U+0000; NULL and e set for anything else. */
const char *lrl_row_text(const json_t *v, const char *what, struct lrl_row_error *e);
/* Appends the messages of v to the array in b: a list of {from|role, value|content}, one such
 * message, or a text with the given role. Returns LRL_ERR_MEMORY only. */
lrl_status lrl_row_turns(const json_t *v, const char *what, const char *role, struct lrl_buffer *b,
                         int64_t *n, struct lrl_row_error *e);
/* Whether the text is a transcript "\n\nHuman: ...\n\nAssistant: ..." (hh-rlhf). Then
 * lrl_row_transcript appends its turns to the array in b; they live in `copy`. LRL_ERR_MEMORY. */
bool lrl_row_is_transcript(const json_t *v);
lrl_status lrl_row_transcript(const json_t *v, struct lrl_buffer *copy, struct lrl_buffer *b,
                              int64_t *n, struct lrl_row_error *e);
/* Appends the image paths of v (a path, a list of paths, null or NULL for none) to the array in b.
 */
lrl_status lrl_row_images(const json_t *v, struct lrl_buffer *b, int64_t *n,
                          struct lrl_row_error *e);
#endif
