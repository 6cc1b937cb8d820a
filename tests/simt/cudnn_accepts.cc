/* Whether the real cuDNN takes the graphs of kernels/cuda/cudnn_graph.cu, asked without a GPU: with
 * the properties of an H100 and an A100 it chooses an engine and compiles its kernel. Without a
 * driver it must stop no earlier than where it loads what it has compiled. The driver's stub of the
 * CUDA toolkit has to be found as libcuda.so.1. */
#include "kernels/cuda/cudnn_graph.cuh"

#include <stdio.h>
#include <string>

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
int main() {
  const cudnn_api *api;
  if (cudnn_open(&api) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  if (api->cudnnGetVersion() < 91100) {
    printf("SKIP: cuDNN before 9.11 says nothing without a GPU\n");
    return 0;
  }
  const std::string devices[] = {device(900, 132, 232448, "NVIDIA H100 80GB HBM3"),
                                 device(800, 108, 166912, "NVIDIA A100-SXM4-80GB")};
  /* The vision tower at 560 pixels, and the 7B decoder. */
  const struct cudnn_attention_shape shapes[] = {
      {8, 2048, 16, 16, 64, 3072, 3072, 3072, 1024, false},
      {4, 4096, 32, 8, 128, 4096, 1024, 1024, 4096, true}};
  int bad = 0;
  for (const std::string &text : devices)
    for (const struct cudnn_attention_shape &s : shapes) {
      cudnn_graph g(api);
      cudnn_graph::node d = g.create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
      g.set(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)text.size(),
            text.data());
      g.finalize(d, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
      cudnn_attention_graph(&g, &s);
      const cudnnStatus_t status = g.plan(NULL, d);
      printf("heads of %d, causal %d: %s, attribute %d\n", (int)s.head_dim, s.causal,
             api->cudnnGetErrorString(status), g.failed_at());
      bad += status != CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER;
    }
  return bad > 0;
}
