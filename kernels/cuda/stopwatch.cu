/* Time on the device for `laurel bench`: events of the context's stream, so that waiting of the
 * host does not count, from an empty L2 where that is asked for; and what the memory can do. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
/* One context measures at a time. */
cudaEvent_t events[2];
const int THREADS = 256;

__global__ void __launch_bounds__(THREADS) read_words(int64_t n, const uint4 *x, uint32_t *sum) {
  uint32_t s = 0;
  const int64_t step = (int64_t)gridDim.x * THREADS;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
    const uint4 v = x[i];
    s += v.x ^ v.y ^ v.z ^ v.w;
  }
  sum[(int64_t)blockIdx.x * THREADS + threadIdx.x] = s; /* or nothing would be read */
}
__global__ void __launch_bounds__(THREADS) update_words(int64_t n, uint4 *x) {
  const int64_t step = (int64_t)gridDim.x * THREADS;
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
    uint4 v = x[i];
    v.x++;
    v.y++;
    v.z++;
    v.w++;
    x[i] = v;
  }
}

lrl_status start(struct lrl_ctx *ctx, bool cold) {
  const cudaStream_t stream = static_cast<cuda_state *>(ctx->state)->stream;
  for (cudaEvent_t &e : events)
    if (e == NULL)
      LRL_CUDA(cudaEventCreate(&e));
  if (cold) { /* twice the cache, written */
    int cache = 0, device = 0;
    LRL_CUDA(cudaGetDevice(&device));
    LRL_CUDA(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device));
    const size_t bytes = 2 * (size_t)cache, mark = lrl_arena_mark(&ctx->scratch);
    void *p = lrl_arena_alloc(&ctx->scratch, bytes);
    if (p == NULL)
      return LRL_ERR_MEMORY;
    LRL_CUDA(cudaMemsetAsync(p, 0, bytes, stream));
    lrl_arena_reset(&ctx->scratch, mark); /* ops use it from its start again, in order */
  }
  LRL_CUDA(cudaEventRecord(events[0], stream));
  return LRL_OK;
}
lrl_status stop(struct lrl_ctx *ctx, double *seconds) {
  float ms;
  LRL_CUDA(cudaEventRecord(events[1], static_cast<cuda_state *>(ctx->state)->stream));
  LRL_CUDA(cudaEventSynchronize(events[1]));
  LRL_CUDA(cudaEventElapsedTime(&ms, events[0], events[1]));
  *seconds = 1e-3 * (double)ms;
  return LRL_OK;
}
lrl_status memory_rates(struct lrl_ctx *ctx, size_t bytes, double *read, double *update) {
  for (int run = -1; run < 5; run++) { /* the first touches the pages */
    for (int kind = 0; kind < 2; kind++) {
      double seconds;
      cuda_op op(ctx);
      const int64_t n = (int64_t)(bytes / sizeof(uint4));
      const unsigned grid = grid_for(op, ceil_div(n, THREADS), 8);
      uint4 *x = op.scratch<uint4>(n);
      uint32_t *sums = op.scratch<uint32_t>((int64_t)grid * THREADS);
      if (run < 0 && x != NULL)
        LRL_CUDA(cudaMemsetAsync(x, 1, bytes, op.stream));
      LRL_TRY(start(ctx, false));
      if (kind == 0)
        LRL_LAUNCH(op, read_words, grid, THREADS, 0, n, x, sums);
      else
        LRL_LAUNCH(op, update_words, grid, THREADS, 0, n, x);
      LRL_TRY(stop(ctx, &seconds));
      LRL_TRY(op.done());
      lrl_arena_reset(&ctx->scratch, 0);
      const double rate = (kind + 1) * (double)bytes / seconds;
      double *best = kind == 0 ? read : update;
      *best = run >= 0 && rate > *best ? rate : *best;
    }
  }
  return LRL_OK;
}
} // namespace

extern const struct lrl_stopwatch cuda_stopwatch; /* backend.cu; const alone would be local */
const struct lrl_stopwatch cuda_stopwatch = {start, stop, memory_rates};
