/* The bug zoo: every check of the trace build fires, at the right line, on the fault it is for, and
 * is silent on the correct twin. A line marked "! name" is where the report on kernel `name` must
 * point; names beginning with ok_ must give none. */
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_pipeline_primitives.h>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/simt/simt.h"

__global__ void ok_reduce(float *o, const float *x) {
  __shared__ float r[128];
  const int t = threadIdx.x;
  r[t] = x[t];
  __syncthreads();
  for (int s = 64; s > 0; s >>= 1) {
    if (t < s)
      r[t] += r[t + s];
    __syncthreads();
  }
  if (t == 0)
    o[0] = r[0];
}
__global__ void ok_last_block(float *o, const float *x, unsigned *count) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    o[1 + blockIdx.x] = x[blockIdx.x];
    __threadfence();
    last = atomicAdd(count, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float s = 0.0f;
    for (unsigned i = 0; i < gridDim.x; i++)
      s += o[1 + i];
    o[0] = s;
    *count = 0;
  }
}
__global__ void ok_bytes(unsigned char *o) { o[blockIdx.x * blockDim.x + threadIdx.x] = 1; }
__global__ void ok_lock(float *o, unsigned *lock) {
  while (atomicCAS(lock, 0u, 1u) != 0u)
    ;
  atomicAdd(o, 1.0f);
  atomicExch(lock, 0u);
}
__global__ void ok_same_value(float *o) {
  __shared__ float sums[4];
  sums[threadIdx.x / 32] = 32.0f; /* by every lane of the warp, as llm.c does */
  __syncthreads();
  o[threadIdx.x] = sums[threadIdx.x % 4];
}
__device__ float4 four(float v) { return make_float4(v, v, v, v); }
__global__ void ok_warps_leave(float *o) { /* whole ones; what a function returns is written */
  __shared__ float4 rows[64];
  if (threadIdx.x >= 64)
    return;
  rows[threadIdx.x] = four(1.0f);
  __syncthreads();
  o[threadIdx.x] = rows[63 - threadIdx.x].y;
}
__global__ void race_returned(float *o) {
  __shared__ float4 rows[128];
  rows[threadIdx.x] = four(1.0f);
  o[threadIdx.x] = rows[127 - threadIdx.x].y; /* ! race_returned */
}
__global__ void after_many(float *o) { /* more places are named after a hundred reports */
  __shared__ float rows[128], never[128];
  for (int i = 0; i < 4; i++) {
    rows[threadIdx.x] = (float)threadIdx.x + i;
    o[threadIdx.x] += rows[127 - threadIdx.x];
  }
  o[threadIdx.x] += never[threadIdx.x]; /* ! after_many */
}
__global__ void ok_compare_swap(float *o) { /* the Programming Guide's way to make an atomic */
  unsigned *p = (unsigned *)o, old = *p, assumed;
  do {
    assumed = old;
    old = atomicCAS(p, assumed, __float_as_uint(fmaxf(threadIdx.x, __uint_as_float(assumed))));
  } while (old != assumed);
}
__global__ void race_reads_atomic(float *o, unsigned *count) {
  atomicAdd(count, 1u);
  o[blockIdx.x * blockDim.x + threadIdx.x] = *count; /* ! race_reads_atomic */
}
__global__ void race_missing_barrier(float *o, const float *x) {
  __shared__ float r[128];
  const int t = threadIdx.x;
  r[t] = x[t];
  o[t] = r[127 - t]; /* ! race_missing_barrier */
}
__global__ void race_missing_syncwarp(float *o, const float *x) {
  __shared__ float r[32];
  const int t = threadIdx.x;
  r[t] = x[t];
  o[t] = r[31 - t]; /* ! race_missing_syncwarp */
}
__global__ void race_write_after_read(float *o, const float *x) {
  __shared__ float r[128];
  const int t = threadIdx.x;
  for (int i = 0; i < 2; i++) {
    r[t] = x[t] + i; /* ! race_write_after_read */
    __syncthreads();
    o[t] = r[127 - t]; /* ! race_write_after_read */
  }
}
__global__ void race_same_word(float *o) {
  __shared__ float r;
  r = threadIdx.x; /* ! race_same_word */
  __syncthreads();
  o[threadIdx.x] = r;
}
__global__ void race_shuffle_is_no_fence(float *o, const float *x) {
  __shared__ float r[32];
  const int t = threadIdx.x;
  r[t] = x[t];
  const float v = __shfl_xor_sync(~0u, x[t], 1);
  o[t] = r[31 - t] + v; /* ! race_shuffle_is_no_fence */
}
__global__ void race_global_in_block(float *o) {
  o[threadIdx.x] = 1.0f;                       /* ! race_global_in_block */
  o[128 + threadIdx.x] = o[127 - threadIdx.x]; /* ! race_global_in_block */
}
__global__ void race_two_blocks(float *o) {
  if (threadIdx.x == 0)
    o[0] += 1.0f; /* ! race_two_blocks */
}
__global__ void race_atomic_and_store(float *o) {
  if (blockIdx.x > 0)
    atomicAdd(o, 1.0f); /* ! race_atomic_and_store */
  else if (threadIdx.x == 0)
    o[0] = 0.0f; /* ! race_atomic_and_store */
}
__global__ void race_last_block_without_fence(float *o, const float *x, unsigned *count) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    o[1 + blockIdx.x] = x[blockIdx.x];
    last = atomicAdd(count, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0)
    for (unsigned i = 0; i < gridDim.x; i++)
      o[0] = o[1 + i]; /* ! race_last_block_without_fence */
}
__global__ void bounds_global(float *o, const float *x, int n) {
  const int i = threadIdx.x;
  if (i <= n)
    o[i] = x[i] * 2.0f; /* ! bounds_global */
}
__global__ void bounds_before(float *o, const float *x) {
  o[threadIdx.x] = x[(int)threadIdx.x - 1]; /* ! bounds_before */
}
__global__ void bounds_shared(float *o, const float *x) {
  __shared__ float r[96], next[128];
  float *p = r;
  next[threadIdx.x] = 0.0f;
  p[threadIdx.x] = x[threadIdx.x]; /* ! bounds_shared */
  __syncthreads();
  o[threadIdx.x] = p[threadIdx.x] + next[threadIdx.x];
}
__global__ void bounds_dynamic(float *o, const float *x) {
  extern __shared__ float d[];
  d[threadIdx.x + 4] = x[threadIdx.x]; /* ! bounds_dynamic */
  __syncthreads();
  o[threadIdx.x] = d[threadIdx.x + 4];
}
__global__ void array_local(float *o, int k) {
  float a[4] = {1, 2, 3, 4};
  a[(threadIdx.x & 3) + k] = 7.0f; /* ! array_local */
  o[threadIdx.x] = a[0] + a[3];
}
__global__ void uninitialised_shared(float *o) {
  __shared__ float r[128];
  if (threadIdx.x != 5)
    r[threadIdx.x] = 1.0f;
  __syncthreads();
  o[threadIdx.x] = r[threadIdx.x]; /* ! uninitialised_shared */
}
__global__ void uninitialised_global(float *o, const float *fresh) {
  o[threadIdx.x] = fresh[threadIdx.x]; /* ! uninitialised_global */
}
__global__ void alignment_vector(float *o, const float *x) {
  const float4 v = *(const float4 *)(x + threadIdx.x * 4 + 1); /* ! alignment_vector */
  o[threadIdx.x] = v.x + v.w;
}
__global__ void freed_memory(float *o, const float *gone) {
  o[threadIdx.x] = gone[threadIdx.x]; /* ! freed_memory */
}
__global__ void host_pointer(float *o, const float *host) {
  o[threadIdx.x] = host[0]; /* ! host_pointer */
}
__global__ void divergent_exit(float *o) {
  if (threadIdx.x >= 48)
    return;
  __syncthreads(); /* ! divergent_exit */
  o[threadIdx.x] = 1.0f;
}
__global__ void divergent_sites(float *o) {
  if (threadIdx.x < 64)
    __syncthreads();
  else
    __syncthreads(); /* ! divergent_sites */
  o[threadIdx.x] = 1.0f;
}
__global__ void divergent_deadlock(float *o) {
  if ((threadIdx.x & 1) != 0)
    __syncthreads();
  else
    __shfl_xor_sync(~0u, 1.0f, 1); /* ! divergent_deadlock */
  o[threadIdx.x] = 1.0f;
}
__global__ void divergent_mask(float *o) {
  float v = 0.0f;
  if (threadIdx.x < 16)
    v = __shfl_xor_sync(0xffffffffu, 1.0f, 1); /* ! divergent_mask */
  o[threadIdx.x] = v;
}
__global__ void divergent_operations(float *o) {
  const bool any = threadIdx.x < 16 ? __any_sync(~0u, 1)
                                    : __shfl_sync(~0u, 1, 0) != 0; /* ! divergent_operations */
  o[threadIdx.x] = any;
}
__global__ void shuffle_source(float *o) {
  if (threadIdx.x < 16)
    o[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20); /* shuffle_source */
}
__global__ void async_no_wait(float *o, const float *x) {
  extern __shared__ float d[];
  const int t = threadIdx.x;
  if (t < 32)
    __pipeline_memcpy_async(d + 4 * t, x + 4 * t, 16);
  __pipeline_commit();
  __syncthreads();
  o[t] = d[t]; /* ! async_no_wait */
  __pipeline_wait_prior(0);
}
__global__ void race_async_no_barrier(float *o, const float *x) {
  extern __shared__ float d[];
  const int t = threadIdx.x;
  if (t < 32)
    __pipeline_memcpy_async(d + 4 * t, x + 4 * t, 16);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  o[t] = d[t]; /* ! race_async_no_barrier */
}
__global__ void async_at_exit(float *o, const float *x) {
  extern __shared__ float d[];
  if (threadIdx.x < 32)
    __pipeline_memcpy_async(d + 4 * threadIdx.x, x + 4 * threadIdx.x, 16);
  __pipeline_commit();
  o[threadIdx.x] = 0.0f;
}
__global__ void race_async_reuse(float *o, const float *x) {
  extern __shared__ float d[];
  const int t = threadIdx.x;
  for (int i = 0; i < 2; i++) {
    if (t < 32)
      __pipeline_memcpy_async(d + 4 * t, x + 4 * t, 16); /* ! race_async_reuse */
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    o[t] = d[127 - t]; /* ! race_async_reuse */
  }
}
__global__ void ok_graph(float *o, const float *old) { o[threadIdx.x] = old[threadIdx.x]; }
__global__ void freed_in_graph(float *o, const float *old) {
  o[threadIdx.x] = old[threadIdx.x]; /* ! freed_in_graph */
}

