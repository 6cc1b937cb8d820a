/* A single op of the K1 family: reading its tensors, running ops, comparing. */
#ifndef LRL_TESTS_GOLDEN_OPS_H
#define LRL_TESTS_GOLDEN_OPS_H
#include "tests/golden/bag.h"

/* A case under way. */
struct op_case {
  struct bag *b;
  const char *name; /* "rmsnorm3" */
  double worst;
  int n_compared;
  lrl_status status;
};

static inline float *input(struct op_case *c, const char *tensor, struct g5_array *shape) {
  float *x = bag_read(c->b, "inputs", c->name, tensor, shape);
  if (x == NULL && c->status == LRL_OK)
    c->status = LRL_FAIL(LRL_ERR_FORMAT, "input %s is missing", tensor);
  return x;
}
static inline void compare(struct op_case *c, const char *group, const char *tensor,
                           const float *got, int64_t n) {
  struct g5_array a;
  const float *want = bag_read(c->b, group, c->name, tensor, &a);
  c->worst = bag_worse(c->worst, want == NULL || a.n != n ? NAN : golden_max_abs(got, want, n));
  c->n_compared++;
}
static inline void output(struct op_case *c, const float *y, int64_t n) {
  compare(c, "outputs", "y", y, n);
}
static inline void gradient(struct op_case *c, const char *tensor, const float *dx, int64_t n) {
  compare(c, "grads", tensor, dx, n);
}
#define FLOATS(n) bag_floats(c->b, (n))
/* Runs an op unless something failed before. */
#define RUN(op, ...)                                                                               \
  do {                                                                                             \
    if (c->status == LRL_OK)                                                                       \
      c->status = lrl_##op(&c->b->ctx, &(struct lrl_##op##_args){__VA_ARGS__});                    \
  } while (0)

/* golden_ops_tokens.c */
void golden_op_attn_causal(struct op_case *c);
void golden_op_attn_full(struct op_case *c);
void golden_op_rope(struct op_case *c);
void golden_op_plora(struct op_case *c);
#endif
