/* A growable byte string; start from {0}. `data` is NULL until something is added. */
#ifndef LRL_DATA_TEXT_H
#define LRL_DATA_TEXT_H
#include "kernels/status.h"

struct lrl_text {
  char *data; /* zero-terminated; may hold U+0000; free() it */
  int64_t len, cap;
};
/* Adds len bytes (0 makes sure data is a string). LRL_ERR_MEMORY. */
lrl_status lrl_text_add(struct lrl_text *text, const char *from, int64_t len);
lrl_status lrl_text_puts(struct lrl_text *text, const char *from);

/* Length in bytes of the whitespace character (as Python's str.isspace) at the start, 0 without
 * one. */
int64_t lrl_text_space_at(const char *text, int64_t len);
/* Moves the ends of text[0..len) inwards past whitespace. */
void lrl_text_strip(const char **text, int64_t *len, bool left, bool right);
#endif
