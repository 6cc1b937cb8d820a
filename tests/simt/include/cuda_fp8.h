/* 8-bit floats under CUDA's names: e4m3 (no infinity; 448 at most) and e5m2. Conversions round to
 * nearest even, once, and saturate where CUDA's do. */
#pragma once
#include "cuda_bf16.h"
#include "cuda_fp16.h"

typedef unsigned char __nv_fp8_storage_t;
typedef unsigned short __nv_fp8x2_storage_t;
typedef unsigned __nv_fp8x4_storage_t;
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

namespace simt {
inline uint8_t fp8_bits(double x, __nv_saturation_t saturate, __nv_fp8_interpretation_t kind) {
  const int mantissa = kind == __NV_E5M2 ? 2 : 3, bias = kind == __NV_E5M2 ? 15 : 7;
  const uint8_t sign = signbit(x) ? 0x80 : 0;
  if (isnan(x))
    return 0x7f;
  const double a = fabs(x);
  if (a == 0.0)
    return sign;
  int e = isinf(a) ? 1000 : ilogb(a);
  e = e < 1 - bias ? 1 - bias : e;
  double q = rint(ldexp(a, mantissa - e)); /* units of the last place */
  if (q >= 2 << mantissa) {
    q /= 2;
    e++;
  }
  if (ldexp(q, e - mantissa) > (kind == __NV_E5M2 ? 57344.0 : 448.0))
    return sign | (saturate == __NV_SATFINITE ? (kind == __NV_E5M2 ? 0x7b : 0x7e)
                                              : (kind == __NV_E5M2 ? 0x7c : 0x7f));
  const int units = (int)q, normal = units >= 1 << mantissa;
  return sign | (uint8_t)(((normal ? e + bias : 0) << mantissa) + units - (normal << mantissa));
}
inline float fp8_value(uint8_t b, __nv_fp8_interpretation_t kind) {
  const int mantissa = kind == __NV_E5M2 ? 2 : 3, bias = kind == __NV_E5M2 ? 15 : 7;
  const int e = (b & 0x7f) >> mantissa, m = b & ((1 << mantissa) - 1);
  float x = ldexpf((float)(m + (e > 0 ? 1 << mantissa : 0)), (e > 0 ? e : 1) - bias - mantissa);
  if (kind == __NV_E4M3 ? (b & 0x7f) == 0x7f : e == 31)
    x = kind == __NV_E4M3 || m != 0 ? NAN : INFINITY;
  return (b & 0x80) != 0 ? -x : x;
}
} // namespace simt

inline __nv_fp8_storage_t __nv_cvt_double_to_fp8(double x, __nv_saturation_t s,
                                                 __nv_fp8_interpretation_t k) {
  return simt::fp8_bits(x, s, k);
}
inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float x, __nv_saturation_t s,
                                                __nv_fp8_interpretation_t k) {
  return simt::fp8_bits(x, s, k);
}
inline __nv_fp8x2_storage_t __nv_cvt_float2_to_fp8x2(float2 x, __nv_saturation_t s,
                                                     __nv_fp8_interpretation_t k) {
  return (__nv_fp8x2_storage_t)(simt::fp8_bits(x.x, s, k) | simt::fp8_bits(x.y, s, k) << 8);
}
inline __nv_fp8_storage_t __nv_cvt_halfraw_to_fp8(__half_raw x, __nv_saturation_t s,
                                                  __nv_fp8_interpretation_t k) {
  return simt::fp8_bits(__half(x), s, k);
}
inline __nv_fp8_storage_t __nv_cvt_bfloat16raw_to_fp8(__nv_bfloat16_raw x, __nv_saturation_t s,
                                                      __nv_fp8_interpretation_t k) {
  return simt::fp8_bits(__nv_bfloat16(x), s, k);
}
inline __nv_fp8x2_storage_t __nv_cvt_halfraw2_to_fp8x2(__half2_raw x, __nv_saturation_t s,
                                                       __nv_fp8_interpretation_t k) {
  return __nv_cvt_float2_to_fp8x2(__half22float2(x), s, k);
}
inline __nv_fp8x2_storage_t __nv_cvt_bfloat16raw2_to_fp8x2(__nv_bfloat162_raw x,
                                                           __nv_saturation_t s,
                                                           __nv_fp8_interpretation_t k) {
  return __nv_cvt_float2_to_fp8x2(__bfloat1622float2(x), s, k);
}
inline __half_raw __nv_cvt_fp8_to_halfraw(__nv_fp8_storage_t b, __nv_fp8_interpretation_t k) {
  return __half(simt::fp8_value(b, k));
}
inline __half2_raw __nv_cvt_fp8x2_to_halfraw2(__nv_fp8x2_storage_t b, __nv_fp8_interpretation_t k) {
  return __half2(__half(simt::fp8_value((uint8_t)b, k)),
                 __half(simt::fp8_value((uint8_t)(b >> 8), k)));
}

