/* The runtime's API beyond memory and streams: launches by pointer and by configuration,
 * attributes, occupancy, host functions, rows of memory, symbols, failures. */
#include "tests/simt/test.cuh"
#include <float.h>

#include <assert.h>
#include <cooperative_groups.h>
#include <utility>

namespace cg = cooperative_groups;

template <typename T> __global__ void scaled(T *o, const T *x, T a, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    o[i] = a * x[i];
}
/* Kernels and functions of the host with one name, defaults, and specialisations. */
__global__ void filled(int *o, int value) { o[threadIdx.x] = value; }
__global__ void filled(int *o, float value, int more = 2) {
  o[threadIdx.x] = (int)(2.0f * value) + more;
}
static void filled(int *o, int value, int more, dim3 block) {
  filled<<<1, block>>>(o, value + more);
}
template <typename T> __global__ void sized(int *o, T) { o[threadIdx.x] = (int)sizeof(T); }
template <> __global__ void sized<char>(int *o, char c) { o[threadIdx.x] = c; }
static void names() {
  device<int> o(32);
  filled(o.p, 4, 3, 32);
  CHECK(o.get() == std::vector<int>(32, 7));
  filled<<<1, 32>>>(o.p, 2.5f);
  CHECK(o.get() == std::vector<int>(32, 7));
  filled<<<1, 32>>>(o.p, 2.5f, 4);
  CHECK(o.get() == std::vector<int>(32, 9));
  sized<<<1, 32>>>(o.p, 1.0);
  CHECK(o.get() == std::vector<int>(32, 8));
  sized<<<1, 32>>>(o.p, (char)3);
  CHECK(o.get() == std::vector<int>(32, 3));
  void (*pointer)(int *, double) = sized<double>;
  pointer(o.p, 1.0); /* nothing is launched */
  CHECK(cudaGetLastError() == cudaErrorMissingConfiguration);
  CHECK(o.get() == std::vector<int>(32, 3));
}
static void launches() {
  std::vector<float> x(100), y(100);
  for (int i = 0; i < 100; i++)
    y[i] = 3.0f * (x[i] = (float)i);
  device<float> in(100), out(100);
  in.set(x);
  float a = 3.0f;
  int n = 100;
  void *args[] = {&out.p, &in.p, &a, &n};
  dim3 gridDim(4), blockDim(32); /* as many programs call them */
  CHECK(cudaLaunchKernel((const void *)scaled<float>, gridDim, blockDim, args, 0, 0) ==
        cudaSuccess);
  CHECK(out.get() == y);
  cudaLaunchConfig_t c = {};
  c.gridDim = gridDim;
  c.blockDim = blockDim;
  cudaMemset(out.p, 0, 400);
  CHECK(cudaLaunchKernelEx(&c, scaled<float>, out.p, in.p, 3.0f, 100) == cudaSuccess);
  CHECK(out.get() == y);
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {2, 1, 1};
  c.attrs = &cluster;
  c.numAttrs = 1;
  CHECK(cudaLaunchKernelExC(&c, (void *)scaled<float>, args) == cudaErrorNotSupported);
  CHECK(cudaLaunchKernel((const void *)&n, 1, 1, args, 0, 0) == cudaErrorInvalidDeviceFunction);
  CHECK(cudaGetLastError() == cudaErrorInvalidDeviceFunction);
  int grid = 0, block = 0, fit = 0;
  CHECK(cudaOccupancyMaxPotentialBlockSize(&grid, &block, scaled<float>) == cudaSuccess);
  CHECK(block == 1024 && grid == 8);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, scaled<float>, 256, 100 * 1024);
  CHECK(fit == 2);
}
static void host_functions() {
  cudaStream_t s;
  int low, high, priority;
  cudaDeviceGetStreamPriorityRange(&low, &high);
  cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, high);
  CHECK(cudaStreamGetPriority(s, &priority) == cudaSuccess && priority == high);
  static std::vector<int> order;
  order.clear();
  cudaLaunchHostFunc(
      s, [](void *v) { order.push_back((int)(intptr_t)v); }, (void *)1);
  cudaStreamAddCallback(
      s, [](cudaStream_t, cudaError_t e, void *) { order.push_back(e == cudaSuccess ? 2 : -1); },
      NULL, 0);
  cudaStreamSynchronize(s);
  CHECK(order == std::vector<int>({1, 2}));
  cudaStreamDestroy(s);
}
static void rows() {
  float *p;
  size_t pitch;
  cudaMallocPitch(&p, &pitch, 10 * sizeof(float), 4);
  cudaMemset2D(p, pitch, 0, 10 * sizeof(float), 4);
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  cudaMemcpy2D(p, pitch, x.data(), 12, 12, 2, cudaMemcpyHostToDevice);
  std::vector<float> y(8, -1.0f);
  cudaMemcpy2D(y.data(), 16, p, pitch, 16, 2, cudaMemcpyDeviceToHost);
  CHECK(y == std::vector<float>({1, 2, 3, 0, 4, 5, 6, 0}));
  CHECK(cudaMemcpy2D(p, 8, x.data(), 12, 12, 2, cudaMemcpyHostToDevice) ==
        cudaErrorInvalidPitchValue);
  cudaGetLastError();
  cudaFree(p);
  std::vector<float> mine(64, 2.0f);
  void *seen;
  CHECK(cudaHostRegister(mine.data(), 256, cudaHostRegisterMapped) == cudaSuccess);
  CHECK(cudaHostGetDevicePointer(&seen, mine.data(), 0) == cudaSuccess);
  scaled<<<2, 32>>>((float *)seen, (const float *)seen, 2.0f, 64);
  cudaDeviceSynchronize();
  CHECK(mine == std::vector<float>(64, 4.0f));
  CHECK(cudaHostUnregister(mine.data()) == cudaSuccess);
  CHECK(cudaHostUnregister(mine.data()) == cudaErrorHostMemoryNotRegistered);
  cudaGetLastError();
}

