#include "kernels/ref/ref.h"

#include <math.h>

/* -log sigmoid(x) without overflow. */
static double softplus_neg(double x) { return fmax(-x, 0.0) + log1p(exp(-fabs(x))); }

static double sigmoid(double x) {
  return x >= 0.0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}

/* Value and derivative with respect to the margin-adjusted difference. */
static double rank_loss(const struct lrl_bradley_terry_args *a, double diff, double *slope) {
  const double nll = softplus_neg(diff), sig = sigmoid(diff);
  if (a->rank == LRL_RANK_LOGSIGMOID) {
    *slope = -sigmoid(-diff);
    return nll;
  }
  const double gamma = (double)a->focal_gamma;
  const double base = diff > 0.0 ? 2.0 * sigmoid(-diff) : 1.0;
  const double weight = pow(base, gamma);
  const double d_base = diff > 0.0 ? -2.0 * sig * sigmoid(-diff) : 0.0;
  const double d_weight =
      d_base != 0.0 && gamma != 0.0 ? gamma * pow(base, gamma - 1.0) * d_base : 0.0;
  *slope = d_weight * nll - weight * sigmoid(-diff);
  return weight * nll;
}

static double penalty(const struct lrl_bradley_terry_args *a, double x, double *slope) {
  *slope = 0.0;
  if (a->penalty == LRL_PENALTY_NONE)
    return 0.0;
  if (a->penalty == LRL_PENALTY_L2) {
    *slope = 2.0 * x;
    return x * x;
  }
  const double lo = (double)a->barrier_lo, hi = (double)a->barrier_hi;
  /* The clamp's ends are f32 numbers, as the scores they clamp (XTuner). */
  const double first = (double)(float)(lo + (double)a->barrier_eps);
  const double last = (double)(float)(hi - (double)a->barrier_eps);
  const double in = fmin(fmax(x, first), last);
  if ((x >= first && x <= last) || a->barrier_gradient_outside)
    *slope = -1.0 / (in - lo) + 1.0 / (hi - in);
  return -(log(in - lo) + log(hi - in));
}

lrl_status REF_FN(bradley_terry)(struct lrl_ctx *ctx, const struct lrl_bradley_terry_args *a) {
  (void)ctx;
  for (int64_t i = 0; i < a->n; i++) {
    const double c = (double)a->chosen[i], r = (double)a->rejected[i];
    const double margin = a->margin == NULL ? 0.0 : (double)a->margin[i];
    double d_rank, d_pen_c, d_pen_r;
    double loss = rank_loss(a, c - r - margin, &d_rank);
    loss += (double)a->penalty_weight * (penalty(a, c, &d_pen_c) + penalty(a, r, &d_pen_r));
    loss += (double)a->center_weight * (c + r) * (c + r);
    a->loss[i] = loss;
    const double center = 2.0 * (double)a->center_weight * (c + r);
    if (a->d_chosen != NULL)
      a->d_chosen[i] =
          (float)((double)a->weight * (d_rank + (double)a->penalty_weight * d_pen_c + center));
    if (a->d_rejected != NULL)
      a->d_rejected[i] =
          (float)((double)a->weight * (-d_rank + (double)a->penalty_weight * d_pen_r + center));
  }
  return LRL_OK;
}
