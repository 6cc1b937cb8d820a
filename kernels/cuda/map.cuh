/* Element-wise kernels. F is a struct with `template <int V> void run(int64_t i) const`, which does
 * the V elements from i; V is one vector of 16 bytes of the widest type where addresses allow it.
 */
#ifndef LRL_CUDA_MAP_CUH
#define LRL_CUDA_MAP_CUH
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

template <int V, class F> __global__ void __launch_bounds__(256, 4) map_kernel(int64_t n, F f) {
  const int64_t step = (int64_t)gridDim.x * 256 * V;
  for (int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * V; i < n; i += step) {
    if (i + V <= n)
      f.template run<V>(i);
    else
      for (int64_t j = i; j < n; j++)
        f.template run<1>(j);
  }
}
template <int V, class F> void map(cuda_op &op, int64_t n, bool aligned, const F &f) {
  if (n == 0)
    return;
  if (aligned)
    LRL_LAUNCH(op, (map_kernel<V, F>), grid_for(op, ceil_div(n, 256 * V), 16), 256, 0, n, f);
  else
    LRL_LAUNCH(op, (map_kernel<1, F>), grid_for(op, ceil_div(n, 256), 16), 256, 0, n, f);
}
#endif
