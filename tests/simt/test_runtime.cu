/* The runtime's API beyond memory and streams: launches by pointer and by configuration,
 * attributes, occupancy, host functions, rows of memory, symbols, failures; libcu++ and wmma. */
#include "tests/simt/test.cuh"
#include <float.h>

#include <assert.h>
#include <cublasLt.h>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <mma.h>
#include <utility>

namespace cg = cooperative_groups;
using namespace nvcuda;

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

__global__ void matrices(const half *a, const half *b, float *c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
  wmma::fill_fragment(fc, 0.0f);
  wmma::load_matrix_sync(fa, a, 16);
  wmma::load_matrix_sync(fb, b, 16);
  wmma::mma_sync(fc, fa, fb, fc);
  for (int i = 0; i < fc.num_elements; i++)
    fc.x[i] *= 2.0f;
  wmma::store_matrix_sync(c, fc, 16, wmma::mem_row_major);
}
__global__ void stages(int *o, const int *x, int n) {
  constexpr int STAGES = 2;
  extern __shared__ int s[];
  __shared__ cuda::pipeline_shared_state<cuda::thread_scope::thread_scope_block, STAGES> state;
  const auto block = cg::this_thread_block();
  auto pipe = cuda::make_pipeline(block, &state);
  int sum = 0;
  for (int i = 0, put = 0; i < n; i++) {
    for (; put < n && put < i + STAGES; put++) {
      pipe.producer_acquire();
      cuda::memcpy_async(block, s + put % STAGES * blockDim.x, x + put * blockDim.x,
                         cuda::aligned_size_t<4>(4 * blockDim.x), pipe);
      pipe.producer_commit();
    }
    pipe.consumer_wait();
    sum += s[i % STAGES * blockDim.x + blockDim.x - 1 - threadIdx.x];
    pipe.consumer_release();
  }
  o[threadIdx.x] = sum;
}
__global__ void split_barrier(int *o) {
  using barrier = cuda::barrier<cuda::thread_scope_block>;
  __shared__ barrier b;
  __shared__ int v[64];
  if (threadIdx.x == 0)
    init(&b, blockDim.x);
  __syncthreads();
  v[threadIdx.x] = threadIdx.x;
  barrier::arrival_token token = b.arrive();
  b.wait(std::move(token));
  o[threadIdx.x] = v[63 - threadIdx.x];
  b.arrive_and_wait();
  v[threadIdx.x] = 0;
}
__device__ cuda::atomic<int, cuda::thread_scope_device> flag{0};
__global__ void flags(int *o) {
  cuda::atomic_ref<int, cuda::thread_scope_device> sum(*o);
  sum.fetch_add(2, cuda::memory_order_relaxed);
  if (blockIdx.x == 3 && threadIdx.x == 0)
    flag.store(1, cuda::memory_order_release);
  while (flag.load(cuda::memory_order_acquire) == 0)
    ;
}
static void libraries() {
  std::vector<half> a(256), b(256);
  std::vector<float> y(256, 0.0f);
  for (int i = 0; i < 256; i++) {
    a[i] = __float2half((float)(i % 7));
    b[i] = __float2half((float)(i % 5));
  }
  for (int i = 0; i < 256; i++)
    for (int k = 0; k < 16; k++)
      y[i] += 2.0f * (float)((i / 16 * 16 + k) % 7 * ((i % 16 * 16 + k) % 5));
  device<half> da(256), db(256);
  device<float> c(256);
  da.set(a);
  db.set(b);
  matrices<<<1, 32>>>(da.p, db.p, c.p);
  CHECK(c.get() == y);
  std::vector<int> x(640), sums(64, 0), turned(64);
  for (int i = 0; i < 640; i++)
    sums[63 - i % 64] += x[i] = i;
  for (int t = 0; t < 64; t++)
    turned[t] = 63 - t;
  device<int> in(640), o(64, 0);
  in.set(x);
  stages<<<1, 64, 2 * 64 * sizeof(int)>>>(o.p, in.p, 10);
  CHECK(o.get() == sums);
  split_barrier<<<1, 64>>>(o.p);
  CHECK(o.get() == turned);
  cudaMemset(o.p, 0, 4);
  flags<<<4, 64>>>(o.p);
  CHECK(o.get()[0] == 512);
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
static void epilogues() {
  const float w[2] = {1.0f, -3.0f}, one = 1.0f, zero = 0.0f;
  device<float> a(2), b(1, 1.0f), bias(2, 2.0f), d(2);
  a.set({w[0], w[1]});
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t product;
  cublasLtMatrixLayout_t la, lb;
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t found;
  int n;
  cublasLtCreate(&handle);
  cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatrixLayoutCreate(&la, CUDA_R_32F, 2, 1, 2);
  cublasLtMatrixLayoutCreate(&lb, CUDA_R_32F, 1, 1, 1);
  cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.p,
                                 sizeof(void *));
  const auto gelu = [](float v) { return 0.5f * v * (1.0f + erff(v / sqrtf(2.0f))); };
  const std::pair<int, std::vector<float>> wanted[] = {
      {CUBLASLT_EPILOGUE_DEFAULT, {w[0], w[1]}},
      {CUBLASLT_EPILOGUE_BIAS, {3.0f, -1.0f}},
      {CUBLASLT_EPILOGUE_RELU, {1.0f, 0.0f}},
      {CUBLASLT_EPILOGUE_RELU_BIAS, {3.0f, 0.0f}},
      {CUBLASLT_EPILOGUE_GELU, {gelu(1.0f), gelu(-3.0f)}},
      {CUBLASLT_EPILOGUE_GELU_BIAS, {gelu(3.0f), gelu(-1.0f)}}};
  for (const auto &e : wanted) {
    cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_EPILOGUE, &e.first, 4);
    CHECK(cublasLtMatmulAlgoGetHeuristic(handle, product, la, lb, la, la, preference, 1, &found,
                                         &n) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatmul(handle, product, &one, a.p, la, b.p, lb, &zero, d.p, la, d.p, la,
                         &found.algo, NULL, 0, 0) == CUBLAS_STATUS_SUCCESS);
    const std::vector<float> y = d.get();
    CHECK(fabsf(y[0] - e.second[0]) < 1e-3f && fabsf(y[1] - e.second[1]) < 1e-3f);
  }
  const int both = CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_GELU;
  cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_EPILOGUE, &both, 4);
  CHECK(cublasLtMatmulAlgoGetHeuristic(handle, product, la, lb, la, la, preference, 1, &found,
                                       &n) == CUBLAS_STATUS_NOT_SUPPORTED);
  cublasLtMatrixLayoutDestroy(la);
  cublasLtMatrixLayoutDestroy(lb);
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatmulDescDestroy(product);
  cublasLtDestroy(handle);
}
static void all() {
  names();
  launches();
  host_functions();
  rows();
  libraries();
  numbers();
  forms();
  pools();
  epilogues();
}
int main() {
  asserts<<<1, 32>>>(32);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  asserts<<<1, 32>>>(31);
  CHECK(cudaDeviceSynchronize() == cudaErrorAssert);
  CHECK(strcmp(cudaGetErrorName(cudaGetLastError()), "cudaErrorAssert") == 0);
  cudaDeviceReset();
  return in_every_order(all);
}
