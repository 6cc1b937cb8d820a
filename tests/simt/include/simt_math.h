/* Device functions on numbers. Fast forms are as exact as libm: compare with a tolerance. */
#pragma once
#include <limits.h>
#include <limits>
#include <math.h>

namespace simt {
template <class T> struct same { /* a parameter that does not decide what T is */
  typedef T type;
};
} // namespace simt
#define SIMT_MINMAX(T)                                                                             \
  inline T min(T a, T b) { return b < a ? b : a; }                                                 \
  inline T max(T a, T b) { return a < b ? b : a; }
SIMT_MINMAX(int)
SIMT_MINMAX(unsigned)
SIMT_MINMAX(long)
SIMT_MINMAX(unsigned long)
SIMT_MINMAX(long long)
SIMT_MINMAX(unsigned long long)
#undef SIMT_MINMAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
#define SIMT_MIXED(A, B, T)                                                                        \
  inline T min(A a, B b) { return min((T)a, (T)b); }                                               \
  inline T max(A a, B b) { return max((T)a, (T)b); }                                               \
  inline T min(B a, A b) { return min((T)a, (T)b); }                                               \
  inline T max(B a, A b) { return max((T)a, (T)b); }
SIMT_MIXED(int, unsigned, unsigned)
SIMT_MIXED(int, long, long)
SIMT_MIXED(int, unsigned long, unsigned long)
SIMT_MIXED(unsigned, unsigned long, unsigned long)
SIMT_MIXED(int, long long, long long)
SIMT_MIXED(long, unsigned long, unsigned long)
SIMT_MIXED(unsigned, long, long)
SIMT_MIXED(unsigned, long long, long long)
SIMT_MIXED(unsigned, unsigned long long, unsigned long long)
SIMT_MIXED(int, unsigned long long, unsigned long long)
SIMT_MIXED(long long, unsigned long long, unsigned long long)
SIMT_MIXED(float, double, double)
#undef SIMT_MIXED
/* Templates, so that a program may define its own. */
#define SIMT_TYPED(prefix, T)                                                                      \
  template <class = void> inline T prefix##min(T a, T b) { return min(a, b); }                     \
  template <class = void> inline T prefix##max(T a, T b) { return max(a, b); }
