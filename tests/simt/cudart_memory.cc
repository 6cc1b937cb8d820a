/* Stand-in for the CUDA runtime: memory with rows, memory of the host that is made known, advice.
 */
#include "streams.h"

#include <map>
#include <string.h>

using simt::fail;

struct CUmemPoolHandle_st {
  std::map<int, uint64_t> settings;
};

extern "C" {
cudaError_t cudaMallocPitch(void **p, size_t *pitch, size_t width, size_t height) {
  *pitch = (width + 511) / 512 * 512;
  return cudaMalloc(p, *pitch * height);
}
cudaError_t cudaMalloc3D(struct cudaPitchedPtr *p, struct cudaExtent e) {
  p->xsize = e.width;
  p->ysize = e.height;
  return cudaMallocPitch(&p->ptr, &p->pitch, e.width, e.height * e.depth);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch)
    return fail(cudaErrorInvalidPitchValue);
  for (size_t y = 0; y < height; y++) {
    const cudaError_t e =
        cudaMemcpyAsync(static_cast<char *>(to) + y * to_pitch,
                        static_cast<const char *>(from) + y * from_pitch, width, kind, stream);
    if (e != cudaSuccess)
      return e;
  }
  return cudaSuccess;
}
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, enum cudaMemcpyKind kind) {
  const cudaError_t e = cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, 0);
  return e == cudaSuccess ? cudaStreamSynchronize(0) : e;
}
cudaError_t cudaMemset2DAsync(void *p, size_t pitch, int v, size_t width, size_t height,
                              cudaStream_t stream) {
  if (width > pitch)
    return fail(cudaErrorInvalidPitchValue);
  for (size_t y = 0; y < height; y++) {
    const cudaError_t e = cudaMemsetAsync(static_cast<char *>(p) + y * pitch, v, width, stream);
    if (e != cudaSuccess)
      return e;
  }
  return cudaSuccess;
}
cudaError_t cudaMemset2D(void *p, size_t pitch, int v, size_t width, size_t height) {
  return cudaMemset2DAsync(p, pitch, v, width, height, 0);
}
cudaError_t cudaMemset3D(struct cudaPitchedPtr p, int v, struct cudaExtent e) {
  for (size_t z = 0; z < e.depth; z++) {
    void *plane = static_cast<char *>(p.ptr) + z * p.ysize * p.pitch;
    const cudaError_t error = cudaMemset2D(plane, p.pitch, v, e.width, e.height);
    if (error != cudaSuccess)
      return error;
  }
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void *to, int, const void *from, int, size_t n,
                                cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, stream);
}
cudaError_t cudaMemcpyPeer(void *to, int, const void *from, int, size_t n) {
  return cudaMemcpy(to, from, n, cudaMemcpyDefault);
}

/* Memory of the host that a program makes known is pinned memory from then on. */
cudaError_t cudaHostRegister(void *p, size_t n, unsigned) {
  if (p == NULL || n == 0)
    return fail(cudaErrorInvalidValue);
  return simt::adopt(p, n) ? cudaSuccess : fail(cudaErrorHostMemoryAlreadyRegistered);
}
cudaError_t cudaHostUnregister(void *p) {
  simt::finish_all();
  return simt::disown(p) ? cudaSuccess : fail(cudaErrorHostMemoryNotRegistered);
}
cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
  const simt::allocation *a = simt::find_allocation(host);
  if (flags != 0 || a == NULL || !a->live || a->kind != simt::PINNED)
    return fail(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaHostGetFlags(unsigned *flags, void *host) {
  void *p;
  *flags = cudaHostAllocMapped;
  return cudaHostGetDevicePointer(&p, host, 0);
}

/* Of a pool only its settings: what is freed goes back at once, as if every threshold were 0. */
static CUmemPoolHandle_st *pool_of(int device) {
  static std::map<int, CUmemPoolHandle_st> pools;
  return &pools[device];
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || device < 0 || device >= n)
    return fail(cudaErrorInvalidDevice);
  *pool = pool_of(device);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *pool, int device) {
  return cudaDeviceGetDefaultMemPool(pool, device);
}
static bool is_size(enum cudaMemPoolAttr a) { return a >= cudaMemPoolAttrReleaseThreshold; }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr a, void *value) {
  if (a > cudaMemPoolAttrReleaseThreshold) /* measured */
    return fail(cudaErrorInvalidValue);
  memcpy(&pool->settings[a], value, is_size(a) ? sizeof(uint64_t) : sizeof(int));
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr a, void *value) {
  if (a > cudaMemPoolAttrReleaseThreshold)
    return fail(cudaErrorNotSupported);
  memcpy(value, &pool->settings[a], is_size(a) ? sizeof(uint64_t) : sizeof(int));
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
cudaError_t cudaMallocFromPoolAsync(void **p, size_t n, cudaMemPool_t, cudaStream_t stream) {
  return cudaMallocAsync(p, n, stream);
}
}
