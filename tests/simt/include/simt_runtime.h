/* What the runtime's API adds for C++: symbols, typed pointers, default arguments, kernels by their
 * own type. */
#pragma once
#include "simt_launch.h"

template <class T>
inline cudaError_t cudaMemcpyToSymbol(T &symbol, const void *from, size_t n, size_t offset = 0,
                                      cudaMemcpyKind = cudaMemcpyHostToDevice) {
  cudaDeviceSynchronize();
  memcpy((char *)&symbol + offset, from, n);
  return cudaSuccess;
}
template <class T>
inline cudaError_t cudaMemcpyFromSymbol(void *to, const T &symbol, size_t n, size_t offset = 0,
                                        cudaMemcpyKind = cudaMemcpyDeviceToHost) {
  cudaDeviceSynchronize();
  memcpy(to, (const char *)&symbol + offset, n);
  return cudaSuccess;
}
template <class T> inline cudaError_t cudaGetSymbolAddress(void **p, const T &symbol) {
  *p = (void *)&symbol;
  return cudaSuccess;
}
template <class T> inline cudaError_t cudaMalloc(T **p, size_t n) {
  return cudaMalloc((void **)p, n);
}
template <class T> inline cudaError_t cudaMallocHost(T **p, size_t n) {
  return cudaMallocHost((void **)p, n);
}
template <class T> inline cudaError_t cudaMallocManaged(T **p, size_t n, unsigned flags = 1) {
  return cudaMallocManaged((void **)p, n, flags);
}
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, n, kind, 0);
}
inline cudaError_t cudaMemsetAsync(void *p, int v, size_t n) { return cudaMemsetAsync(p, v, n, 0); }
inline cudaError_t cudaEventRecord(cudaEvent_t e) { return cudaEventRecord(e, 0); }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e) {
  return cudaStreamWaitEvent(s, e, 0);
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph) {
  return cudaGraphInstantiate(exec, graph, 0);
}
inline cudaError_t cudaEventCreate(cudaEvent_t *e, unsigned flags) {
  return cudaEventCreateWithFlags(e, flags);
}
template <class... P>
inline cudaError_t cudaFuncSetAttribute(void (*f)(P...), cudaFuncAttribute a, int v) {
  return cudaFuncSetAttribute(reinterpret_cast<const void *>(f), a, v);
}
template <class T> inline cudaError_t cudaMallocPitch(T **p, size_t *pitch, size_t w, size_t h) {
  return cudaMallocPitch((void **)p, pitch, w, h);
}
template <class T> inline cudaError_t cudaHostAlloc(T **p, size_t n, unsigned flags) {
  return cudaHostAlloc((void **)p, n, flags);
}
template <class T> inline cudaError_t cudaMallocHost(T **p, size_t n, unsigned flags) {
  return cudaHostAlloc((void **)p, n, flags);
}
template <class T> inline cudaError_t cudaMallocAsync(T **p, size_t n, cudaStream_t s) {
  return cudaMallocAsync((void **)p, n, s);
}
template <class T>
inline cudaError_t cudaMallocFromPoolAsync(T **p, size_t n, cudaMemPool_t pool, cudaStream_t s) {
  return cudaMallocFromPoolAsync((void **)p, n, pool, s);
}
template <class T>
inline cudaError_t cudaHostGetDevicePointer(T **device, void *host, unsigned flags) {
  return cudaHostGetDevicePointer((void **)device, host, flags);
}
template <class T>
inline cudaError_t cudaMemcpyToSymbolAsync(T &symbol, const void *from, size_t n, size_t offset = 0,
                                           cudaMemcpyKind kind = cudaMemcpyHostToDevice,
                                           cudaStream_t stream = 0) {
  return cudaMemcpyAsync((char *)&symbol + offset, from, n, kind, stream);
}
template <class T>
inline cudaError_t cudaMemcpyFromSymbolAsync(void *to, const T &symbol, size_t n, size_t offset = 0,
                                             cudaMemcpyKind kind = cudaMemcpyDeviceToHost,
                                             cudaStream_t stream = 0) {
  return cudaMemcpyAsync(to, (const char *)&symbol + offset, n, kind, stream);
}
template <class T> inline cudaError_t cudaGetSymbolSize(size_t *n, const T &) {
  *n = sizeof(T);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                     size_t width, size_t height, cudaMemcpyKind kind) {
  return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, 0);
}
inline cudaError_t cudaMemset2DAsync(void *p, size_t pitch, int v, size_t width, size_t height) {
  return cudaMemset2DAsync(p, pitch, v, width, height, 0);
}
inline cudaError_t cudaMemPrefetchAsync(const void *p, size_t n, cudaMemLocation to,
                                        unsigned flags) {
  return cudaMemPrefetchAsync(p, n, to, flags, 0);
}
/* As before CUDA 13. */
inline cudaError_t cudaMemPrefetchAsync(const void *p, size_t n, int device,
                                        cudaStream_t stream = 0) {
  const cudaMemLocationType type =
      device == cudaCpuDeviceId ? cudaMemLocationTypeHost : cudaMemLocationTypeDevice;
  return cudaMemPrefetchAsync(p, n, cudaMemLocation{type, device}, 0, stream);
}
inline cudaError_t cudaHostRegister(void *p, size_t n) { return cudaHostRegister(p, n, 0); }
inline cudaError_t cudaStreamAttachMemAsync(cudaStream_t s, void *p, size_t n = 0) {
  return cudaStreamAttachMemAsync(s, p, n, 4);
}

