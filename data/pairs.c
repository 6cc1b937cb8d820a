#include "data/pairs.h"

#include "data/rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *lrl_aside_name(enum lrl_aside reason) {
  static const char *const names[LRL_ASIDE_COUNT] = {"none",    "json",       "type",  "empty",
                                                     "context", "check_data", "ratio", "long",
                                                     "image",   "duplicate",  "same",  "video"};
  return (unsigned)reason < LRL_ASIDE_COUNT ? names[reason] : "unknown";
}

void lrl_pair_set_aside(struct lrl_pair *pair, enum lrl_aside reason, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  pair->aside = reason;
  vsnprintf(pair->detail, sizeof pair->detail, fmt, args);
  va_end(args);
  lrl_one_line(pair->detail);
}

/* One row's pair with the storage of its arrays, which is reused from row to row. */
struct reader {
  enum lrl_corpus_form form;
  struct lrl_pair pair;
  struct lrl_buffer chosen, rejected, images, text[2]; /* text: transcripts taken apart */
  struct lrl_row_marks marks;
  char id[64];
  lrl_status (*fn)(void *user, struct lrl_pair *pair);
  void *user;
};

static lrl_status read_side(const json_t *row, const char *official, const char *common,
                            struct lrl_buffer *text, struct lrl_buffer *b, int64_t *n,
                            struct lrl_row_error *e) {
  const json_t *v = json_object_get(row, official);
  *n = 0;
  if (v != NULL) {
    if (!json_is_array(v))
      lrl_row_fail(e, "%s is not a list of messages", official);
    else
      LRL_TRY(lrl_row_turns(v, official, "assistant", b, n, e));
    return LRL_OK;
  }
  v = json_object_get(row, common);
  const json_t *context = lrl_row_either(row, "prompt", "conversations");
  if (v == NULL)
    lrl_row_fail(e, "neither %s nor %s is there", official, common);
  else if (context == NULL && lrl_row_is_transcript(v))
    return lrl_row_transcript(v, text, b, n, e);
  else if (json_is_string(v) && context == NULL)
    lrl_row_fail(e, "%s is a text, but there is no prompt", common);
  if (!e->set && context != NULL)
    LRL_TRY(lrl_row_turns(context, "prompt", "user", b, n, e));
  if (!e->set)
    LRL_TRY(lrl_row_turns(v, common, "assistant", b, n, e));
  return LRL_OK;
}

