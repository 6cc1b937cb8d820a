/* Stand-in for cuBLASLt: column-major matmul with epilogues of bias, ReLU and GELU, bf16 and f32,
 * f32 sums. Like the library it refuses what does not fit, and runs when its stream gets there. */
#include "streams.h"

#include <cublasLt.h>

#include "include/cuda_bf16.h"

#include <algorithm>
#include <cmath>
#include <vector>

struct simt_matmul_desc {
  cublasOperation_t trans_a, trans_b;
  cublasLtEpilogue_t epilogue;
  const void *bias;
};
struct simt_matrix_layout {
  cudaDataType type;
  int64_t rows, cols, ld;
  size_t bytes() const { return (size_t)((cols - 1) * ld + rows) * (type == CUDA_R_16BF ? 2 : 4); }
};
struct simt_matmul_preference {
  size_t workspace;
};

static float get(const void *p, cudaDataType t, int64_t i) {
  return t == CUDA_R_16BF ? simt::bf16_value(static_cast<const uint16_t *>(p)[i])
                          : static_cast<const float *>(p)[i];
}
static void put(void *p, cudaDataType t, int64_t i, float x) {
  if (t == CUDA_R_16BF)
    static_cast<uint16_t *>(p)[i] = simt::bf16_bits(x);
  else
    static_cast<float *>(p)[i] = x;
}
static bool fits(const simt_matmul_desc &m, const simt_matrix_layout &a,
                 const simt_matrix_layout &b, const simt_matrix_layout &c,
                 const simt_matrix_layout &d) {
  const int64_t rows = m.trans_a == CUBLAS_OP_N ? a.rows : a.cols;
  const int64_t depth = m.trans_a == CUBLAS_OP_N ? a.cols : a.rows;
  const int64_t depth_b = m.trans_b == CUBLAS_OP_N ? b.rows : b.cols;
  const int64_t cols = m.trans_b == CUBLAS_OP_N ? b.cols : b.rows;
  const bool types = a.type == b.type && c.type == d.type &&
                     (a.type == d.type || (a.type == CUDA_R_16BF && d.type == CUDA_R_32F));
  return depth == depth_b && rows == d.rows && cols == d.cols && rows == c.rows && cols == c.cols &&
         types;
}
/* The library's GELU is the approximation with tanh. */
static float activation(cublasLtEpilogue_t e, float x) {
  if ((e & CUBLASLT_EPILOGUE_RELU) != 0)
    return std::max(x, 0.0f);
  if ((e & CUBLASLT_EPILOGUE_GELU) != 0)
    return 0.5f * x * (1.0f + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
  return x;
}
static bool known(cublasLtEpilogue_t e) {
  const int parts = CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_GELU;
  const int both = CUBLASLT_EPILOGUE_RELU | CUBLASLT_EPILOGUE_GELU;
  return e == CUBLASLT_EPILOGUE_DEFAULT || ((e & ~parts) == 0 && e != 0 && (e & both) != both);
}
static void multiply(const simt_matmul_desc &m, float alpha, const void *A,
                     const simt_matrix_layout &a, const void *B, const simt_matrix_layout &b,
                     float beta, const void *C, const simt_matrix_layout &c, void *D,
                     const simt_matrix_layout &d) {
  const int64_t depth = m.trans_a == CUBLAS_OP_N ? a.cols : a.rows;
  const bool bias = (m.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  simt::stream_access(A, a.bytes(), false);
  simt::stream_access(B, b.bytes(), false);
  if (beta != 0.0f)
    simt::stream_access(C, c.bytes(), false);
  simt::stream_access(D, d.bytes(), true);
  std::vector<float> left((size_t)(d.rows * depth)), right((size_t)depth), sum((size_t)d.rows);
  for (int64_t k = 0; k < depth; k++)
    for (int64_t i = 0; i < d.rows; i++)
      left[(size_t)(k * d.rows + i)] =
          get(A, a.type, m.trans_a == CUBLAS_OP_N ? k * a.ld + i : i * a.ld + k);
  for (int64_t j = 0; j < d.cols; j++) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t k = 0; k < depth; k++)
      right[(size_t)k] = get(B, b.type, m.trans_b == CUBLAS_OP_N ? j * b.ld + k : k * b.ld + j);
    for (int64_t k = 0; k < depth; k++)
      for (int64_t i = 0; i < d.rows; i++)
        sum[(size_t)i] += left[(size_t)(k * d.rows + i)] * right[(size_t)k];
    for (int64_t i = 0; i < d.rows; i++) {
      float x = alpha * sum[(size_t)i];
      if (beta != 0.0f)
        x += beta * get(C, c.type, j * c.ld + i);
      if (bias)
        x += get(m.bias, d.type, i);
      put(D, d.type, j * d.ld + i, activation(m.epilogue, x));
    }
    simt::mark_written(static_cast<char *>(D) + j * d.ld * (d.type == CUDA_R_16BF ? 2 : 4),
                       (size_t)d.rows * (d.type == CUDA_R_16BF ? 2 : 4));
  }
}

