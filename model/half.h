/* IEEE binary16, which only weight files use here. */
#ifndef LRL_HALF_H
#define LRL_HALF_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Exact. */
static inline float lrl_f16_to_f32(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
  uint32_t u = sign | (e + 112u) << 23 | m << 13;
  float f;
  if (e == 0) { /* zero or subnormal: m * 2^-24 */
    f = (float)m * 0x1p-24f;
    return sign ? -f : f;
  }
  if (e == 31)
    u = sign | 0x7f800000u | m << 13;
  memcpy(&f, &u, sizeof f);
  return f;
}

/* Rounds to nearest, ties to even; too large becomes infinite, NaN keeps its upper bits. */
static inline uint16_t lrl_f32_to_f16(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  const uint32_t sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
  if (a > 0x7f800000u) {
    const uint32_t m = a >> 13 & 0x3ffu;
    return (uint16_t)(sign | 0x7c00u | (m != 0 ? m : 0x200u));
  }
  if (a >= 0x477ff000u) /* 65520 and above */
    return (uint16_t)(sign | 0x7c00u);
  if (a < 0x38800000u) { /* below 2^-14: multiples of 2^-24 */
    float x;
    memcpy(&x, &a, sizeof x);
    return (uint16_t)(sign | (uint32_t)(int32_t)rintf(x * 0x1p24f));
  }
  return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
}

#ifdef __cplusplus
}
#endif
#endif
