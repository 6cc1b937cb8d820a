#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(adamw)(struct lrl_ctx *ctx, const struct lrl_adamw_args *a) {
  (void)ctx;
  const double step_size = a->lr / (1.0 - pow(a->beta1, (double)a->step));
  const double root = sqrt(1.0 - pow(a->beta2, (double)a->step));
#pragma omp parallel for
  for (int64_t i = 0; i < a->n; i++) {
    const double g = a->grad_scale * (double)a->grad[i];
    const double m = a->beta1 * (double)a->m[i] + (1.0 - a->beta1) * g;
    const double v = a->beta2 * (double)a->v[i] + (1.0 - a->beta2) * g * g;
    const double p = (double)a->master[i] * (1.0 - a->lr * a->weight_decay) -
                     step_size * m / (sqrt(v) / root + a->eps);
    a->m[i] = (float)m;
    a->v[i] = (float)v;
    a->master[i] = (float)p;
    lrl_ref_store(a->param_dtype, a->param, i, (double)a->master[i]);
  }
  return LRL_OK;
}