__global__ void roundings(float *o, unsigned *lane) {
  o[0] = __fadd_rd(1.0f, 1e-10f) == 1.0f && __fadd_ru(1.0f, 1e-10f) > 1.0f;
  o[1] =
      __float2int_rn(3e10f) == INT_MAX && __float2uint_rz(-2.0f) == 0 && __float2int_rd(NAN) == 0;
  o[2] = __fmaf_rz(-1.0f, 1.0f, 1e-10f) > -1.0f && __fdiv_rz(2.0f, 3.0f) < __fdiv_ru(2.0f, 3.0f);
  o[3] =
      __hiloint2double(__double2hiint(1.5), __double2loint(1.5)) == 1.5 && __fns(0xf0, 0, 2) == 5;
  unsigned below, multiprocessors;
  asm volatile("mov.u32 %0, %%lanemask_lt;" : "=r"(below));
  asm volatile("mov.u32 %0, %%nsmid;" : "=r"(multiprocessors));
  lane[threadIdx.x] = below + multiprocessors - 4;
}
/* Forms that public programs use: default arguments, a full mask where the block ends within a
 * warp, the typed minimum, roundings of f64. */
__global__ void with_default(int *o, int x = 3, int *also = nullptr) {
  o[threadIdx.x] = x;
  if (also != nullptr)
    also[threadIdx.x] = 2 * x;
}
template <class T> __global__ void of_any(T *o, T x = T(4)) { o[threadIdx.x] += x; }
__global__ void running_sums(int *o) {
  int v = 1;
  for (int d = 1; d < 32; d *= 2) {
    const int below = __shfl_up_sync(0xffffffffu, v, d);
    if ((int)threadIdx.x % 32 >= d)
      v += below;
  }
  o[threadIdx.x] = v + (__ballot_sync(0xffffffffu, 1) == 0xffu ? 100 : 0);
}
__global__ void doubles(int *o) {
  const double third = __ddiv_rd(1.0, 3.0);
  o[0] = __ddiv_ru(1.0, 3.0) == nextafter(third, 1.0) && __drcp_rd(-3.0) < -third;
  o[1] = __dadd_rd(1.0, 1e-30) == 1.0 && __dadd_ru(1.0, 1e-30) == 1.0 + DBL_EPSILON;
  o[2] = __dsub_rz(1.0, 1e-30) < 1.0 && __dmul_rz(-third, 0.1) >= __dmul_rd(-third, 0.1);
  o[3] = __dsqrt_ru(2.0) == nextafter(__dsqrt_rd(2.0), 2.0) && __dsqrt_rd(4.0) == 2.0 &&
         __dsqrt_ru(4.0) == 2.0 && __dmul_ru(0.5, 0.25) == 0.125;
  o[4] = umin(3u, 0x80000000u) == 3u && llmax(-1, 1ll << 40) == 1ll << 40;
  int flag = 5;
  o[5] = atomicExch_system(&o[6], flag) == 0;
}
static void forms() {
  device<int> o(40, 0), p(40, 0);
  with_default<<<1, 4>>>(o.p);
  with_default<<<1, 4>>>(o.p + 4, 7, p.p);
  of_any<<<1, 2>>>(p.p);
  of_any<<<1, 2>>>(p.p, 1);
  CHECK(o.get()[3] == 3 && o.get()[4] == 7 && p.get()[0] == 19 && p.get()[3] == 14);
  running_sums<<<1, 40>>>(o.p);
  CHECK(o.get()[31] == 32 && o.get()[32] == 101 && o.get()[39] == 108);
  device<int> r(7, 0);
  doubles<<<1, 1>>>(r.p);
  CHECK(r.get() == std::vector<int>({1, 1, 1, 1, 1, 1, 5}));
}
/* Memory in the order of a stream, and its pool. */
static void pools() {
  cudaMemPool_t pool;
  uint64_t keep = 1 << 20, kept = 0;
  CHECK(cudaDeviceGetDefaultMemPool(&pool, 0) == cudaSuccess);
  CHECK(cudaDeviceGetDefaultMemPool(&pool, 99) == cudaErrorInvalidDevice);
  cudaGetLastError();
  CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep) == cudaSuccess);
  CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept) == cudaSuccess);
  CHECK(kept == keep);
  cudaStream_t s;
  cudaStreamCreate(&s);
  int *p, x[4];
  CHECK(cudaMallocFromPoolAsync(&p, sizeof x, pool, s) == cudaSuccess);
  with_default<<<1, 4, 0, s>>>(p);
  cudaMemcpyAsync(x, p, sizeof x, cudaMemcpyDeviceToHost, s);
  CHECK(cudaFreeAsync(p, s) == cudaSuccess && cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(x[0] == 3 && x[3] == 3);
  cudaStreamDestroy(s);
}
__global__ void asserts(int n) { assert((int)threadIdx.x < n); }
static void numbers() {
  device<float> o(4);
  device<unsigned> lane(32);
  roundings<<<1, 32>>>(o.p, lane.p);
  CHECK(o.get() == std::vector<float>(4, 1.0f));
  CHECK(lane.get()[0] == 0u && lane.get()[31] == 0x7fffffffu);
}
/* Of devices, of pairs of them, and of streams. */
static void attributes() {
  cudaDeviceProp p;
  int v = -1, at = -1;
  char id[16];
  CHECK(cudaGetDeviceProperties(&p, 1) == cudaSuccess);
  CHECK(cudaDeviceGetAttribute(&v, cudaDevAttrPciBusId, 1) == cudaSuccess && v == p.pciBusID);
  CHECK(cudaDeviceGetPCIBusId(id, sizeof id, 1) == cudaSuccess &&
        cudaDeviceGetByPCIBusId(&at, id) == cudaSuccess && at == 1);
  CHECK(cudaDeviceGetPCIBusId(id, 4, 1) == cudaErrorInvalidValue);
  CHECK(cudaDeviceGetByPCIBusId(&at, "0000:7F:00.0") == cudaErrorInvalidDevice);
  CHECK(cudaDeviceGetAttribute(&v, cudaDevAttrWarpSize, 99) == cudaErrorInvalidDevice);
  CHECK(cudaDeviceGetP2PAttribute(&v, cudaDevP2PAttrAccessSupported, 0, 1) == cudaSuccess &&
        v == 1);
  CHECK(cudaDeviceGetP2PAttribute(&v, cudaDevP2PAttrAccessSupported, 1, 1) ==
        cudaErrorInvalidDevice);
  CHECK(cudaDeviceCanAccessPeer(&v, 0, 99) == cudaErrorInvalidDevice);
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  cudaStreamAttrValue set = {}, got;
  set.accessPolicyWindow = {id, sizeof id, 0.5f, cudaAccessPropertyPersisting,
                            cudaAccessPropertyStreaming};
  CHECK(cudaStreamSetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &set) == cudaSuccess);
  CHECK(cudaStreamGetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &got) ==
            cudaSuccess &&
        got.accessPolicyWindow.num_bytes == sizeof id && got.accessPolicyWindow.hitRatio == 0.5f);
  set.accessPolicyWindow.hitRatio = 1.5f;
  CHECK(cudaStreamSetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &set) ==
        cudaErrorInvalidValue);
  cudaStreamDestroy(stream);
  cudaGetLastError();
}
static void all() {
  names();
  launches();
  host_functions();
  rows();
  numbers();
  forms();
  pools();
  attributes();
}
static int unwritten(simt_order order) {
  const simt_settings s = {order, SIMT_EAGER, 1, 0, 0};
  int *p = NULL, bits = 1;
  simt_configure(&s);
  CHECK(cudaMalloc(&p, sizeof *p) == cudaSuccess);
  CHECK(cudaMemcpy(&bits, p, sizeof bits, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  simt_reset();
  return bits;
}
int main() {
  CHECK(unwritten(SIMT_ASCENDING) == (simt_is_traced() ? -1 : 0));
  CHECK(unwritten(SIMT_DESCENDING) == -1);
  CHECK(unwritten(SIMT_ASCENDING) == (simt_is_traced() ? -1 : 0)); /* whoever had it before */
  asserts<<<1, 32>>>(32);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  asserts<<<1, 32>>>(31);
  CHECK(cudaDeviceSynchronize() == cudaErrorAssert);
  CHECK(strcmp(cudaGetErrorName(cudaGetLastError()), "cudaErrorAssert") == 0);
  cudaDeviceReset();
  return in_every_order(all);
}
