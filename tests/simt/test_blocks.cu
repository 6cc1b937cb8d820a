/* Blocks that wait for each other: barriers of the grid, flags, look-back, tickets. */
#include "tests/simt/test.cuh"

#include <cooperative_groups.h>

namespace cg = cooperative_groups;

/* Every block sums what all others wrote, round after round; its own sum stays in shared memory. */
__global__ void rounds(int *o, int *scratch, int n) {
  __shared__ int mine[64];
  extern __shared__ int kept[];
  cg::grid_group grid = cg::this_grid();
  const int t = threadIdx.x, i = (int)grid.thread_rank();
  mine[t] = i;
  kept[t] = 7 * i;
  for (int r = 0; r < n; r++) {
    scratch[i] = mine[t] + r;
    grid.sync();
    int s = 0;
    for (unsigned b = 0; b < gridDim.x; b++)
      s += scratch[b * blockDim.x + t];
    grid.sync();
    mine[t] = s % 1000;
    __syncthreads();
    const int next = mine[(t + 1) % blockDim.x];
    __syncthreads();
    mine[t] = next;
  }
  o[i] = mine[t] + 1000 * kept[t];
}
static std::vector<int> rounds_on_host(int blocks, int threads, int n) {
  std::vector<int> mine(blocks * threads), next(blocks * threads);
  for (int i = 0; i < blocks * threads; i++)
    mine[i] = i;
  for (int r = 0; r < n; r++) {
    for (int b = 0; b < blocks; b++)
      for (int t = 0; t < threads; t++) {
        int s = 0;
        for (int c = 0; c < blocks; c++)
          s += mine[c * threads + t] + r;
        next[b * threads + t] = s % 1000;
      }
    for (int b = 0; b < blocks; b++)
      for (int t = 0; t < threads; t++)
        mine[b * threads + t] = next[b * threads + (t + 1) % threads];
  }
  for (int i = 0; i < blocks * threads; i++)
    mine[i] += 7000 * i;
  return mine;
}
static void grid_barriers() {
  device<int> o(9 * 64), scratch(9 * 64);
  int n = 3;
  void *args[] = {&o.p, &scratch.p, &n};
  CHECK(cudaLaunchCooperativeKernel((void *)rounds, 9, 64, args, 64 * sizeof(int)) == cudaSuccess);
  CHECK(o.get() == rounds_on_host(9, 64, n));
  CHECK(cudaLaunchCooperativeKernel((void *)rounds, 1000, 64, args) ==
        cudaErrorCooperativeLaunchTooLarge);
  CHECK(cudaGetLastError() == cudaErrorCooperativeLaunchTooLarge);
}

/* Every block adds to its predecessor's sum, which it waits for (decoupled look-back of one step).
 * A volatile flag, or atomics. */
