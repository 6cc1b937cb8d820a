/* Every file in kernels/cpu/ is compiled once per instruction set (see CMakeLists.txt: generic,
 * avx2, avx512) with LRL_ISA naming it; CPU_FN(x) makes the names distinct. kernels/cpu_backend.c
 * picks one table at run time. Loops are written so that gcc vectorises them (#pragma omp simd);
 * intrinsics only where that is not enough, under #if LRL_ISA_AVX512 / LRL_ISA_AVX2, always with a
 * portable branch. */
#ifndef LRL_CPU_SIMD_H
#define LRL_CPU_SIMD_H
#include "kernels/backend.h"

#define CPU_PASTE2(isa, name) cpu_##isa##_##name
#define CPU_PASTE(isa, name) CPU_PASTE2(isa, name)
#define CPU_FN(name) CPU_PASTE(LRL_ISA, name)

#define CPU_OP_DECL(op)                                                                            \
  lrl_status CPU_FN(op)(struct lrl_ctx * ctx, const struct lrl_##op##_args *args);
LRL_OPS(CPU_OP_DECL)
#undef CPU_OP_DECL

/* Vectors of one register in the compiler's own vector type. gcc 12 takes wider ones apart, one
 * scalar at a time, wherever they are compared or stored: 16 lanes with AVX2 made SwiGLU 3.8, the
 * cross-entropy 4.2 and the log-probs 7.3 times slower (Zen 3, 2025-11-25). The order of every sum
 * is explicit: it depends on the lanes, never on alignment or on where a row lies. Tails are loaded
 * into zeroed lanes and go through the same code. */
#define CPU_INLINE static inline __attribute__((always_inline))
#if LRL_ISA_AVX512
#define CPU_LANES 16
#define CPU_IDS                                                                                    \
  (cpu_vi) { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
#elif LRL_ISA_AVX2
#define CPU_LANES 8
#define CPU_IDS                                                                                    \
  (cpu_vi) { 0, 1, 2, 3, 4, 5, 6, 7 }
#else
#define CPU_LANES 4
#define CPU_IDS                                                                                    \
  (cpu_vi) { 0, 1, 2, 3 }
#endif
#define CPU_PARALLEL_MIN 16384 /* elements; below it opening a parallel region costs more */
typedef float cpu_vf __attribute__((vector_size(4 * CPU_LANES)));
typedef int32_t cpu_vi __attribute__((vector_size(4 * CPU_LANES)));
typedef uint32_t cpu_vu __attribute__((vector_size(4 * CPU_LANES)));
typedef uint16_t cpu_vh __attribute__((vector_size(2 * CPU_LANES)));

/* Lanes that a vector starting at element i of n has. */
CPU_INLINE int cpu_lanes(int64_t n, int64_t i) {
  return n - i < CPU_LANES ? (int)(n - i) : CPU_LANES;
}
CPU_INLINE cpu_vf cpu_set(float x) { return x - (cpu_vf){0}; }
CPU_INLINE cpu_vf cpu_select(cpu_vi mask, cpu_vf yes, cpu_vf no) {
  return (cpu_vf)((mask & (cpu_vi)yes) | (~mask & (cpu_vi)no));
}

/* Elements i..i+lanes of p (bf16 when bf) as f32; the remaining lanes are 0. */
CPU_INLINE cpu_vf cpu_load(const void *p, int64_t i, int lanes, bool bf) {
  if (!bf) {
    cpu_vf x = {0};
    if (lanes == CPU_LANES)
      memcpy(&x, (const float *)p + i, sizeof x);
    else
      memcpy(&x, (const float *)p + i, (size_t)lanes * sizeof(float));
    return x;
  }
  cpu_vh h = {0};
  if (lanes == CPU_LANES)
    memcpy(&h, (const uint16_t *)p + i, sizeof h);
  else
    memcpy(&h, (const uint16_t *)p + i, (size_t)lanes * sizeof(uint16_t));
  return (cpu_vf)(__builtin_convertvector(h, cpu_vu) << 16);
}

/* Upper halves after rounding to nearest even; NaN stays a quiet NaN. */
CPU_INLINE cpu_vu cpu_bf16_bits(cpu_vf x) {
  cpu_vu u = (cpu_vu)x;
  cpu_vu nan = (cpu_vu)((u & 0x7fffffffu) > 0x7f800000u);
  cpu_vu r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return (nan & ((u >> 16) | 0x40u)) | (~nan & r);
}
CPU_INLINE cpu_vf cpu_round(cpu_vf x, bool bf) { return bf ? (cpu_vf)(cpu_bf16_bits(x) << 16) : x; }
CPU_INLINE void cpu_store(void *p, int64_t i, int lanes, bool bf, cpu_vf x) {
  if (!bf) {
    memcpy((float *)p + i, &x, lanes == CPU_LANES ? sizeof x : (size_t)lanes * sizeof(float));
    return;
  }
  cpu_vh h = __builtin_convertvector(cpu_bf16_bits(x), cpu_vh);
  memcpy((uint16_t *)p + i, &h, lanes == CPU_LANES ? sizeof h : (size_t)lanes * sizeof(uint16_t));
}
CPU_INLINE float cpu_get(const void *p, int64_t i, bool bf) {
  return bf ? lrl_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
CPU_INLINE void cpu_put(void *p, int64_t i, bool bf, float x) {
  if (bf)
    ((uint16_t *)p)[i] = lrl_f32_to_bf16(x);
  else
    ((float *)p)[i] = x;
}
/* Address of element i. */
CPU_INLINE const void *cpu_at(const void *p, int64_t i, bool bf) {
  return (const char *)p + i * (bf ? 2 : 4);
}
CPU_INLINE void *cpu_at_mut(void *p, int64_t i, bool bf) { return (char *)p + i * (bf ? 2 : 4); }

/* Sum of the lanes, as a balanced tree. */
CPU_INLINE float cpu_hsum(cpu_vf x) {
  float a[CPU_LANES];
  memcpy(a, &x, sizeof a);
  for (int h = CPU_LANES / 2; h > 0; h /= 2)
    for (int l = 0; l < h; l++)
      a[l] += a[l + h];
  return a[0];
}
CPU_INLINE float cpu_hmax(cpu_vf x) {
  float m = x[0];
  for (int l = 1; l < CPU_LANES; l++)
    m = x[l] > m ? x[l] : m;
  return m;
}

/* e^x to 2 ulp: x = n ln2 + r, |r| <= ln2/2, polynomial of degree 6 in r (Cephes expf). Below -87.3
 * the result is 0, above 88.7 infinity; NaN stays NaN. */
CPU_INLINE cpu_vf cpu_exp(cpu_vf x) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
  cpu_vi low = x<-87.3f, high = x> 88.72f;
  cpu_vf c = cpu_select(low | high, (cpu_vf){0}, x);
  cpu_vf shifted = c * 1.44269504088896341f + magic;
  cpu_vf n = shifted - magic;
  cpu_vf r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  cpu_vf p = cpu_set(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  cpu_vi e = (cpu_vi)shifted - 0x4b400000; /* n as an integer, from the mantissa of n + magic */
  cpu_vi half = e >> 1;                    /* 2^128 is no float: scale in two steps */
  cpu_vf y = p * (cpu_vf)((half + 127) << 23) * (cpu_vf)((e - half + 127) << 23);
  y = cpu_select(low, (cpu_vf){0}, y);
  return cpu_select(high, cpu_set(__builtin_inff()), y);
}
CPU_INLINE cpu_vf cpu_sigmoid(cpu_vf x) { return 1.0f / (1.0f + cpu_exp(-x)); }

/* Calls ROW(args, t, bf) for t in [0, n), rows shared between the threads. */
#define CPU_EACH_ROW(ctx, dtype, n, width, ROW, args)                                              \
  do {                                                                                             \
    const bool cpu_bf_ = (dtype) == LRL_BF16;                                                      \
    const int64_t cpu_n_ = (n);                                                                    \
    const int cpu_threads_ = cpu_n_ * (width) >= CPU_PARALLEL_MIN ? (ctx)->n_threads : 1;          \
    _Pragma("omp parallel for schedule(static) num_threads(cpu_threads_)") for (int64_t cpu_t_ =   \
                                                                                    0;             \
                                                                                cpu_t_ < cpu_n_;   \
                                                                                cpu_t_++) {        \
      if (cpu_bf_)                                                                                 \
        ROW(args, cpu_t_, true);                                                                   \
      else                                                                                         \
        ROW(args, cpu_t_, false);                                                                  \
    }                                                                                              \
  } while (0)

/* Gradients of [width] parameters: blocks of CPU_SUM_ROWS rows make one partial each, and partials
 * are added in order, so that the sum depends on n only. */
#define CPU_SUM_ROWS 128
CPU_INLINE int64_t cpu_blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }
/* out[width] += sum over blocks of partials[blocks][width]. */
CPU_INLINE void cpu_add_partials(const float *partials, int64_t blocks, int64_t width, float *out) {
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t i = 0; i < width; i++)
      out[i] += partials[b * width + i];
}
#endif
