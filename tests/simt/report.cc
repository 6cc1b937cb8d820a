/* What the simulator found, in words. */
#include "report.h"

#include <dlfcn.h>
#include <map>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace simt {
static int n_reports, n_lines; /* lines: without repetitions of a place */
static std::string all;        /* the first reports, one a line */
static std::set<std::pair<const void *, std::string>> reported;

void report(const char *fmt, ...) {
  char text[600];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  std::string line;
  if (kernel_name != NULL) {
    char place[200];
    snprintf(place, sizeof place, "%s block (%u,%u,%u) thread %d: ", kernel_name, blockIdx.x,
             blockIdx.y, blockIdx.z, self != NULL ? self->linear : -1);
    line = place;
  }
  line += text;
  n_reports++;
  if (n_lines++ < 100)
    all += (all.empty() ? "" : "\n") + line;
  if (!settings.quiet && n_lines <= 20)
    fprintf(stderr, "SIMT: %s\n", line.c_str());
  static const bool stop = getenv("SIMT_STOP") != NULL; /* for a debugger, or the impatient */
  if (stop)
    abort();
}
/* file:line of code; the innermost frame that is not one of the simulator's headers. */
static std::string where(const void *pc) {
  static std::map<const void *, std::string> known;
  std::string &place = known[pc];
  Dl_info info;
  if (!place.empty() || dladdr(pc, &info) == 0)
    return place;
  char path[512], command[700], out[512] = "";
  ssize_t n = -1;
  if (strchr(info.dli_fname, '/') == NULL)
    n = readlink("/proc/self/exe", path, sizeof path - 1);
  snprintf(path + (n > 0 ? n : 0), sizeof path - (size_t)(n > 0 ? n : 0), "%s",
           n > 0 ? "" : info.dli_fname);
  const char *base = static_cast<const char *>(info.dli_fbase);
  snprintf(command, sizeof command, "addr2line -i -s -e '%s' %p 2>/dev/null", path,
           (void *)(static_cast<const char *>(pc) - base - 1));
  FILE *f = popen(command, "r");
  while (f != NULL && fgets(out, sizeof out, f) != NULL) {
    out[strcspn(out, " \n")] = '\0';
    if (strncmp(out, "simt_", 5) != 0 && strncmp(out, "cuda_", 5) != 0 &&
        strncmp(out, "cooperative", 11) != 0)
      break;
  }
  if (f != NULL)
    pclose(f);
  return place = out;
}
void report_at(const void *pc, const char *kind, const char *fmt, ...) {
  if (!reported.insert({pc, kind}).second) {
    n_reports++;
    return;
  }
  char text[500];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  const bool in_ptx = self != NULL && pc == self->ptx_site;
  report("%s: %s", in_ptx ? static_cast<const char *>(pc) : where(pc).c_str(), text);
}
} // namespace simt

void simt_reset_counters();
int simt_reports(const char **text) {
  if (text != NULL)
    *text = simt::all.c_str();
  return simt::n_reports;
}
void simt_reset(void) {
  simt::n_reports = simt::n_lines = 0;
  simt::all.clear();
  simt::reported.clear();
  simt_reset_counters();
  simt::forget_migrations();
}
void simt_configure(const struct simt_settings *s) { simt::settings = *s; }
int simt_is_traced(void) { return simt::traced; }