template <bool ATOMIC> __global__ void chained_scan(int *o, const int *x, int *sums, int *flags) {
  __shared__ int before;
  const int b = blockIdx.x, t = threadIdx.x, i = b * blockDim.x + t;
  int v = x[i];
  for (int d = 1; d < 32; d *= 2) {
    const int other = __shfl_up_sync(~0u, v, d);
    v += t >= d ? other : 0;
  }
  if (t == 31) {
    int s = 0;
    if (b > 0) {
      if (ATOMIC)
        while (atomicAdd(&flags[b - 1], 0) == 0)
          ;
      else
        while (*(volatile int *)&flags[b - 1] == 0)
          ;
      __threadfence();
      s = *(volatile int *)&sums[b - 1];
    }
    *(volatile int *)&sums[b] = s + v;
    __threadfence();
    if (ATOMIC)
      atomicExch(&flags[b], 1);
    else
      *(volatile int *)&flags[b] = 1;
    before = s;
  }
  __syncthreads();
  o[i] = before + v;
}
/* The block that comes last by its own ticket waits for a flag that the first one sets. */
__device__ int next_ticket;
__global__ void tickets(int *o, int *flag) {
  __shared__ int ticket;
  if (threadIdx.x == 0)
    ticket = atomicAdd(&next_ticket, 1);
  __syncthreads();
  if (ticket == 0 && threadIdx.x == 0) {
    o[0] = 42;
    __threadfence();
    atomicExch(flag, 1);
  }
  int done; /* the whole block looks, thread 0 sees */
  do {
    done = __syncthreads_or(threadIdx.x == 0 && atomicOr(flag, 0) != 0);
  } while (!done);
  o[1 + ticket * blockDim.x + threadIdx.x] = ticket == 0 ? 42 : o[0];
}
/* A barrier of all blocks made of an atomic: each waits for those that have not begun. */
__global__ void own_barrier(int *o, unsigned *arrived) {
  o[blockIdx.x] = blockIdx.x;
  __threadfence();
  atomicAdd(arrived, 1u);
  while (atomicAdd(arrived, 0u) < gridDim.x)
    ;
  o[gridDim.x + blockIdx.x] = o[gridDim.x - 1 - blockIdx.x];
}
static void waiting_blocks() {
  const int n = 60 * 32;
  std::vector<int> x(n), y(n);
  for (int i = 0; i < n; i++) {
    x[i] = i * 7 % 13;
    y[i] = x[i] + (i > 0 ? y[i - 1] : 0);
  }
  device<int> in(n), sums(60);
  in.set(x);
  for (int atomic = 0; atomic < 2; atomic++) {
    device<int> out(n, -1), flags(60, 0);
    if (atomic != 0)
      chained_scan<true><<<60, 32>>>(out.p, in.p, sums.p, flags.p);
    else
      chained_scan<false><<<60, 32>>>(out.p, in.p, sums.p, flags.p);
    CHECK(out.get() == y);
  }
  device<int> o(1 + 5 * 40, 0), flag(1, 0);
  const int zero = 0;
  cudaMemcpyToSymbol(next_ticket, &zero, sizeof zero);
  tickets<<<5, 40>>>(o.p, flag.p);
  CHECK(o.get() == std::vector<int>(1 + 5 * 40, 42));
  device<int> b(40);
  device<unsigned> arrived(1, 0);
  own_barrier<<<20, 1>>>(b.p, arrived.p);
  bool good = true;
  for (int i = 0; i < 20; i++)
    good = good && b.get()[20 + i] == 19 - i;
  CHECK(good);
}
static void all() {
  grid_barriers();
  waiting_blocks();
}

__global__ void waits_for_nobody(int *flag) {
  while (*(volatile int *)flag == 0)
    ;
}
__global__ void not_cooperative() { cg::this_grid().sync(); }
__global__ void some_leave(int *o) {
  if (blockIdx.x == 1)
    return;
  cg::this_grid().sync();
  o[0] = 1;
}
/* A report with these words, and an error that stays until the device is reset. */
template <class F> static void broken(const char *words, F launch) {
  const simt_settings s = {SIMT_ASCENDING, SIMT_EAGER, 3, 0, 1};
  simt_configure(&s);
  simt_reset();
  launch();
  const char *text;
  simt_reports(&text);
  CHECK(strstr(text, words) != NULL);
}
int main() {
  device<int> o(1, 0);
  broken("spin for ever", [&] { waits_for_nobody<<<2, 32>>>(o.p); });
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure && cudaGetLastError() != cudaSuccess);
  cudaDeviceReset();
  CHECK(cudaGetLastError() == cudaSuccess);
  broken("a launch that is not cooperative", [] { not_cooperative<<<2, 32>>>(); });
  broken("the others have left", [&] {
    void *args[] = {&o.p};
    cudaLaunchCooperativeKernel((void *)some_leave, 2, 32, args, 0, 0);
  });
  cudaDeviceReset();
  return in_every_order(all);
}
