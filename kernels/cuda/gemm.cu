/* Matrix products through cuBLASLt, with a plan kept per shape: descriptors and the chosen
 * algorithm cost more to make than a small product takes. What cuBLASLt has no algorithm for, an
 * empty sum among it, goes through a plain tiled kernel. Split sums of cuBLASLt are of the
 * deterministic kind. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

#include <cublasLt.h>

#include <map>
#include <tuple>

namespace {
struct plan {
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algo;
  size_t workspace;
  bool usable;
};
typedef std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int> key;
struct blas {
  cublasLtHandle_t handle;
  void *workspace;
  std::map<key, plan> plans;
};
const size_t WORKSPACE = (size_t)32 << 20;

lrl_status check(cublasStatus_t s, const char *call) {
  return s == CUBLAS_STATUS_SUCCESS
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_LIB, "cuBLASLt: error %d in %.60s", (int)s, call);
}
#define BLAS(call) LRL_TRY(check(call, #call))

/* Row-major C = op(A) op(B) is column-major C' = op(B)' op(A)': B is cuBLASLt's first operand. */
lrl_status make_plan(const blas *l, const struct lrl_gemm_args *g, bool bias, plan *p) {
  const cudaDataType in = g->dtype == LRL_BF16 ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType out = g->c_dtype == LRL_BF16 ? CUDA_R_16BF : CUDA_R_32F;
  const cublasOperation_t ta = g->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t tb = g->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasLtEpilogue_t epilogue = bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  const uint64_t m = (uint64_t)g->m, n = (uint64_t)g->n, k = (uint64_t)g->k;
  BLAS(cublasLtMatmulDescCreate(&p->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  BLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
  BLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
  BLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                      sizeof epilogue));
  BLAS(cublasLtMatrixLayoutCreate(&p->a, in, g->trans_b ? k : n, g->trans_b ? n : k, g->ld_b));
  BLAS(cublasLtMatrixLayoutCreate(&p->b, in, g->trans_a ? m : k, g->trans_a ? k : m, g->ld_a));
  BLAS(cublasLtMatrixLayoutCreate(&p->c, out, n, m, g->ld_c));
  cublasLtMatmulPreference_t wish;
  BLAS(cublasLtMatmulPreferenceCreate(&wish));
  const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  BLAS(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                            &WORKSPACE, sizeof WORKSPACE));
  BLAS(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                            &scheme, sizeof scheme));
  cublasLtMatmulHeuristicResult_t found;
  int n_found = 0;
  const cublasStatus_t s = cublasLtMatmulAlgoGetHeuristic(l->handle, p->desc, p->a, p->b, p->c,
                                                          p->c, wish, 1, &found, &n_found);
  cublasLtMatmulPreferenceDestroy(wish);
  p->usable = s == CUBLAS_STATUS_SUCCESS && n_found > 0;
  if (p->usable) {
    p->algo = found.algo;
    p->workspace = found.workspaceSize;
  }
  return LRL_OK;
}

/* C[m, n] = beta C + A B + bias; a block makes 32 x 32 of C. Any strides and sizes. */
template <class T, class Out>
__global__ void __launch_bounds__(256)
    plain_gemm(int64_t m, int64_t n, int64_t k, const T *a, int64_t a_row, int64_t a_col,
               const T *b, int64_t b_row, int64_t b_col, const T *bias, Out *c, int64_t ld_c,
               float beta) {
  __shared__ float sa[32][33], sb[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int64_t row0 = (int64_t)blockIdx.y * 32, col = (int64_t)blockIdx.x * 32 + tx;
  float sum[4] = {};
  for (int64_t k0 = 0; k0 < k; k0 += 32) {
    for (int r = ty; r < 32; r += 8) {
      const bool in_a = row0 + r < m && k0 + tx < k, in_b = k0 + r < k && col < n;
      sa[r][tx] = in_a ? to_float(a[(row0 + r) * a_row + (k0 + tx) * a_col]) : 0.0f;
      sb[r][tx] = in_b ? to_float(b[(k0 + r) * b_row + col * b_col]) : 0.0f;
    }
    __syncthreads();
    for (int i = 0; i < 32; i++)
#pragma unroll
      for (int r = 0; r < 4; r++)
        sum[r] += sa[ty + 8 * r][i] * sb[i][tx];
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const int64_t row = row0 + ty + 8 * r;
    if (row < m && col < n) {
      float x = sum[r] + (bias != nullptr ? to_float(bias[col]) : 0.0f);
      if (beta != 0.0f)
        x += to_float(c[row * ld_c + col]);
      from_float(&c[row * ld_c + col], x);
    }
  }
}
int64_t span(int64_t rows, int64_t width, int64_t ld) {
  return rows > 0 && width > 0 ? (rows - 1) * ld + width : 0;
}

struct matmul {
  const blas *l;
  const plan *p;
  const void *a, *b, *bias;
  void *c;
  float beta;
  lrl_status operator()(cudaStream_t stream) const {
    const float one = 1.0f;
    if (bias != NULL)
      BLAS(cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                          sizeof bias));
    BLAS(cublasLtMatmul(l->handle, p->desc, &one, b, p->a, a, p->b, &beta, c, p->c, c, p->c,
                        &p->algo, l->workspace, WORKSPACE, stream));
    return LRL_OK;
  }
};

