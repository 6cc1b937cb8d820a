#include "data/chats.h"

#include "data/rows.h"

#include <string.h>

/* Arrays grow while a row is read, so chats remember places in them until the row is complete. */
struct place {
  int64_t first_message, n_messages, first_image, n_images, n_videos; /* images: with the videos */
};
struct reader {
  struct lrl_row_marks marks;
  struct lrl_buffer messages, images, places, chats;
  int64_t n_messages, n_images, n_chats;
  lrl_status (*fn)(void *user, const struct lrl_chat_row *row);
  void *user;
};

/* One chat: `context` followed by `turns`; either may be NULL. */
static lrl_status add_chat(struct reader *r, const json_t *context, const json_t *turns,
                           const char *what, struct lrl_row_error *e) {
  struct place p = {.first_message = r->n_messages};
  if (context != NULL)
    LRL_TRY(lrl_row_turns(context, "prompt", "user", &r->messages, &r->n_messages, e));
  if (turns != NULL)
    LRL_TRY(lrl_row_turns(turns, what, "assistant", &r->messages, &r->n_messages, e));
  p.n_messages = r->n_messages - p.first_message;
  if (p.n_messages == 0)
    lrl_row_fail(e, "%s has no messages", what);
  LRL_TRY(lrl_buffer_reserve(&r->places, (size_t)(r->n_chats + 1) * sizeof p));
  ((struct place *)r->places.data)[r->n_chats++] = p;
  return LRL_OK;
}

static lrl_status add_chats(struct reader *r, const json_t *row, struct lrl_row_error *e) {
  const json_t *chats = json_object_get(row, "chats");
  const json_t *one = lrl_row_either(row, "messages", "conversations");
  const json_t *a = lrl_row_either(row, "conversations_a", "chosen");
  const json_t *b = lrl_row_either(row, "conversations_b", "rejected");
  if (json_is_array(chats)) {
    for (size_t i = 0; i < json_array_size(chats) && !e->set; i++)
      LRL_TRY(add_chat(r, NULL, json_array_get(chats, i), "a chat", e));
    if (r->n_chats == 0)
      lrl_row_fail(e, "\"chats\" is empty");
    return LRL_OK;
  }
  if (chats != NULL) {
    lrl_row_fail(e, "\"chats\" is not a list of chats");
    return LRL_OK;
  }
  if (a != NULL && b != NULL) {
    const json_t *context = lrl_row_either(row, "prompt", "conversations");
    LRL_TRY(add_chat(r, context, a, "the first conversation", e));
    return e->set ? LRL_OK : add_chat(r, context, b, "the second conversation", e);
  }
  if (one != NULL)
    return add_chat(r, NULL, one, "the chat", e);
  const json_t *prompt = json_object_get(row, "prompt");
  if (prompt != NULL)
    return add_chat(r, prompt, NULL, "the prompt", e);
  lrl_row_fail(e, "none of messages, chats, chosen and rejected, prompt is there");
  return LRL_OK;
}

/* Marks in the texts of each chat; where all have the same images, in the same order. */
static lrl_status find_places(struct reader *r, bool per_chat, struct lrl_row_error *e) {
  struct lrl_message *m = r->messages.data;
  const struct place *p = r->places.data;
  lrl_row_marks_begin(&r->marks);
  lrl_row_marks_expect(&r->marks, m, r->n_messages);
  for (int64_t i = 0; i < r->n_chats && !e->set; i++) {
    r->marks.known = r->marks.known && !per_chat;
    LRL_TRY(lrl_row_marks_place(&r->marks, m + p[i].first_message, p[i].n_messages,
                                (const char **)r->images.data + p[i].first_image,
                                p[i].n_images - p[i].n_videos, p[i].n_videos, e));
  }
  return LRL_OK;
}

/* Images and videos of every chat; with "chats" a list of lists gives each chat its own images. */
static lrl_status add_images(struct reader *r, const json_t *row, struct lrl_row_error *e) {
  const json_t *v = lrl_row_either(row, "images", "image");
  struct place *p = r->places.data;
  int64_t n_videos = 0;
  bool per_chat = json_object_get(row, "chats") != NULL && json_is_array(v) &&
                  json_is_array(json_array_get(v, 0));
  if (per_chat && json_array_size(v) != (size_t)r->n_chats)
    lrl_row_fail(e, "there are %lld chats, but images for %lld", (long long)r->n_chats,
                 (long long)json_array_size(v));
  if (per_chat && lrl_row_either(row, "videos", "video") != NULL)
    lrl_row_fail(e, "where each chat has its own images, its videos are to stand among them");
  if (!per_chat) {
    LRL_TRY(lrl_row_media(row, &r->images, &r->n_images, &n_videos, e));
    r->n_images += n_videos;
  }
  for (int64_t i = 0; i < r->n_chats && !e->set; i++) {
    p[i].first_image = per_chat ? r->n_images : 0;
    if (per_chat)
      LRL_TRY(lrl_row_images(json_array_get(v, (size_t)i), &r->images, &r->n_images, e));
    p[i].n_images = r->n_images - p[i].first_image;
    p[i].n_videos = n_videos;
  }
  return e->set ? LRL_OK : find_places(r, per_chat, e);
}

void lrl_chat_name_roles(struct lrl_message *messages, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (strcmp(messages[i].role, "human") == 0)
      messages[i].role = "user";
    else if (strcmp(messages[i].role, "bot") == 0 || strcmp(messages[i].role, "gpt") == 0)
      messages[i].role = "assistant";
}

static lrl_status read_row(void *user, const struct lrl_row *row) {
  struct reader *r = user;
  struct lrl_row_error e = {0};
  r->n_messages = r->n_images = r->n_chats = 0;
  if (row->value == NULL)
    lrl_row_fail(&e, "%s", row->damage);
  else if (!json_is_object(row->value))
    lrl_row_fail(&e, "the row is not an object");
  if (!e.set)
    LRL_TRY(add_chats(r, row->value, &e));
  if (!e.set)
    LRL_TRY(add_images(r, row->value, &e));
  LRL_TRY(lrl_buffer_reserve(&r->chats, (size_t)(r->n_chats + 1) * sizeof(struct lrl_chat)));
  struct lrl_chat *chats = r->chats.data;
  const struct place *p = r->places.data;
  lrl_chat_name_roles(r->messages.data, r->n_messages);
  for (int64_t i = 0; i < r->n_chats && !e.set; i++)
    chats[i] = (struct lrl_chat){(struct lrl_message *)r->messages.data + p[i].first_message,
                                 p[i].n_messages, (const char **)r->images.data + p[i].first_image,
                                 p[i].n_images};
  return r->fn(r->user, &(struct lrl_chat_row){row->row, row->line, row->value,
                                               json_object_get(row->value, "id"), chats,
                                               e.set ? 0 : r->n_chats, e.set ? e.text : NULL});
}

lrl_status lrl_chats_read(const char *path,
                          lrl_status (*fn)(void *user, const struct lrl_chat_row *row),
                          void *user) {
  struct reader r = {.fn = fn, .user = user};
  lrl_status status = lrl_rows_read(path, read_row, &r);
  lrl_buffer_free(&r.messages);
  lrl_buffer_free(&r.images);
  lrl_row_marks_free(&r.marks);
  lrl_buffer_free(&r.places);
  lrl_buffer_free(&r.chats);
  return status;
}
