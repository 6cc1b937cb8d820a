/* Scratch memory of the cuda backend's ops (kernels/cuda), by the plan backend: work space, copies
 * of layouts, and room for operands that a device cannot reach. tests/unit/test_plan.c holds it
 * against the backend itself. */
#ifndef LRL_PLAN_SCRATCH_H
#define LRL_PLAN_SCRATCH_H
#include "kernels/backend.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_plan_need {
  struct lrl_ctx *ctx;
  lrl_status status; /* the first failure */
};
/* Takes what the op takes from ctx->scratch; the caller gives it back. */
#define LRL_PLAN_SCRATCH(op)                                                                       \
  void lrl_##op##_scratch(struct lrl_plan_need *need, const struct lrl_##op##_args *args);
LRL_OPS(LRL_PLAN_SCRATCH)
#undef LRL_PLAN_SCRATCH

/* Whether p lies in an arena of the plan backend. */
bool lrl_plan_reachable(const void *p);

#ifdef __cplusplus
}
#endif
#endif
