/* The ref backend: plain loops with f64 accumulation, the oracle of every op test. Contracts are in
 * kernels/ops.h; this header only declares one function per op and the element accessors. */
#ifndef LRL_REF_REF_H
#define LRL_REF_REF_H
#include "kernels/backend.h"

/* The op test compiles these files once more, in f32 and under another name: the naive arithmetic
 * whose error the fast backends are measured by (tests/kernels/naive.h). */
#ifndef REF_FN
#define REF_FN(op) lrl_ref_##op
#endif
#define LRL_REF_DECLARE(op)                                                                        \
  lrl_status REF_FN(op)(struct lrl_ctx * ctx, const struct lrl_##op##_args *a);
LRL_OPS(LRL_REF_DECLARE)
#undef LRL_REF_DECLARE

/* Element i of an f32 or bf16 array. */
static inline double lrl_ref_load(lrl_dtype t, const void *p, int64_t i) {
  if (t == LRL_BF16)
    return (double)lrl_bf16_to_f32(((const uint16_t *)p)[i]);
  return (double)((const float *)p)[i];
}
/* Rounds x to dtype t (through f32 for bf16) and stores it. */
static inline void lrl_ref_store(lrl_dtype t, void *p, int64_t i, double x) {
  if (t == LRL_BF16)
    ((uint16_t *)p)[i] = lrl_f32_to_bf16((float)x);
  else
    ((float *)p)[i] = (float)x;
}
/* x rounded to dtype t. */
static inline double lrl_ref_round(lrl_dtype t, double x) {
  return t == LRL_BF16 ? (double)lrl_bf16_to_f32(lrl_f32_to_bf16((float)x)) : (double)(float)x;
}
#endif
