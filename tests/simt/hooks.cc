/* The callbacks of gcc's -fsanitize=thread and -fsanitize=bounds; neither libtsan nor libubsan is
 * linked. */
#include "report.h"

#include <string.h>

#define PC __builtin_return_address(0)
#define HOOK __attribute__((visibility("hidden"))) void
#define HOOK_VALUE(T) __attribute__((visibility("hidden"))) T
extern "C" {
#define ACCESS(n)                                                                                  \
  HOOK __tsan_read##n(void *p) { simt::access(p, n, simt::READ, PC); }                             \
  HOOK __tsan_write##n(void *p) { simt::access(p, n, simt::WRITE, PC); }                           \
  HOOK __tsan_volatile_read##n(void *p) {                                                          \
    simt::volatile_access(p, true);                                                                \
    simt::access(p, n, simt::VOLATILE_READ, PC);                                                   \
  }                                                                                                \
  HOOK __tsan_volatile_write##n(void *p) {                                                         \
    simt::volatile_access(p, false);                                                               \
    simt::access(p, n, simt::VOLATILE_WRITE, PC);                                                  \
  }                                                                                                \
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

/* std::atomic and the guards of static variables: of the host, in one thread. */
#define ATOMIC_FETCH(bits, T, name, expr)                                                          \
  HOOK_VALUE(T) __tsan_atomic##bits##_##name(volatile T *p, T v, int) {                            \
    const T old = *p;                                                                              \
    *p = (T)(expr);                                                                                \
    return old;                                                                                    \
  }
#define ATOMICS(bits, T)                                                                           \
  HOOK_VALUE(T) __tsan_atomic##bits##_load(const volatile T *p, int) { return *p; }                \
  HOOK __tsan_atomic##bits##_store(volatile T *p, T v, int) { *p = v; }                            \
  ATOMIC_FETCH(bits, T, exchange, v)                                                               \
  ATOMIC_FETCH(bits, T, fetch_add, old + v)                                                        \
  ATOMIC_FETCH(bits, T, fetch_sub, old - v)                                                        \
  ATOMIC_FETCH(bits, T, fetch_and, old &v)                                                         \
  ATOMIC_FETCH(bits, T, fetch_or, old | v)                                                         \
  ATOMIC_FETCH(bits, T, fetch_xor, old ^ v)                                                        \
  ATOMIC_FETCH(bits, T, fetch_nand, ~(old & v))                                                    \
  HOOK_VALUE(int)                                                                                  \
  __tsan_atomic##bits##_compare_exchange_strong(volatile T *p, T *c, T v, int, int) {              \
    const T old = *p;                                                                              \
    if (old == *c)                                                                                 \
      *p = v;                                                                                      \
    const bool same = old == *c;                                                                   \
    *c = old;                                                                                      \
    return same;                                                                                   \
  }                                                                                                \
  HOOK_VALUE(int)                                                                                  \
  __tsan_atomic##bits##_compare_exchange_weak(volatile T *p, T *c, T v, int, int) {                \
    return __tsan_atomic##bits##_compare_exchange_strong(p, c, v, 0, 0);                           \
  }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
HOOK __tsan_atomic_thread_fence(int) {}
HOOK __tsan_atomic_signal_fence(int) {}

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
