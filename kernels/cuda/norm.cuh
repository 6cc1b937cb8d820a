/* RMSNorm and LayerNorm. Blocks walk rows; a row lives in registers between the passes, so that it
 * is read once, and so do the weights, which are read once a block. Elements beyond what registers
 * hold (8192 of bf16, 4096 of f32) are read again. Gradients of parameters: each block sums its
 * rows in registers and writes one partial row; partial rows are added in order (deterministic for
 * a device).
 */
#ifndef LRL_CUDA_NORM_CUH
#define LRL_CUDA_NORM_CUH
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

/* out[j] += parts rows of part, in order (elementwise.cu). */
void launch_add_parts(cuda_op &op, int64_t parts, int64_t width, const float *part, float *out);

/* Vectors of V elements of a row: thread t has those at t, t + NT, ...; K of them in registers. */
template <int NT, int V, int K> struct row_of {
  static constexpr int KEPT = K;
  int64_t n; /* vectors in a row */
  /* f(k, element): k is -1 for vectors that are not kept. */
  template <class F> __device__ __forceinline__ void each(F f) const {
#pragma unroll
    for (int k = 0; k < KEPT; k++) {
      const int64_t c = (int64_t)k * NT + threadIdx.x;
      if (c < n)
        f(k, c * V);
    }
  }
  template <class F> __device__ __forceinline__ void rest(F f) const {
#pragma unroll 1 /* rare; unrolled it would take the registers of all rows */
    for (int64_t c = (int64_t)KEPT * NT + threadIdx.x; c < n; c += NT)
      f(c * V);
  }
};

/* Calls f with (threads, elements a vector, vectors kept) as constants: no more threads and
 * registers than the row needs, one element at a time where rows are not aligned. */
template <class T, class F> void by_row_shape(int64_t width, bool aligned, F f) {
  constexpr int V = 16 / sizeof(T);
  using std::integral_constant;
  if (!aligned || width % V != 0)
    f(integral_constant<int, 128>(), integral_constant<int, 1>(), integral_constant<int, 8>());
  else if (width <= 128 * V)
    f(integral_constant<int, 128>(), integral_constant<int, V>(), integral_constant<int, 1>());
  else if (width <= 512 * V)
    f(integral_constant<int, 512>(), integral_constant<int, V>(), integral_constant<int, 1>());
  else
    f(integral_constant<int, 512>(), integral_constant<int, V>(), integral_constant<int, 2>());
}
#endif
