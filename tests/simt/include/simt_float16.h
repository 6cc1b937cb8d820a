/* The functions __nv_bfloat16 and __half have in common. Arithmetic rounds once per operation, as
 * the hardware's: it is done in f32 (a product, sum or quotient of two 16-bit floats rounds the
 * same from f32; fma goes through f64). */
#pragma once
#include <cuda_runtime.h>

namespace simt {
/* Round to nearest even from f32; NaN stays NaN. */
inline uint16_t bf16_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return 0x7fff;
  return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
inline float bf16_value(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline uint16_t half_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  const uint32_t sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u)
    return 0x7fff;
  if (a >= 0x477ff000u) /* rounds to 65536 or more */
    return (uint16_t)(sign | 0x7c00u);
  if (a < 0x38800000u) { /* subnormal: units of 2^-24 */
    float x;
    memcpy(&x, &a, 4);
    return (uint16_t)(sign | (uint32_t)rintf(x * 16777216.0f));
  }
  return (uint16_t)(sign | ((a + 0xfffu + (a >> 13 & 1u) - 0x38000000u) >> 13));
}
inline float half_value(uint16_t h) {
  const uint32_t e = h >> 10 & 31, m = h & 0x3ffu;
  float x = e == 0    ? ldexpf((float)m, -24)
            : e == 31 ? (m != 0 ? NAN : INFINITY)
                      : ldexpf((float)(1024 + m), (int)e - 25);
  return (h & 0x8000) != 0 ? -x : x;
}
} // namespace simt

