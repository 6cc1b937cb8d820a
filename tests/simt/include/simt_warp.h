/* Shuffles, votes, matches and reductions of a warp: any trivially copyable type up to 32 bytes,
 * widths and masks as in the CUDA C++ Programming Guide. They do not order memory. */
#pragma once
#include <string.h>
#include <type_traits>

namespace simt {
enum shuffle_mode { SHUFFLE_INDEX, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_XOR };
struct shuffle {
  uint64_t value[4], result[4];
  int mode, arg, width, bytes;
};
void do_shuffle(thread *warp, unsigned mask);
struct ballot {
  bool predicate;
  unsigned result;
};
void do_ballot(thread *warp, unsigned mask);
struct match {
  uint64_t value;
  unsigned result;
  int all;
};
void do_match(thread *warp, unsigned mask);

template <class T>
SIMT_UNTRACED inline T shuffled(shuffle_mode mode, unsigned mask, T v, int arg, int width,
                                const char *name, const char *file, int line) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 32, "type of a shuffle");
  shuffle s;
  s.mode = mode;
  s.arg = arg;
  s.width = width;
  s.bytes = sizeof v;
  memcpy((void *)s.value, &v, sizeof v);
  meet(do_shuffle, name, mask, &s, file, line);
  memcpy((void *)&v, s.result, sizeof v);
  return v;
}
template <class T, class F>
inline T reduced(unsigned mask, T v, F f, const char *name, const char *file, int line) {
  T r = v;
  bool first = true;
  for (unsigned m = mask; m != 0; m &= m - 1) {
    T x = shuffled(SHUFFLE_INDEX, mask, v, __builtin_ctz(m), 32, name, file, line);
    r = first ? x : f(r, x);
    first = false;
  }
  return r;
}
} // namespace simt

template <class T> inline T __shfl_sync(unsigned m, T v, int lane, int width = 32, SIMT_AT) {
  return simt::shuffled(simt::SHUFFLE_INDEX, m, v, lane, width, "__shfl_sync", file_, line_);
}
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_AT) {
  return simt::shuffled(simt::SHUFFLE_UP, m, v, (int)d, width, "__shfl_up_sync", file_, line_);
}
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, int width = 32, SIMT_AT) {
  return simt::shuffled(simt::SHUFFLE_DOWN, m, v, (int)d, width, "__shfl_down_sync", file_, line_);
}
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int x, int width = 32, SIMT_AT) {
  return simt::shuffled(simt::SHUFFLE_XOR, m, v, x, width, "__shfl_xor_sync", file_, line_);
}
SIMT_UNTRACED inline unsigned __ballot_sync(unsigned m, int p, SIMT_AT) {
  simt::ballot b = {p != 0, 0};
  simt::meet(simt::do_ballot, "vote", m, &b, file_, line_);
  return b.result;
}
inline int __any_sync(unsigned m, int p, SIMT_AT) { return __ballot_sync(m, p, file_, line_) != 0; }
inline int __all_sync(unsigned m, int p, SIMT_AT) {
  return __ballot_sync(m, !p, file_, line_) == 0;
}
template <class T> SIMT_UNTRACED inline unsigned __match_any_sync(unsigned m, T v, SIMT_AT) {
  simt::match q = {0, 0, 0};
  memcpy(&q.value, &v, sizeof v);
  simt::meet(simt::do_match, "__match_any_sync", m, &q, file_, line_);
  return q.result;
}
template <class T>
SIMT_UNTRACED inline unsigned __match_all_sync(unsigned m, T v, int *pred, SIMT_AT) {
  simt::match q = {0, 0, 1};
  memcpy(&q.value, &v, sizeof v);
  simt::meet(simt::do_match, "__match_all_sync", m, &q, file_, line_);
  *pred = q.result != 0;
  return q.result;
}
#define SIMT_REDUCE(op, T, expr)                                                                   \
  inline T __reduce_##op##_sync(unsigned m, T v, SIMT_AT) {                                        \
    return simt::reduced(                                                                          \
        m, v, [](T a, T b) { return (T)(expr); }, "__reduce_" #op "_sync", file_, line_);          \
  }
SIMT_REDUCE(add, unsigned, a + b)
SIMT_REDUCE(add, int, (unsigned)a + (unsigned)b)
SIMT_REDUCE(min, unsigned, a < b ? a : b)
SIMT_REDUCE(min, int, a < b ? a : b)
SIMT_REDUCE(max, unsigned, a > b ? a : b)
SIMT_REDUCE(max, int, a > b ? a : b)
SIMT_REDUCE(and, unsigned, a &b)
SIMT_REDUCE(or, unsigned, a | b)
SIMT_REDUCE(xor, unsigned, a ^ b)
#undef SIMT_REDUCE
