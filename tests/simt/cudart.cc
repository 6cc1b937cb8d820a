/* Stand-in for the CUDA runtime's host API. */
#include "streams.h"

#include <cuda_runtime_api.h>

#include "include/simt_core.h"

#include "include/simt_launch.h"

#include <map>
#include <memory>
#include <stdlib.h>
#include <string.h>

static cudaError_t last_error;
static std::map<const void *, int> shared_limits;
static double now_ms; /* events are a millisecond apart */
enum { DEFAULT_SHARED = 48 * 1024, OPT_IN_SHARED = 227 * 1024 };

cudaError_t simt::fail(cudaError_t e) { return last_error = e; }
using simt::fail;
static bool is_pinned(const void *p) {
  const simt::allocation *a = simt::find_allocation(p);
  return a != NULL && a->live && a->kind == simt::PINNED &&
         static_cast<const unsigned char *>(p) < a->at + a->bytes;
}
static uint64_t checksum(const void *p, size_t n) {
  uint64_t h = 1469598103934665603ull;
  for (size_t i = 0; i < n; i++)
    h = (h ^ static_cast<const unsigned char *>(p)[i]) * 1099511628211ull;
  return h;
}

namespace simt {
job *new_job(const char *name, const void *function, const config &c, size_t param_bytes,
             void (*call)(const void *)) {
  job *j = static_cast<job *>(malloc(sizeof(job) + param_bytes));
  j->name = name;
  j->function = function;
  j->grid = c.grid;
  j->block = c.block;
  j->shared_bytes = c.shared_bytes;
  j->param_bytes = param_bytes;
  j->call = call;
  return j;
}
void submit(job *j, cudaStream_t stream) {
  const dim3 g = j->grid, b = j->block;
  const uint64_t n = (uint64_t)b.x * b.y * b.z;
  const auto limit = shared_limits.find(j->function);
  const size_t shared = limit != shared_limits.end() ? (size_t)limit->second
                        : j->function != NULL        ? (size_t)DEFAULT_SHARED
                                                     : (size_t)OPT_IN_SHARED;
  if (stream_of(stream)->device != current_device && stream_of(stream)->id != 0) {
    fail(cudaErrorInvalidResourceHandle);
    free(j);
    return;
  }
  if (n == 0 || n > 1024 || b.z > 64 || g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu ||
      g.y > 65535 || g.z > 65535 || j->shared_bytes > shared) {
    fail(j->shared_bytes > shared ? cudaErrorInvalidValue : cudaErrorInvalidConfiguration);
    free(j);
    return;
  }
  const std::shared_ptr<job> kept(j, free); /* a launch in a graph runs many times */
  node k;
  k.type = node::KERNEL;
  k.make = [kept] {
    operation o;
    o.name = kept->name;
    o.run = [kept] {
      run(kept.get());
      return true;
    };
    return o;
  };
  put(stream, std::move(k));
}
} // namespace simt

