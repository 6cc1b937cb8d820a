/* Stand-in for the CUDA runtime: launches of kernels and of host functions, occupancy. */
#include "device_limits.h"
#include "fiber.h"
#include "streams.h"

#include <map>
#include <memory>
#include <stdlib.h>
#include <string.h>

using simt::fail;
static std::map<const void *, int> shared_limits;

/* Blocks of a multiprocessor by threads and shared memory; registers are not known. */
static int blocks_that_fit(int threads, size_t shared) {
  if (threads < 1 || threads > 1024 || shared > OPT_IN_SHARED)
    return 0;
  const int warps = (threads + 31) / 32, by_threads = MULTIPROCESSOR_THREADS / 32 / warps;
  const int by_shared = (int)(228 * 1024 / (shared + 1024));
  const int n = by_threads < by_shared ? by_threads : by_shared;
  return n < MULTIPROCESSOR_BLOCKS ? n : (int)MULTIPROCESSOR_BLOCKS;
}

namespace simt {
job *new_job(const char *name, const void *function, const config &c, size_t param_bytes,
             void (*call)(const void *)) {
  if (self != NULL) {
    report("%s is launched by a kernel, which is not simulated", name);
    leave_block(BROKEN);
  }
  job *j = static_cast<job *>(malloc(sizeof(job) + param_bytes));
  j->name = name;
  j->function = function;
  j->grid = c.grid;
  j->block = c.block;
  j->shared_bytes = c.shared_bytes;
  j->param_bytes = param_bytes;
  j->cooperative = c.cooperative;
  j->call = call;
  return j;
}
bool unlaunched() {
  if (self != NULL)
    return false;
  fail(cudaErrorMissingConfiguration);
  return true;
}
static cudaError_t refused(const job *j, cudaStream_t stream) {
  const dim3 g = j->grid, b = j->block;
  const uint64_t n = (uint64_t)b.x * b.y * b.z, blocks = (uint64_t)g.x * g.y * g.z;
  const auto limit = shared_limits.find(j->function);
  const size_t shared = limit != shared_limits.end() ? (size_t)limit->second
                        : j->function != NULL        ? (size_t)DEFAULT_SHARED
                                                     : (size_t)OPT_IN_SHARED;
  if (stream_of(stream)->device != current_device && stream_of(stream)->id != 0)
    return cudaErrorInvalidResourceHandle;
  if (j->shared_bytes > shared)
    return cudaErrorInvalidValue;
  if (n == 0 || n > 1024 || b.z > 64 || g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu ||
      g.y > 65535 || g.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (j->cooperative &&
      blocks > (uint64_t)MULTIPROCESSORS * (uint64_t)blocks_that_fit((int)n, j->shared_bytes))
    return cudaErrorCooperativeLaunchTooLarge;
  return cudaSuccess;
}
cudaError_t submit(job *j, cudaStream_t stream) {
  const std::shared_ptr<job> kept(j, free); /* a launch in a graph runs many times */
  const cudaError_t e = refused(j, stream);
  if (e != cudaSuccess)
    return fail(e);
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
  return put(stream, std::move(k));
}

/* Kernels whose address was taken as a void pointer, with what knows their parameters' types. */
struct known_kernel {
  const char *name;
  launcher launch;
};
static std::map<const void *, known_kernel> known;
const void *remember_kernel(const void *function, const char *name, launcher l) {
  known[function] = {name, l};
  return function;
}
config::config(const cudaLaunchConfig_t &c)
    : grid(c.gridDim), block(c.blockDim), shared_bytes(c.dynamicSmemBytes), stream(c.stream) {
  for (unsigned i = 0; i < c.numAttrs; i++) {
    const cudaLaunchAttribute &a = c.attrs[i];
    if (a.id == cudaLaunchAttributeCooperative)
      cooperative = a.val.cooperative != 0;
    else if (a.id == cudaLaunchAttributeClusterDimension &&
             a.val.clusterDim.x * a.val.clusterDim.y * a.val.clusterDim.z > 1)
      clusters = true;
  }
}
static cudaError_t launch_known(const void *function, const config &c, void **args) {
  const auto k = known.find(function);
  if (k == known.end())
    return fail(cudaErrorInvalidDeviceFunction);
  return c.clusters ? fail(cudaErrorNotSupported)
                    : k->second.launch(function, k->second.name, c, args);
}
} // namespace simt

extern "C" {
cudaError_t cudaLaunchKernel(const void *f, dim3 grid, dim3 block, void **args, size_t shared_bytes,
                             cudaStream_t stream) {
  return simt::launch_known(f, simt::config(grid, block, shared_bytes, stream), args);
}
cudaError_t cudaLaunchCooperativeKernel(const void *f, dim3 grid, dim3 block, void **args,
                                        size_t shared_bytes, cudaStream_t stream) {
  simt::config c(grid, block, shared_bytes, stream);
  c.cooperative = true;
  return simt::launch_known(f, c, args);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **args) {
  return simt::launch_known(f, simt::config(*c), args);
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
/* Registers and static shared memory are not known: numbers of a middling kernel. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
  memset(a, 0, sizeof *a);
  const auto limit = shared_limits.find(f);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 32;
  a->ptxVersion = a->binaryVersion = 90;
  a->maxDynamicSharedSizeBytes = limit != shared_limits.end() ? limit->second : DEFAULT_SHARED;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *, int threads,
                                                          size_t shared) {
  *n = blocks_that_fit(threads, shared);
  return threads > 0 ? cudaSuccess : fail(cudaErrorInvalidValue);
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f,
                                                                   int threads, size_t shared,
                                                                   unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, f, threads, shared);
}
cudaError_t cudaOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, const void *, int blocks,
                                                      int threads) {
  if (blocks < 1 || blocks > blocks_that_fit(threads, 0))
    return fail(cudaErrorInvalidValue);
  const size_t each = (size_t)(228 * 1024 / blocks) - 1024;
  *bytes = each < OPT_IN_SHARED ? each : (size_t)OPT_IN_SHARED;
  return cudaSuccess;
}

/* A function of the host, when the stream comes to it. */
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t f, void *data) {
  simt::node call;
  call.type = simt::node::LIBRARY;
  call.make = [=] {
    simt::operation o;
    o.name = "cudaLaunchHostFunc";
    o.run = [=] {
      f(data);
      return true;
    };
    return o;
  };
  return simt::put(stream, std::move(call));
}
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t f, void *data,
                                  unsigned flags) {
  if (flags != 0)
    return fail(cudaErrorInvalidValue);
  simt::operation o;
  o.name = "cudaStreamAddCallback";
  o.run = [=] {
    f(stream, simt::device_error, data);
    return true;
  };
  if (simt::may_wait_for(stream) != cudaSuccess)
    return simt::last_error;
  simt::push(stream, std::move(o));
  return cudaSuccess;
}
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *priority) {
  *priority = simt::stream_of(s)->priority;
  return cudaSuccess;
}
cudaError_t cudaStreamGetFlags(cudaStream_t s, unsigned *flags) {
  *flags = simt::stream_of(s)->blocking ? cudaStreamDefault : cudaStreamNonBlocking;
  return cudaSuccess;
}
cudaError_t cudaStreamAttachMemAsync(cudaStream_t, void *p, size_t, unsigned) {
  return simt::find_allocation(p) != NULL ? cudaSuccess : fail(cudaErrorInvalidValue);
}
}