struct bug {
  const char *name, *says;
  void (*launch)();
};
static float *o, *x, *fresh, *gone, *host;
static unsigned *count;
#define ONE(k, says, ...)                                                                          \
  {                                                                                                \
#k, says, [] { k<<<1, 128, 512>>>(__VA_ARGS__); }                                              \
  }
#define WARP(k, says, ...)                                                                         \
  {                                                                                                \
#k, says, [] { k<<<1, 32>>>(__VA_ARGS__); }                                                    \
  }
#define GRID(k, says, ...)                                                                         \
  {                                                                                                \
#k, says, [] { k<<<4, 128>>>(__VA_ARGS__); }                                                   \
  }
/* A graph keeps the addresses that it was captured with. */
template <void (*kernel)(float *, const float *)> static void launch_graph(bool freed) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  float *old;
  cudaMalloc(&old, 512);
  cudaMemset(old, 0, 512);
  cudaStreamCreate(&stream);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
  kernel<<<1, 128, 0, stream>>>(o, old);
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&exec, graph, 0);
  if (freed)
    cudaFree(old);
  cudaGraphLaunch(exec, stream);
  cudaStreamSynchronize(stream);
  if (!freed)
    cudaFree(old);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}
static const bug bugs[] = {
    ONE(ok_reduce, "", o, x),
    GRID(ok_last_block, "", o, x, count),
    GRID(ok_bytes, "", (unsigned char *)o),
    WARP(ok_lock, "", o, count),
    ONE(ok_same_value, "", o),
    GRID(ok_compare_swap, "", o),
    ONE(ok_warps_leave, "", o),
    ONE(after_many, "never written", o),
    ONE(race_returned, "no barrier between|never written", o),
    GRID(race_reads_atomic, "global memory race", o, count),
    ONE(race_missing_barrier, "no barrier between|never written", o, x),
    WARP(race_missing_syncwarp, "no __syncwarp between|never written", o, x),
    ONE(race_write_after_read, "race", o, x),
    ONE(race_same_word, "race", o),
    WARP(race_shuffle_is_no_fence, "no __syncwarp between|never written", o, x),
    ONE(race_global_in_block, "global memory race", o),
    GRID(race_two_blocks, "another block", o),
    GRID(race_atomic_and_store, "race", o),
    GRID(race_last_block_without_fence, "another block wrote", o, x, count),
    ONE(bounds_global, "from the start of an allocation of 4096 bytes", o, x + 924, 100),
    ONE(bounds_before, "read", o, x),
    ONE(bounds_shared, "behind the start of shared r (384 bytes)", o, x),
    ONE(bounds_dynamic, "of 512 bytes of dynamic shared memory", o, x),
    ONE(array_local, "outside its array", o, 2),
    ONE(uninitialised_shared, "never written", o),
    ONE(uninitialised_global, "never written", o, fresh),
    ONE(alignment_vector, "misaligned read of 16 bytes", o, x),
    ONE(freed_memory, "freed", o, gone),
    {"ok_graph", "", [] { launch_graph<ok_graph>(false); }},
    {"freed_in_graph", "freed", [] { launch_graph<freed_in_graph>(true); }},
    ONE(host_pointer, "host memory", o, host),
    ONE(divergent_exit, "threads have left", o),
    ONE(divergent_sites, "divergent __syncthreads", o),
    ONE(divergent_deadlock, "deadlock", o),
    WARP(divergent_mask, "which has left", o),
    WARP(divergent_operations, "different warp operations", o),
    WARP(shuffle_source, "lane 0 reads lane 20, which", o),
    ONE(async_no_wait, "in flight", o, x),
    ONE(race_async_no_barrier, "race", o, x),
    ONE(async_at_exit, "leaves with 1 cp.async in flight", o, x),
    ONE(race_async_reuse, "race", o, x),
};

