#include "kernels/ref/ref.h"

static double element(const struct lrl_moments_args *a, int64_t i) {
  return (double)a->x[i] - (a->y == NULL ? 0.0 : (double)a->y[i]);
}

lrl_status REF_FN(moments)(struct lrl_ctx *ctx, const struct lrl_moments_args *a) {
  (void)ctx;
  struct lrl_moments m = {0};
  for (int64_t i = 0; i < a->n; i++)
    if (a->mask == NULL || a->mask[i] != 0) {
      m.n += 1.0;
      m.mean += element(a, i);
    }
  m.mean = m.n > 0.0 ? m.mean / m.n : 0.0;
  for (int64_t i = 0; i < a->n; i++)
    if (a->mask == NULL || a->mask[i] != 0)
      m.m2 += (element(a, i) - m.mean) * (element(a, i) - m.mean);
  *a->out = m;
  return LRL_OK;
}
