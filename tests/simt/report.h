/* Reports with their place in the source, and the counters of memory. */
#ifndef SIMT_REPORT_H
#define SIMT_REPORT_H
#include "simt.h"

#include "include/simt_core.h"

#include <string>

namespace simt {
/* Once per place and kind. pc: a return address in instrumented code, or the site of inline PTX. */
__attribute__((format(printf, 3, 4))) void report_at(const void *pc, const char *kind,
                                                     const char *fmt, ...);
/* A copy of n bytes, as loads or stores of the largest size that its address allows. */
void access_range(const void *p, size_t n, access_kind kind, const void *pc);
void count_access(const void *p, int bytes, bool shared, access_kind kind, const void *pc);
} // namespace simt
#endif
