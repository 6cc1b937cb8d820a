/* What kernels of the cuda backend share on the device: element types, 16-byte loads and stores,
 * fixed- order reductions. Plain CUDA C++: nvcc compiles it, and tests/simt runs the same text
 * without a GPU.
 */
#ifndef LRL_CUDA_DEVICE_CUH
#define LRL_CUDA_DEVICE_CUH
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void from_float(float *p, float x) { *p = x; }
__device__ __forceinline__ void from_float(bf16 *p, float x) { *p = __float2bfloat16(x); }
/* x rounded to T. */
template <class T> __device__ __forceinline__ float rounded(float x) {
  T t;
  from_float(&t, x);
  return to_float(t);
}

/* V elements at a time, in words of 16 or 8 bytes where they fill them: always uint4 and uint2,
 * because nvcc splits the copy of a struct of bf16 into 2-byte loads. Lanes beside each other
 * should have words beside each other: two words a lane of f32 beside one of bf16 would touch every
 * sector twice. */
template <int BYTES> struct word_of { typedef void type; };
template <> struct word_of<0> { typedef uint4 type; };
template <> struct word_of<8> { typedef uint2 type; };
template <class T, int V> struct vector_of {
  static constexpr int BYTES = (int)(V * sizeof(T)), WORD = BYTES == 8 ? 8 : BYTES % 16;
  typedef typename word_of<WORD>::type word;
  static constexpr int WORDS = BYTES == 8 ? 1 : BYTES % 16 == 0 ? BYTES / 16 : 0;
};
template <class T, int V> __device__ __forceinline__ void load(const T *p, float (&x)[V]) {
  if constexpr (vector_of<T, V>::WORDS > 0) {
    typedef typename vector_of<T, V>::word word;
    constexpr int W = vector_of<T, V>::WORDS;
    word raw[W];
#pragma unroll
    for (int i = 0; i < W; i++)
      raw[i] = reinterpret_cast<const word *>(p)[i];
    const T *t = reinterpret_cast<const T *>(raw);
#pragma unroll
    for (int i = 0; i < V; i++)
      x[i] = to_float(t[i]);
  } else {
#pragma unroll
    for (int i = 0; i < V; i++)
      x[i] = to_float(p[i]);
  }
}
template <class T, int V> __device__ __forceinline__ void store(T *p, const float (&x)[V]) {
  if constexpr (vector_of<T, V>::WORDS > 0) {
    typedef typename vector_of<T, V>::word word;
    constexpr int W = vector_of<T, V>::WORDS;
    word raw[W];
    T *t = reinterpret_cast<T *>(raw);
#pragma unroll
    for (int i = 0; i < V; i++)
      from_float(&t[i], x[i]);
#pragma unroll
    for (int i = 0; i < W; i++)
      reinterpret_cast<word *>(p)[i] = raw[i];
  } else {
#pragma unroll
    for (int i = 0; i < V; i++)
      from_float(&p[i], x[i]);
  }
}

struct sum_of {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
};
/* NaN wins, so that a bad score is not lost. */
struct max_of {
  __device__ __forceinline__ float operator()(float a, float b) const {
    return a > b || a != a ? a : b;
  }
  __device__ __forceinline__ double operator()(double a, double b) const {
    return a > b || a != a ? a : b;
  }
};
template <class T, class F> __device__ __forceinline__ T warp_reduce(T x, F f) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1)
    x = f(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}
/* Over a block of NT threads, the same bits in every thread. `none` is f's neutral element. Ends in
 * a barrier only when NT > 32; it may be called again at once. */
template <int NT, class T, class F> __device__ __forceinline__ T block_reduce(T x, F f, T none) {
  x = warp_reduce(x, f);
  if constexpr (NT > 32) {
    __shared__ T parts[NT / 32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    __syncthreads(); /* the call before may still read */
    if (lane == 0)
      parts[warp] = x;
    __syncthreads();
    x = warp_reduce(lane < NT / 32 ? parts[lane] : none, f);
  }
  return x;
}
template <int NT, class T> __device__ __forceinline__ T block_sum(T x) {
  return block_reduce<NT>(x, sum_of{}, T(0));
}
#endif
