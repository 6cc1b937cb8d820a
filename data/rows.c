#include "data/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lrl_row_fail(struct lrl_row_error *e, const char *fmt, ...) {
  if (e->set)
    return;
  va_list args;
  va_start(args, fmt);
  e->set = true;
  vsnprintf(e->text, sizeof e->text, fmt, args);
  va_end(args);
  lrl_one_line(e->text);
}

const json_t *lrl_row_either(const json_t *object, const char *a, const char *b) {
  const json_t *v = json_object_get(object, a);
  return v != NULL ? v : json_object_get(object, b);
}

const char *lrl_row_text(const json_t *v, const char *what, struct lrl_row_error *e) {
  static const char *const types[] = {"an object", "a list", "a string", "a number",
                                      "a number",  "true",   "false",    "null"};
  if (v == NULL)
    lrl_row_fail(e, "%s is missing", what);
  else if (!json_is_string(v))
    lrl_row_fail(e, "%s is %s, not a string", what, types[json_typeof(v)]);
  else if (strlen(json_string_value(v)) != json_string_length(v))
    lrl_row_fail(e, "%s holds the character U+0000", what);
  else
    return json_string_value(v);
  return NULL;
}

static lrl_status push(struct lrl_buffer *b, int64_t *n, const char *role, const char *content) {
  LRL_TRY(lrl_buffer_reserve(b, (size_t)(*n + 1) * sizeof(struct lrl_message)));
  ((struct lrl_message *)b->data)[(*n)++] = (struct lrl_message){role, content};
  return LRL_OK;
}

static lrl_status push_message(const json_t *m, struct lrl_buffer *b, int64_t *n,
                               struct lrl_row_error *e) {
  if (!json_is_object(m)) {
    lrl_row_fail(e, "a message is not an object");
    return LRL_OK;
  }
  const char *role = lrl_row_text(lrl_row_either(m, "from", "role"), "the role of a message", e);
  const char *content =
      lrl_row_text(lrl_row_either(m, "value", "content"), "the content of a message", e);
  return role == NULL || content == NULL ? LRL_OK : push(b, n, role, content);
}

lrl_status lrl_row_turns(const json_t *v, const char *what, const char *role, struct lrl_buffer *b,
                         int64_t *n, struct lrl_row_error *e) {
  if (json_is_object(v))
    return push_message(v, b, n, e);
  if (json_is_array(v)) {
    for (size_t i = 0; i < json_array_size(v) && !e->set; i++)
      LRL_TRY(push_message(json_array_get(v, i), b, n, e));
    return LRL_OK;
  }
  const char *text = lrl_row_text(v, what, e);
  return text == NULL ? LRL_OK : push(b, n, role, text);
}

static const struct {
  const char *mark, *role;
} speakers[2] = {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};

static int speaker_at(const char *text) {
  for (int k = 0; k < 2; k++)
    if (strncmp(text, speakers[k].mark, strlen(speakers[k].mark)) == 0)
      return k;
  return -1;
}

bool lrl_row_is_transcript(const json_t *v) {
  return json_is_string(v) && speaker_at(json_string_value(v)) == 0;
}

lrl_status lrl_row_transcript(const json_t *v, struct lrl_buffer *copy, struct lrl_buffer *b,
                              int64_t *n, struct lrl_row_error *e) {
  const char *text = lrl_row_text(v, "the transcript", e);
  if (text == NULL)
    return LRL_OK;
  size_t size = strlen(text) + 1;
  LRL_TRY(lrl_buffer_reserve(copy, size));
  memcpy(copy->data, text, size);
  char *at = copy->data;
  for (int who = speaker_at(at); who >= 0;) {
    char *content = at + strlen(speakers[who].mark), *end = content;
    while ((end = strstr(end, "\n\n")) != NULL && speaker_at(end) < 0)
      end++;
    LRL_TRY(push(b, n, speakers[who].role, content + (*content == ' ')));
    who = end == NULL ? -1 : speaker_at(end);
    if (end != NULL)
      *end = '\0'; /* the mark itself is not needed any more */
    at = end;
  }
  return LRL_OK;
}

