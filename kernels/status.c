#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char error_text[2048];
static _Thread_local char error_where[128];

lrl_status lrl_fail_at(const char *file, int line, lrl_status code, const char *fmt, ...) {
  LRL_ASSERT(code != LRL_OK);
  if (error_text[0] != '\0')
    return code;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(error_text, sizeof error_text, fmt, ap);
  va_end(ap);
  lrl_one_line(error_text);
  const char *base = strrchr(file, '/');
  snprintf(error_where, sizeof error_where, "%s:%d", base ? base + 1 : file, line);
  return code;
}

const char *lrl_last_error(void) { return error_text; }
const char *lrl_last_error_where(void) { return error_where; }

void lrl_error_clear(void) {
  error_text[0] = '\0';
  error_where[0] = '\0';
}

void lrl_one_line(char *text) {
  for (; *text != '\0'; text++)
    if ((unsigned char)*text < 0x20 || *text == 0x7f)
      *text = '?';
}

void lrl_assert_failed(const char *file, int line, const char *cond) {
  fprintf(stderr, "laurel: internal error at %s:%d: %s\n", file, line, cond);
  abort();
}
