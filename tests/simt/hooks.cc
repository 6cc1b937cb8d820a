/* The callbacks of gcc's -fsanitize=thread and -fsanitize=bounds; neither libtsan nor libubsan is
 * linked. */
#include "report.h"

#include <string.h>

#define PC __builtin_return_address(0)
#define HOOK __attribute__((visibility("hidden"))) void
extern "C" {
#define ACCESS(n)                                                                                  \
  HOOK __tsan_read##n(void *p) { simt::access(p, n, simt::READ, PC); }                             \
  HOOK __tsan_write##n(void *p) { simt::access(p, n, simt::WRITE, PC); }                           \
  HOOK __tsan_volatile_read##n(void *p) {                                                          \
    simt::access(p, n, simt::VOLATILE_READ, PC);                                                   \
    simt::yield(); /* it may be waiting for the value to change */                                 \
  }                                                                                                \
  HOOK __tsan_volatile_write##n(void *p) { simt::access(p, n, simt::VOLATILE_WRITE, PC); }         \
  HOOK __tsan_unaligned_read##n(void *p) { simt::access(p, n, simt::READ, PC); }                   \
  HOOK __tsan_unaligned_write##n(void *p) { simt::access(p, n, simt::WRITE, PC); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
HOOK __tsan_read_range(void *p, size_t n) { simt::access_range(p, n, simt::READ, PC); }
HOOK __tsan_write_range(void *p, size_t n) { simt::access_range(p, n, simt::WRITE, PC); }
HOOK __tsan_init(void) {}
HOOK __tsan_func_entry(void *) {}
HOOK __tsan_func_exit(void) {}
HOOK __tsan_vptr_update(void *, void *) {}
HOOK __tsan_vptr_read(void *) {}

struct source_location {
  const char *file;
  uint32_t line, column;
};
HOOK __ubsan_handle_out_of_bounds(const source_location *at, void *index) {
  const char *slash = strrchr(at->file, '/');
  simt::report_at(at, "array", "%s:%u: index %td is outside its array",
                  slash != NULL ? slash + 1 : at->file, at->line, (ptrdiff_t)index);
}
}
