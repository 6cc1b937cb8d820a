/* kernel<<<...>>>(...), which tests/simt/rewrite.cc turns into simt::launch. */
#pragma once
#include <new>
#include <string.h>
#include <tuple>
#include <type_traits>
#include <utility>

namespace simt {
/* A launch in a stream's queue. `params` is a copy, converted to the kernel's parameter types:
 * later changes of the arguments do not reach the kernel. */
struct job {
  const char *name;
  const void *function; /* NULL when the name is overloaded */
  dim3 grid, block;
  size_t shared_bytes, param_bytes;
  void (*call)(const void *params);
  alignas(16) unsigned char params[];
};
struct config {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  config(dim3 g, dim3 b, size_t s = 0, cudaStream_t st = 0)
      : grid(g), block(b), shared_bytes(s), stream(st) {}
};
job *new_job(const char *name, const void *function, const config &c, size_t param_bytes,
             void (*call)(const void *));
void submit(job *j, cudaStream_t stream);

template <class Pack> SIMT_UNTRACED void call_pack(const void *p) {
  std::apply([](auto f, const auto &...x) SIMT_UNTRACED { f(x...); },
             *static_cast<const Pack *>(p));
}
template <class Pack, class... A>
inline void enqueue(const config &c, const char *name, const void *function, A &&...a) {
  static_assert(std::is_trivially_destructible<Pack>::value, "kernel parameters are plain data");
  static_assert(sizeof(Pack) <= 32764, "kernel parameters");
  job *j = new_job(name, function, c, sizeof(Pack), call_pack<Pack>);
  new (j->params) Pack(static_cast<A &&>(a)...);
  submit(j, c.stream);
}
/* A kernel that can be named by itself. */
template <class... P, class... A>
inline void launch(const config &c, const char *name, void (*k)(P...), A &&...a) {
  static_assert(sizeof...(P) >= sizeof...(A), "too many kernel arguments");
  typedef std::tuple<void (*)(P...), std::decay_t<P>...> pack;
  enqueue<pack>(c, name, reinterpret_cast<const void *>(k), k, static_cast<std::decay_t<P>>(a)...);
}
/* A kernel whose template arguments follow from the call. */
template <class K, class... A>
inline void launch_deduced(const config &c, const char *name, K k, A &&...a) {
  typedef std::tuple<K, std::decay_t<A>...> pack;
  enqueue<pack>(c, name, nullptr, k, static_cast<std::decay_t<A>>(a)...);
}
} // namespace simt

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
template <class... P>
inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void (*)(P...),
                                                                 int threads, size_t) {
  *n = threads > 0 && threads <= 1024 ? 2048 / threads : 0;
  return cudaSuccess;
}
template <class F>
inline cudaError_t cudaOccupancyMaxPotentialBlockSize(int *grid, int *block, F, size_t = 0,
                                                      int most = 0) {
  *block = most > 0 && most < 1024 ? most : 1024;
  return cudaDeviceGetAttribute(grid, cudaDevAttrMultiProcessorCount, 0);
}
inline cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                size_t width, size_t height, cudaMemcpyKind kind) {
  const cudaError_t e = cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, 0);
  return e == cudaSuccess ? cudaStreamSynchronize(0) : e;
}
template <class T>
inline cudaError_t cudaMallocPitch(T **p, size_t *pitch, size_t width, size_t height) {
  *pitch = (width + 511) / 512 * 512;
  return cudaMalloc((void **)p, *pitch * height);
}
