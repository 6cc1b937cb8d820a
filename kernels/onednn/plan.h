/* Plans: cached oneDNN matmul primitives, and weights re-laid for them. Private to kernels/onednn.
 */
#ifndef LRL_ONEDNN_PLAN_H
#define LRL_ONEDNN_PLAN_H
#include "kernels/backend.h"

#include <oneapi/dnnl/dnnl.h>

/* What makes two products the same primitive. No padding bytes matter: compared field by field. */
struct lrl_plan_key {
  int64_t m, n, k, ld_a, ld_b, ld_c;
  const struct lrl_packed *packed; /* B in this re-laid form, or NULL: B is plain with ld_b */
  bool trans_a, trans_b, accumulate, bias;
  lrl_dtype dtype, c_dtype;
};
struct lrl_plan {
  struct lrl_plan_key key;
  dnnl_primitive_t primitive;
  dnnl_memory_t a, b, bias, c, scratch; /* b is NULL when packed; bias when there is none */
  size_t scratch_bytes;
};
/* One re-laid weight. `source` and the sizes are the key; `version` says what is in `memory`. */
struct lrl_packed {
  const void *source;
  int64_t n, k, ld;
  bool trans;
  lrl_dtype from, to;
  uint64_t version; /* 0: not filled */
  dnnl_memory_desc_t md;
  dnnl_memory_t memory, plain;
  dnnl_primitive_t reorder;
  struct lrl_packed *next;
};
#define LRL_PLAN_BUCKETS 1024
struct lrl_plan_node {
  struct lrl_plan plan;
  struct lrl_plan_node *next;
};
struct lrl_onednn {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  bool bf16; /* bf16 products run in hardware */
  struct lrl_plan_node *plans[LRL_PLAN_BUCKETS];
  struct lrl_packed *packed[LRL_PLAN_BUCKETS];
};

/* LRL_ERR_LIB with one sentence unless s is success. */
lrl_status lrl_onednn_check(dnnl_status_t s, const char *what);
/* Finds or makes the plan of a key. */
lrl_status lrl_plan_get(struct lrl_onednn *s, const struct lrl_plan_key *key,
                        struct lrl_plan **out);
/* Finds or makes the re-laid form (dtype `to`) of the weight that `a` names as B, filled with its
 * present version. Memory comes from ctx->packed, once per weight. */
lrl_status lrl_packed_get(struct lrl_ctx *ctx, const struct lrl_gemm_args *a, lrl_dtype to,
                          struct lrl_packed **out);
void lrl_plans_free(struct lrl_onednn *s);
#endif
