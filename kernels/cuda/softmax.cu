/* Losses over rows of logits: cross-entropy, log-probabilities with entropy. A block takes a row;
 * the largest logit and the sum of exponentials come from one pass. Floor: 4 bytes a logit for
 * log-probabilities, 6 for gradients (bf16), which cross-entropy makes at once: the row stays on
 * the multiprocessor. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
enum { NT = 256 };
/* Largest z, sum of e^(z - max), and of z e^(z - max); NaN anywhere gives NaN. */
struct sums {
  float max, exp, weighted;
  __device__ __forceinline__ void add(float z) {
    if (z > max || z != z) {
      const float scale = max == -INFINITY ? 0.0f : expf(max - z);
      exp *= scale;
      weighted *= scale;
      max = z;
    }
    if (z > -INFINITY || z != z) {
      const float e = expf(z - max);
      exp += e;
      weighted += e * z;
    }
  }
};
/* Of all threads of a block, the same in every thread. */
template <int N> __device__ __forceinline__ sums block_sums(const sums &s) {
  const float top = block_reduce<N>(s.max, max_of{}, -INFINITY);
  const float scale = s.max == -INFINITY ? 0.0f : expf(s.max - top);
  return {top, block_sum<N>(s.exp * scale), block_sum<N>(s.weighted * scale)};
}
/* Of x[i] * inverse over a row. */
__device__ __forceinline__ sums row_sums(const float *x, int64_t n, float inverse, bool vectors) {
  sums s = {-INFINITY, 0.0f, 0.0f};
  if (vectors) {
    for (int64_t i = threadIdx.x * 4; i < n; i += NT * 4) {
      float v[4];
      load<float, 4>(x + i, v);
#pragma unroll
      for (int k = 0; k < 4; k++)
        s.add(v[k] * inverse);
    }
  } else {
    for (int64_t i = threadIdx.x; i < n; i += NT)
      s.add(x[i] * inverse);
  }
  return block_sums<NT>(s);
}
/* d[i] = f(i, x[i]) over a row. x may be d: an element is read and written by one thread. */
template <class D, class F>
__device__ __forceinline__ void each_logit(const float *x, D *d, int64_t n, bool vectors, F f) {
  if (vectors) {
    for (int64_t i = threadIdx.x * 4; i < n; i += NT * 4) {
      float v[4];
      load<float, 4>(x + i, v);
#pragma unroll
      for (int k = 0; k < 4; k++)
        v[k] = f(i + k, v[k]);
      store<D, 4>(d + i, v);
    }
  } else {
    for (int64_t i = threadIdx.x; i < n; i += NT)
      from_float(&d[i], f(i, x[i]));
  }
}

/* Thread t has the words of four logits at t, t + N, ...: the first K stay in its registers, the
 * next n_shared in shared memory, those beyond are read again for the gradient. n_words 0: logits
 * one by one. 92544 logits are 370 KB; an H100's multiprocessor keeps 360 of them, an A100's 294.
 */
template <class D, int N, int K>
__global__ void __launch_bounds__(N, N > 128 ? 1 : 4)
    xent(int64_t vocab, int64_t n_words, int n_shared, const float *logits, const float *weight,
         const int32_t *targets, float *loss, float *lse_out, D *d_logits) {
  extern __shared__ __align__(16) float kept[];
  const int64_t t = blockIdx.x;
  const float *x = logits + t * vocab;
  D *d = d_logits == nullptr ? nullptr : d_logits + t * vocab;
  const int32_t target = targets[t];
  const float w = target < 0 ? 0.0f : weight == nullptr ? 1.0f : weight[t];
  const float wanted = target < 0 ? 0.0f : x[target]; /* before gradients take its place */
  const int me = (int)threadIdx.x, words = (int)n_words;
  float z[K][4];
  sums s = {-INFINITY, 0.0f, 0.0f};
  auto add = [&](const float(&v)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      s.add(v[i]);
  };
#pragma unroll
  for (int k = 0; k < K; k++)
    if (k * N + me < words)
      load<float, 4>(x + (k * N + me) * 4, z[k]);
#pragma unroll
  for (int k = 0; k < K; k++)
    if (k * N + me < words)
      add(z[k]);
  for (int c = K * N + me, k = 0; c < words; c += N, k++) {
    float v[4];
    load<float, 4>(x + c * 4, v);
    if (k < n_shared)
      store<float, 4>(kept + (k * N + me) * 4, v);
    add(v);
  }
  for (int64_t i = n_words * 4 + me; i < vocab; i += N)
    s.add(x[i]);
  s = block_sums<N>(s);
  const float lse = s.max + logf(s.exp);
  if (threadIdx.x == 0) {
    loss[t] = target < 0 ? 0.0f : w * (lse - wanted);
    if (lse_out != nullptr)
      lse_out[t] = lse;
  }
  if (d == nullptr)
    return;
  auto gradient = [&](int64_t i, float v) {
    return target < 0 ? 0.0f : w * (expf(v - lse) - (i == target ? 1.0f : 0.0f));
  };
  auto give = [&](int c, float(&v)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++)
      v[i] = gradient(c * 4 + i, v[i]);
    store<D, 4>(d + c * 4, v);
  };
