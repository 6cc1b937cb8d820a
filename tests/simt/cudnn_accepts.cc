/* Whether the real cuDNN takes the graphs of kernels/cuda/cudnn_pattern.cu, asked without a GPU:
 * with the properties of an H100 and an A100 it chooses an engine and, for attention, compiles its
 * kernel. Without a driver it must stop no earlier than where it loads what it has compiled. And
 * what it says to the backward passes, which the backend does not ask of it. The driver's stub of
 * the CUDA toolkit has to be found as libcuda.so.1. */
#include "kernels/cuda/cudnn_pattern.cuh"

#include <chrono>
#include <functional>
#include <stdio.h>
#include <string>

typedef cudnn_graph::node node;
static const cudnn_api *api;
static std::string device(int version, int n_sm, int shared, const char *name) {
  char text[1200];
  snprintf(
      text, sizeof text,
      "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
      "\"regsPerBlock\": 65536, \"multiProcessorCount\": %d, \"smClockRateKHz\": 1410000, "
      "\"memClockRateKHz\": 1593000, \"l2CacheSize\": 41943040, \"warpSize\": 32, "
      "\"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d, "
      "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"pciDeviceId\": 0, "
      "\"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, "
      "\"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"deviceVer\": %d, \"driverVer\": 13000, "
      "\"cudaDeviceId\": 0, \"totalGlobalMem\": 85899345920, \"deviceName\": \"%s\", "
      "\"name\": \"%s\"}",
      n_sm, shared, version, name, name);
  return text;
}
/* Plans what `draw` draws and prints what came of it. */
static cudnnStatus_t ask(const std::string &device, bool tensor_cores, const std::string &what,
                         const std::function<void(cudnn_graph *)> &draw) {
  cudnn_graph g(api);
  node d = g.create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  g.set(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)device.size(),
        device.data());
  g.finalize(d, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  draw(&g);
  const auto begin = std::chrono::steady_clock::now();
  const cudnnStatus_t s = g.plan(NULL, tensor_cores, d);
  const std::chrono::duration<double> t = std::chrono::steady_clock::now() - begin;
  printf("  %s: engine %d, %.1f MB, %.3f s, %s, attribute %d\n", what.c_str(), (int)g.engine(),
         (double)g.workspace() / 1e6, t.count(), api->cudnnGetErrorString(s), g.failed_at());
  return s;
}
/* The gradient of the patches' weight, bf16 operands and f32 sums. */
static void weight_gradient(cudnn_graph *g, const struct cudnn_patch_shape &s) {
  const int64_t n = s.n, c = s.channels, z = s.size, p = s.patch, w = s.width, side = z / p;
  const int64_t x[4] = {n, c, z, z}, x_stride[4] = {c * z * z, z * z, z, 1};
  const int64_t dw[4] = {w, c, p, p}, dw_stride[4] = {c * p * p, p * p, p, 1};
  const int64_t dy[4] = {n, w, side, side}, dy_stride[4] = {side * side * w, 1, side * w, w};
  const float alpha = 1.0f, beta = 1.0f;
  node op = g->create(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, g->patches(p));
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         g->tensor(PATCH_PIXELS, s.type, x, x_stride));
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         g->tensor(PATCH_WEIGHT, CUDNN_DATA_FLOAT, dw, dw_stride));
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         g->tensor(PATCH_OUT, s.type, dy, dy_stride));
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha);
  g->set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, &beta);
  g->finalize(op, CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  g->add(op);
}

/* The backward of attention over packed sequences, each gradient one product of whole rows and
 * columns, so that sums have one order; dq is not added up in f32 memory by all blocks at once. */
