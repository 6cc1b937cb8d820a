/* Peak arithmetic of this instruction set: independent multiply-adds that never leave registers.
 * The yardstick of `laurel bench`; not an op. */
#include "kernels/cpu/simd.h"

#include "kernels/cpu_peak.h"

#include <omp.h>
#if defined(LRL_ISA_AVX512)
#include <immintrin.h>
#endif

enum { CHAINS = 24 };

#if defined(LRL_ISA_AVX512)
static double chains_f32(int64_t n) {
  __m512 a[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
  for (int i = 0; i < CHAINS; i++)
    a[i] = _mm512_set1_ps((float)i);
  for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++)
      a[i] = _mm512_fmadd_ps(a[i], x, y);
  double sum = 0;
  for (int i = 0; i < CHAINS; i++)
    sum += (double)_mm512_reduce_add_ps(a[i]);
  return sum;
}
static double chains_bf16(int64_t n) {
  __m512 a[CHAINS];
  __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f00), y = (__m512bh)_mm512_set1_epi16(0x3a00);
  for (int i = 0; i < CHAINS; i++)
    a[i] = _mm512_set1_ps((float)i);
  for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++)
      a[i] = _mm512_dpbf16_ps(a[i], x, y);
  double sum = 0;
  for (int i = 0; i < CHAINS; i++)
    sum += (double)_mm512_reduce_add_ps(a[i]);
  return sum;
}
static const double flops_f32 = CHAINS * 32.0, flops_bf16 = CHAINS * 64.0;
#else
typedef float vec __attribute__((vector_size(32)));
static double chains_f32(int64_t n) {
  enum { USED = 12 };
  vec a[USED];
  for (int i = 0; i < USED; i++)
    a[i] = (vec){(float)i};
  for (int64_t k = 0; k < n; k++)
#pragma GCC unroll 12
    for (int i = 0; i < USED; i++)
      a[i] = a[i] * 0.999f + 1e-3f;
  double sum = 0;
  for (int i = 0; i < USED; i++)
    sum += (double)a[i][0];
  return sum;
}
static double chains_bf16(int64_t n) { return chains_f32(n); } /* bf16 runs as f32 here */
static const double flops_f32 = 12 * 16.0, flops_bf16 = 12 * 16.0;
#endif

double CPU_FN(peak)(bool bf16, int n_threads) {
  const int64_t n = 2000000;
  double best = 0;
  volatile double sink = 0;
  for (int run = 0; run < 5; run++) {
    double sum = 0, t0 = omp_get_wtime();
#pragma omp parallel for num_threads(n_threads) reduction(+ : sum) schedule(static)
    for (int i = 0; i < n_threads; i++)
      sum += bf16 ? chains_bf16(n) : chains_f32(n);
    double rate = (double)n * n_threads * (bf16 ? flops_bf16 : flops_f32) / (omp_get_wtime() - t0);
    sink = sink + sum;
    best = rate > best ? rate : best;
  }
  return best;
}