#pragma unroll
  for (int k = 0; k < K; k++)
    if (k * N + me < words)
      give(k * N + me, z[k]);
  for (int c = K * N + me, k = 0; c < words; c += N, k++) {
    float v[4];
    if (k < n_shared)
      load<float, 4>(kept + (k * N + me) * 4, v);
    else
      load<float, 4>(x + c * 4, v);
    give(c, v);
  }
  for (int64_t i = n_words * 4 + me; i < vocab; i += N)
    from_float(&d[i], gradient(i, x[i]));
}
__global__ void __launch_bounds__(NT)
    logprob_fwd(int64_t vocab, float inverse, const float *logits, const int32_t *targets,
                float *logprobs, float *entropy, float *lse_out, bool vectors) {
  const int64_t t = blockIdx.x;
  const float *x = logits + t * vocab;
  const int32_t target = targets[t];
  const sums s = row_sums(x, vocab, inverse, vectors);
  const float lse = s.max + logf(s.exp);
  if (threadIdx.x != 0)
    return;
  const float p = target < 0 ? 0.0f : x[target] * inverse - lse;
  logprobs[t] = p > 0.0f ? 0.0f : p;
  if (entropy != nullptr)
    entropy[t] = target < 0 ? 0.0f : lse - s.weighted / s.exp;
  if (lse_out != nullptr)
    lse_out[t] = lse;
}
template <class D>
__global__ void __launch_bounds__(NT)
    logprob_bwd(int64_t vocab, float inverse, const float *logits, const int32_t *targets,
                const float *lse, const float *entropy, const float *d_logprobs,
                const float *d_entropy, D *d_logits, bool vectors) {
  const int64_t t = blockIdx.x;
  const int32_t target = targets[t];
  const float l = lse[t], dp = d_logprobs[t];
  const float de = d_entropy == nullptr ? 0.0f : d_entropy[t];
  const float h = d_entropy == nullptr ? 0.0f : entropy[t];
  each_logit(logits + t * vocab, d_logits + t * vocab, vocab, vectors, [&](int64_t i, float x) {
    if (target < 0)
      return 0.0f;
    const float log_p = x * inverse - l, p = expf(log_p);
    float g = dp * ((i == target ? 1.0f : 0.0f) - p);
    if (p > 0.0f)
      g -= de * p * (log_p + h);
    return g * inverse;
  });
}
} // namespace

lrl_status cuda_cross_entropy(struct lrl_ctx *ctx, const struct lrl_cross_entropy_args *a) {
  if (a->n_tokens == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t n = a->n_tokens, all = n * a->n_vocab;
  const float *logits = op.in(a->logits, all), *weight = op.in(a->weight, n);
  const int32_t *target = op.in(a->target, n);
  float *loss = op.out(a->loss, n), *lse = op.out(a->lse, n);
  by_dtype(a->d_dtype, [&](auto type) {
    typedef decltype(type) D;
    D *d = op.out_as<D>(a->d_logits, all);
    const int64_t words = aligned16(logits, d) && a->n_vocab % 4 == 0 ? a->n_vocab / 4 : 0;
    if (a->n_vocab <= 128 * 4 * 4)
      LRL_LAUNCH(op, (xent<D, 128, 4>), (unsigned)n, 128, 0, a->n_vocab, words, 0, logits, weight,
                 target, loss, lse, d);
    else {
      constexpr int N = 512, K = 16;
      const int64_t more = d == NULL ? 0 : ceil_div(words, N) - K;
      const int64_t room = ((int64_t)op.state->max_shared - 1024) / (16 * N); /* 1 KB: reductions */
      const int64_t in_shared = more < 0 ? 0 : more < room ? more : room;
      const size_t bytes = (size_t)in_shared * 16 * N;
      allow_shared(xent<D, N, K>, bytes);
      LRL_LAUNCH(op, (xent<D, N, K>), (unsigned)n, N, bytes, a->n_vocab, words, (int)in_shared,
                 logits, weight, target, loss, lse, d);
    }
  });
  return op.done();
}
lrl_status cuda_logprob_fwd(struct lrl_ctx *ctx, const struct lrl_logprob_fwd_args *a) {
  if (a->n_tokens == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t n = a->n_tokens;
  const float *logits = op.in(a->logits, n * a->n_vocab);
  const int32_t *target = op.in(a->target, n);
  float *logprobs = op.out(a->logprobs, n), *entropy = op.out(a->entropy, n),
        *lse = op.out(a->lse, n);
  LRL_LAUNCH(op, logprob_fwd, (unsigned)n, NT, 0, a->n_vocab, 1.0f / a->temperature, logits, target,
             logprobs, entropy, lse, aligned16(logits) && a->n_vocab % 4 == 0);
  return op.done();
}
lrl_status cuda_logprob_bwd(struct lrl_ctx *ctx, const struct lrl_logprob_bwd_args *a) {
  if (a->n_tokens == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t n = a->n_tokens, all = n * a->n_vocab;
  const float *logits = op.in(a->logits, all), *lse = op.in(a->lse, n);
  const int32_t *target = op.in(a->target, n);
  const float *d_entropy = op.in(a->d_entropy, n), *d_logprobs = op.in(a->d_logprobs, n);
  const float *entropy = a->d_entropy == NULL ? NULL : op.in(a->entropy, n);
  by_dtype(a->d_dtype, [&](auto type) {
    typedef decltype(type) D;
    D *d = op.out_as<D>(a->d_logits, all);
    const bool vectors = aligned16(logits, d) && a->n_vocab % 4 == 0;
    LRL_LAUNCH(op, logprob_bwd<D>, (unsigned)n, NT, 0, a->n_vocab, 1.0f / a->temperature, logits,
               target, lse, entropy, d_logprobs, d_entropy, d, vectors);
  });
  return op.done();
}
