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
  struct H2##_raw {                                                                                \
    unsigned short x, y;                                                                           \
  };                                                                                               \
  struct __align__(2) H {                                                                          \
    unsigned short __x;                                                                            \
    H() = default;                                                                                 \
    H(const RAW &r) : __x(r.x) {}                                                                  \
    H(float f) : __x(simt::to_bits(f)) {}                                                          \
    H(double f) : __x(simt::to_bits((float)f)) {}                                                  \
    H(int i) : __x(simt::to_bits((float)i)) {}                                                     \
    H(unsigned i) : __x(simt::to_bits((float)i)) {}                                                \
    H(long i) : __x(simt::to_bits((float)i)) {}                                                    \
    H(unsigned long i) : __x(simt::to_bits((float)i)) {}                                           \
    H(long long i) : __x(simt::to_bits((float)i)) {}                                               \
    H(unsigned long long i) : __x(simt::to_bits((float)i)) {}                                      \
    H(short i) : __x(simt::to_bits((float)i)) {}                                                   \
    H(unsigned short i) : __x(simt::to_bits((float)i)) {}                                          \
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
    H2(const H2##_raw &r) : x(RAW{r.x}), y(RAW{r.y}) {}                                            \
    operator H2##_raw() const { return H2##_raw{x.__x, y.__x}; }                                   \
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
  inline H2 operator-(H2 a) { return H2(-a.x, -a.y); }                                             \
  inline H2 &operator-=(H2 &a, H2 b) { return a = a - b; }                                         \
  inline H2 &operator/=(H2 &a, H2 b) { return a = a / b; }                                         \
  inline H simt_saturated(H a) {                                                                   \
    return H(!((float)a > 0) ? 0.0f : (float)a < 1 ? (float)a : 1.0f);                             \
  }                                                                                                \
  inline H __hadd_sat(H a, H b) { return simt_saturated(__hadd(a, b)); }                           \
  inline H2 __hadd2_sat(H2 a, H2 b) { return H2(__hadd_sat(a.x, b.x), __hadd_sat(a.y, b.y)); }     \
  inline H __hsub_sat(H a, H b) { return simt_saturated(__hsub(a, b)); }                           \
  inline H2 __hsub2_sat(H2 a, H2 b) { return H2(__hsub_sat(a.x, b.x), __hsub_sat(a.y, b.y)); }     \
  inline H __hmul_sat(H a, H b) { return simt_saturated(__hmul(a, b)); }                           \
  inline H2 __hmul2_sat(H2 a, H2 b) { return H2(__hmul_sat(a.x, b.x), __hmul_sat(a.y, b.y)); }     \
  inline H __hfma_sat(H a, H b, H c) { return simt_saturated(__hfma(a, b, c)); }                   \
  inline H simt_relu(H a) { return (float)a < 0 ? H(0.0f) : a; }                                   \
  inline H __hfma_relu(H a, H b, H c) { return simt_relu(__hfma(a, b, c)); }                       \
  inline H2 __hfma2_relu(H2 a, H2 b, H2 c) {                                                       \
    return H2(simt_relu(__hfma(a.x, b.x, c.x)), simt_relu(__hfma(a.y, b.y, c.y)));                 \
  }                                                                                                \
  inline H2 __heq2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__heq(a.x, b.x)), H((float)__heq(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hbeq2(H2 a, H2 b) { return __heq(a.x, b.x) && __heq(a.y, b.y); }                   \
  inline H2 __hne2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__hne(a.x, b.x)), H((float)__hne(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hbne2(H2 a, H2 b) { return __hne(a.x, b.x) && __hne(a.y, b.y); }                   \
  inline H2 __hlt2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__hlt(a.x, b.x)), H((float)__hlt(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hblt2(H2 a, H2 b) { return __hlt(a.x, b.x) && __hlt(a.y, b.y); }                   \
  inline H2 __hle2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__hle(a.x, b.x)), H((float)__hle(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hble2(H2 a, H2 b) { return __hle(a.x, b.x) && __hle(a.y, b.y); }                   \
  inline H2 __hgt2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__hgt(a.x, b.x)), H((float)__hgt(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hbgt2(H2 a, H2 b) { return __hgt(a.x, b.x) && __hgt(a.y, b.y); }                   \
  inline H2 __hge2(H2 a, H2 b) {                                                                   \
    return H2(H((float)__hge(a.x, b.x)), H((float)__hge(a.y, b.y)));                               \
  }                                                                                                \
  inline bool __hbge2(H2 a, H2 b) { return __hge(a.x, b.x) && __hge(a.y, b.y); }                   \
  inline H2 __habs2(H2 a) { return H2(__habs(a.x), __habs(a.y)); }                                 \
  inline H hsin(H a) { return H(sinf(a)); }                                                        \
  inline H2 h2sin(H2 a) { return H2(hsin(a.x), hsin(a.y)); }                                       \
  inline H hcos(H a) { return H(cosf(a)); }                                                        \
  inline H2 h2cos(H2 a) { return H2(hcos(a.x), hcos(a.y)); }                                       \
  inline H hexp2(H a) { return H(exp2f(a)); }                                                      \
  inline H2 h2exp2(H2 a) { return H2(hexp2(a.x), hexp2(a.y)); }                                    \
  inline H hexp10(H a) { return H(exp10f(a)); }                                                    \
  inline H2 h2exp10(H2 a) { return H2(hexp10(a.x), hexp10(a.y)); }                                 \
  inline H hlog2(H a) { return H(log2f(a)); }                                                      \
  inline H2 h2log2(H2 a) { return H2(hlog2(a.x), hlog2(a.y)); }                                    \
  inline H hlog10(H a) { return H(log10f(a)); }                                                    \
  inline H2 h2log10(H2 a) { return H2(hlog10(a.x), hlog10(a.y)); }                                 \
  inline H hfloor(H a) { return H(floorf(a)); }                                                    \
  inline H2 h2floor(H2 a) { return H2(hfloor(a.x), hfloor(a.y)); }                                 \
  inline H hceil(H a) { return H(ceilf(a)); }                                                      \
  inline H2 h2ceil(H2 a) { return H2(hceil(a.x), hceil(a.y)); }                                    \
  inline H hrint(H a) { return H(rintf(a)); }                                                      \
  inline H2 h2rint(H2 a) { return H2(hrint(a.x), hrint(a.y)); }                                    \
  inline H htrunc(H a) { return H(truncf(a)); }                                                    \
  inline H2 h2trunc(H2 a) { return H2(htrunc(a.x), htrunc(a.y)); }                                 \
  inline H2 h2log(H2 a) { return H2(hlog(a.x), hlog(a.y)); }                                       \
  inline H2 h2sqrt(H2 a) { return H2(hsqrt(a.x), hsqrt(a.y)); }                                    \
  inline H2 h2rcp(H2 a) { return H2(hrcp(a.x), hrcp(a.y)); }                                       \
  __attribute__((noinline)) inline H atomicAdd(H *p, H v) {                                        \
    return simt::modify(                                                                           \
        p, [v](H old) { return old + v; }, SIMT_PC);                                               \
  }                                                                                                \
  __attribute__((noinline)) inline H2 atomicAdd(H2 *p, H2 v) {                                     \
    return simt::modify(                                                                           \
        p, [v](H2 old) { return old + v; }, SIMT_PC);                                              \
  }
