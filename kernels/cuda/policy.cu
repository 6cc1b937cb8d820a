/* The losses of reinforcement learning, f64 inside. A block takes a sequence and leaves its sums;
 * one warp adds the sequences in order. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
enum { NT = 128, MOST_SUMS = 10 };
__device__ bool live(const uint8_t *mask, int64_t t) { return mask == nullptr || mask[t] != 0; }
__device__ bool outside(double x, double limit) { return limit > 0.0 && fabs(x) > limit; }
/* Keeps NaN. */
__device__ double clamped(double x, double limit) {
  return outside(x, limit) ? copysign(limit, x) : x;
}

/* part[s][k] of the block's sequence, k < n; the last one is a maximum where `top`. */
template <int n> __device__ void leave_sums(double (&sum)[n], bool top, double *part) {
  for (int k = 0; k < n; k++) {
    const double x =
        top && k == n - 1 ? block_reduce<NT>(sum[k], max_of{}, 0.0) : block_sum<NT>(sum[k]);
    if (threadIdx.x == 0)
      part[(int64_t)blockIdx.x * n + k] = x;
  }
}
__global__ void __launch_bounds__(32)
    add_sequences(int64_t n_seqs, int n, bool top, const double *part, double *out) {
  const int k = threadIdx.x;
  if (k >= n)
    return;
  double sum = 0.0;
  for (int64_t s = 0; s < n_seqs; s++) {
    const double x = part[s * n + k];
    sum = top && k == n - 1 ? max_of{}(sum, x) : sum + x;
  }
  out[k] = sum;
}

struct kl_terms {
  cuda_layout l;
  const uint8_t *mask;
  int estimator;
  double diff_clamp, kl_clamp, coef;
  const float *logprobs, *ref_logprobs, *seq_weight;
  float *kl, *d_logprobs;
  __device__ double estimate(double d, double *slope) const {
    switch (estimator) {
    case LRL_KL_ABS:
      *slope = d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : 0.0;
      return fabs(d);
    case LRL_KL_K2:
      *slope = d;
      return 0.5 * d * d;
    case LRL_KL_K3:
      *slope = 1.0 - exp(-d);
      return exp(-d) - 1.0 + d;
    default:
      *slope = 1.0;
      return d;
    }
  }
};
__global__ void __launch_bounds__(NT) kl_sequence(kl_terms a, double *part) {
  const int64_t s = blockIdx.x, begin = a.l.start[s], end = begin + a.l.length[s];
  double sum[1] = {0.0};
  for (int64_t t = begin + threadIdx.x; t < end; t += NT) {
    if (!live(a.mask, t)) {
      if (a.kl != nullptr)
        a.kl[t] = 0.0f;
      continue;
    }
    const double d = (double)a.logprobs[t] - (double)a.ref_logprobs[t];
    double slope;
    const double kl = a.estimate(clamped(d, a.diff_clamp), &slope);
    if (a.kl != nullptr)
      a.kl[t] = (float)clamped(kl, a.kl_clamp);
    if (a.seq_weight == nullptr)
      continue;
    const double w = (double)a.seq_weight[s];
    sum[0] += w * clamped(kl, a.kl_clamp);
    if (a.d_logprobs != nullptr && !outside(d, a.diff_clamp) && !outside(kl, a.kl_clamp))
      a.d_logprobs[t] = (float)((double)a.d_logprobs[t] + a.coef * w * slope);
  }
  leave_sums(sum, false, part);
}

