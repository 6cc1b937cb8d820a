#include "data/pairs.h"

#include "data/bytes.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *lrl_aside_name(enum lrl_aside reason) {
  static const char *const names[LRL_ASIDE_COUNT] = {"none",    "json",       "type",  "empty",
                                                     "context", "check_data", "ratio", "long",
                                                     "image",   "duplicate",  "same"};
  return (unsigned)reason < LRL_ASIDE_COUNT ? names[reason] : "unknown";
}

void lrl_pair_set_aside(struct lrl_pair *pair, enum lrl_aside reason, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  pair->aside = reason;
  vsnprintf(pair->detail, sizeof pair->detail, fmt, args);
  va_end(args);
}

/* One row's pair with the storage of its arrays, which is reused from row to row. */
struct reader {
  struct lrl_pair pair;
  struct lrl_buffer chosen, rejected, images;
  char id[64];
  lrl_status (*fn)(void *user, struct lrl_pair *pair);
  void *user;
};

/* The text of a JSON string, NULL (and the pair set aside) for anything else. */
static const char *text_of(struct lrl_pair *p, const json_t *v, const char *what) {
  static const char *const types[] = {"an object", "a list", "a string", "a number",
                                      "a number",  "true",   "false",    "null"};
  if (v == NULL)
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s is missing", what);
  else if (!json_is_string(v))
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s is %s, not a string", what, types[json_typeof(v)]);
  else if (strlen(json_string_value(v)) != json_string_length(v))
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s holds the character U+0000", what);
  else
    return json_string_value(v);
  return NULL;
}

static const json_t *either(const json_t *object, const char *a, const char *b) {
  const json_t *v = json_object_get(object, a);
  return v != NULL ? v : json_object_get(object, b);
}

static lrl_status push(struct lrl_buffer *b, int64_t *n, const char *role, const char *content) {
  LRL_TRY(lrl_buffer_reserve(b, (size_t)(*n + 1) * sizeof(struct lrl_message)));
  ((struct lrl_message *)b->data)[(*n)++] = (struct lrl_message){role, content};
  return LRL_OK;
}

static lrl_status push_message(struct lrl_pair *p, const json_t *m, struct lrl_buffer *b,
                               int64_t *n) {
  if (!json_is_object(m)) {
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "a message is not an object");
    return LRL_OK;
  }
  const char *role = text_of(p, either(m, "from", "role"), "the role of a message");
  const char *content = text_of(p, either(m, "value", "content"), "the content of a message");
  return role == NULL || content == NULL ? LRL_OK : push(b, n, role, content);
}

/* Messages of `v`: a list, one message, or a text with the given role. */
static lrl_status push_turns(struct lrl_pair *p, const json_t *v, const char *what,
                             const char *role, struct lrl_buffer *b, int64_t *n) {
  if (json_is_object(v))
    return push_message(p, v, b, n);
  if (json_is_array(v)) {
    for (size_t i = 0; i < json_array_size(v) && p->aside == LRL_ASIDE_NONE; i++)
      LRL_TRY(push_message(p, json_array_get(v, i), b, n));
    return LRL_OK;
  }
  const char *text = text_of(p, v, what);
  return text == NULL ? LRL_OK : push(b, n, role, text);
}

static lrl_status read_side(struct reader *r, const json_t *row, const char *official,
                            const char *common, struct lrl_buffer *b, int64_t *n) {
  struct lrl_pair *p = &r->pair;
  const json_t *v = json_object_get(row, official);
  *n = 0;
  if (v != NULL) {
    if (!json_is_array(v))
      lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s is not a list of messages", official);
    else
      LRL_TRY(push_turns(p, v, official, "assistant", b, n));
    return LRL_OK;
  }
  v = json_object_get(row, common);
  const json_t *context = either(row, "prompt", "conversations");
  if (v == NULL)
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "neither %s nor %s is there", official, common);
  else if (json_is_string(v) && context == NULL)
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s is a text, but there is no prompt", common);
  if (p->aside == LRL_ASIDE_NONE && context != NULL)
    LRL_TRY(push_turns(p, context, "prompt", "user", b, n));
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(push_turns(p, v, common, "assistant", b, n));
  return LRL_OK;
}

static lrl_status read_images(struct reader *r, const json_t *row) {
  struct lrl_pair *p = &r->pair;
  const json_t *v = either(row, "image", "images");
  p->has_image_key = v != NULL;
  size_t n = json_is_array(v) ? json_array_size(v) : v == NULL || json_is_null(v) ? 0 : 1;
  LRL_TRY(lrl_buffer_reserve(&r->images, (n + 1) * sizeof(char *)));
  p->images = r->images.data;
  p->n_images = 0;
  for (size_t i = 0; i < n; i++) {
    const char *path = text_of(p, json_is_array(v) ? json_array_get(v, i) : v, "an image path");
    if (path == NULL)
      return LRL_OK;
    p->images[p->n_images++] = path;
  }
  return LRL_OK;
}

static void read_id(struct reader *r, const json_t *row) {
  const json_t *v = json_object_get(row, "id");
  r->pair.id = r->id;
  r->id[0] = '\0';
  if (json_is_string(v))
    r->pair.id = json_string_value(v);
  else if (json_is_integer(v))
    snprintf(r->id, sizeof r->id, "%lld", (long long)json_integer_value(v));
}

