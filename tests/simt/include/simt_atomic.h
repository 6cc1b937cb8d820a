/* Atomics. A thread that does not change a word lets others run: it may be waiting for them to. */
#pragma once

namespace simt {
#define SIMT_NOINLINE __attribute__((noinline)) SIMT_UNTRACED
template <class T, class F> SIMT_NOINLINE T modify(T *p, F f, const void *pc) {
  access(p, sizeof(T), ATOMIC, pc);
  atomic_order(p);
  const T old = *p, v = f(old);
  *p = v;
  if (memcmp((const void *)&old, (const void *)&v, sizeof v) == 0)
    yield();
  return old;
}
template <class T> SIMT_NOINLINE T compare_swap(T *p, T expected, T v, const void *pc) {
  access(p, sizeof(T), ATOMIC, pc);
  atomic_order(p);
  T old = *p;
  if (memcmp((const void *)&old, (const void *)&expected, sizeof old) == 0)
    *p = v;
  if (memcmp((const void *)&old, (const void *)p, sizeof old) == 0)
    yield();
  return old;
}
} // namespace simt

#define SIMT_ATOMIC_NAMES(X, name) X(name) X(name##_block) X(name##_system)
#define SIMT_RMW(name, T, expr)                                                                    \
  SIMT_NOINLINE inline T name(T *p, T v) {                                                         \
    return simt::modify(                                                                           \
        p, [v](T old) { return (T)(expr); }, SIMT_PC);                                             \
  }
#define SIMT_RMW_ALL(name, T, expr)                                                                \
  SIMT_RMW(name, T, expr) SIMT_RMW(name##_block, T, expr) SIMT_RMW(name##_system, T, expr)
#define SIMT_RMW_INTEGERS(name, expr)                                                              \
  SIMT_RMW_ALL(name, int, expr)                                                                    \
  SIMT_RMW_ALL(name, unsigned, expr)                                                               \
  SIMT_RMW_ALL(name, unsigned long long, expr)                                                     \
  SIMT_RMW_ALL(name, long long, expr)                                                              \
  SIMT_RMW_ALL(name, unsigned long, expr)
SIMT_RMW_INTEGERS(atomicAdd, old + v)
SIMT_RMW_ALL(atomicAdd, float, old + v)
SIMT_RMW_ALL(atomicAdd, double, old + v)
SIMT_RMW_INTEGERS(atomicSub, old - v)
SIMT_RMW_INTEGERS(atomicMin, v < old ? v : old)
SIMT_RMW_INTEGERS(atomicMax, v > old ? v : old)
SIMT_RMW_INTEGERS(atomicAnd, old &v)
SIMT_RMW_INTEGERS(atomicOr, old | v)
SIMT_RMW_INTEGERS(atomicXor, old ^ v)
SIMT_RMW_ALL(atomicInc, unsigned, old >= v ? 0 : old + 1)
SIMT_RMW_ALL(atomicDec, unsigned, old == 0 || old > v ? v : old - 1)
#undef SIMT_RMW_INTEGERS
#undef SIMT_RMW_ALL
#undef SIMT_RMW
#define SIMT_EXCH(name, T)                                                                         \
  SIMT_NOINLINE inline T name(T *p, T v) {                                                         \
    return simt::modify(                                                                           \
        p, [v](T) { return v; }, SIMT_PC);                                                         \
  }
#define SIMT_CAS(name, T)                                                                          \
  SIMT_NOINLINE inline T name(T *p, T c, T v) { return simt::compare_swap(p, c, v, SIMT_PC); }
#define SIMT_SWAPS(T)                                                                              \
  SIMT_EXCH(atomicExch, T)                                                                         \
  SIMT_EXCH(atomicExch_block, T)                                                                   \
  SIMT_EXCH(atomicExch_system, T)                                                                  \
  SIMT_CAS(atomicCAS, T) SIMT_CAS(atomicCAS_block, T) SIMT_CAS(atomicCAS_system, T)
SIMT_SWAPS(int)
SIMT_SWAPS(unsigned)
SIMT_SWAPS(unsigned long long)
SIMT_SWAPS(unsigned short)
SIMT_EXCH(atomicExch, float) SIMT_EXCH(atomicExch_block, float) SIMT_EXCH(atomicExch_system, float)
#undef SIMT_SWAPS
#undef SIMT_CAS
#undef SIMT_EXCH
