/* Warps as people use them: shuffles, votes, tiles, lanes of a branch, lanes that leave, warps in
 * step. Each CHECK compares with what the Programming Guide says, or with what devices do. */
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <vector>

#include "tests/simt/test.cuh"

namespace cg = cooperative_groups;

__global__ void shuffles(int *o) {
  const int l = threadIdx.x;
  o[l] = __shfl_sync(0xffffffffu, l, 3, 8);
  o[32 + l] = __shfl_up_sync(0xffffffffu, l, 2, 16);
  o[64 + l] = __shfl_down_sync(0xffffffffu, l, 3, 8);
  o[96 + l] = __shfl_xor_sync(0xffffffffu, l, 5);
  o[128 + l] = __shfl_sync(0xffffffffu, l, 35);
  if (l >= 8 && l < 24)
    o[160 + l] = __shfl_xor_sync(0x00ffff00u, l, 1);
  const double d = __shfl_down_sync(0xffffffffu, l * 1.5, 1);
  o[192 + l] = (int)(d * 2);
  const float2 pair = __shfl_sync(0xffffffffu, make_float2(l, -l), 31);
  o[224 + l] = (int)(pair.x - pair.y);
}
__global__ void votes(unsigned *o) {
  const int l = threadIdx.x;
  o[l] = __ballot_sync(0xffffffffu, l % 3 == 0);
  o[32 + l] = __any_sync(0xffffffffu, l == 31) + 2 * __all_sync(0xffffffffu, l < 31);
  if (l < 10)
    o[64 + l] = __ballot_sync(0x3ffu, l & 1);
  o[96 + l] = __match_any_sync(0xffffffffu, l % 4);
  int same;
  o[128 + l] = __match_all_sync(0xffffffffu, 5, &same) + same;
  o[160 + l] = __reduce_add_sync(0xffffffffu, (unsigned)l) + __reduce_max_sync(0xffffffffu, -l);
}
static void warps() {
  device<int> o(256, -7);
  shuffles<<<1, 32>>>(o.p);
  const std::vector<int> v = o.get();
  bool good = true;
  for (int l = 0; l < 32; l++) {
    good = good && v[l] == l / 8 * 8 + 3 && v[32 + l] == (l % 16 < 2 ? l : l - 2);
    good = good && v[64 + l] == (l % 8 + 3 > 7 ? l : l + 3) && v[96 + l] == (l ^ 5);
    good = good && v[128 + l] == 3 && v[160 + l] == (l >= 8 && l < 24 ? l ^ 1 : -7);
    good = good && v[192 + l] == (l < 31 ? (l + 1) * 3 : 93) && v[224 + l] == 62;
  }
  CHECK(good);
  device<unsigned> u(192);
  votes<<<1, 32>>>(u.p);
  const std::vector<unsigned> w = u.get();
  good = true;
  for (unsigned l = 0; l < 32; l++) {
    good = good && w[l] == 0x49249249u && w[32 + l] == 1 && w[64 + l] == (l < 10 ? 0x2aau : 0);
    good = good && w[96 + l] == 0x11111111u << l % 4 && w[128 + l] == 0u && w[160 + l] == 496;
  }
  CHECK(good);
}

__global__ void tiles(int *o) {
  auto tile = cg::tiled_partition<8>(cg::this_thread_block());
  const int t = threadIdx.x;
  o[t] = tile.shfl_down(t, 1) + 100 * tile.meta_group_rank();
  o[64 + t] = cg::inclusive_scan(tile, 1, cg::plus<int>());
  o[128 + t] = cg::exclusive_scan(tile, t % 8, cg::plus<int>());
  o[192 + t] = tile.ballot(t % 2);
  auto odd = cg::binary_partition(tile, t % 2);
  o[256 + t] = cg::reduce(odd, t, cg::plus<int>());
}
static void in_tiles() {
  device<int> t(320);
  tiles<<<1, 64>>>(t.p);
  const std::vector<int> v = t.get();
  bool good = true;
  for (int i = 0; i < 64; i++) {
    good = good && v[i] == (i % 8 == 7 ? i : i + 1) + 100 * (i / 8) && v[64 + i] == i % 8 + 1;
    good = good && v[128 + i] == (i % 8) * (i % 8 - 1) / 2 && v[192 + i] == 0xaa;
    good = good && v[256 + i] == 4 * (i / 8 * 8) + (i % 2 ? 16 : 12);
  }
  CHECK(good);
}
/* Lanes that took the same branch, as warp-aggregated atomics want them; groups of any kind. */
__device__ int tree_sum(cg::thread_group g, int *parts, int v) {
  const unsigned rank = g.thread_rank();
  for (unsigned n = g.size() / 2; n > 0; n /= 2) {
    parts[rank] = v;
    g.sync();
    v += rank < n ? parts[rank + n] : 0;
    g.sync();
  }
  return v;
}
__global__ void copies(int *o, const int *x, int n) {
  __shared__ int s[100];
  const auto block = cg::this_thread_block();
  cg::memcpy_async(block, s, x, sizeof(int) * n);
  cg::wait(block);
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    o[i] = s[n - 1 - i];
}
__global__ void branches(int *o, int *count) {
  __shared__ int parts[64];
  const int t = threadIdx.x;
  if (t % 3 == 0) {
    const auto g = cg::coalesced_threads();
    int first = 0;
    if (g.thread_rank() == 0)
      first = atomicAdd(count, (int)g.size());
    o[t] = (int)(100 * g.size() + g.thread_rank()) + 0 * g.shfl(first, 0);
  } else {
    o[t] = __popc(__activemask());
  }
  const auto tile = cg::tiled_partition<16>(cg::this_thread_block());
  o[64 + t] = (int)tile.match_any(t % 2);
  const auto four = cg::tiled_partition<4>(tile);
  o[64 + t] += (int)(four.meta_group_rank() + 10 * four.meta_group_size()) << 16;
  const auto grid = cg::this_grid();
  o[128 + t] = (int)(grid.thread_rank() + 1000 * grid.size());
  const int all = tree_sum(cg::this_thread_block(), parts, t);
  const int eight =
      tree_sum(cg::tiled_partition(cg::this_thread_block(), 8), parts + t / 8 * 8, 1 << t % 8);
  o[192 + t] = t == 0 ? all : t % 8 == 0 ? eight : 0;
}
static void divergence() {
  device<int> o(256), count(1);
  branches<<<1, 64>>>(o.p, count.p);
  const std::vector<int> v = o.get();
  bool good = count.get()[0] == 22;
  for (int t = 0; t < 64; t++) {
    const int here = 11, before = t / 3 - (t < 32 ? 0 : 11);
    good = good && v[t] == (t % 3 == 0 ? 100 * here + before : 32 - here);
    good = good && v[64 + t] == (t % 2 == 0 ? 0x5555 : 0xaaaa) + ((40 + t % 16 / 4) << 16) &&
           v[128 + t] == t + 64000;
    good = good && v[192 + t] == (t == 0 ? 2016 : t % 8 == 0 ? 255 : 0);
  }
  CHECK(good);
  std::vector<int> x(100), y(100);
  for (int i = 0; i < 100; i++)
    x[i] = y[99 - i] = i * i;
  device<int> in(100), back(100);
  in.set(x);
  copies<<<1, 64>>>(back.p, in.p, 100);
  CHECK(back.get() == y);
}
/* Groups of eight lanes sum a row each; the last warp has rows for one group only. CUDA waits for
 * lanes that have not left. */