static lrl_status read_row(struct reader *r, const json_t *row) {
  struct lrl_pair *p = &r->pair;
  if (!json_is_object(row)) {
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "the row is not an object");
    return r->fn(r->user, p);
  }
  read_id(r, row);
  LRL_TRY(read_images(r, row));
  const json_t *margin = json_object_get(row, "margin");
  if (json_is_number(margin))
    p->margin = (float)json_number_value(margin);
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(read_side(r, row, "conversations_a", "chosen", &r->chosen, &p->n_chosen));
  if (p->aside == LRL_ASIDE_NONE)
    LRL_TRY(read_side(r, row, "conversations_b", "rejected", &r->rejected, &p->n_rejected));
  p->chosen = r->chosen.data;
  p->rejected = r->rejected.data;
  if (p->aside == LRL_ASIDE_NONE && (p->n_chosen == 0 || p->n_rejected == 0))
    lrl_pair_set_aside(p, LRL_ASIDE_EMPTY, "a conversation has no messages");
  return r->fn(r->user, p);
}

static void begin_row(struct reader *r, int64_t row, int64_t line) {
  r->pair = (struct lrl_pair){.row = row, .line = line, .id = "", .margin = NAN};
}

static lrl_status read_lines(struct reader *r, char *text, size_t n_bytes) {
  int64_t row = 0, line = 0;
  char *end = text + n_bytes;
  for (char *at = text, *stop; at < end; at = stop + 1) {
    stop = memchr(at, '\n', (size_t)(end - at));
    stop = stop == NULL ? end : stop;
    line++;
    char *c = at;
    while (c < stop && (*c == ' ' || *c == '\t' || *c == '\r'))
      c++;
    if (c == stop)
      continue;
    begin_row(r, row++, line);
    json_error_t e;
    json_t *v = json_loadb(at, (size_t)(stop - at), JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    lrl_status status;
    if (v == NULL) {
      lrl_pair_set_aside(&r->pair, LRL_ASIDE_JSON, "not JSON at column %d: %.120s", e.column,
                         e.text);
      status = r->fn(r->user, &r->pair);
    } else {
      status = read_row(r, v);
    }
    json_decref(v);
    LRL_TRY(status);
  }
  return LRL_OK;
}

static lrl_status read_list(struct reader *r, const char *path, const char *text, size_t n_bytes) {
  json_error_t e;
  json_t *list = json_loadb(text, n_bytes, JSON_ALLOW_NUL, &e);
  if (list == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s, line %d, column %d: not JSON: %s", path, e.line, e.column,
                    e.text);
  lrl_status status = LRL_OK;
  if (!json_is_array(list))
    status = LRL_FAIL(LRL_ERR_FORMAT,
                      "%s holds an object, not a list of pairs; name a file with one pair a line "
                      "*.jsonl",
                      path);
  for (size_t i = 0; status == LRL_OK && i < json_array_size(list); i++) {
    begin_row(r, (int64_t)i, (int64_t)i + 1);
    status = read_row(r, json_array_get(list, i));
  }
  json_decref(list);
  return status;
}

static bool is_lines(const char *path) {
  size_t n = strlen(path);
  n -= n > 3 && strcmp(path + n - 3, ".gz") == 0 ? 3 : 0;
  return n > 6 && strncmp(path + n - 6, ".jsonl", 6) == 0;
}

lrl_status lrl_pairs_read(const char *path, lrl_status (*fn)(void *user, struct lrl_pair *pair),
                          void *user) {
  struct reader r = {.fn = fn, .user = user};
  char *text;
  size_t n_bytes;
  LRL_TRY(lrl_file_read(path, &text, &n_bytes));
  lrl_status status =
      is_lines(path) ? read_lines(&r, text, n_bytes) : read_list(&r, path, text, n_bytes);
  free(text);
  lrl_buffer_free(&r.chosen);
  lrl_buffer_free(&r.rejected);
  lrl_buffer_free(&r.images);
  return status;
}

/* ---- checks ---- */

static bool is_user(const char *role) {
  return strcasecmp(role, "human") == 0 || strcasecmp(role, "user") == 0;
}

static bool same_context(const struct lrl_pair *p) {
  if (p->n_chosen != p->n_rejected)
    return false;
  for (int64_t i = 0; i + 1 < p->n_chosen; i++) {
    const struct lrl_message *a = &p->chosen[i], *b = &p->rejected[i];
    bool system_a = strcasecmp(a->role, "system") == 0,
         system_b = strcasecmp(b->role, "system") == 0;
    if (strcmp(a->content, b->content) != 0 || is_user(a->role) != is_user(b->role) ||
        system_a != system_b)
      return false;
  }
  return true;
}

void lrl_pair_check(struct lrl_pair *p, const struct lrl_pair_checks *checks) {
  if (p->aside != LRL_ASIDE_NONE)
    return;
  const struct lrl_message *last[2] = {&p->chosen[p->n_chosen - 1],
                                       &p->rejected[p->n_rejected - 1]};
  static const char *const side[2] = {"chosen", "rejected"};
  for (int k = 0; k < 2; k++) {
    const char *content = last[k]->content, *why = NULL;
    if (is_user(last[k]->role) || strcasecmp(last[k]->role, "system") == 0)
      lrl_pair_set_aside(p, LRL_ASIDE_EMPTY, "the %s conversation does not end with a reply",
                         side[k]);
    else if (content[strspn(content, " \t\r\n\v\f")] == '\0')
      lrl_pair_set_aside(p, LRL_ASIDE_EMPTY, "the %s reply is empty", side[k]);
    else if (checks->check_data && (why = lrl_chat_reject_answer(content)) != NULL)
      lrl_pair_set_aside(p, LRL_ASIDE_CHECK, "%s: %s", side[k], why);
    if (p->aside != LRL_ASIDE_NONE)
      return;
  }
  if (!checks->allow_context_mismatch && !same_context(p))
    lrl_pair_set_aside(p, LRL_ASIDE_CONTEXT, "the conversations differ before the last reply");
}