SIMT_TYPED(u, unsigned)
SIMT_TYPED(ll, long long)
SIMT_TYPED(ull, unsigned long long)
#undef SIMT_TYPED
inline int __vimax3_s32(int a, int b, int c) { return max(a, max(b, c)); }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float *s, float *c) {
  *s = sinf(x);
  *c = cosf(x);
}
inline float sinpif(float x) { return sinf(3.14159265f * x); }
inline float cospif(float x) { return cosf(3.14159265f * x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float fdividef(float a, float b) { return a / b; }
#define SIMT_FLOAT2(name, expr)                                                                    \
  inline float name(float a, float b) { return expr; }
SIMT_FLOAT2(__fadd_rn, a + b)
SIMT_FLOAT2(__fsub_rn, a - b)
SIMT_FLOAT2(__fmul_rn, a *b)
SIMT_FLOAT2(__fdiv_rn, a / b)
SIMT_FLOAT2(norm2f, hypotf(a, b))
SIMT_FLOAT2(rhypotf, 1.0f / hypotf(a, b))
#undef SIMT_FLOAT2
/* The other roundings: the exact result in f64, then one step if it was rounded the wrong way. */
inline float simt_round(double exact, int way) {
  float f = (float)exact;
  const bool up = way > 0 || (way == 0 && exact < 0), down = way < 0 || (way == 0 && exact > 0);
  if (up && (double)f < exact)
    f = nextafterf(f, INFINITY);
  if (down && (double)f > exact)
    f = nextafterf(f, -INFINITY);
  return f;
}
#define SIMT_ROUNDED(way_name, way)                                                                \
  inline float __fadd_##way_name(float a, float b) { return simt_round((double)a + b, way); }      \
  inline float __fsub_##way_name(float a, float b) { return simt_round((double)a - b, way); }      \
  inline float __fmul_##way_name(float a, float b) { return simt_round((double)a * b, way); }      \
  inline float __fdiv_##way_name(float a, float b) { return simt_round((double)a / b, way); }      \
  inline float __fmaf_##way_name(float a, float b, float c) {                                      \
    return simt_round(fma((double)a, (double)b, (double)c), way);                                  \
  }                                                                                                \
  inline float __frcp_##way_name(float x) { return simt_round(1.0 / x, way); }                     \
  inline float __fsqrt_##way_name(float x) { return simt_round(sqrt((double)x), way); }            \
  inline float __double2float_##way_name(double x) { return simt_round(x, way); }                  \
  inline float __int2float_##way_name(int x) { return simt_round(x, way); }                        \
  inline float __uint2float_##way_name(unsigned x) { return simt_round(x, way); }
SIMT_ROUNDED(rz, 0)
SIMT_ROUNDED(rd, -1)
SIMT_ROUNDED(ru, 1)
#undef SIMT_ROUNDED
/* And in f64: `error` has the sign of the exact result less the rounded one. */
inline double simt_step(double r, double error, int way) {
  const bool up = error > 0 && (way > 0 || (way == 0 && r < 0));
  const bool down = error < 0 && (way < 0 || (way == 0 && r > 0));
  return up ? nextafter(r, INFINITY) : down ? nextafter(r, -INFINITY) : r;
}
inline double simt_sum(double a, double b, int way) {
  const double s = a + b, of_b = s - a;
  return simt_step(s, (a - (s - of_b)) + (b - of_b), way);
}
inline double simt_quotient(double a, double b, int way) {
  const double q = a / b, rest = fma(-q, b, a);
  return simt_step(q, b < 0 ? -rest : rest, way);
}
#define SIMT_ROUNDED(way_name, way)                                                                \
  inline double __dadd_##way_name(double a, double b) { return simt_sum(a, b, way); }              \
  inline double __dsub_##way_name(double a, double b) { return simt_sum(a, -b, way); }             \
  inline double __dmul_##way_name(double a, double b) {                                            \
    return simt_step(a * b, fma(a, b, -(a * b)), way);                                             \
  }                                                                                                \
  inline double __ddiv_##way_name(double a, double b) { return simt_quotient(a, b, way); }         \
  inline double __drcp_##way_name(double x) { return simt_quotient(1.0, x, way); }                 \
  inline double __dsqrt_##way_name(double x) {                                                     \
    return simt_step(sqrt(x), fma(-sqrt(x), sqrt(x), x), way);                                     \
  }
