/* CUDA's semantics on the simulator, with kernels as people write them: launches, indices, shared
 * memory, sums of rows and blocks, atomics, numbers (warps: test_warps.cu). Each CHECK compares
 * with what the Programming Guide says. */
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
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

/* Values of classes that functions return into shared memory, in a kernel too large for all of them
 * to be inlined by the compiler's own measure: trace builds see them written. */
#define ROUND(k)                                                                                   \
  s = s + __shfl_xor_sync(0xffffffffu, s, k);                                                      \
  if (t % 32 == 0)                                                                                 \
    sums[k][t / 32] = __hfma(s, s, n) / (s * s + n) - hexp(s) * htanh(n);                          \
  __syncthreads();                                                                                 \
  s = s * sums[k][t / 32] + hrsqrt(s * s + n);
__global__ void rounds(__half *o, const __half *x) {
  __shared__ __half sums[32][4];
  const int t = threadIdx.x;
  const __half n = __int2half_rn(32);
  __half s = x[t];
  ROUND(1) ROUND(2) ROUND(4) ROUND(8) ROUND(16) ROUND(31) ROUND(17) ROUND(9) o[t] = s;
}
/* Every 8-bit float there and back, ties to even, and what is too large. */
template <class F8> static bool bytes_return(__nv_fp8_interpretation_t kind) {
  bool good = true;
  for (int b = 0; b < 256; b++) {
    F8 x;
    x.__x = (unsigned char)b;
    const float f = (float)x;
    good = good && __nv_cvt_float_to_fp8(f, __NV_NOSAT, kind) == (isnan(f) ? 0x7f : b);
    good = good && (isnan(f) || __half2float(__half(__nv_cvt_fp8_to_halfraw(b, kind))) == f);
  }
  return good;
}
static void eight_bits() {
  CHECK(bytes_return<__nv_fp8_e4m3>(__NV_E4M3) && bytes_return<__nv_fp8_e5m2>(__NV_E5M2));
  for (float x : {1e-9f, 0.1f, -0.1f, -1e-9f, 1e9f}) /* to either side, and never past zero */
    CHECK((float)__float2half_rd(x) <= x && (float)__float2half_ru(x) >= x &&
          fabsf(__float2half_rz(x)) <= fabsf(x) && __float2half_rd(x) != __float2half_ru(x));
  CHECK((float)__nv_fp8_e4m3(1e9f) == 448.0f && (float)__nv_fp8_e5m2(-1e9f) == -57344.0f);
  CHECK(isnan((float)__nv_fp8_e4m3(NAN)) && (float)__nv_fp8_e4m3(464.0) == 448.0f);
  CHECK(__nv_cvt_float_to_fp8(1e9f, __NV_NOSAT, __NV_E5M2) == 0x7c &&
        __nv_cvt_float_to_fp8(1e9f, __NV_NOSAT, __NV_E4M3) == 0x7f);
  CHECK((float)__nv_fp8_e4m3(1.0625f) == 1.0f && (float)__nv_fp8_e4m3(1.1875f) == 1.25f &&
        (float)__nv_fp8_e5m2(__half(0.3f)) == 0.3125f);
  const float2 two = (float2)__nv_fp8x2_e4m3(make_float2(0.5f, -3.0f));
  const float4 four = (float4)__nv_fp8x4_e5m2(make_float4(1.0f, 2.0f, -0.25f, 6.0f));
  CHECK(two.x == 0.5f && two.y == -3.0f && four.y == 2.0f && four.z == -0.25f && four.w == 6.0f);
  std::vector<__half> x(128);
  for (int i = 0; i < 128; i++)
    x[i] = __half((short)(i % 5)) / __half(64);
  device<__half> in(128), out(128);
  in.set(x);
  rounds<<<1, 128>>>(out.p, in.p);
  CHECK(!isnan(__half2float(out.get()[0])));
}

int main() {
  for (simt_order order : {SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM})
    for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED}) {
      const simt_settings s = {order, streams, 3, 0, 0};
      simt_configure(&s);
      simt_reset();
      launches();
      groups();
      arithmetic();
      eight_bits();
      CHECK(simt_reports(NULL) == 0);
      memory();
    }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