/* One report says what it should about one of the kernel's marked lines. */
static bool said(const std::string &reports, const bug &b, const std::vector<std::string> &source) {
  std::vector<std::string> places, says;
  for (size_t i = 0; i < source.size(); i++)
    if (source[i].find("! " + std::string(b.name) + " ") != std::string::npos)
      places.push_back("test_bugs.cu:" + std::to_string(i + 1));
  if (places.empty())
    places.push_back("");
  std::stringstream alternatives(b.says), lines(reports);
  for (std::string s; std::getline(alternatives, s, '|');)
    says.push_back(s);
  for (std::string line; std::getline(lines, line);)
    for (const std::string &place : places)
      for (const std::string &s : says)
        if (line.find(place) != std::string::npos && line.find(s) != std::string::npos)
          return true;
  return false;
}

int main() {
  const simt_order orders[] = {SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM};
  std::vector<std::string> source;
  std::ifstream file(SOURCE);
  for (std::string line; std::getline(file, line);)
    source.push_back(line);
  int passed = 0, failed = 0;
  cudaMalloc(&o, 4096);
  cudaMalloc(&x, 4096);
  cudaMalloc(&fresh, 512);
  cudaMalloc(&gone, 512);
  cudaMalloc(&count, 4);
  host = new float[128]();
  cudaMemset(gone, 0, 512);
  cudaFree(gone);
  for (const bug &b : bugs)
    for (simt_order order : orders) {
      const simt_settings s = {order, SIMT_EAGER, 7, 1, 1};
      simt_configure(&s);
      cudaMemset(o, 0, 4096);
      cudaMemset(x, 0, 4096);
      cudaMemset(count, 0, 4);
      simt_reset();
      b.launch();
      cudaDeviceSynchronize();
      const char *text;
      const int n = simt_reports(&text);
      const bool good = b.says[0] == '\0' ? n == 0 : said(text, b, source);
      good ? passed++ : failed++;
      if (!good)
        printf("%s, order %d: %d reports, expected '%s', got: %s\n", b.name, order, n, b.says,
               text);
    }
  delete[] host;
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