lrl_status lrl_row_images(const json_t *v, struct lrl_buffer *b, int64_t *n,
                          struct lrl_row_error *e) {
  size_t count = json_is_array(v) ? json_array_size(v) : v == NULL || json_is_null(v) ? 0 : 1;
  LRL_TRY(lrl_buffer_reserve(b, ((size_t)*n + count + 1) * sizeof(char *)));
  for (size_t i = 0; i < count; i++) {
    const char *path =
        lrl_row_text(json_is_array(v) ? json_array_get(v, i) : v, "an image path", e);
    if (path == NULL)
      return LRL_OK;
    if (path[0] == '\0') {
      lrl_row_fail(e, "an image path is empty; a row without images has no such key");
      return LRL_OK;
    }
    ((const char **)b->data)[(*n)++] = path;
  }
  return LRL_OK;
}

/* ---- files ---- */

typedef lrl_status row_fn(void *user, const struct lrl_row *row);

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static const char *skip_blanks(const char *at, const char *end) {
  while (at < end && is_blank(*at))
    at++;
  return at;
}

/* Bytes from `at` to the last one before `end` that is not blank. */
static size_t trimmed(const char *at, const char *end) {
  while (end > at && is_blank(end[-1]))
    end--;
  return (size_t)(end - at);
}

/* Where the value at `at` of a list that is known to be JSON ends: at the comma or bracket behind
 * it. */
static const char *value_end(const char *at, const char *end) {
  int64_t depth = 0;
  bool quoted = false;
  for (; at < end; at++) {
    if (quoted) {
      at += *at == '\\';
      quoted = *at != '"';
    } else if (*at == '"') {
      quoted = true;
    } else if (*at == '[' || *at == '{') {
      depth++;
    } else if (depth == 0 && (*at == ',' || *at == ']')) {
      return at;
    } else if (*at == ']' || *at == '}') {
      depth--;
    }
  }
  return end;
}

static lrl_status read_lines(const char *text, size_t n_bytes, row_fn *fn, void *user) {
  int64_t row = 0, line = 0;
  const char *end = text + n_bytes;
  for (const char *at = text, *stop; at < end; at = stop + 1) {
    stop = memchr(at, '\n', (size_t)(end - at));
    stop = stop == NULL ? end : stop;
    line++;
    const char *c = skip_blanks(at, stop);
    if (c == stop)
      continue;
    json_error_t e;
    char damage[200];
    json_t *v = json_loadb(at, (size_t)(stop - at), JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    if (v == NULL)
      snprintf(damage, sizeof damage, "not JSON at column %d: %.120s", e.column, e.text);
    lrl_status status =
        fn(user, &(struct lrl_row){row++, line, v, v == NULL ? damage : NULL, c, trimmed(c, stop)});
    json_decref(v);
    LRL_TRY(status);
  }
  return LRL_OK;
}

static lrl_status read_list(const char *path, const char *text, size_t n_bytes, row_fn *fn,
                            void *user) {
  json_error_t e;
  json_t *list = json_loadb(text, n_bytes, JSON_ALLOW_NUL, &e);
  if (list == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s, line %d, column %d: not JSON: %s", path, e.line, e.column,
                    e.text);
  lrl_status status = LRL_OK;
  if (!json_is_array(list))
    status = LRL_FAIL(LRL_ERR_FORMAT,
                      "%s holds an object, not a list; name a file with one object a line *.jsonl",
                      path);
  const char *end = text + n_bytes, *at = skip_blanks(text, end) + 1; /* behind the bracket */
  for (size_t i = 0; status == LRL_OK && i < json_array_size(list); i++) {
    const char *stop = value_end(at = skip_blanks(at, end), end);
    status = fn(user, &(struct lrl_row){(int64_t)i, (int64_t)i + 1, json_array_get(list, i), NULL,
                                        at, trimmed(at, stop)});
    at = stop + 1;
  }
  json_decref(list);
  return status;
}

static bool is_lines(const char *path) {
  size_t n = strlen(path);
  n -= n > 3 && strcmp(path + n - 3, ".gz") == 0 ? 3 : 0;
  return n > 6 && strncmp(path + n - 6, ".jsonl", 6) == 0;
}

lrl_status lrl_rows_read(const char *path, row_fn *fn, void *user) {
  char *text;
  size_t n_bytes;
  LRL_TRY(lrl_file_read(path, &text, &n_bytes));
  lrl_status status = is_lines(path) ? read_lines(text, n_bytes, fn, user)
                                     : read_list(path, text, n_bytes, fn, user);
  free(text);
  return status;
}