struct policy_terms {
  cuda_layout l;
  const uint8_t *mask;
  int ratio;
  double clip_low, clip_high, dual_clip, limit, entropy_coef;
  const float *logprobs, *old_logprobs, *advantages, *entropy, *seq_weight;
  float *d_logprobs, *d_entropy;
  __device__ double diff(int64_t t) const { return (double)logprobs[t] - (double)old_logprobs[t]; }
};
/* In the order of struct lrl_ppo_policy_stats. */
enum { LOSS, TOKENS, CLIPPED, CLIPPED_LOWER, KL1, KL2, KL3, RATIO, ENTROPY, RATIO_DEV };
__device__ double surrogate(const policy_terms &a, double adv, double r, double *slope,
                            double (&sum)[MOST_SUMS]) {
  const double plain = -adv * r;
  const double clip = -adv * fmin(fmax(r, 1.0 - a.clip_low), 1.0 + a.clip_high);
  double loss = plain;
  *slope = -adv;
  if (clip > plain) {
    loss = clip;
    *slope = 0.0;
    sum[CLIPPED] += 1.0;
  }
  if (a.dual_clip > 0.0 && adv < 0.0 && -a.dual_clip * adv < loss) {
    loss = -a.dual_clip * adv;
    *slope = 0.0;
    sum[CLIPPED_LOWER] += 1.0;
  }
  return loss;
}
__global__ void __launch_bounds__(NT, 2) policy_sequence(policy_terms a, double *part) {
  const int64_t s = blockIdx.x, begin = a.l.start[s], end = begin + a.l.length[s];
  const double w = (double)a.seq_weight[s];
  double mean = 0.0, count = 0.0, through_mean = 0.0, sum[MOST_SUMS] = {};
  if (a.ratio != LRL_RATIO_TOKEN) { /* the sequence's own: a pass more */
    for (int64_t t = begin + threadIdx.x; t < end; t += NT)
      if (live(a.mask, t)) {
        mean += a.diff(t);
        count += 1.0;
      }
    count = block_sum<NT>(count);
    mean = block_sum<NT>(mean);
    mean = count > 0.0 ? mean / count : 0.0;
  }
  for (int64_t t = begin + threadIdx.x; t < end; t += NT) {
    double g = 0.0;
    if (live(a.mask, t)) {
      const double d = a.diff(t);
      double x = a.ratio == LRL_RATIO_TOKEN ? d : mean, slope;
      const bool out = outside(x, a.limit);
      x = clamped(x, a.limit);
      const double r = exp(x);
      sum[LOSS] += w * surrogate(a, (double)a.advantages[t], r, &slope, sum);
      g = out ? 0.0 : w * slope * r;
      through_mean += g;
      sum[TOKENS] += 1.0;
      sum[KL1] += -d;
      sum[KL2] += 0.5 * d * d;
      sum[KL3] += exp(d) - 1.0 - d;
      sum[RATIO] += r;
      sum[RATIO_DEV] = fmax(sum[RATIO_DEV], fabs(r - 1.0));
      if (a.entropy != nullptr) {
        sum[LOSS] -= w * a.entropy_coef * (double)a.entropy[t];
        sum[ENTROPY] += (double)a.entropy[t];
      }
    }
    if (a.d_logprobs != nullptr && a.ratio != LRL_RATIO_SEQUENCE)
      a.d_logprobs[t] = (float)g;
    if (a.d_entropy != nullptr)
      a.d_entropy[t] = live(a.mask, t) ? (float)(-w * a.entropy_coef) : 0.0f;
  }
  through_mean = block_sum<NT>(through_mean);
  if (a.ratio == LRL_RATIO_SEQUENCE && a.d_logprobs != nullptr)
    for (int64_t t = begin + threadIdx.x; t < end; t += NT)
      a.d_logprobs[t] = live(a.mask, t) ? (float)(through_mean / count) : 0.0f;
  leave_sums(sum, true, part);
}

struct value_terms {
  cuda_layout l;
  const uint8_t *mask;
  double cliprange;
  const float *values, *old_values, *returns, *seq_weight;
  float *d_values;
};
__global__ void __launch_bounds__(NT) value_sequence(value_terms a, double *part) {
  const int64_t s = blockIdx.x, begin = a.l.start[s], end = begin + a.l.length[s];
  double sum[4] = {}; /* as struct lrl_ppo_value_stats: loss, tokens, clipped, squared error */
  for (int64_t t = begin + threadIdx.x; t < end; t += NT) {
    double grad = 0.0;
    if (live(a.mask, t)) {
      const double w = (double)a.seq_weight[s], v = (double)a.values[t];
      const double error = v - (double)a.returns[t];
      double loss = error * error;
      grad = w * error;
      sum[1] += 1.0;
      sum[3] += loss;
      if (a.cliprange > 0.0) {
        const double old = (double)a.old_values[t];
        const double near = old + fmin(fmax(v - old, -a.cliprange), a.cliprange);
        const double clip = (near - (double)a.returns[t]) * (near - (double)a.returns[t]);
        if (fabs(v - old) > a.cliprange && clip >= loss) {
          grad = clip > loss ? 0.0 : 0.5 * grad;
          sum[2] += clip > loss ? 1.0 : 0.0;
          loss = clip;
        }
      }
      sum[0] += 0.5 * w * loss;
    }
    if (a.d_values != nullptr)
      a.d_values[t] = (float)grad;
  }
  leave_sums(sum, false, part);
}
/* A thread goes back over a sequence: a short chain of f64 a token. */
__global__ void __launch_bounds__(32)
    gae_sequence(cuda_layout l, const uint8_t *mask, double gamma, double lam, const float *rewards,
                 const float *values, float *advantages, float *returns) {
  const int64_t s = (int64_t)blockIdx.x * 32 + threadIdx.x;
  if (s >= l.n_seqs)
    return;
  const int64_t begin = l.start[s], end = begin + l.length[s];
  double next_value = 0.0, next = 0.0;
  for (int64_t t = end - 1; t >= begin; t--) {
    const bool on = live(mask, t);
    if (on) {
      const double v = values == nullptr ? 0.0 : (double)values[t];
      next = (double)rewards[t] + gamma * next_value - v + gamma * lam * next;
      next_value = v;
    }
    advantages[t] = on ? (float)next : 0.0f;
    if (returns != nullptr)
      returns[t] = on ? (float)(next + next_value) : 0.0f;
  }
}
} // namespace