template <class T, class Out>
lrl_status product(struct lrl_ctx *ctx, const struct lrl_gemm_args *g) {
  cuda_op op(ctx);
  blas *l = static_cast<blas *>(op.state->blas);
  const T *a =
      op.in_as<T>(g->a, g->trans_a ? span(g->k, g->m, g->ld_a) : span(g->m, g->k, g->ld_a));
  const T *b =
      op.in_as<T>(g->b, g->trans_b ? span(g->n, g->k, g->ld_b) : span(g->k, g->n, g->ld_b));
  const T *bias = op.in_as<T>(g->bias, g->n);
  Out *c = op.inout_as<Out>(g->c, span(g->m, g->n, g->ld_c));
  if (op.failed())
    return op.done();
  /* A bias of another type than C is no epilogue of cuBLASLt's. */
  const bool epilogue = bias != NULL && sizeof(T) == sizeof(Out);
  const int flags = g->trans_a | g->trans_b << 1 | (int)g->dtype << 2 | (int)g->c_dtype << 5 |
                    (int)epilogue << 8 | (int)aligned16(a, b, bias, c) << 9;
  plan none = {}, *p = &none;
  if (g->k > 0 && (bias == NULL || epilogue)) {
    const key k(g->m, g->n, g->k, g->ld_a, g->ld_b, g->ld_c, flags);
    const auto known = l->plans.find(k);
    p = known != l->plans.end() ? &known->second : &l->plans[k];
    if (known == l->plans.end())
      LRL_TRY(make_plan(l, g, epilogue, p));
  }
  if (p->usable) {
    LRL_TRY(cuda_submit(ctx, matmul{l, p, a, b, epilogue ? bias : NULL, c, g->beta}));
  } else {
    const dim3 grid((unsigned)ceil_div(g->n, 32), (unsigned)ceil_div(g->m, 32));
    LRL_LAUNCH(op, (plain_gemm<T, Out>), grid, 256, 0, g->m, g->n, g->k, a,
               g->trans_a ? 1 : g->ld_a, g->trans_a ? g->ld_a : 1, b, g->trans_b ? 1 : g->ld_b,
               g->trans_b ? g->ld_b : 1, bias, c, g->ld_c, g->beta);
  }
  return op.done();
}
} // namespace

lrl_status cuda_blas_create(cuda_state *s) {
  blas *l = new blas();
  s->blas = l;
  BLAS(cublasLtCreate(&l->handle));
  LRL_CUDA(cudaMalloc(&l->workspace, WORKSPACE));
  return LRL_OK;
}
void cuda_blas_destroy(cuda_state *s) {
  blas *l = static_cast<blas *>(s->blas);
  if (l == NULL)
    return;
  for (auto &p : l->plans) {
    cublasLtMatmulDescDestroy(p.second.desc);
    cublasLtMatrixLayoutDestroy(p.second.a);
    cublasLtMatrixLayoutDestroy(p.second.b);
    cublasLtMatrixLayoutDestroy(p.second.c);
  }
  cudaFree(l->workspace);
  cublasLtDestroy(l->handle);
  delete l;
  s->blas = NULL;
}

lrl_status cuda_gemm(struct lrl_ctx *ctx, const struct lrl_gemm_args *g) {
  if (g->m == 0 || g->n == 0)
    return LRL_OK;
  if (g->dtype == LRL_F32)
    return product<float, float>(ctx, g);
  return g->c_dtype == LRL_F32 ? product<bf16, float>(ctx, g) : product<bf16, bf16>(ctx, g);
}
