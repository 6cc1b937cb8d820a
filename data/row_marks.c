/* Where images and videos stand in texts that mark them as LLaVA and LLaMA-Factory do. */
#include "data/rows.h"

#include <string.h>

lrl_status lrl_row_media(const json_t *row, struct lrl_buffer *b, int64_t *n_images,
                         int64_t *n_videos, struct lrl_row_error *e) {
  int64_t n = 0;
  LRL_TRY(lrl_row_images(lrl_row_either(row, "image", "images"), b, &n, e));
  *n_images = n;
  LRL_TRY(lrl_row_images(lrl_row_either(row, "video", "videos"), b, &n, e));
  *n_videos = n - *n_images;
  return LRL_OK;
}

static const char *const marks[2] = {"<image>", "<video>"};

/* The next mark at or after `text`; *kind 0 or 1. NULL: none. */
static const char *next_mark(const char *text, int *kind) {
  const char *at[2] = {strstr(text, marks[0]), strstr(text, marks[1])};
  *kind = at[0] == NULL || (at[1] != NULL && at[1] < at[0]);
  return at[*kind];
}

static int64_t count(const struct lrl_message *m, int64_t n, const char *what) {
  int64_t found = 0;
  for (int64_t i = 0; i < n; i++)
    for (const char *at = m[i].content; (at = strstr(at, what)) != NULL; at++)
      found++;
  return found;
}

void lrl_row_marks_begin(struct lrl_row_marks *k) {
  k->need = k->used = 0;
  k->known = false;
}

void lrl_row_marks_expect(struct lrl_row_marks *k, const struct lrl_message *m, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    k->need += 2 * strlen(m[i].content) + 1; /* a place is less than twice as long as a mark */
}

/* Copies a text with every mark replaced, and appends the marks' kinds to `order`. */
static const char *rewrite(struct lrl_row_marks *k, const char *text, char *order, int64_t *n) {
  char *const copy = (char *)k->text.data + k->used, *to = copy;
  int kind;
  for (const char *at; (at = next_mark(text, &kind)) != NULL; text = at + strlen(marks[kind])) {
    memcpy(to, text, (size_t)(at - text));
    to += at - text;
    to = stpcpy(to, LRL_CHAT_IMAGE);
    order[(*n)++] = (char)kind;
  }
  const size_t rest = strlen(text) + 1;
  memcpy(to, text, rest);
  k->used = (size_t)(to - (const char *)k->text.data) + rest;
  return copy;
}

/* Paths in the order of their marks; `spare` holds as many. */
static void sort_paths(const char **paths, const char **spare, const char *order, int64_t n_images,
                       int64_t n) {
  int64_t next[2] = {0, n_images};
  memcpy(spare, paths, (size_t)n * sizeof *paths);
  for (int64_t i = 0; i < n; i++)
    paths[i] = spare[next[(int)order[i]]++];
}

lrl_status lrl_row_marks_place(struct lrl_row_marks *k, struct lrl_message *m, int64_t n,
                               const char **paths, int64_t n_images, int64_t n_videos,
                               struct lrl_row_error *e) {
  const int64_t n_media = n_images + n_videos;
  const bool marked = n_media > 0 && count(m, n, LRL_CHAT_IMAGE) == 0 &&
                      count(m, n, marks[0]) == n_images && count(m, n, marks[1]) == n_videos;
  if (k->known && marked != k->marked)
    lrl_row_fail(e, "only one of the conversations marks the place of each image and video");
  const bool first = !k->known;
  k->known = true;
  k->marked = marked;
  if (!marked || e->set)
    return LRL_OK;
  LRL_TRY(lrl_buffer_reserve(&k->text, k->need));
  LRL_TRY(lrl_buffer_reserve(&k->order, 2 * (size_t)n_media));
  LRL_TRY(lrl_buffer_reserve(&k->spare, (size_t)n_media * sizeof *paths));
  char *order = (char *)k->order.data + (first ? 0 : n_media);
  int64_t n_order = 0;
  for (int64_t i = 0; i < n; i++)
    m[i].content = rewrite(k, m[i].content, order, &n_order);
  if (first)
    sort_paths(paths, k->spare.data, order, n_images, n_media);
  else if (memcmp(k->order.data, order, (size_t)n_media) != 0)
    lrl_row_fail(e, "the conversations name images and videos in different orders");
  return LRL_OK;
}

void lrl_row_marks_free(struct lrl_row_marks *k) {
  lrl_buffer_free(&k->text);
  lrl_buffer_free(&k->order);
  lrl_buffer_free(&k->spare);
}
