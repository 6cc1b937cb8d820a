/* Chats to score or to go on with: JSON lists or JSONL (data/rows.h). A row holds
 *   {"messages" or "conversations": [...], "images": [...]}           one chat;
 *   {"prompt": "..." or [...], "images": [...]}                       the same, one user turn;
 *   {"chats": [[...], [...], ...], "images": [...]}                   several, to compare or rank;
 *   {"chosen", "rejected"} or {"conversations_a", "conversations_b"}  two, as in preference files.
 * "images" (or "image") is a path or a list of paths for every chat of the row, or with "chats" one
 * list per chat; "videos" (or "video") the same for every chat, and videos may stand among the
 * images. Message lists are {role|from, content|value}; the roles human, bot and gpt of the
 * training format are read as user and assistant. */
#ifndef LRL_DATA_CHATS_H
#define LRL_DATA_CHATS_H
#include "data/chat.h"

#include <jansson.h>

struct lrl_chat {
  const struct lrl_message *messages;
  int64_t n_messages;
  const char *const *images;
  int64_t n_images;
};
struct lrl_chat_row {
  int64_t row, line;
  const json_t *value; /* the row itself; NULL when it is not JSON */
  const json_t *id;    /* its "id", NULL without one */
  const struct lrl_chat *chats;
  int64_t n_chats;
  const char *error; /* a sentence when the row cannot be used (n_chats is 0 then), else NULL */
};
/* Changes the roles of the official training format (human, bot, gpt) to those that scoring knows.
 */
void lrl_chat_name_roles(struct lrl_message *messages, int64_t n);
/* Calls fn for every row in order; all pointers live until fn returns. A failure of fn ends the
 * reading and is returned. Errors of the file itself as lrl_rows_read. */
lrl_status lrl_chats_read(const char *path,
                          lrl_status (*fn)(void *user, const struct lrl_chat_row *row), void *user);
#endif
