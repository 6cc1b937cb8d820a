/* Stand-in for the CUDA runtime's host API. */
#include "streams.h"

#include <cuda_runtime_api.h>

#include "include/simt_core.h"

#include "include/simt_launch.h"

#include <map>
#include <memory>
#include <stdlib.h>
#include <string.h>

static double now_ms; /* events are a millisecond apart */

using simt::fail;
using simt::last_error;
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

extern "C" {
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
/* Where managed memory stands changes nothing but what migrate.cc counts. */
static bool is_managed(const void *p, size_t n) {
  const simt::allocation *a = simt::find_allocation(p);
  return a != NULL && a->live && a->kind == simt::MANAGED &&
         static_cast<const unsigned char *>(p) + n <= a->at + a->bytes;
}
cudaError_t cudaMemAdvise(const void *p, size_t n, enum cudaMemoryAdvise, struct cudaMemLocation) {
  return is_managed(p, n) ? cudaSuccess : fail(cudaErrorInvalidValue);
}
cudaError_t cudaMemPrefetchAsync(const void *p, size_t n, struct cudaMemLocation, unsigned flags,
                                 cudaStream_t) {
  return flags == 0 && is_managed(p, n) ? cudaSuccess : fail(cudaErrorInvalidValue);
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
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority) {
  const cudaError_t e = cudaStreamCreateWithFlags(s, flags);
  if (e == cudaSuccess)
    (*s)->priority = priority > 0 ? 0 : priority < -5 ? -5 : priority;
  return e;
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
  return simt::device_error;
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
  return simt::device_error;
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
}
