/* What comes with CUDA besides its runtime: wmma, libcu++'s atomics, barriers and pipelines, and
 * cuBLASLt's epilogues. */
#include "tests/simt/test.cuh"
#include <cooperative_groups.h>
#include <cublasLt.h>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <mma.h>
#include <utility>

namespace cg = cooperative_groups;
using namespace nvcuda;

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
  libraries();
  epilogues();
}
int main() { return in_every_order(all); }
