#include "kernels/ref/ref.h"

#include <math.h>

lrl_status REF_FN(ppo_value)(struct lrl_ctx *ctx, const struct lrl_ppo_value_args *a) {
  (void)ctx;
  struct lrl_ppo_value_stats sum = {0};
  for (int64_t s = 0; s < a->layout->n_seqs; s++)
    for (int64_t t = a->layout->start[s]; t < a->layout->start[s] + a->layout->length[s]; t++) {
      double grad = 0.0;
      if (a->mask == NULL || a->mask[t] != 0) {
        const double w = (double)a->seq_weight[s], v = (double)a->values[t];
        const double error = v - (double)a->returns[t];
        double loss = error * error;
        grad = w * error;
        sum.tokens += 1.0;
        sum.sq_error += loss;
        if (a->cliprange > 0.0) {
          const double old = (double)a->old_values[t];
          const double near = old + fmin(fmax(v - old, -a->cliprange), a->cliprange);
          const double clipped = pow(near - (double)a->returns[t], 2.0);
          if (fabs(v - old) > a->cliprange && clipped >= loss) {
            grad = clipped > loss ? 0.0 : 0.5 * grad;
            sum.clipped += clipped > loss ? 1.0 : 0.0;
            loss = clipped;
          }
        }
        sum.loss += 0.5 * w * loss;
      }
      if (a->d_values != NULL)
        a->d_values[t] = (float)grad;
    }
  *a->stats = sum;
  return LRL_OK;
}
