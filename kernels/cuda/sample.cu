/* Sampling without a sort: the k-th largest logit and the end of the nucleus are found bit by bit,
 * each bit one pass over the row with a count or a mass. A block takes a row; ids are drawn in
 * their order, so the draw is a function of the row and its uniform number only. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
enum { NT = 256 };
/* Order-preserving integer of a float. */
__device__ __forceinline__ uint32_t key_of(float z) {
  const uint32_t b = __float_as_uint(z + 0.0f); /* -0 is 0 */
  return (b & 0x80000000u) != 0 ? ~b : b | 0x80000000u;
}
/* The largest key with ok(key); ok is true up to some key and false beyond. The same in all
 * threads. */
template <class F> __device__ uint32_t last_key(F ok) {
  uint32_t key = 0;
  for (int bit = 31; bit >= 0; bit--)
    if (ok(key | 1u << bit))
      key |= 1u << bit;
  return key;
}
struct row_sampler {
  int64_t v;
  float *z; /* what is left of the row: -infinity is dropped */

  template <class F> __device__ double mass(float top, F in) const {
    double s = 0.0;
    for (int64_t i = threadIdx.x; i < v; i += NT)
      if (in(z[i]))
        s += (double)expf(z[i] - top);
    return block_sum<NT>(s);
  }
  template <class F> __device__ int64_t count(F in) const {
    int64_t n = 0;
    for (int64_t i = threadIdx.x; i < v; i += NT)
      n += in(z[i]) ? 1 : 0;
    return (int64_t)block_sum<NT>((double)n);
  }
  /* Ids of this thread when order matters. */
  __device__ int64_t begin() const { return (v + NT - 1) / NT * threadIdx.x; }
  __device__ int64_t end() const {
    const int64_t e = (v + NT - 1) / NT * (threadIdx.x + 1);
    return e < v ? e : v;
  }
  /* Sum of x over the threads before this one, in order. Between two calls there is a barrier. */
  __device__ double before(double x) const {
    __shared__ double parts[NT];
    parts[threadIdx.x] = x;
    __syncthreads();
    double s = 0.0;
    for (unsigned i = 0; i < threadIdx.x; i++)
      s += parts[i];
    return s;
  }
  __device__ void keep_top_k(int64_t k) const {
    const uint32_t least = last_key(
        [&](uint32_t key) { return count([=](float x) { return key_of(x) >= key; }) >= k; });
    for (int64_t i = threadIdx.x; i < v; i += NT)
      if (key_of(z[i]) < least)
        z[i] = -INFINITY;
    __syncthreads();
  }
  /* Drops from the least probable on, of equal ids the highest first, while the share dropped is at
   * most `limit`; one always stays. */
  __device__ void keep_top_p(float top, double limit) const {
    const double total = mass(top, [](float x) { return x > -INFINITY; });
    const uint32_t most = key_of(top);
    uint32_t edge = last_key([&](uint32_t key) {
      return mass(top, [=](float x) { return x > -INFINITY && key_of(x) < key; }) / total <= limit;
    });
    edge = edge < most ? edge : most;
    const double gone = mass(top, [=](float x) { return x > -INFINITY && key_of(x) < edge; });
    const int64_t equal = count([=](float x) { return key_of(x) == edge; });
    const double each =
        equal > 0 ? mass(top, [=](float x) { return key_of(x) == edge; }) / (double)equal : 0.0;
    int64_t stay = equal; /* of the equal ones, the lowest ids */
    while (stay > (edge == most ? 1 : 0) &&
           (gone + each * (double)(equal - stay + 1)) / total <= limit)
      stay--;
    int64_t mine = 0;
    for (int64_t i = begin(); i < end(); i++)
      mine += key_of(z[i]) == edge;
    int64_t rank = (int64_t)before((double)mine);
    for (int64_t i = begin(); i < end(); i++) {
      const uint32_t key = key_of(z[i]);
      if (key < edge || (key == edge && rank++ >= stay))
        z[i] = -INFINITY; /* who looks at this next is the same thread */
    }
  }
};

