/* CUDA's semantics on the simulator, with kernels as people write them: launches, indices, shared
 * memory, warps, atomics, numbers. Each CHECK compares with what the Programming Guide says. */
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>
#include <vector>

#include "tests/simt/test.cuh"

namespace cg = cooperative_groups;

__global__ void index3(int *o) {
  const dim3 g = gridDim, b = blockDim;
  const int block = (blockIdx.z * g.y + blockIdx.y) * g.x + blockIdx.x;
  const int thread = (threadIdx.z * b.y + threadIdx.y) * b.x + threadIdx.x;
  o[block * (b.x * b.y * b.z) + thread] = block * 1000 + thread;
}
template <typename T> __global__ void fill(T *o, int n, T v) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    o[i] = v;
}
struct pair {
  int a;
  float b;
};
__constant__ float scale_constant[4] = {1, 2, 3, 4};
__device__ int device_counter;
__global__ void parameters(pair p, float *o) {
  o[threadIdx.x] = p.a * p.b * scale_constant[threadIdx.x];
  atomicAdd(&device_counter, 1);
}
static void launches() {
  device<int> i3(2 * 3 * 2 * 4 * 2 * 3);
  index3<<<dim3(2, 3, 2), dim3(4, 2, 3)>>>(i3.p);
  bool good = true;
  const std::vector<int> v = i3.get();
  for (int i = 0; i < (int)v.size(); i++)
    good = good && v[i] == i / 24 * 1000 + i % 24;
  CHECK(good);
  device<float> f(100, -1.0f);
  fill<<<3, 32>>>(f.p, 90, 2.5f); /* template arguments from the call */
  CHECK(f.get()[89] == 2.5f && f.get()[90] == -1.0f);
  device<int> n(4);
  fill<int><<<1, 4>>>(n.p, 4, 7);
  void (*kernel)(int *, int, int) = fill<int>;
  kernel<<<1, 4>>>(n.p, 3, 9);
  CHECK(n.get()[2] == 9 && n.get()[3] == 7);
  device<float> o(4);
  pair p = {2, 0.5f};
  const int zero = 0;
  cudaMemcpyToSymbol(device_counter, &zero, sizeof zero);
  parameters<<<1, 4>>>(p, o.p);
  p.a = 100; /* too late */
  CHECK(o.get()[3] == 4.0f);
  int count = 0;
  cudaMemcpyFromSymbol(&count, device_counter, sizeof count);
  CHECK(count == 4);
  fill<int><<<1, 1025>>>(n.p, 4, 1);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration && cudaGetLastError() == cudaSuccess);
  fill<int><<<0, 32>>>(n.p, 4, 1);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  cudaFuncSetAttribute(index3, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 * 1024);
  index3<<<1, 1, 64 * 1024>>>(n.p);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(index3, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024) ==
        cudaSuccess);
  index3<<<1, 1, 64 * 1024>>>(n.p);
  CHECK(cudaGetLastError() == cudaSuccess);
}

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

/* A row per warp with a cooperative-groups tile, as in llm.c's kernels; block sums through tiles.
 */
