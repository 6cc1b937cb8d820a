/* Preference losses on score pairs, in f64: a few thousand numbers a step. */
#include "kernels/cuda/map.cuh"

namespace {
/* -log sigmoid(x) without overflow. */
__device__ double softplus_neg(double x) { return fmax(-x, 0.0) + log1p(exp(-fabs(x))); }
__device__ double sigmoid(double x) {
  return x >= 0.0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}
struct pair_loss {
  bool focal;
  enum lrl_penalty penalty;
  double gamma, penalty_weight, center_weight, lo, hi, first, last, weight;
  bool gradient_outside;
  const float *chosen, *rejected, *margin;
  double *loss;
  float *d_chosen, *d_rejected;

  __device__ double rank(double diff, double *slope) const {
    const double nll = softplus_neg(diff), sig = sigmoid(diff), rest = sigmoid(-diff);
    if (!focal) {
      *slope = -rest;
      return nll;
    }
    const double base = diff > 0.0 ? 2.0 * rest : 1.0, w = pow(base, gamma);
    const double d_base = diff > 0.0 ? -2.0 * sig * rest : 0.0;
    const double d_w =
        d_base != 0.0 && gamma != 0.0 ? gamma * pow(base, gamma - 1.0) * d_base : 0.0;
    *slope = d_w * nll - w * rest;
    return w * nll;
  }
  __device__ double penalise(double x, double *slope) const {
    *slope = 0.0;
    if (penalty == LRL_PENALTY_NONE)
      return 0.0;
    if (penalty == LRL_PENALTY_L2) {
      *slope = 2.0 * x;
      return x * x;
    }
    const double in = fmin(fmax(x, first), last);
    if ((x >= first && x <= last) || gradient_outside)
      *slope = -1.0 / (in - lo) + 1.0 / (hi - in);
    return -(log(in - lo) + log(hi - in));
  }
  template <int V> __device__ void run(int64_t i) const {
    const double c = (double)chosen[i], r = (double)rejected[i];
    double d_rank, d_c, d_r;
    double l = rank(c - r - (margin == nullptr ? 0.0 : (double)margin[i]), &d_rank);
    l += penalty_weight * (penalise(c, &d_c) + penalise(r, &d_r));
    l += center_weight * (c + r) * (c + r);
    loss[i] = l;
    const double center = 2.0 * center_weight * (c + r);
    if (d_chosen != nullptr)
      d_chosen[i] = (float)(weight * (d_rank + penalty_weight * d_c + center));
    if (d_rejected != nullptr)
      d_rejected[i] = (float)(weight * (-d_rank + penalty_weight * d_r + center));
  }
};
} // namespace

lrl_status cuda_bradley_terry(struct lrl_ctx *ctx, const struct lrl_bradley_terry_args *a) {
  cuda_op op(ctx);
  pair_loss f = {};
  f.focal = a->rank == LRL_RANK_FOCAL;
  f.penalty = a->penalty;
  f.gamma = (double)a->focal_gamma;
  f.penalty_weight = (double)a->penalty_weight;
  f.center_weight = (double)a->center_weight;
  f.lo = (double)a->barrier_lo;
  f.hi = (double)a->barrier_hi;
  f.first = (double)(float)(f.lo + (double)a->barrier_eps); /* f32 ends, as the scores they clamp */
  f.last = (double)(float)(f.hi - (double)a->barrier_eps);
  f.weight = (double)a->weight;
  f.gradient_outside = a->barrier_gradient_outside;
  f.chosen = op.in(a->chosen, a->n);
  f.rejected = op.in(a->rejected, a->n);
  f.margin = op.in(a->margin, a->n);
  f.loss = op.out(a->loss, a->n);
  f.d_chosen = op.out(a->d_chosen, a->n);
  f.d_rejected = op.out(a->d_rejected, a->n);
  map<1>(op, a->n, false, f);
  return op.done();
}
