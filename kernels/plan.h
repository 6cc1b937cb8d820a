/* The plan backend ("plan"): executes nothing, counts. The same model, tape and trainer code runs
 * on it as on a device, at any size: its arenas reserve addresses that nobody touches, so their
 * peaks are the bytes that a device needs, and an op adds its cost (kernels/cost.h) and takes the
 * scratch memory that the cuda backend's op takes. Results that the host looks at (losses, norms,
 * drawn tokens) are zeros. Behind `laurel plan` (docs/plan.md). */
#ifndef LRL_PLAN_H
#define LRL_PLAN_H
#include "kernels/backend.h"
#ifdef __cplusplus
extern "C" {
#endif

/* What time is reckoned by; 0 where nobody asks. */
struct lrl_plan_machine {
  double bf16_flops, f32_flops; /* dense, per second */
  double memory;                /* bytes per second */
  int n_sm;                     /* multiprocessors; some scratch memory grows with them */
};
struct lrl_plan_count {
  int64_t calls;
  double flops, bytes;
  double seconds; /* at least: each call takes its flops or its bytes, whichever takes longer */
};

enum lrl_plan_op {
#define LRL_PLAN_OP(op) LRL_PLAN_##op,
  LRL_OPS(LRL_PLAN_OP)
#undef LRL_PLAN_OP
      LRL_PLAN_ZERO, /* lrl_zero */
  LRL_PLAN_MOVE,     /* lrl_move */
  LRL_PLAN_N
};
const char *lrl_plan_op_name(enum lrl_plan_op op);

/* What this rank sends to the others (kernels/collectives.h), as rings do. */
struct lrl_plan_traffic {
  double sums, gathers; /* bytes: gradients that are summed up; parameters that are gathered */
};

/* State of a context of the plan backend. The machine may be set, the counts cleared at any time.
 */
struct lrl_plan {
  struct lrl_plan_machine machine;
  struct lrl_plan_count all, op[LRL_PLAN_N];
  int ranks;
  struct lrl_plan_traffic traffic;
};
/* NULL: the context is of another backend. */
struct lrl_plan *lrl_plan_of(const struct lrl_ctx *ctx);
extern const struct lrl_backend lrl_backend_plan;

#ifdef __cplusplus
}
#endif
#endif
