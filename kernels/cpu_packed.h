/* The cpu backend's memory of re-laid weights (lrl_gemm_args.b_version): found by what was packed,
 * kept in ctx->packed for the life of the context. State of the backend, in ctx->state. */
#ifndef LRL_CPU_PACKED_H
#define LRL_CPU_PACKED_H
#include "kernels/backend.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_packed {
  const void *source; /* with the sizes below: the key */
  int64_t n, k, ld;
  bool trans;
  lrl_dtype dtype;
  uint64_t version; /* of the weight that `data` holds; 0: not filled yet */
  void *data;
  struct lrl_packed *next;
};

lrl_status lrl_packed_create(struct lrl_ctx *ctx);
void lrl_packed_destroy(struct lrl_ctx *ctx);
/* The entry of the weight that `a` names as B, with `bytes` (a function of the key) of memory. The
 * caller fills it and sets `version` when that is not a->b_version. Errors: LRL_ERR_MEMORY. */
lrl_status lrl_packed_get(struct lrl_ctx *ctx, const struct lrl_gemm_args *a, size_t bytes,
                          struct lrl_packed **out);

#ifdef __cplusplus
}
#endif
#endif
