#include "tests/kernels/instruction_sets.h"

#define DECLARE(op)                                                                                \
  lrl_status lrl_naive_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args);
LRL_OPS(DECLARE)
#define NAIVE(op) .op = lrl_naive_##op,
const struct lrl_backend naive_backend = {.name = "naive", LRL_OPS(NAIVE)};

#define EMULATED(op)                                                                               \
  lrl_status cpu_emulated_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args);
EMULATED(gemm)
EMULATED(attention_fwd)
EMULATED(attention_bwd)
EMULATED(attention_decode)
/* The ops that have code of their own for AVX-512; the others as generic. */
static const struct lrl_backend *emulated_avx512(void) {
  static struct lrl_backend b;
  b = *lrl_backend_cpu_isa("generic");
  b.gemm = cpu_emulated_gemm;
  b.attention_fwd = cpu_emulated_attention_fwd;
  b.attention_bwd = cpu_emulated_attention_bwd;
  b.attention_decode = cpu_emulated_attention_decode;
  return &b;
}

const struct lrl_backend *instruction_set(int i, const char **name) {
  static const char *const names[N_INSTRUCTION_SETS] = {"generic", "avx2", "avx512"};
  const struct lrl_backend *b = lrl_backend_cpu_isa(names[i]);
  *name = names[i];
  if (i == 2 && b == NULL) {
    *name = "avx512 (emulated)";
    return emulated_avx512();
  }
  return b;
}

lrl_status instruction_set_init(struct lrl_ctx *ctx, int i, int n_threads) {
  const char *name;
  LRL_TRY(lrl_ctx_init(ctx, "cpu", n_threads));
  ctx->backend = instruction_set(i, &name);
  return LRL_OK;
}
