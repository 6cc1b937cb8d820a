/* What a call of an op costs at least, from its arguments alone: the one place that counts, for the
 * plan backend and for whoever holds times against a peak. */
#ifndef LRL_COST_H
#define LRL_COST_H
#include "kernels/ops.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_cost {
  /* Of matrix products, attention included: 2 for each multiply-add, a causal mask counted as what
   * it leaves. Element-wise work is not counted: its time is that of its bytes. */
  double flops;
  lrl_dtype dtype; /* of the products' operands */
  double bytes;    /* each input read once, each output written once, what is accumulated both */
};

#define LRL_COST_DECLARE(op) struct lrl_cost lrl_##op##_cost(const struct lrl_##op##_args *args);
LRL_OPS(LRL_COST_DECLARE)
#undef LRL_COST_DECLARE

/* Pairs of a query and a key that attention looks at in one head. */
double lrl_attention_pairs(const struct lrl_layout *layout, bool causal);

#ifdef __cplusplus
}
#endif
#endif