__global__ void softmax_rows(float *o, const float *x, int rows, int n) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
  const int row = blockIdx.x * warp.meta_group_size() + warp.meta_group_rank();
  if (row >= rows)
    return;
  float m = -INFINITY, s = 0.0f;
  for (int i = warp.thread_rank(); i < n; i += warp.size())
    m = fmaxf(m, x[row * n + i]);
  m = cg::reduce(warp, m, cg::greater<float>{});
  for (int i = warp.thread_rank(); i < n; i += warp.size())
    s += expf(x[row * n + i] - m);
  s = cg::reduce(warp, s, cg::plus<float>{});
  for (int i = warp.thread_rank(); i < n; i += warp.size())
    __stcs(o + row * n + i, expf(__ldcs(x + row * n + i) - m) / s);
}
__global__ void block_sum(float *o, const float *x, int n) {
  extern __shared__ float parts[];
  auto block = cg::this_thread_block();
  auto warp = cg::tiled_partition<32>(block);
  float s = 0.0f;
  for (int i = block.thread_rank(); i < n; i += block.size())
    s += x[i];
  s = cg::reduce(warp, s, cg::plus<float>());
  if (warp.thread_rank() == 0)
    parts[warp.meta_group_rank()] = s;
  block.sync();
  s = warp.thread_rank() < warp.meta_group_size() ? parts[warp.thread_rank()] : 0.0f;
  s = cg::reduce(warp, s, cg::plus<float>());
  if (block.thread_rank() == 0)
    *o = s;
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
static void groups() {
  const int rows = 9, n = 70;
  std::vector<float> x(rows * n);
  for (int i = 0; i < rows * n; i++)
    x[i] = (float)((i * 37) % 19) - 9.0f;
  device<float> in(rows * n), out(rows * n), sum(1);
  in.set(x);
  softmax_rows<<<3, 128>>>(out.p, in.p, rows, n);
  const std::vector<float> y = out.get();
  bool good = true;
  for (int r = 0; r < rows; r++) {
    double s = 0.0, total = 0.0;
    for (int i = 0; i < n; i++)
      s += exp((double)x[r * n + i]);
    for (int i = 0; i < n; i++) {
      good = good && fabs(y[r * n + i] - exp((double)x[r * n + i]) / s) < 1e-6;
      total += y[r * n + i];
    }
    good = good && fabs(total - 1.0) < 1e-5;
  }
  CHECK(good);
  block_sum<<<1, 256, 32 * sizeof(float)>>>(sum.p, in.p, rows * n);
  double s = 0.0;
  for (float f : x)
    s += f;
  CHECK(fabs(sum.get()[0] - s) < 1e-3);
  device<int> t(320);
  tiles<<<1, 64>>>(t.p);
  const std::vector<int> v = t.get();
  good = true;
  for (int i = 0; i < 64; i++) {
    good = good && v[i] == (i % 8 == 7 ? i : i + 1) + 100 * (i / 8) && v[64 + i] == i % 8 + 1;
    good = good && v[128 + i] == (i % 8) * (i % 8 - 1) / 2 && v[192 + i] == 0xaa;
    good = good && v[256 + i] == 4 * (i / 8 * 8) + (i % 2 ? 16 : 12);
  }
  CHECK(good);
}

__global__ void atomics(int *i, unsigned *u, float *f, double *d, unsigned long long *l) {
  atomicAdd(i, 2);
  atomicMax(i + 1, (int)threadIdx.x);
  atomicMin(i + 2, -(int)threadIdx.x);
  atomicSub(i + 3, 1);
  atomicInc(u, 9);
  atomicOr(u + 1, 1u << threadIdx.x % 32);
  atomicXor(u + 2, threadIdx.x);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  atomicAdd(l, 1ull << 33);
  int *bits = (int *)(f + 1), old = *(volatile int *)bits, seen; /* maximum by compare and swap */
  do {
    seen = old;
    old = atomicCAS(bits, seen, __float_as_int(fmaxf(threadIdx.x, __int_as_float(seen))));
  } while (old != seen);
}
__global__ void histogram(int *o, const int *x, int n) {
  __shared__ int bins[16];
  for (int i = threadIdx.x; i < 16; i += blockDim.x)
    bins[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    atomicAdd(&bins[x[i] & 15], 1);
  __syncthreads();
  if (threadIdx.x < 16)
    o[threadIdx.x] = bins[threadIdx.x] + (__syncthreads_count(1) - (int)blockDim.x);
  else
    __syncthreads_count(1);
}
static void memory() {
  device<int> i(4);
  device<unsigned> u(3);
  device<float> f(2);
  device<double> d(1);
  device<unsigned long long> l(1);
  atomics<<<2, 64>>>(i.p, u.p, f.p, d.p, l.p);
  CHECK(i.get() == (std::vector<int>{256, 63, -63, -128}));
  CHECK(u.get() == (std::vector<unsigned>{128 % 10, 0xffffffffu, 0}));
  CHECK(f.get() == (std::vector<float>{64.0f, 63.0f}) && d.get()[0] == 32.0);
  CHECK(l.get()[0] == 128ull << 33);
  std::vector<int> x(500), h(16);
  for (int k = 0; k < 500; k++)
    h[(x[k] = k * k) & 15]++;
  device<int> in(500), bins(16);
  in.set(x);
  const simt_settings lax = {SIMT_ASCENDING, SIMT_EAGER, 1, 0, 1};
  simt_configure(&lax); /* the barrier stands on two lines */
  histogram<<<1, 96>>>(bins.p, in.p, 500);
  CHECK(bins.get() == h);
}

__global__ void numbers(float *o) {
  o[0] = __bfloat162float(__float2bfloat16(1.00390625f)); /* a tie: to even */
  o[1] = __half2float(__float2half(65520.0f));
  o[2] = __half2float(__float2half(5.9604645e-8f)); /* the smallest half */
  const float2 p = __bfloat1622float2(__floats2bfloat162_rn(1.5f, -2.25f));
  o[3] = p.x + 10.0f * p.y;
  const __half2 h = __hfma2(__floats2half2_rn(2, 3), __float2half2_rn(4), __floats2half2_rn(1, -1));
  o[4] = __low2float(h) + 100.0f * __high2float(h);
  o[5] = (float)(__popc(0xf0f0u) + __clz(1) + __ffs(8) + (int)(__brev(1u) >> 31));
  o[6] = __int_as_float(0x3f800000) + rsqrtf(4.0f) + fminf(NAN, 3.0f);
  o[7] = (float)__byte_perm(0x03020100u, 0x07060504u, 0x7531) == (float)0x07050301u;
  const float4 v = *reinterpret_cast<const float4 *>(o + 8);
  o[12] = v.x + v.y + v.z + v.w;
  const __half2 x = __floats2half2_rn(-0.5f, 2.0f);
  o[14] = __low2float(__hgt2(x, __float2half2_rn(0.0f))) + 2.0f * __hbgt2(x, __half2half2(-1.0f)) +
          4.0f * __half2float(__hadd_sat(x.y, x.y)) + 8.0f * __low2float(__highs2half2(x, x));
  o[15] = (float)(__half2int_rz(__float2half(-2.7f)) + (int)__half2uint_rn(__float2half(3.6f))) +
          __half2float(hfloor(__float2half(1.5f))) + __low2float(__hfma2_relu(x, x, x));
  o[13] = (float)__umulhi(0x80000000u, 6u) + (float)max(3, 4u) + min(1.0f, 2.0f);
}
static void arithmetic() {
  device<float> o(16, 1.0f);
  numbers<<<1, 1>>>(o.p);
  const std::vector<float> v = o.get();
  CHECK(v[0] == 1.0f && isinf(v[1]) && v[2] == 5.9604645e-8f && v[3] == -21.0f);
  CHECK(v[4] == 9.0f + 1100.0f && v[5] == 8 + 31 + 4 + 1 && v[6] == 4.5f && v[7] == 1.0f);
  CHECK(v[12] == 4.0f && v[13] == 3 + 4 + 1 && v[14] == 0 + 2 + 4 + 16 && v[15] == -2 + 4 + 1 + 0);
  bool good = true; /* every 16-bit float there and back; halves between neighbours go to even */
  for (int u = 0; u < 65536; u++) {
    const __half h = __ushort_as_half((unsigned short)u);
    const __nv_bfloat16 b = __ushort_as_bfloat16((unsigned short)u);
    const float f = __half2float(h), g = __bfloat162float(b);
    good = good && (isnan(f) || __half_as_ushort(__float2half(f)) == u);
    good = good && (isnan(g) || __bfloat16_as_ushort(__float2bfloat16(g)) == u);
    if ((u & 0x7fff) < 0x7bff) {
      const float next = __half2float(__ushort_as_half((unsigned short)(u + 1)));
      good = good && __half_as_ushort(__float2half(f + (next - f) / 2)) == u + (u & 1);
    }
  }
  CHECK(good);
}

int main() {
  for (simt_order order : {SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM})
    for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED}) {
      const simt_settings s = {order, streams, 3, 0, 0};
      simt_configure(&s);
      simt_reset();
      launches();
      warps();
      groups();
      divergence();
      arithmetic();
      CHECK(simt_reports(NULL) == 0);
      memory();
    }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
