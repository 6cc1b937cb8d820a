/* The machine's arithmetic peak, measured. */
#ifndef LRL_CPU_PEAK_H
#define LRL_CPU_PEAK_H
#include <stdbool.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Best of five runs, flop/s, of f32 multiply-adds or bf16 dot products on n_threads threads, with
 * the instruction set the cpu backend uses on this machine. */
double lrl_cpu_peak(bool bf16, int n_threads);
double cpu_generic_peak(bool bf16, int n_threads);
double cpu_avx2_peak(bool bf16, int n_threads);
double cpu_avx512_peak(bool bf16, int n_threads);

#ifdef __cplusplus
}
#endif
#endif