__global__ void ragged(float *o, const float *x, int rows) {
  const int row = (blockIdx.x * blockDim.x + threadIdx.x) / 8, l = threadIdx.x % 8;
  if (row >= rows)
    return;
  float s = x[row * 8 + l];
  for (int k = 4; k > 0; k /= 2)
    s += __shfl_xor_sync(0xffffffffu, s, k);
  if (__ballot_sync(0xffffffffu, l == 0) != 0 && l == 0)
    o[row] = s;
}
static void lanes_leave() {
  device<float> x(41 * 8), o(42, -1.0f);
  std::vector<float> v(41 * 8);
  for (int i = 0; i < 41 * 8; i++)
    v[i] = (float)i;
  x.set(v);
  ragged<<<2, 256>>>(o.p, x.p, 41);
  bool good = o.get()[41] == -1.0f;
  for (int r = 0; r < 41; r++)
    good = good && o.get()[r] == (float)(64 * r + 28);
  CHECK(good);
}

/* From before __syncwarp: a warp in step at volatile shared memory; lanes drop out as they go. */
__global__ void unrolled(float *o, const float *x) {
  __shared__ float s[128];
  const unsigned t = threadIdx.x;
  s[t] = x[blockIdx.x * 128 + t];
  __syncthreads();
  if (t < 64)
    s[t] += s[t + 64];
  __syncthreads();
  if (t < 32) {
    volatile float *v = s;
    v[t] += v[t + 32];
    for (unsigned k = 16; k > 0; k /= 2)
      if (t < k)
        v[t] += v[t + k];
  }
  if (t == 0)
    o[blockIdx.x] = s[0];
}
/* llm.c's softmax_forward 4, in short: the second sum is written where others may yet have to read
 * the first. On devices all warps have passed the barrier by then. */
__global__ void about_as_far(float *o, const float *x) {
  __shared__ float part[4];
  const int t = threadIdx.x, w = t / 32;
  float sums[2];
  for (int round = 0; round < 2; round++) {
    float s = x[t] + (float)round;
    for (int k = 16; k > 0; k /= 2)
      s += __shfl_xor_sync(0xffffffffu, s, k);
    if (t % 32 == 0)
      part[w] = s;
    __syncthreads();
    if (t == 0)
      part[0] = part[0] + part[1] + part[2] + part[3];
    __syncthreads();
    sums[round] = part[0];
  }
  o[t] = sums[0] * 1000.0f + sums[1];
}
/* Right where threads run in order; the second is a race, which traced builds report. */
static void in_step() {
  device<float> x(512), o(128);
  std::vector<float> v(512);
  for (int i = 0; i < 512; i++)
    v[i] = (float)(i % 7);
  x.set(v);
  bool good = true;
#ifndef __SANITIZE_ADDRESS__ /* where the simulator does not see volatile accesses */
  unrolled<<<4, 128>>>(o.p, x.p);
  for (int b = 0; b < 4; b++) {
    float s = 0.0f;
    for (int i = 0; i < 128; i++)
      s += v[b * 128 + i];
    good = good && o.get()[b] == s;
  }
  CHECK(good && simt_reports(NULL) == 0);
#endif
  about_as_far<<<1, 128>>>(o.p, x.p);
  float s = 0.0f;
  for (int i = 0; i < 128; i++)
    s += v[i];
  good = true;
  for (float f : o.get())
    good = good && f == s * 1000.0f + s + 128.0f;
  CHECK(good && (simt_reports(NULL) > 0) == (simt_is_traced() != 0));
}
static void all() {
  warps();
  in_tiles();
  divergence();
  lanes_leave();
}
int main() {
  const simt_settings in_order = {SIMT_ASCENDING, SIMT_EAGER, 1, 1, 1};
  simt_configure(&in_order);
  simt_reset();
  in_step();
  return in_every_order(all);
}
