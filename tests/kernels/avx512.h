/* The AVX-512 intrinsics of kernels/cpu in plain C, on 64-byte vectors of the compiler. Included
 * ahead of the files that use them, so that a machine without AVX-512 tests their code too. A dot
 * product here rounds after each product; hardware may not. */
#ifndef LRL_TESTS_AVX512_H
#define LRL_TESTS_AVX512_H
#include "kernels/dtype.h"

#include <immintrin.h>
#include <math.h>

typedef float em_f __attribute__((vector_size(64)));
typedef uint16_t em_h __attribute__((vector_size(64)));
typedef uint16_t em_h256 __attribute__((vector_size(32)));
typedef int64_t em_i __attribute__((vector_size(64)));
typedef int32_t em_w __attribute__((vector_size(64)));
#define EM static inline __attribute__((always_inline, unused))
#define EM_LANES for (int i = 0; i < 16; i++)

EM em_f em_loadf(const void *p) {
  em_f v;
  memcpy(&v, p, sizeof v);
  return v;
}
EM em_i em_loadi(const void *p) {
  em_i v;
  memcpy(&v, p, sizeof v);
  return v;
}
EM void em_storef(void *p, em_f v) { memcpy(p, &v, sizeof v); }
EM void em_storei(void *p, em_i v) { memcpy(p, &v, sizeof v); }
EM void em_store256(void *p, __m256i v) { memcpy(p, &v, sizeof v); }
EM em_f em_max(em_f a, em_f b) {
  EM_LANES a[i] = a[i] > b[i] ? a[i] : b[i];
  return a;
}
EM em_f em_round(em_f a) {
  EM_LANES a[i] = nearbyintf(a[i]);
  return a;
}
EM em_f em_scalef(em_f a, em_f b) {
  EM_LANES a[i] = isnan(b[i]) ? b[i] : ldexpf(a[i], (int)b[i]);
  return a;
}
EM em_f em_dot(em_f s, em_h a, em_h b) {
  EM_LANES s[i] += lrl_bf16_to_f32(a[2 * i + 1]) * lrl_bf16_to_f32(b[2 * i + 1]);
  EM_LANES s[i] += lrl_bf16_to_f32(a[2 * i]) * lrl_bf16_to_f32(b[2 * i]);
  return s;
}
EM em_h em_narrow2(em_f hi, em_f lo) {
  em_h h;
  EM_LANES h[i] = lrl_f32_to_bf16(lo[i]);
  EM_LANES h[16 + i] = lrl_f32_to_bf16(hi[i]);
  return h;
}
EM em_h256 em_narrow(em_f a) {
  em_h256 h;
  EM_LANES h[i] = lrl_f32_to_bf16(a[i]);
  return h;
}
EM em_i em_permute(em_i order, em_i x) {
  em_h o = (em_h)order, from = (em_h)x, to;
  for (int i = 0; i < 32; i++)
    to[i] = from[o[i] & 31];
  return (em_i)to;
}

#undef _mm512_roundscale_ps /* a macro where nothing is optimised */
#define __m512 em_f
#define __m512i em_i
#define __m512bh em_h
#define __m256bh em_h256
#define _mm512_setzero_ps() ((em_f){0})
#define _mm512_set1_ps(x) ((em_f){0} + (x))
#define _mm512_set1_epi32(x) ((em_i)((em_w){0} + (x)))
#define _mm512_set_epi16(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x,   \
                         y, z, A, B, C, D, E, F)                                                   \
  ((em_i)(em_h){F, E, D, C, B, A, z, y, x, w, v, u, t, s, r, q,                                    \
                p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a})
#define _mm512_loadu_ps(p) em_loadf(p)
#define _mm512_loadu_si512(p) em_loadi(p)
#define _mm512_storeu_ps(p, v) em_storef(p, v)
#define _mm512_storeu_si512(p, v) em_storei(p, (em_i)(v))
#define _mm256_storeu_si256(p, v) em_store256(p, v)
#define _mm512_mul_ps(a, b) ((a) * (b))
#define _mm512_max_ps(a, b) em_max(a, b)
#define _mm512_roundscale_ps(a, mode) em_round(a) /* of mode 8: to the nearest integer */
#define _mm512_scalef_ps(a, b) em_scalef(a, b)
#define _mm512_dpbf16_ps(s, a, b) em_dot(s, a, b)
#define _mm512_cvtne2ps_pbh(a, b) em_narrow2(a, b)
#define _mm512_cvtneps_pbh(a) em_narrow(a)
#define _mm512_permutexvar_epi16(order, x) em_permute(order, x)
#endif
