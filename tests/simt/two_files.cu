/* Two files that define one device function, as by a header without `inline`: nvcc keeps the device
 * code of files apart. Compiled twice (CMakeLists.txt), with SECOND for the second file. */
#include <cuda_runtime.h>
#include <stdio.h>

__device__ int twice(int x) { return 2 * x; }
void second(int *o);
#ifdef SECOND
__global__ void second_kernel(int *o) { o[1] = twice(4); }
void second(int *o) { second_kernel<<<1, 1>>>(o); }
#else
__global__ void first_kernel(int *o) { o[0] = twice(3); }
int main() {
  int *o, v[2];
  cudaMalloc(&o, sizeof v);
  first_kernel<<<1, 1>>>(o);
  second(o);
  cudaMemcpy(v, o, sizeof v, cudaMemcpyDeviceToHost);
  printf("%d %d\n", v[0], v[1]);
  return v[0] != 6 || v[1] != 8;
}
#endif