#define SIMT_LAUNCH_BY_POINTERS(name, is_cooperative)                                              \
  template <class... P>                                                                            \
  inline cudaError_t name(void (*k)(P...), dim3 grid, dim3 block, void **args,                     \
                          size_t shared_bytes = 0, cudaStream_t stream = 0) {                      \
    simt::config c(grid, block, shared_bytes, stream);                                             \
    c.cooperative = is_cooperative;                                                                \
    return simt::by_pointers<P...>::launch((const void *)k, "a kernel", c, args);                  \
  }                                                                                                \
  inline cudaError_t name(const void *k, dim3 grid, dim3 block, void **args,                       \
                          size_t shared_bytes = 0) {                                               \
    return name(k, grid, block, args, shared_bytes, 0);                                            \
  }
SIMT_LAUNCH_BY_POINTERS(cudaLaunchKernel, false)
SIMT_LAUNCH_BY_POINTERS(cudaLaunchCooperativeKernel, true)
#undef SIMT_LAUNCH_BY_POINTERS
template <class... P, class... A>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*k)(P...), A &&...a) {
  const simt::config given(*c);
  return given.clusters ? cudaErrorNotSupported
                        : simt::launch(given, "a kernel", k, static_cast<A &&>(a)...);
}
template <class... P> inline cudaError_t cudaFuncSetCacheConfig(void (*f)(P...), cudaFuncCache c) {
  return cudaFuncSetCacheConfig((const void *)f, c);
}
template <class... P>
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, void (*f)(P...)) {
  return cudaFuncGetAttributes(a, (const void *)f);
}
template <class... P>
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void (*f)(P...),
                                                                 int threads, size_t shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, (const void *)f, threads, shared);
}
template <class... P>
inline cudaError_t
cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, void (*f)(P...), int threads,
                                                       size_t shared, unsigned flags) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(n, (const void *)f, threads, shared,
                                                                flags);
}
/* The block size with most threads on a multiprocessor, the largest of those. */
template <class F, class S>
inline cudaError_t cudaOccupancyMaxPotentialBlockSizeVariableSMem(int *grid, int *block, F f,
                                                                  S shared, int most = 0) {
  int best = 0, n = 0, each = 0;
  for (int b = most > 0 && most < 1024 ? most : 1024; b > 0; b = (b - 1) / 32 * 32) {
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, (const void *)f, b, shared(b));
    if (n * b > best) {
      best = n * b;
      each = n;
      *block = b;
    }
  }
  const cudaError_t e = cudaDeviceGetAttribute(grid, cudaDevAttrMultiProcessorCount, 0);
  *grid *= each;
  return e;
}
template <class F>
inline cudaError_t cudaOccupancyMaxPotentialBlockSize(int *grid, int *block, F f, size_t shared = 0,
                                                      int most = 0) {
  return cudaOccupancyMaxPotentialBlockSizeVariableSMem(
      grid, block, f, [shared](int) { return shared; }, most);
}
