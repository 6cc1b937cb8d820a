#include "tests/kernels/instruction_sets.h"

#define DECLARE(op)                                                                                \
  lrl_status lrl_naive_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args);
LRL_OPS(DECLARE)
#define NAIVE(op) .op = lrl_naive_##op,
const struct lrl_backend naive_backend = {.name = "naive", LRL_OPS(NAIVE)};

const struct lrl_backend *instruction_set(int i, const char **name) {
  static const char *const names[N_INSTRUCTION_SETS] = {"generic", "avx2", "avx512"};
  *name = names[i];
  return lrl_backend_cpu_isa(names[i]);
}

lrl_status instruction_set_init(struct lrl_ctx *ctx, int i, int n_threads) {
  const char *name;
  LRL_TRY(lrl_ctx_init(ctx, "cpu", n_threads));
  ctx->backend = instruction_set(i, &name);
  return LRL_OK;
}
