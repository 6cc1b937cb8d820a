/* Element types. bf16 is stored as uint16_t: the upper half of an IEEE float32. */
#ifndef LRL_DTYPE_H
#define LRL_DTYPE_H
#include <stdint.h>
#include <string.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef enum lrl_dtype {
  LRL_F32 = 0,
  LRL_BF16,
  LRL_F64,
  LRL_I32,
  LRL_I64,
  LRL_U8,
} lrl_dtype;

static inline int64_t lrl_dtype_bytes(lrl_dtype t) {
  switch (t) {
  case LRL_F32:
  case LRL_I32:
    return 4;
  case LRL_BF16:
    return 2;
  case LRL_U8:
    return 1;
  default:
    return 8;
  }
}

static inline const char *lrl_dtype_name(lrl_dtype t) {
  static const char *const names[] = {"f32", "bf16", "f64", "i32", "i64", "u8"};
  return names[t];
}

static inline float lrl_bf16_to_f32(uint16_t x) {
  uint32_t u = (uint32_t)x << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

/* Round to nearest, ties to even; NaN stays NaN (quiet). */
static inline uint16_t lrl_f32_to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return (uint16_t)((u >> 16) | 0x40u);
  u += 0x7fffu + ((u >> 16) & 1u);
  return (uint16_t)(u >> 16);
}

#ifdef __cplusplus
}
#endif
#endif