static lrl_status read_answer(struct reader *r, const json_t *row, struct lrl_row_error *e) {
  struct lrl_pair *p = &r->pair;
  const json_t *text = json_object_get(row, "text"), *prompt = json_object_get(row, "prompt");
  const json_t *chat = lrl_row_either(row, "messages", "conversations");
  if (lrl_row_either(row, "conversations_a", "chosen") != NULL)
    return read_side(row, "conversations_a", "chosen", &r->text[0], &r->chosen, &p->n_chosen, e);
  if (text != NULL)
    return lrl_row_turns(text, "text", "assistant", &r->chosen, &p->n_chosen, e);
  if (prompt == NULL && chat == NULL)
    lrl_row_fail(e, "none of messages, conversations, chosen, prompt and text is there");
  if (prompt == NULL || e->set)
    return e->set ? LRL_OK
                  : lrl_row_turns(chat, "the chat", "assistant", &r->chosen, &p->n_chosen, e);
  LRL_TRY(lrl_row_turns(prompt, "prompt", "user", &r->chosen, &p->n_chosen, e));
  return e->set ? LRL_OK
                : lrl_row_turns(json_object_get(row, "response"), "response", "assistant",
                                &r->chosen, &p->n_chosen, e);
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

static lrl_status find_places(struct reader *r, int64_t n_images, int64_t n_videos,
                              struct lrl_row_error *e) {
  struct lrl_pair *p = &r->pair;
  lrl_row_marks_begin(&r->marks);
  lrl_row_marks_expect(&r->marks, p->chosen, p->n_chosen);
  lrl_row_marks_expect(&r->marks, p->rejected, p->n_rejected);
  LRL_TRY(lrl_row_marks_place(&r->marks, p->chosen, p->n_chosen, p->images, n_images, n_videos, e));
  if (p->n_rejected > 0 && !e->set)
    LRL_TRY(lrl_row_marks_place(&r->marks, p->rejected, p->n_rejected, p->images, n_images,
                                n_videos, e));
  return LRL_OK;
}

static lrl_status read_object(struct reader *r, const json_t *row, struct lrl_row_error *e) {
  struct lrl_pair *p = &r->pair;
  int64_t n_images, n_videos;
  read_id(r, row);
  p->has_image_key = lrl_row_either(row, "image", "images") != NULL ||
                     lrl_row_either(row, "video", "videos") != NULL;
  LRL_TRY(lrl_row_media(row, &r->images, &n_images, &n_videos, e));
  p->images = r->images.data;
  p->n_images = n_images + n_videos;
  const json_t *margin = json_object_get(row, "margin");
  if (margin != NULL && !json_is_null(margin)) {
    p->margin = json_is_number(margin) ? (float)json_number_value(margin) : INFINITY;
    if (!isfinite(p->margin))
      lrl_row_fail(e, "margin is not a number that a float can hold");
  }
  p->n_chosen = p->n_rejected = 0;
  if (!e->set && r->form != LRL_FORM_PAIRS)
    LRL_TRY(read_answer(r, row, e));
  else if (!e->set)
    LRL_TRY(read_side(row, "conversations_a", "chosen", &r->text[0], &r->chosen, &p->n_chosen, e));
  const bool two =
      r->form == LRL_FORM_ALL_ANSWERS && lrl_row_either(row, "conversations_b", "rejected") != NULL;
  if (!e->set && (two || r->form == LRL_FORM_PAIRS))
    LRL_TRY(read_side(row, "conversations_b", "rejected", &r->text[1], &r->rejected, &p->n_rejected,
                      e));
  p->chosen = r->chosen.data;
  p->rejected = r->rejected.data;
  return e->set ? LRL_OK : find_places(r, n_images, n_videos, e);
}

static lrl_status read_row(void *user, const struct lrl_row *row) {
  struct reader *r = user;
  struct lrl_pair *p = &r->pair;
  struct lrl_row_error e = {0};
  *p = (struct lrl_pair){.row = row->row, .line = row->line, .id = "", .margin = NAN, .from = row};
  if (row->value == NULL) {
    lrl_pair_set_aside(p, LRL_ASIDE_JSON, "%s", row->damage);
    return r->fn(r->user, p);
  }
  if (!json_is_object(row->value))
    lrl_row_fail(&e, "the row is not an object");
  else
    LRL_TRY(read_object(r, row->value, &e));
  if (e.set)
    lrl_pair_set_aside(p, LRL_ASIDE_TYPE, "%s", e.text);
  else if (p->n_chosen == 0 || (p->n_rejected == 0 && r->form == LRL_FORM_PAIRS))
    lrl_pair_set_aside(p, LRL_ASIDE_EMPTY, "a conversation has no messages");
  return r->fn(r->user, p);
}

lrl_status lrl_pairs_read(const char *path, enum lrl_corpus_form form,
                          lrl_status (*fn)(void *user, struct lrl_pair *pair), void *user) {
  struct reader r = {.form = form, .fn = fn, .user = user};
  lrl_status status = lrl_rows_read(path, read_row, &r);
  lrl_buffer_free(&r.chosen);
  lrl_buffer_free(&r.rejected);
  lrl_buffer_free(&r.images);
  lrl_buffer_free(&r.text[0]);
  lrl_buffer_free(&r.text[1]);
  lrl_row_marks_free(&r.marks);
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
  const bool pair = p->n_rejected > 0;
  const struct lrl_message *last[2] = {&p->chosen[p->n_chosen - 1],
                                       pair ? &p->rejected[p->n_rejected - 1] : NULL};
  static const char *const side[2] = {"chosen", "rejected"};
  for (int k = 0; k < 1 + pair; k++) {
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
  if (pair && !checks->allow_context_mismatch && !same_context(p))
    lrl_pair_set_aside(p, LRL_ASIDE_CONTEXT, "the conversations differ before the last reply");
}
