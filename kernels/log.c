#include "kernels/log.h"

#include <stdarg.h>
#include <stdio.h>

static enum lrl_log_level log_max = LRL_LOG_INFO;
static int log_rank, log_world = 1;

void lrl_log_setup(enum lrl_log_level max_level, int rank, int world_size) {
  log_max = max_level;
  log_rank = rank;
  log_world = world_size;
}

void lrl_log(enum lrl_log_level level, const char *subsystem, const char *fmt, ...) {
  if (level > log_max || (level >= LRL_LOG_INFO && log_rank != 0))
    return;
  static const char *const tag[] = {"error", "warning", "", "debug"};
  char line[4096];
  int n = 0;
  if (log_world > 1 && level < LRL_LOG_INFO)
    n = snprintf(line, sizeof line, "[rank %d] ", log_rank);
  n += snprintf(line + n, sizeof line - (size_t)n, "%s: %s%s", subsystem, tag[level],
                tag[level][0] ? ": " : "");
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
  va_end(ap);
  fprintf(stderr, "%s\n", line); /* one call: lines of ranks and threads do not mix */
}