__global__ void __launch_bounds__(NT, 4)
    sample(int64_t vocab, const float *logits, const int32_t *seen_start, const int32_t *seen,
           const double *uniform, double temperature, double top_p, double penalty, int64_t top_k,
           float *work, int32_t *token, float *logprobs, float *probs) {
  __shared__ int32_t drawn;
  const int64_t t = blockIdx.x;
  const float *x = logits + t * vocab;
  const row_sampler r = {vocab, work + t * vocab};
  float *row_probs = probs == nullptr ? nullptr : probs + t * vocab;
  const float heat = (float)temperature, fine = (float)penalty;
  float most = -INFINITY;
  for (int64_t i = threadIdx.x; i < vocab; i += NT) {
    const float z = x[i];
    most = max_of{}(most, z);
    r.z[i] = heat > 0.0f ? z / heat : z;
    if (row_probs != nullptr)
      row_probs[i] = 0.0f;
  }
  most = block_reduce<NT>(most, max_of{}, -INFINITY);
  if (!(most > -INFINITY && most < INFINITY)) { /* NaN, +infinity, or nothing to draw */
    if (threadIdx.x == 0) {
      token[t] = -1;
      logprobs[t] = NAN;
    }
    return;
  }
  if (threadIdx.x == 0 && seen_start != nullptr)
    for (int32_t i = seen_start[t]; i < seen_start[t + 1]; i++)
      if (seen[i] >= 0) {
        const float z = x[seen[i]], p = z < 0.0f ? z * fine : z / fine;
        r.z[seen[i]] = heat > 0.0f ? p / heat : p;
      }
  __syncthreads();
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < vocab; i += NT)
    top = fmaxf(top, r.z[i]);
  top = block_reduce<NT>(top, max_of{}, -INFINITY);
  if (threadIdx.x == 0)
    drawn = INT32_MAX;
  __syncthreads();
  if (!(temperature > 0.0)) {
    for (int64_t i = threadIdx.x; i < vocab; i += NT)
      if (r.z[i] == top)
        atomicMin(&drawn, (int32_t)i);
    __syncthreads();
    if (threadIdx.x == 0) {
      token[t] = drawn;
      logprobs[t] = 0.0f;
      if (row_probs != nullptr)
        row_probs[drawn] = 1.0f;
    }
    return;
  }
  if (top_k > 0 && top_k < vocab)
    r.keep_top_k(top_k);
  if (top_p < 1.0)
    r.keep_top_p(top, 1.0 - top_p);
  double mine = 0.0;
  for (int64_t i = r.begin(); i < r.end(); i++)
    mine += (double)expf(r.z[i] - top);
  const double total = block_sum<NT>(mine), start = r.before(mine);
  /* The first id whose end lies beyond the target; rounding at the very end leaves the last one. */
  const double target = uniform[t] * total;
  int32_t found = -1;
  double sum = start;
  for (int64_t i = r.begin(); i < r.end(); i++) {
    const double p = (double)expf(r.z[i] - top);
    if (row_probs != nullptr)
      row_probs[i] = (float)(p / total);
    if (p > 0.0 && sum <= target)
      found = (int32_t)i;
    sum += p;
  }
  if (threadIdx.x == 0)
    drawn = -1;
  __syncthreads();
  if (found >= 0)
    atomicMax(&drawn, found);
  __syncthreads();
  if (threadIdx.x == 0) {
    token[t] = drawn;
    logprobs[t] = (float)((double)(r.z[drawn] - top) - log(total));
  }
}
} // namespace

lrl_status cuda_sample(struct lrl_ctx *ctx, const struct lrl_sample_args *a) {
  if (a->n_tokens == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t n = a->n_tokens, all = n * a->n_vocab;
  const float *logits = op.in(a->logits, all);
  const int32_t *start = op.in(a->seen_start, n + 1);
  const int32_t *seen = start == NULL ? NULL : op.in(a->seen, a->seen_start[n]);
  const double *uniform = op.in(a->uniform, n);
  float *work = op.scratch<float>(all);
  int32_t *token = op.out(a->token, n);
  float *logprobs = op.out(a->logprobs, n), *probs = op.out(a->probs, all);
  LRL_LAUNCH(op, sample, (unsigned)n, NT, 0, a->n_vocab, logits, start, seen, uniform,
             a->temperature, a->top_p, a->repetition_penalty, a->top_k, work, token, logprobs,
             probs);
  return op.done();
}
