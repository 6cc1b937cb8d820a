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
/* Those of the row's "image" or "images", then of its "video" or "videos", from the array's
 * beginning on. */
lrl_status lrl_row_media(const json_t *row, struct lrl_buffer *b, int64_t *n_images,
                         int64_t *n_videos, struct lrl_row_error *e);

/* "<image>" and "<video>" in texts, as LLaVA and LLaMA-Factory mark places. They count where no
 * <ImageHere> stands in a conversation and there is one for each image and for each video; else
 * they are text. Start from {0}; reused from row to row. */
struct lrl_row_marks {
  struct lrl_buffer text, order, spare;
  size_t need, used;
  bool known, marked;
};
/* For every row: begin, expect for each of its conversations, then place for each. */
void lrl_row_marks_begin(struct lrl_row_marks *k);
void lrl_row_marks_expect(struct lrl_row_marks *k, const struct lrl_message *m, int64_t n);
/* Makes marks that count <ImageHere>; the new texts live until the next begin. The first
 * conversation also puts the paths, images before videos, in the order of its marks; the others
 * must have the same. LRL_ERR_MEMORY. */
lrl_status lrl_row_marks_place(struct lrl_row_marks *k, struct lrl_message *m, int64_t n,
                               const char **paths, int64_t n_images, int64_t n_videos,
                               struct lrl_row_error *e);
void lrl_row_marks_free(struct lrl_row_marks *k);
#endif