lrl_status cuda_approx_kl(struct lrl_ctx *ctx, const struct lrl_approx_kl_args *a) {
  cuda_op op(ctx);
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  kl_terms k = {layout_on_device(op, a->layout),
                op.in(a->mask, n),
                (int)a->estimator,
                a->diff_clamp,
                a->kl_clamp,
                a->coef,
                op.in(a->logprobs, n),
                op.in(a->ref_logprobs, n),
                op.in(a->seq_weight, seqs),
                op.out(a->kl, n),
                a->seq_weight == NULL ? NULL : op.inout(a->d_logprobs, n)};
  double *part = op.scratch<double>(seqs), *loss = op.out(a->loss, 1);
  if (seqs > 0)
    LRL_LAUNCH(op, kl_sequence, (unsigned)seqs, NT, 0, k, part);
  if (a->seq_weight != NULL)
    LRL_LAUNCH(op, add_sequences, 1, 32, 0, seqs, 1, false, part, loss);
  return op.done();
}
lrl_status cuda_ppo_policy(struct lrl_ctx *ctx, const struct lrl_ppo_policy_args *a) {
  static_assert(sizeof(struct lrl_ppo_policy_stats) == MOST_SUMS * sizeof(double), "order of sums");
  cuda_op op(ctx);
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  policy_terms p = {layout_on_device(op, a->layout),
                    op.in(a->mask, n),
                    (int)a->ratio,
                    a->clip_low,
                    a->clip_high,
                    a->dual_clip,
                    a->log_ratio_clamp,
                    a->entropy_coef,
                    op.in(a->logprobs, n),
                    op.in(a->old_logprobs, n),
                    op.in(a->advantages, n),
                    op.in(a->entropy, n),
                    op.in(a->seq_weight, seqs),
                    op.out(a->d_logprobs, n),
                    op.out(a->d_entropy, n)};
  double *part = op.scratch<double>(seqs * MOST_SUMS);
  double *stats = op.out(reinterpret_cast<double *>(a->stats), MOST_SUMS);
  if (seqs > 0)
    LRL_LAUNCH(op, policy_sequence, (unsigned)seqs, NT, 0, p, part);
  LRL_LAUNCH(op, add_sequences, 1, 32, 0, seqs, MOST_SUMS, true, part, stats);
  return op.done();
}
lrl_status cuda_ppo_value(struct lrl_ctx *ctx, const struct lrl_ppo_value_args *a) {
  cuda_op op(ctx);
  const int64_t n = a->layout->n_tokens, seqs = a->layout->n_seqs;
  value_terms v = {layout_on_device(op, a->layout),
                   op.in(a->mask, n),
                   a->cliprange,
                   op.in(a->values, n),
                   a->cliprange > 0.0 ? op.in(a->old_values, n) : NULL,
                   op.in(a->returns, n),
                   op.in(a->seq_weight, seqs),
                   op.out(a->d_values, n)};
  double *part = op.scratch<double>(seqs * 4);
  double *stats = op.out(reinterpret_cast<double *>(a->stats), 4);
  if (seqs > 0)
    LRL_LAUNCH(op, value_sequence, (unsigned)seqs, NT, 0, v, part);
  LRL_LAUNCH(op, add_sequences, 1, 32, 0, seqs, 4, false, part, stats);
  return op.done();
}
lrl_status cuda_gae(struct lrl_ctx *ctx, const struct lrl_gae_args *a) {
  if (a->layout->n_seqs == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t n = a->layout->n_tokens;
  const cuda_layout l = layout_on_device(op, a->layout);
  const uint8_t *mask = op.in(a->mask, n);
  const float *rewards = op.in(a->rewards, n), *values = op.in(a->values, n);
  float *advantages = op.out(a->advantages, n), *returns = op.out(a->returns, n);
  LRL_LAUNCH(op, gae_sequence, (unsigned)ceil_div(l.n_seqs, 32), 32, 0, l, mask, a->gamma, a->lam,
             rewards, values, advantages, returns);
  return op.done();
}
