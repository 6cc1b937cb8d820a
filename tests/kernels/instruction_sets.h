/* The tables of the cpu backend that tests run: every instruction set of this machine,
 * and where it has no AVX-512, what uses it by emulation (tests/kernels/avx512.h). */
#ifndef LRL_TESTS_INSTRUCTION_SETS_H
#define LRL_TESTS_INSTRUCTION_SETS_H
#include "kernels/backend.h"

enum { N_INSTRUCTION_SETS = 3 };
/* i in [0, N_INSTRUCTION_SETS); NULL when this machine cannot run it. */
const struct lrl_backend *instruction_set(int i, const char **name);
/* As lrl_ctx_init(ctx, "cpu", n_threads) with that table, which this machine can run. */
lrl_status instruction_set_init(struct lrl_ctx *ctx, int i, int n_threads);
/* kernels/ref in f32 (tests/kernels/naive.h). */
extern const struct lrl_backend naive_backend;
#endif