SIMT_ROUNDED(rz, 0)
SIMT_ROUNDED(rd, -1)
SIMT_ROUNDED(ru, 1)
#undef SIMT_ROUNDED
inline float norm3df(float a, float b, float c) { return sqrtf(a * a + b * b + c * c); }
inline float rnorm3df(float a, float b, float c) { return 1.0f / norm3df(a, b, c); }
inline float norm4df(float a, float b, float c, float d) {
  return sqrtf(a * a + b * b + c * c + d * d);
}
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline double sinpi(double x) { return sin(3.14159265358979324 * x); }
inline double cospi(double x) { return cos(3.14159265358979324 * x); }
inline void sincospif(float x, float *s, float *c) {
  *s = sinpif(x);
  *c = cospif(x);
}
inline float erfcxf(float x) { return (float)(exp((double)x * x) * erfc((double)x)); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline double __drcp_rn(double x) { return 1.0 / x; }

template <class To, class From> inline To simt_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "");
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}
inline int __float_as_int(float x) { return simt_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
inline float __int_as_float(int x) { return simt_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
inline long long __double_as_longlong(double x) { return simt_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return simt_bits<double>(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }
/* Conversions saturate, and NaN is 0. */
template <class To, class From> inline To simt_convert(From x) {
  const From low = (From)std::numeric_limits<To>::min(),
             high = (From)std::numeric_limits<To>::max();
  return x != x      ? 0
         : x >= high ? std::numeric_limits<To>::max()
         : x <= low  ? std::numeric_limits<To>::min()
                     : (To)x;
}
#define SIMT_CONVERT(name, To, From)                                                               \
  inline To name##_rn(From x) { return simt_convert<To>(rint(x)); }                                \
  inline To name##_rz(From x) { return simt_convert<To>(trunc(x)); }                               \
  inline To name##_rd(From x) { return simt_convert<To>(floor(x)); }                               \
  inline To name##_ru(From x) { return simt_convert<To>(ceil(x)); }
SIMT_CONVERT(__float2int, int, float)
SIMT_CONVERT(__float2uint, unsigned, float)
SIMT_CONVERT(__float2ll, long long, float)
SIMT_CONVERT(__float2ull, unsigned long long, float)
SIMT_CONVERT(__double2int, int, double)
SIMT_CONVERT(__double2uint, unsigned, double)
SIMT_CONVERT(__double2ll, long long, double)
SIMT_CONVERT(__double2ull, unsigned long long, double)
#undef SIMT_CONVERT
inline float __ll2float_rn(long long x) { return (float)x; }
inline float __ull2float_rn(unsigned long long x) { return (float)x; }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return (double)x; }
inline double __ull2double_rn(unsigned long long x) { return (double)x; }
inline int __double2hiint(double x) { return (int)(simt_bits<uint64_t>(x) >> 32); }
inline int __double2loint(double x) { return (int)simt_bits<uint64_t>(x); }
inline double __hiloint2double(int hi, int lo) {
  return simt_bits<double>((uint64_t)(unsigned)hi << 32 | (unsigned)lo);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz((unsigned)x); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++)
    r |= (x >> i & 1u) << (31 - i);
  return r;
}
inline unsigned long long __brevll(unsigned long long x) {
  return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}
/* The n-th set bit from `base` on (upwards for n > 0, downwards for n < 0); 0xffffffff: none. */
inline unsigned __fns(unsigned mask, unsigned base, int n) {
  if (n == 0)
    return mask >> base & 1 ? base : 0xffffffffu;
  for (int i = (int)base, left = n < 0 ? -n : n; i >= 0 && i < 32; i += n < 0 ? -1 : 1)
    if ((mask >> i & 1) != 0 && --left == 0)
      return (unsigned)i;
  return 0xffffffffu;
}
inline long long __mul64hi(long long a, long long b) {
  return (long long)(((__int128)a * b) >> 64);
}
inline int __hadd(int a, int b) { return (int)(((int64_t)a + b) >> 1); }
inline int __rhadd(int a, int b) { return (int)(((int64_t)a + b + 1) >> 1); }
inline unsigned __uhadd(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a + b) >> 1); }
inline unsigned __urhadd(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a + b + 1) >> 1); }
inline unsigned __sad(int a, int b, unsigned c) {
  return (unsigned)(a > b ? (int64_t)a - b : (int64_t)b - a) + c;
}
inline int __mul24(int a, int b) { return (int)(((int64_t)(a << 8 >> 8)) * (b << 8 >> 8)); }
inline unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
inline int __mulhi(int a, int b) { return (int)(((int64_t)a * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const uint64_t both = (uint64_t)y << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; i++)
    r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
  return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  return (unsigned)((((uint64_t)hi << 32 | lo) << (n & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  return (unsigned)(((uint64_t)hi << 32 | lo) >> (n & 31));
}
inline unsigned __funnelshift_lc(unsigned lo, unsigned hi, unsigned n) {
  return n >= 32 ? lo : __funnelshift_l(lo, hi, n);
}
inline unsigned __funnelshift_rc(unsigned lo, unsigned hi, unsigned n) {
  return n >= 32 ? hi : __funnelshift_r(lo, hi, n);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; i++)
    c += (a >> 8 * i & 0xff) * (b >> 8 * i & 0xff);
  return c;
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++)
    c += (int)(signed char)(a >> 8 * i) * (int)(signed char)(b >> 8 * i);
  return c;
}
inline unsigned __usad(unsigned a, unsigned b, unsigned c) { return (a > b ? a - b : b - a) + c; }
/* Ticks only go up; they measure nothing. */
inline long long clock64() {
  static long long ticks;
  return ++ticks;
}
inline unsigned long long __globaltimer() { return (unsigned long long)clock64() * 32; }

/* Loads and stores with a cache hint are plain ones; inlined, so that their line is the caller's.
 */
#define SIMT_LOAD(name)                                                                            \
  template <class T> __forceinline__ T name(const T *p) { return *p; }
#define SIMT_STORE(name)                                                                           \
  template <class T> __forceinline__ void name(T *p, typename simt::same<T>::type v) { *p = v; }
SIMT_LOAD(__ldg)
SIMT_LOAD(__ldca)
SIMT_LOAD(__ldcg)
SIMT_LOAD(__ldcs)
SIMT_LOAD(__ldlu)
SIMT_LOAD(__ldcv)
SIMT_STORE(__stwb)
SIMT_STORE(__stcg)
SIMT_STORE(__stcs)
SIMT_STORE(__stwt)
#undef SIMT_LOAD
#undef SIMT_STORE
