/* Preference data as files. Three forms are read, each also as .gz, and each with "image" or
 * "images" (a path or a list of them) and "video" or "videos" (the same; a video may as well stand
 * among the images):
 *   - the official list (SPEC 5.7): [{id, image, conversations_a, conversations_b}, ...];
 *   - *.jsonl: the same items, one a line;
 *   - *.jsonl: {"chosen", "rejected", "images"}, where chosen and rejected are message lists, one
 *     message, or a text; the turns before a single message or text stand in "prompt" (text or
 *     messages) or "conversations". Without those, a text "\n\nHuman: ...\n\nAssistant: ..." is
 *     a whole conversation (hh-rlhf).
 * A message is {from, value} or {role, content}. Other keys are ignored; "gold", which synthetic
 * data carry for checks, is never read. A row that cannot be used is reported with a reason.
 *
 * The same files, and those of single conversations, give answers to imitate: what is chosen of a
 * pair, {"messages" or "conversations"}, {"prompt", "response"} or {"text"}, whose turns are all
 * imitated where they are the assistant's. */
#ifndef LRL_DATA_PAIRS_H
#define LRL_DATA_PAIRS_H
#include "data/chat.h"

/* Why a row or pair is set aside. Append only: the numbers stand in packed corpora. */
enum lrl_aside {
  LRL_ASIDE_NONE = 0,
  LRL_ASIDE_JSON,      /* a line that is not JSON */
  LRL_ASIDE_TYPE,      /* a value of the wrong type, a missing key */
  LRL_ASIDE_EMPTY,     /* a conversation without messages or without a reply */
  LRL_ASIDE_CONTEXT,   /* the conversations differ before the last reply */
  LRL_ASIDE_CHECK,     /* check_data, SPEC 5.4 */
  LRL_ASIDE_RATIO,     /* the chosen reply is too much longer, SPEC 5.5 */
  LRL_ASIDE_LONG,      /* over max_length with overlong: filter */
  LRL_ASIDE_IMAGE,     /* an image is missing, damaged or does not match the text */
  LRL_ASIDE_DUPLICATE, /* same tokens and images as an earlier pair */
  LRL_ASIDE_SAME,      /* chosen and rejected are the same tokens */
  LRL_ASIDE_VIDEO,     /* a video is truncated, damaged or cannot be decoded */
  LRL_ASIDE_COUNT
};
/* "json", "type", ... for messages and tables. */
const char *lrl_aside_name(enum lrl_aside reason);

enum lrl_corpus_form {
  LRL_FORM_PAIRS,
  LRL_FORM_ANSWERS,     /* no rejected conversation: n_rejected is 0 */
  LRL_FORM_ALL_ANSWERS, /* rejected where there is one; a corpus has both as chats of their own */
};

struct lrl_row;
struct lrl_pair {
  int64_t row;                /* 0-based item of the list */
  int64_t line;               /* 1-based line; row + 1 for a list */
  const char *id;             /* "" when the row has none */
  struct lrl_message *chosen; /* the last message is the reply */
  struct lrl_message *rejected;
  int64_t n_chosen, n_rejected;
  const char **images; /* paths as written */
  int64_t n_images;
  bool has_image_key;         /* or a video key: decides whether a file is multimodal (SPEC 5.7) */
  float margin;               /* key "margin"; NaN without one */
  const struct lrl_row *from; /* data/rows.h: what stands in the file */
  enum lrl_aside aside;
  char detail[200]; /* a sentence when aside is set; the fields above then may be
                       incomplete and are not to be read, except row, line, id, from */
};

/* Calls fn for every row of the file in order, also for those set aside. The pair and its strings
 * live until fn returns. A failure of fn ends the reading and is returned. LRL_ERR_IO for a file
 * that cannot be read, LRL_ERR_FORMAT with line and column for a list that is not JSON. */
lrl_status lrl_pairs_read(const char *path, enum lrl_corpus_form form,
                          lrl_status (*fn)(void *user, struct lrl_pair *pair), void *user);

/* Sets pair->aside and detail (printf style). */
void lrl_pair_set_aside(struct lrl_pair *pair, enum lrl_aside reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Checks on texts: empty replies, check_data (SPEC 5.4) unless off, differing contexts unless
 * allowed. Sets pair->aside. */
struct lrl_pair_checks {
  bool check_data, allow_context_mismatch;
};
void lrl_pair_check(struct lrl_pair *pair, const struct lrl_pair_checks *checks);
#endif