#define SIMT_FLOAT16_TYPES(H, H2, RAW, to_bits, to_value)                                          \
  struct RAW {                                                                                     \
    unsigned short x;                                                                              \
  };                                                                                               \
  struct __align__(2) H {                                                                          \
    unsigned short __x;                                                                            \
    H() = default;                                                                                 \
    H(const RAW &r) : __x(r.x) {}                                                                  \
    H(float f) : __x(simt::to_bits(f)) {}                                                          \
    H(double f) : __x(simt::to_bits((float)f)) {}                                                  \
    H(int i) : __x(simt::to_bits((float)i)) {}                                                     \
    H(unsigned i) : __x(simt::to_bits((float)i)) {}                                                \
    H(long long i) : __x(simt::to_bits((float)i)) {}                                               \
    operator float() const { return simt::to_value(__x); }                                         \
    operator RAW() const { return RAW{__x}; }                                                      \
    H &operator=(float f) {                                                                        \
      __x = simt::to_bits(f);                                                                      \
      return *this;                                                                                \
    }                                                                                              \
  };                                                                                               \
  struct __align__(4) H2 {                                                                         \
    H x, y;                                                                                        \
    H2() = default;                                                                                \
    H2(const H &a, const H &b) : x(a), y(b) {}                                                     \
  };                                                                                               \
  inline H operator+(H a, H b) { return H((float)a + (float)b); }                                  \
  inline H operator-(H a, H b) { return H((float)a - (float)b); }                                  \
  inline H operator*(H a, H b) { return H((float)a * (float)b); }                                  \
  inline H operator/(H a, H b) { return H((float)a / (float)b); }                                  \
  inline H operator-(H a) { return H(-(float)a); }                                                 \
  inline H &operator+=(H &a, H b) { return a = a + b; }                                            \
  inline H &operator-=(H &a, H b) { return a = a - b; }                                            \
  inline H &operator*=(H &a, H b) { return a = a * b; }                                            \
  inline H &operator/=(H &a, H b) { return a = a / b; }                                            \
  inline bool operator<(H a, H b) { return (float)a < (float)b; }                                  \
  inline bool operator>(H a, H b) { return (float)a > (float)b; }                                  \
  inline bool operator<=(H a, H b) { return (float)a <= (float)b; }                                \
  inline bool operator>=(H a, H b) { return (float)a >= (float)b; }                                \
  inline bool operator==(H a, H b) { return (float)a == (float)b; }                                \
  inline bool operator!=(H a, H b) { return (float)a != (float)b; }                                \
  inline H2 operator+(H2 a, H2 b) { return H2(a.x + b.x, a.y + b.y); }                             \
  inline H2 operator-(H2 a, H2 b) { return H2(a.x - b.x, a.y - b.y); }                             \
  inline H2 operator*(H2 a, H2 b) { return H2(a.x * b.x, a.y * b.y); }                             \
  inline H2 operator/(H2 a, H2 b) { return H2(a.x / b.x, a.y / b.y); }                             \
  inline H2 &operator+=(H2 &a, H2 b) { return a = a + b; }                                         \
  inline H2 &operator*=(H2 &a, H2 b) { return a = a * b; }                                         \
  inline H __hadd(H a, H b) { return a + b; }                                                      \
  inline H __hsub(H a, H b) { return a - b; }                                                      \
  inline H __hmul(H a, H b) { return a * b; }                                                      \
  inline H __hdiv(H a, H b) { return a / b; }                                                      \
  inline H __hneg(H a) { return -a; }                                                              \
  inline H __habs(H a) { return H(fabsf(a)); }                                                     \
  inline H __hfma(H a, H b, H c) {                                                                 \
    return H((float)fma((double)(float)a, (double)(float)b, (double)(float)c));                    \
  }                                                                                                \
  inline H __hmax(H a, H b) { return H(fmaxf(a, b)); }                                             \
  inline H __hmin(H a, H b) { return H(fminf(a, b)); }                                             \
  inline bool __hgt(H a, H b) { return a > b; }                                                    \
  inline bool __hge(H a, H b) { return a >= b; }                                                   \
  inline bool __hlt(H a, H b) { return a < b; }                                                    \
  inline bool __hle(H a, H b) { return a <= b; }                                                   \
  inline bool __heq(H a, H b) { return a == b; }                                                   \
  inline bool __hne(H a, H b) { return a != b; }                                                   \
  inline bool __hisnan(H a) { return isnan((float)a); }                                            \
  inline int __hisinf(H a) { return isinf((float)a) ? ((float)a > 0 ? 1 : -1) : 0; }               \
  inline H hexp(H a) { return H(expf(a)); }                                                        \
  inline H hlog(H a) { return H(logf(a)); }                                                        \
  inline H hsqrt(H a) { return H(sqrtf(a)); }                                                      \
  inline H hrsqrt(H a) { return H(1.0f / sqrtf(a)); }                                              \
  inline H hrcp(H a) { return H(1.0f / (float)a); }                                                \
  inline H htanh(H a) { return H(tanhf(a)); }                                                      \
  inline H2 __hadd2(H2 a, H2 b) { return a + b; }                                                  \
  inline H2 __hsub2(H2 a, H2 b) { return a - b; }                                                  \
  inline H2 __hmul2(H2 a, H2 b) { return a * b; }                                                  \
  inline H2 __h2div(H2 a, H2 b) { return a / b; }                                                  \
  inline H2 __hfma2(H2 a, H2 b, H2 c) { return H2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)); } \
  inline H2 __hmax2(H2 a, H2 b) { return H2(__hmax(a.x, b.x), __hmax(a.y, b.y)); }                 \
  inline H2 __hmin2(H2 a, H2 b) { return H2(__hmin(a.x, b.x), __hmin(a.y, b.y)); }                 \
  inline H2 __hneg2(H2 a) { return H2(-a.x, -a.y); }                                               \
  inline H2 h2exp(H2 a) { return H2(hexp(a.x), hexp(a.y)); }                                       \
  inline H2 h2rsqrt(H2 a) { return H2(hrsqrt(a.x), hrsqrt(a.y)); }                                 \
  __attribute__((noinline)) inline H atomicAdd(H *p, H v) {                                        \
    return simt::modify(                                                                           \
        p, [v](H old) { return old + v; }, SIMT_PC);                                               \
  }                                                                                                \
  __attribute__((noinline)) inline H2 atomicAdd(H2 *p, H2 v) {                                     \
    return simt::modify(                                                                           \
        p, [v](H2 old) { return old + v; }, SIMT_PC);                                              \
  }
