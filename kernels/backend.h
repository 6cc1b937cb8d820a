/* A backend is a name and one function per op of kernels/ops.h. Wrappers validate, backends
 * compute.
 *   ref  plain loops, f64 accumulation: the oracle of every op test
 *   cpu  OpenMP + SIMD chosen at run time: the default */
#ifndef LRL_BACKEND_H
#define LRL_BACKEND_H
#include "kernels/arena.h"
#include "kernels/ops.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_backend {
  const char *name;
  /* Per-context state (the cpu backend's packed weights); NULL where a backend has none. */
  lrl_status (*create)(struct lrl_ctx *ctx);
  void (*destroy)(struct lrl_ctx *ctx);
#define LRL_OP_ENTRY(op) lrl_status (*op)(struct lrl_ctx * ctx, const struct lrl_##op##_args *args);
  LRL_OPS(LRL_OP_ENTRY)
#undef LRL_OP_ENTRY
};

/* One device context: one per rank. Not shared between threads. */
struct lrl_ctx {
  const struct lrl_backend *backend;
  struct lrl_arena scratch; /* an op's temporary memory; used is 0 between ops */
  struct lrl_arena packed;  /* re-laid weights, for the life of the context */
  int n_threads;
  void *state; /* backend-private */
};

/* name: "cpu" or "ref". n_threads 0: as OpenMP says. Errors: unknown backend, no memory. */
lrl_status lrl_ctx_init(struct lrl_ctx *ctx, const char *name, int n_threads);
void lrl_ctx_free(struct lrl_ctx *ctx);
/* Instruction set the cpu backend chose on this machine: "avx512", "avx2" or "generic"; and whether
 * bf16 dot products run in hardware. For `laurel doctor`. */
const char *lrl_cpu_isa(void);
bool lrl_cpu_has_bf16(void);

extern const struct lrl_backend lrl_backend_ref;
/* The cpu backend's table depends on the machine; see kernels/cpu_backend.c. */
const struct lrl_backend *lrl_backend_cpu(void);
/* The table of one instruction set ("generic", "avx2", "avx512"), for tests; NULL when this machine
 * cannot run it or there is no such name. */
const struct lrl_backend *lrl_backend_cpu_isa(const char *isa);

#ifdef __cplusplus
}
#endif
#endif