#define SIMT_FP8(name, kind)                                                                       \
  struct __nv_fp8_##name {                                                                         \
    __nv_fp8_storage_t __x;                                                                        \
    __nv_fp8_##name() = default;                                                                   \
    template <class T>                                                                             \
    explicit __nv_fp8_##name(T x) : __x(simt::fp8_bits((double)x, __NV_SATFINITE, kind)) {}        \
    explicit operator float() const { return simt::fp8_value(__x, kind); }                         \
    explicit operator double() const { return simt::fp8_value(__x, kind); }                        \
    explicit operator int() const { return (int)simt::fp8_value(__x, kind); }                      \
    explicit operator bool() const { return (__x & 0x7f) != 0; }                                   \
    explicit operator __half() const { return __half(simt::fp8_value(__x, kind)); }                \
    explicit operator __nv_bfloat16() const { return __nv_bfloat16(simt::fp8_value(__x, kind)); }  \
  };                                                                                               \
  struct __nv_fp8x2_##name {                                                                       \
    __nv_fp8x2_storage_t __x;                                                                      \
    __nv_fp8x2_##name() = default;                                                                 \
    explicit __nv_fp8x2_##name(float2 x)                                                           \
        : __x(__nv_cvt_float2_to_fp8x2(x, __NV_SATFINITE, kind)) {}                                \
    explicit __nv_fp8x2_##name(__half2 x) : __nv_fp8x2_##name(__half22float2(x)) {}                \
    explicit __nv_fp8x2_##name(__nv_bfloat162 x) : __nv_fp8x2_##name(__bfloat1622float2(x)) {}     \
    explicit operator float2() const { return __half22float2((__half2) * this); }                  \
    explicit operator __half2() const { return __nv_cvt_fp8x2_to_halfraw2(__x, kind); }            \
  };                                                                                               \
  struct __nv_fp8x4_##name {                                                                       \
    __nv_fp8x4_storage_t __x;                                                                      \
    __nv_fp8x4_##name() = default;                                                                 \
    explicit __nv_fp8x4_##name(float4 x)                                                           \
        : __x(__nv_fp8x2_##name(make_float2(x.x, x.y)).__x |                                       \
              (unsigned)__nv_fp8x2_##name(make_float2(x.z, x.w)).__x << 16) {}                     \
    explicit operator float4() const {                                                             \
      return make_float4(simt::fp8_value((uint8_t)__x, kind),                                      \
                         simt::fp8_value((uint8_t)(__x >> 8), kind),                               \
                         simt::fp8_value((uint8_t)(__x >> 16), kind),                              \
                         simt::fp8_value((uint8_t)(__x >> 24), kind));                             \
    }                                                                                              \
  };
SIMT_FP8(e4m3, __NV_E4M3)
SIMT_FP8(e5m2, __NV_E5M2)
#undef SIMT_FP8