extern "C" {
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
  *h = reinterpret_cast<cublasLtHandle_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
  delete reinterpret_cast<int *>(h);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t,
                                        cudaDataType) {
  *d = new simt_matmul_desc{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
  delete d;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t a, const void *v,
                                              size_t bytes) {
  const size_t size = a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : 4;
  if (bytes != size)
    return CUBLAS_STATUS_INVALID_VALUE;
  switch (a) {
  case CUBLASLT_MATMUL_DESC_TRANSA:
    d->trans_a = *static_cast<const cublasOperation_t *>(v);
    return CUBLAS_STATUS_SUCCESS;
  case CUBLASLT_MATMUL_DESC_TRANSB:
    d->trans_b = *static_cast<const cublasOperation_t *>(v);
    return CUBLAS_STATUS_SUCCESS;
  case CUBLASLT_MATMUL_DESC_EPILOGUE:
    d->epilogue = *static_cast<const cublasLtEpilogue_t *>(v);
    return CUBLAS_STATUS_SUCCESS;
  case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
    d->bias = *static_cast<const void *const *>(v);
    return CUBLAS_STATUS_SUCCESS;
  }
  return CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  if (ld < (int64_t)rows || rows == 0 || cols == 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  *l = new simt_matrix_layout{t, (int64_t)rows, (int64_t)cols, ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
  delete l;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
  *p = new simt_matmul_preference{0};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
  delete p;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t a,
                                                    const void *v, size_t bytes) {
  if (a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof(size_t))
    p->workspace = *static_cast<const size_t *>(v);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t m,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned) {
  *returned = 0;
  if (requested < 1)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (!fits(*m, *a, *b, *c, *d) || !known(m->epilogue))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  results[0] = {};
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t m, const void *alpha,
                              const void *A, cublasLtMatrixLayout_t a, const void *B,
                              cublasLtMatrixLayout_t b, const void *beta, const void *C,
                              cublasLtMatrixLayout_t c, void *D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t stream) {
  if (!fits(*m, *a, *b, *c, *d))
    return CUBLAS_STATUS_INVALID_VALUE;
  simt::node product;
  product.type = simt::node::LIBRARY;
  product.make = [desc = *m, x = *static_cast<const float *>(alpha), A, la = *a, B, lb = *b,
                  y = *static_cast<const float *>(beta), C, lc = *c, D, ld = *d] {
    simt::operation o;
    o.name = "cublasLtMatmul";
    o.run = [=] {
      multiply(desc, x, A, la, B, lb, y, C, lc, D, ld);
      return true;
    };
    return o;
  };
  return simt::put(stream, std::move(product)) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                              : CUBLAS_STATUS_EXECUTION_FAILED;
}
}
