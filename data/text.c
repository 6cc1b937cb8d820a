#include "data/text.h"

#include <stdlib.h>
#include <string.h>

lrl_status lrl_text_add(struct lrl_text *text, const char *from, int64_t len) {
  if (text->len + len + 1 > text->cap) {
    int64_t cap = 2 * (text->len + len) + 64;
    char *p = realloc(text->data, (size_t)cap);
    if (p == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld bytes of text", (long long)cap);
    text->data = p;
    text->cap = cap;
  }
  if (len > 0)
    memcpy(text->data + text->len, from, (size_t)len);
  text->len += len;
  text->data[text->len] = '\0';
  return LRL_OK;
}

lrl_status lrl_text_puts(struct lrl_text *text, const char *from) {
  return lrl_text_add(text, from, (int64_t)strlen(from));
}

int64_t lrl_text_space_at(const char *text, int64_t len) {
  const unsigned char *p = (const unsigned char *)text;
  if (len >= 1 && ((p[0] >= 0x09 && p[0] <= 0x0d) || (p[0] >= 0x1c && p[0] <= 0x20)))
    return 1;
  if (len >= 2 && p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0))
    return 2;
  if (len < 3)
    return 0;
  unsigned code = (unsigned)p[0] << 16 | (unsigned)p[1] << 8 | p[2];
  bool space = code == 0xe19a80 || (code >= 0xe28080 && code <= 0xe2808a) || code == 0xe280a8 ||
               code == 0xe280a9 || code == 0xe280af || code == 0xe2819f || code == 0xe38080;
  return space ? 3 : 0;
}

void lrl_text_strip(const char **text, int64_t *len, bool left, bool right) {
  for (int64_t k; left && (k = lrl_text_space_at(*text, *len)) > 0;) {
    *text += k;
    *len -= k;
  }
  while (right && *len > 0) {
    int64_t k = 0;
    for (int64_t back = 1; back <= 3 && back <= *len && k == 0; back++)
      if (lrl_text_space_at(*text + *len - back, back) == back)
        k = back;
    if (k == 0)
      return;
    *len -= k;
  }
}
