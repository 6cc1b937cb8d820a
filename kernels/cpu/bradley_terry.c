#include "kernels/cpu/simd.h"

#include <math.h>

/* -log sigmoid(d) and its derivative. */
static double rank_loss(const struct lrl_bradley_terry_args *a, double d, double *grad) {
  const double loss = fmax(-d, 0.0) + log1p(exp(-fabs(d)));
  const double e = exp(-fabs(d)), sig = d >= 0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
  const double dloss = d >= 0 ? -e / (1.0 + e) : -1.0 / (1.0 + e);
  if (a->rank == LRL_RANK_LOGSIGMOID) {
    *grad = dloss;
    return loss;
  }
  const double gamma = (double)a->focal_gamma, over = fmax(0.0, sig - 0.5), base = 1.0 - 2.0 * over;
  const double w = pow(base, gamma);
  double dw = 0.0;
  if (over > 0.0 && gamma != 0.0)
    dw = -2.0 * gamma * pow(base, gamma - 1.0) * sig * -dloss; /* sig' = sig (1 - sig) */
  *grad = w * dloss + (isfinite(dw) ? dw * loss : 0.0);
  return w * loss;
}
static double penalty(const struct lrl_bradley_terry_args *a, double x, double *grad) {
  *grad = 0.0;
  if (a->penalty == LRL_PENALTY_L2) {
    *grad = 2.0 * x;
    return x * x;
  }
  if (a->penalty != LRL_PENALTY_LOG_BARRIER)
    return 0.0;
  const double lo = (double)a->barrier_lo, hi = (double)a->barrier_hi, eps = (double)a->barrier_eps;
  /* The clamp's ends are f32 numbers, as the scores they clamp (XTuner). */
  const double first = (double)(float)(lo + eps), last = (double)(float)(hi - eps);
  double c = x < first ? first : x; /* keeps NaN */
  c = c > last ? last : c;
  if (!(c != x) || a->barrier_gradient_outside)
    *grad = -1.0 / (c - lo) + 1.0 / (hi - c);
  return -(log(c - lo) + log(hi - c));
}
lrl_status CPU_FN(bradley_terry)(struct lrl_ctx *ctx, const struct lrl_bradley_terry_args *a) {
  (void)ctx; /* a handful of pairs: serial */
  for (int64_t i = 0; i < a->n; i++) {
    const double c = (double)a->chosen[i], r = (double)a->rejected[i];
    double grad, gc, gr;
    double loss = rank_loss(a, c - r - (a->margin == NULL ? 0.0 : (double)a->margin[i]), &grad);
    const double pc = penalty(a, c, &gc), pr = penalty(a, r, &gr);
    const double pw = (double)a->penalty_weight, cw = (double)a->center_weight;
    if (a->penalty != LRL_PENALTY_NONE)
      loss += pw * (pc + pr);
    loss += cw * (c + r) * (c + r);
    a->loss[i] = loss;
    const double w = (double)a->weight, center = 2.0 * cw * (c + r);
    if (a->d_chosen != NULL)
      a->d_chosen[i] = (float)(w * (grad + pw * gc + center));
    if (a->d_rejected != NULL)
      a->d_rejected[i] = (float)(w * (-grad + pw * gr + center));
  }
  return LRL_OK;
}
