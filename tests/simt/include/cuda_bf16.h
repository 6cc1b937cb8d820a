/* bfloat16 for the simulator, under CUDA's names. */
#pragma once
#include "simt_float16.h"

SIMT_FLOAT16_TYPES(__nv_bfloat16, __nv_bfloat162, __nv_bfloat16_raw, bf16_bits, bf16_value)
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }
inline __nv_bfloat16 __float2bfloat16_rz(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return __nv_bfloat16_raw{(unsigned short)(u >> 16)};
}
inline __nv_bfloat16 __double2bfloat16(double f) { return __nv_bfloat16(f); }
inline float __bfloat162float(__nv_bfloat16 h) { return h; }
inline __nv_bfloat162 __float2bfloat162_rn(float f) { return {f, f}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {a, b}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {f.x, f.y}; }
inline float2 __bfloat1622float2(__nv_bfloat162 h) { return make_float2(h.x, h.y); }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) { return {h, h}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 h) { return h.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 h) { return h.y; }
inline float __low2float(__nv_bfloat162 h) { return h.x; }
inline float __high2float(__nv_bfloat162 h) { return h.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.__x; }
inline short __bfloat16_as_short(__nv_bfloat16 h) { return (short)h.__x; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { return __nv_bfloat16_raw{u}; }
inline __nv_bfloat16 __int2bfloat16_rn(int i) { return __nv_bfloat16(i); }
inline __nv_bfloat162 __low2bfloat162(__nv_bfloat162 h) { return {h.x, h.x}; }
inline __nv_bfloat162 __high2bfloat162(__nv_bfloat162 h) { return {h.y, h.y}; }
inline __nv_bfloat162 __lows2bfloat162(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x, b.x}; }
inline __nv_bfloat162 __highs2bfloat162(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.y, b.y}; }
inline __nv_bfloat162 __lowhigh2highlow(__nv_bfloat162 h) { return {h.y, h.x}; }
inline int __bfloat162int_rn(__nv_bfloat16 h) { return (int)rintf(h); }
inline unsigned __bfloat162uint_rn(__nv_bfloat16 h) {
  return (float)h > 0 ? (unsigned)rintf(h) : 0u;
}
inline int __bfloat162int_rz(__nv_bfloat16 h) { return (int)truncf(h); }
inline unsigned __bfloat162uint_rz(__nv_bfloat16 h) {
  return (float)h > 0 ? (unsigned)truncf(h) : 0u;
}
inline int __bfloat162int_rd(__nv_bfloat16 h) { return (int)floorf(h); }
inline unsigned __bfloat162uint_rd(__nv_bfloat16 h) {
  return (float)h > 0 ? (unsigned)floorf(h) : 0u;
}
inline int __bfloat162int_ru(__nv_bfloat16 h) { return (int)ceilf(h); }
inline unsigned __bfloat162uint_ru(__nv_bfloat16 h) {
  return (float)h > 0 ? (unsigned)ceilf(h) : 0u;
}
inline __nv_bfloat16 __uint2bfloat16_rn(unsigned i) { return __nv_bfloat16(i); }
inline __nv_bfloat16 __short2bfloat16_rn(short i) { return __nv_bfloat16((int)i); }
inline __nv_bfloat16 __ushort2bfloat16_rn(unsigned short i) { return __nv_bfloat16((int)i); }