extern "C" {
/* Devices differ in number and name only: memory and multiprocessors are the same simulated ones.
 */
cudaError_t cudaGetDeviceCount(int *n) {
  const char *text = getenv("SIMT_DEVICES");
  *n = text != NULL ? atoi(text) : 8;
  return *n > 0 ? cudaSuccess : fail(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int *d) {
  *d = simt::current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int d) {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || d < 0 || d >= n)
    return fail(cudaErrorInvalidDevice);
  simt::current_device = d;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "simulated GPU");
  snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "simulated %d", d);
  p->totalGlobalMem = (size_t)8 << 30;
  p->sharedMemPerBlock = DEFAULT_SHARED;
  p->sharedMemPerMultiprocessor = 228 * 1024;
  p->sharedMemPerBlockOptin = OPT_IN_SHARED;
  p->regsPerBlock = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->major = 9;
  p->multiProcessorCount = 4; /* few, so that persistent kernels walk several rows a block */
  p->maxThreadsPerMultiProcessor = 2048;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int) {
  static const std::map<int, int> values = {
      {cudaDevAttrMaxThreadsPerBlock, 1024},
      {cudaDevAttrMaxSharedMemoryPerBlock, DEFAULT_SHARED},
      {cudaDevAttrWarpSize, 32},
      {cudaDevAttrMultiProcessorCount, 4},
      {cudaDevAttrL2CacheSize, 1 << 16},
      {cudaDevAttrComputeCapabilityMajor, 9},
      {cudaDevAttrComputeCapabilityMinor, 0},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 228 * 1024},
      {cudaDevAttrManagedMemory, 1},
      {cudaDevAttrConcurrentManagedAccess, 1},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, OPT_IN_SHARED}};
  const auto i = values.find(a);
  if (i == values.end())
    return fail(cudaErrorInvalidValue);
  *v = i->second;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  if (simt::may_wait_for_all() != cudaSuccess)
    return last_error;
  simt::finish_all();
  return cudaSuccess;
}
cudaError_t cudaDeviceReset(void) { return cudaDeviceSynchronize(); }
cudaError_t cudaDriverGetVersion(int *v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetLastError(void) {
  const cudaError_t e = last_error;
  last_error = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }
const char *cudaGetErrorString(cudaError_t e) {
  switch (e) {
  case cudaSuccess:
    return "no error";
  case cudaErrorInvalidValue:
    return "invalid argument";
  case cudaErrorMemoryAllocation:
    return "out of memory";
  case cudaErrorInvalidConfiguration:
    return "invalid configuration argument";
  case cudaErrorNotReady:
    return "device not ready";
  case cudaErrorStreamCaptureUnsupported:
    return "operation not permitted when stream is capturing";
  case cudaErrorStreamCaptureInvalidated:
    return "operation failed due to a previous error during capture";
  default:
    return "an error of the simulated device";
  }
}
const char *cudaGetErrorName(cudaError_t e) { return cudaGetErrorString(e); }

static cudaError_t allocate(void **p, size_t n, simt::memory_kind kind) {
  if (simt::may_allocate() != cudaSuccess)
    return last_error;
  *p = n > 0 ? simt::allocate(n, kind) : NULL;
  return n == 0 || *p != NULL ? cudaSuccess : fail(cudaErrorMemoryAllocation);
}
cudaError_t cudaMalloc(void **p, size_t n) { return allocate(p, n, simt::DEVICE); }
cudaError_t cudaMallocManaged(void **p, size_t n, unsigned) {
  return allocate(p, n, simt::MANAGED);
}
cudaError_t cudaMallocHost(void **p, size_t n) { return allocate(p, n, simt::PINNED); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned) { return allocate(p, n, simt::PINNED); }
cudaError_t cudaMallocAsync(void **p, size_t n, cudaStream_t) { return cudaMalloc(p, n); }
cudaError_t cudaFree(void *p) {
  if (simt::may_allocate() != cudaSuccess)
    return last_error;
  simt::finish_all();
  return p == NULL || simt::release(p) ? cudaSuccess : fail(cudaErrorInvalidValue);
}
/* Waits for nothing that it need not: a copy that is still queued is reported when it runs. */
cudaError_t cudaFreeHost(void *p) {
  if (simt::may_allocate() != cudaSuccess)
    return last_error;
  return p == NULL || simt::release(p) ? cudaSuccess : fail(cudaErrorInvalidValue);
}
cudaError_t cudaFreeAsync(void *p, cudaStream_t stream) {
  simt::operation o;
  o.name = "cudaFreeAsync";
  o.run = [p] {
    simt::release(p);
    return true;
  };
  simt::push(stream, std::move(o));
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  const simt::allocation *m = simt::find_allocation(p);
  memset(a, 0, sizeof *a);
  if (m == NULL || !m->live || static_cast<const unsigned char *>(p) >= m->at + m->bytes)
    return cudaSuccess; /* unregistered */
  a->type = m->kind == simt::DEVICE    ? cudaMemoryTypeDevice
            : m->kind == simt::MANAGED ? cudaMemoryTypeManaged
                                       : cudaMemoryTypeHost;
  a->device = simt::current_device;
  a->devicePointer = a->hostPointer = const_cast<void *>(p);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
  *left = *total = (size_t)8 << 30;
  return cudaSuccess;
}

/* In a graph, the host's memory is read and written by every launch. */
static simt::operation make_copy(void *to, const void *from, size_t n, bool from_host,
                                 const std::shared_ptr<void> &staged) {
  const uint64_t sum = from_host && staged == NULL ? checksum(from, n) : 0;
  if (is_pinned(to) && simt::settings.streams != SIMT_EAGER)
    memset(to, 0xff, n); /* not there yet */
  simt::operation o;
  o.name = "cudaMemcpyAsync";
  o.run = [=] {
    if (from_host && staged == NULL && sum != checksum(from, n))
      simt::report("the host changed the source of a cudaMemcpyAsync before the copy had run");
    simt::stream_access(from, n, false);
    simt::stream_access(to, n, true);
    memmove(to, from, n);
    simt::mark_written(to, n);
    return true;
  };
  return o;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind,
                            cudaStream_t stream) {
  const bool from_host = !simt::is_device_memory(from), to_host = !simt::is_device_memory(to);
  const bool captured = simt::capture_of(stream) != NULL;
  std::shared_ptr<void> staged;
  if (from_host && !captured && !is_pinned(from)) { /* is staged before the call returns */
    staged.reset(malloc(n > 0 ? n : 1), free);
    from = memcpy(staged.get(), from, n);
  }
  simt::node copy;
  copy.type = simt::node::COPY;
  copy.memory = from_host | to_host << 1;
  copy.make = [=] { return make_copy(to, from, n, from_host, staged); };
  const cudaError_t e = simt::put(stream, std::move(copy));
  if (e == cudaSuccess && to_host && !captured && !is_pinned(to))
    simt::finish_stream(simt::stream_of(stream));
  return e;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
  if (simt::may_wait_for_all() != cudaSuccess)
    return last_error;
  simt::finish_all();
  cudaMemcpyAsync(to, from, n, kind, 0);
  return cudaStreamSynchronize(0);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch)
    return fail(cudaErrorInvalidValue);
  for (size_t y = 0; y < height; y++)
    cudaMemcpyAsync(static_cast<char *>(to) + y * to_pitch,
                    static_cast<const char *>(from) + y * from_pitch, width, kind, stream);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t stream) {
  simt::node set;
  set.type = simt::node::SET;
  set.make = [=] {
    simt::operation o;
    o.name = "cudaMemsetAsync";
    o.run = [=] {
      simt::stream_access(p, n, true);
      memset(p, v, n);
      simt::mark_written(p, n);
      return true;
    };
    return o;
  };
  return simt::put(stream, std::move(set));
}
cudaError_t cudaMemset(void *p, int v, size_t n) { return cudaMemsetAsync(p, v, n, 0); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
  *s = simt::new_stream(flags != cudaStreamNonBlocking);
  return *s != NULL ? cudaSuccess : fail(cudaErrorMemoryAllocation);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int) {
  return cudaStreamCreateWithFlags(s, flags);
}
cudaError_t cudaStreamCreate(cudaStream_t *s) { return cudaStreamCreateWithFlags(s, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  simt::drop_stream(s);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (simt::may_wait_for(s) != cudaSuccess)
    return last_error;
  simt::finish_stream(simt::stream_of(s));
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t s) {
  if (simt::may_wait_for(s) != cudaSuccess)
    return last_error;
  simt::stream_of(s);
  simt::advance_some();
  if (!simt::stream_of(s)->queue.empty())
    return cudaErrorNotReady;
  simt::host_clock().join(simt::stream_of(s)->clock);
  return cudaSuccess;
}
/* The end of an operation of an event, which may be destroyed before. */
static bool leave(cudaEvent_t e) {
  if (--e->queued == 0 && e->destroyed)
    delete e;
  return true;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  cudaError_t result;
  if (simt::capture_wait(s, e, &result))
    return result;
  if (e->recorded == 0)
    return cudaSuccess;
  simt::stream_of(s)->clock.join(e->clock);
  const long need = e->recorded;
  simt::operation o;
  o.name = "cudaStreamWaitEvent";
  e->queued++;
  o.ready = [e, need] { return e->done >= need; };
  o.run = [e] { return leave(e); };
  simt::push(s, std::move(o));
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
  *e = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  e->queued++;
  e->destroyed = true;
  leave(e);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  if (simt::capture_record(e, s))
    return cudaSuccess;
  const long number = ++e->recorded;
  simt::operation o;
  o.name = "cudaEventRecord";
  e->queued++;
  o.run = [e, number] {
    e->done = number > e->done ? number : e->done;
    e->ms = now_ms += 1.0;
    return leave(e);
  };
  simt::push(s, std::move(o));
  e->clock = simt::stream_of(s)->clock;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  if (simt::may_look_at(e) != cudaSuccess)
    return last_error;
  simt::finish_event(e);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t e) {
  if (simt::may_look_at(e) != cudaSuccess)
    return last_error;
  simt::stream_of(0);
  simt::advance_some();
  if (e->done < e->recorded)
    return cudaErrorNotReady;
  simt::host_clock().join(e->clock);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
  if (a->recorded == 0 || b->recorded == 0)
    return fail(cudaErrorInvalidResourceHandle);
  if (a->done < a->recorded || b->done < b->recorded)
    return fail(cudaErrorNotReady);
  *ms = (float)(b->ms - a->ms);
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) {
  if (a != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return cudaSuccess;
  if (v < 0 || v > OPT_IN_SHARED)
    return fail(cudaErrorInvalidValue);
  shared_limits[f] = v;
  return cudaSuccess;
}
cudaError_t cudaFuncSetCacheConfig(const void *, enum cudaFuncCache) { return cudaSuccess; }
}
