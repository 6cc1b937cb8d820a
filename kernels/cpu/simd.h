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
#endif