static void attention_gradient(cudnn_graph *g, const struct cudnn_attention_shape &s) {
  const cudnnDataType_t f32 = CUDNN_DATA_FLOAT, bf16 = CUDNN_DATA_BFLOAT16, i32 = CUDNN_DATA_INT32,
                        flag = CUDNN_DATA_BOOLEAN;
  const int64_t b = s.n_seqs, h = s.n_heads, kv = s.n_kv_heads, n = s.longest, d = s.head_dim;
  const int64_t one[4] = {1, 1, 1, 1}, lengths[4] = {b, 1, 1, 1}, offsets[4] = {b + 1, 1, 1, 1},
                rows[4] = {b, h, n, 1}, rows_stride[4] = {h * n, n, 1, 1}, out[4] = {b, h, n, d},
                scores[4] = {b, h, n, n}, turned[4] = {h * n * n, n * n, 1, n};
  int64_t id = 0;
  auto packed = [&](int64_t heads, int64_t ld, bool transposed, bool between = false) {
    const int64_t dim[4] = {b, heads, transposed ? d : n, transposed ? n : d};
    const int64_t stride[4] = {n * ld, d, transposed ? 1 : ld, transposed ? ld : 1};
    node start = g->tensor(++id, i32, offsets, one);
    return g->tensor(++id, bf16, dim, stride, between ? cudnn_graph::VIRTUAL : cudnn_graph::REAL,
                     start);
  };
  auto transpose = [&](node x, node y) {
    node op = g->create(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    g->set(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    g->set(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    g->finalize(op, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    g->add(op);
    return y;
  };
  auto step = [&](cudnnPointwiseMode_t mode, cudnnDataType_t type, cudnnDataType_t compute, node x,
                  node y, node mask = NULL, int64_t axis = -1) {
    node z = g->virtual_tensor(type, scores);
    g->pointwise(mode, compute, x, y, mask, z, axis);
    return z;
  };
  node q = packed(h, s.ld_q, false), k = packed(kv, s.ld_k, true), v = packed(kv, s.ld_v, true),
       o = packed(h, s.ld_o, false), d_o = packed(h, s.ld_o, false), dq = packed(h, s.ld_q, false),
       dk = packed(kv, s.ld_k, false), dv = packed(kv, s.ld_v, false);
  node lse = g->tensor(++id, f32, rows, rows_stride), dot = g->tensor(++id, f32, rows, rows_stride);
  node n_q = g->tensor(++id, i32, lengths, one), n_k = g->tensor(++id, i32, lengths, one);
  auto number = [&] { return g->tensor(++id, f32, one, one, cudnn_graph::VALUE); };
  node scale = number(), fill = number(), unit = number();
  /* dot = sum of d_o o */
  node product = g->virtual_tensor(f32, out), sum = g->virtual_tensor(f32, rows);
  g->pointwise(CUDNN_POINTWISE_MUL, f32, d_o, o, NULL, product);
  g->reduce(CUDNN_REDUCE_TENSOR_ADD, product, sum);
  g->pointwise(CUDNN_POINTWISE_MUL, f32, sum, unit, NULL, dot);
  /* p = exp(scale q k' - lse), 0 beyond the lengths and above the diagonal */
  node x = g->virtual_tensor(f32, scores), dp = g->virtual_tensor(f32, scores);
  g->matmul(q, k, x, n_q, n_k, NULL);
  x = step(CUDNN_POINTWISE_MUL, f32, f32, x, scale);
  x = step(CUDNN_POINTWISE_SUB, f32, f32, x, lse);
  for (bool causal : {false, true}) {
    if (causal && !s.causal)
      continue;
    node row = step(CUDNN_POINTWISE_GEN_INDEX, i32, causal ? f32 : i32, x, NULL, NULL, 2),
         column = step(CUDNN_POINTWISE_GEN_INDEX, i32, causal ? f32 : i32, x, NULL, NULL, 3);
    node keep = causal ? step(CUDNN_POINTWISE_CMP_GE, flag, flag, row, column)
                       : step(CUDNN_POINTWISE_LOGICAL_AND, flag, flag,
                              step(CUDNN_POINTWISE_CMP_LT, flag, flag, row, n_q),
                              step(CUDNN_POINTWISE_CMP_LT, flag, flag, column, n_k));
    x = step(CUDNN_POINTWISE_BINARY_SELECT, f32, f32, x, fill, keep);
  }
  node p = step(CUDNN_POINTWISE_EXP, f32, f32, x, NULL);
  /* dv = p' d_o, dk = ds' q: of all heads, then of those that share keys */
  auto turned_product = [&](node a, node y, node sums) {
    a = transpose(a, g->tensor(++id, bf16, scores, turned, cudnn_graph::VIRTUAL));
    node all = h == kv ? sums : g->virtual_tensor(bf16, out);
    g->matmul(a, y, all, n_k, NULL, n_q);
    if (h != kv)
      g->reduce(CUDNN_REDUCE_TENSOR_ADD, all, sums);
  };
  turned_product(p, d_o, dv);
  g->matmul(d_o, v, dp, n_q, n_k, NULL);
  dp = step(CUDNN_POINTWISE_SUB, f32, f32, dp, dot);
  dp = step(CUDNN_POINTWISE_MUL, f32, f32, dp, p);
  node ds = step(CUDNN_POINTWISE_MUL, bf16, f32, dp, scale);
  turned_product(ds, q, dk);
  g->matmul(ds, transpose(k, packed(kv, s.ld_k, false, true)), dq, n_q, NULL, n_k);
}

int main() {
  if (cudnn_open(&api) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  if (api->cudnnGetVersion() < 91100) {
    printf("SKIP: cuDNN before 9.11 says nothing without a GPU\n");
    return 0;
  }
  const struct {
    const char *name;
    int version, n_sm, shared;
  } devices[] = {{"NVIDIA H100 80GB HBM3", 900, 132, 232448},
                 {"NVIDIA A100-SXM4-80GB", 800, 108, 166912}};
  /* The vision tower at 560 pixels, and the 7B decoder. */
  const struct cudnn_attention_shape shapes[] = {
      {8, 2048, 16, 16, 64, 3072, 3072, 3072, 1024, false},
      {4, 4096, 32, 8, 128, 4096, 1024, 1024, 4096, true}};
  int bad = 0;
  for (const auto &it : devices) {
    const std::string d = device(it.version, it.n_sm, it.shared, it.name);
    printf("%s\n", it.name);
    for (const struct cudnn_attention_shape &s : shapes) {
      const std::string what =
          "heads of " + std::to_string(s.head_dim) + (s.causal ? " causal" : "");
      const cudnnStatus_t status =
          ask(d, true, what, [&](cudnn_graph *g) { cudnn_attention_graph(g, &s); });
      bad += status != CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER;
    }
    /* CLIP ViT-L/14. */
    for (int64_t size : {560, 336})
      for (int64_t n : {8, 1})
        for (cudnnDataType_t type : {CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT}) {
          const struct cudnn_patch_shape s = {n, 3, size, 14, 1024, type};
          const bool f32 = type == CUDNN_DATA_FLOAT;
          const std::string what = (f32 ? "f32 " : "bf16 ") + std::to_string(n) + " images of " +
                                   std::to_string(size) + " pixels";
          bad += ask(d, !f32, what, [&](cudnn_graph *g) { cudnn_patch_graph(g, &s); }) !=
                 CUDNN_STATUS_SUCCESS;
        }
    /* Why the backward passes are native (docs/gpu.md). */
    if (ask(d, true, "backward of heads of 128 causal",
            [&](cudnn_graph *g) { attention_gradient(g, shapes[1]); }) !=
            CUDNN_STATUS_NOT_SUPPORTED &&
        it.version < 900)
      printf("NOTE: docs/gpu.md says that this is not supported\n");
    const struct cudnn_patch_shape s = {8, 3, 560, 14, 1024, CUDNN_DATA_BFLOAT16};
    if (ask(d, true, "bf16 gradient of the weight in f32",
            [&](cudnn_graph *g) { weight_gradient(g, s); }) == CUDNN_STATUS_SUCCESS)
      printf("NOTE: docs/gpu.md says that this is not supported\n");
  }
  return bad > 0;
}
