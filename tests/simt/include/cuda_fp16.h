/* IEEE half for the simulator, under CUDA's names. */
#pragma once
#include "simt_float16.h"

SIMT_FLOAT16_TYPES(__half, __half2, __half_raw, half_bits, half_value)
typedef __half half;
typedef __half2 half2;

inline __half __float2half(float f) { return __half(f); }
inline __half __float2half_rn(float f) { return __half(f); }
inline __half __double2half(double f) { return __half(f); }
namespace simt {
/* The nearest half, or its neighbour where that one lies on the wrong side: not up, not down. */
inline __half half_towards(float f, bool not_up, bool not_down) {
  const __half h(f);
  const bool wrong = ((float)h > f && not_up) || ((float)h < f && not_down);
  const bool inwards = ((float)h > f) == ((h.__x & 0x8000) == 0);
  return wrong ? __half_raw{(unsigned short)(h.__x + (inwards ? -1 : 1))} : __half_raw{h.__x};
}
} // namespace simt
inline __half __float2half_rz(float f) { return simt::half_towards(f, f > 0, f < 0); }
inline __half __float2half_rd(float f) { return simt::half_towards(f, true, false); }
inline __half __float2half_ru(float f) { return simt::half_towards(f, false, true); }
inline float __half2float(__half h) { return h; }
inline __half2 __float2half2_rn(float f) { return {f, f}; }
inline __half2 __floats2half2_rn(float a, float b) { return {a, b}; }
inline __half2 __float22half2_rn(float2 f) { return {f.x, f.y}; }
inline float2 __half22float2(__half2 h) { return make_float2(h.x, h.y); }
inline __half2 __half2half2(__half h) { return {h, h}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline __half2 make_half2(__half a, __half b) { return {a, b}; }
inline __half __low2half(__half2 h) { return h.x; }
inline __half __high2half(__half2 h) { return h.y; }
inline float __low2float(__half2 h) { return h.x; }
inline float __high2float(__half2 h) { return h.y; }
inline unsigned short __half_as_ushort(__half h) { return h.__x; }
inline short __half_as_short(__half h) { return (short)h.__x; }
inline __half __ushort_as_half(unsigned short u) { return __half_raw{u}; }
inline __half __int2half_rn(int i) { return __half(i); }
inline int __half2int_rn(__half h) { return (int)rintf(h); }
inline __half2 __low2half2(__half2 h) { return {h.x, h.x}; }
inline __half2 __high2half2(__half2 h) { return {h.y, h.y}; }
inline __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
inline __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }
inline __half2 __lowhigh2highlow(__half2 h) { return {h.y, h.x}; }
inline unsigned __half2uint_rn(__half h) { return (float)h > 0 ? (unsigned)rintf(h) : 0u; }
inline int __half2int_rz(__half h) { return (int)truncf(h); }
inline unsigned __half2uint_rz(__half h) { return (float)h > 0 ? (unsigned)truncf(h) : 0u; }
inline int __half2int_rd(__half h) { return (int)floorf(h); }
inline unsigned __half2uint_rd(__half h) { return (float)h > 0 ? (unsigned)floorf(h) : 0u; }
inline int __half2int_ru(__half h) { return (int)ceilf(h); }
inline unsigned __half2uint_ru(__half h) { return (float)h > 0 ? (unsigned)ceilf(h) : 0u; }
inline __half __uint2half_rn(unsigned i) { return __half(i); }
inline __half __short2half_rn(short i) { return __half((int)i); }
inline __half __ushort2half_rn(unsigned short i) { return __half((int)i); }
