/* Reductions and scans over a tile, in the order of its lanes. */
#pragma once
#include "../cooperative_groups.h"

namespace cooperative_groups {
#define SIMT_OPERATOR(name, expr)                                                                  \
  template <class T = void> struct name {                                                          \
    T operator()(T a, T b) const { return (T)(expr); }                                             \
  };
SIMT_OPERATOR(plus, a + b)
SIMT_OPERATOR(less, b < a ? b : a)
SIMT_OPERATOR(greater, a < b ? b : a)
SIMT_OPERATOR(bit_and, a &b)
SIMT_OPERATOR(bit_or, a | b)
SIMT_OPERATOR(bit_xor, a ^ b)
#undef SIMT_OPERATOR

template <class Group, class T, class Op> inline T reduce(const Group &g, T v, Op op, SIMT_AT) {
  return simt::reduced(
      g.simt_mask(), v, [&](T a, T b) { return op(a, b); }, "reduce", file_, line_);
}
template <class Group, class T, class Op>
inline T inclusive_scan(const Group &g, T v, Op op, SIMT_AT) {
  T r = v;
  const unsigned rank = g.thread_rank();
  bool first = true;
  for (unsigned i = 0; i < g.num_threads(); i++) {
    const T x = g.shfl(v, (int)i, file_, line_);
    if (i <= rank)
      r = first ? x : op(r, x);
    first = false;
  }
  return r;
}
template <class Group, class T> inline T inclusive_scan(const Group &g, T v, SIMT_AT) {
  return inclusive_scan(g, v, plus<T>(), file_, line_);
}
template <class Group, class T, class Op>
inline T exclusive_scan(const Group &g, T v, Op op, SIMT_AT) {
  const T all = inclusive_scan(g, v, op, file_, line_);
  const T before = g.shfl_up(all, 1, file_, line_);
  return g.thread_rank() == 0 ? T() : before;
}
template <class Group, class T> inline T exclusive_scan(const Group &g, T v, SIMT_AT) {
  return exclusive_scan(g, v, plus<T>(), file_, line_);
}
} // namespace cooperative_groups
