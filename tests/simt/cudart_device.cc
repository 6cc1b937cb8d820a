/* Stand-in for the CUDA runtime: devices, their properties, errors. */
#include "device_limits.h"
#include "streams.h"

#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace simt {
cudaError_t last_error, device_error;
cudaError_t fail(cudaError_t e) { return last_error = e; }
void break_device(int error) {
  if (device_error == cudaSuccess)
    device_error = (cudaError_t)error;
}
} // namespace simt
using simt::fail;

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
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || d < 0 || d >= n)
    return fail(cudaErrorInvalidDevice);
  memset(p, 0, sizeof *p);
  strcpy(p->name, "simulated GPU");
  snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "simulated %d", d % 1000);
  p->totalGlobalMem = (size_t)8 << 30;
  p->sharedMemPerBlock = DEFAULT_SHARED;
  p->sharedMemPerMultiprocessor = 228 * 1024;
  p->sharedMemPerBlockOptin = OPT_IN_SHARED;
  p->reservedSharedMemPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->memPitch = 0x7fffffff;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 0x7fffffff;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->clockRate = 1000000;
  p->memoryClockRate = 1000000;
  p->totalConstMem = 65536;
  p->textureAlignment = p->surfaceAlignment = 512;
  p->pciBusID = d + 1;
  p->texturePitchAlignment = 32;
  p->major = 9;
  p->multiProcessorCount = MULTIPROCESSORS;
  p->maxThreadsPerMultiProcessor = MULTIPROCESSOR_THREADS;
  p->maxBlocksPerMultiProcessor = MULTIPROCESSOR_BLOCKS;
  p->canMapHostMemory = p->deviceOverlap = p->concurrentKernels = p->unifiedAddressing = 1;
  p->streamPrioritiesSupported = p->globalL1CacheSupported = p->localL1CacheSupported = 1;
  p->managedMemory = p->concurrentManagedAccess = p->computePreemptionSupported = 1;
  p->canUseHostPointerForRegisteredMem = p->cooperativeLaunch = 1;
  p->memoryPoolsSupported = p->hostRegisterSupported = 1;
  p->singleToDoublePrecisionPerfRatio = 2;
  p->asyncEngineCount = 2;
  p->memoryBusWidth = 1024;
  p->l2CacheSize = 1 << 16;
  return cudaSuccess;
}
cudaError_t cudaChooseDevice(int *d, const struct cudaDeviceProp *) { return cudaGetDevice(d); }
static unsigned device_flags;
cudaError_t cudaSetDeviceFlags(unsigned flags) {
  device_flags = flags;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceFlags(unsigned *flags) {
  *flags = device_flags;
  return cudaSuccess;
}
static std::map<int, size_t> limits = {{cudaLimitStackSize, simt::STACK / 2},
                                       {cudaLimitPrintfFifoSize, 1 << 20},
                                       {cudaLimitMallocHeapSize, 8 << 20},
                                       {cudaLimitPersistingL2CacheSize, 0}};
cudaError_t cudaDeviceSetLimit(enum cudaLimit limit, size_t v) {
  if (limits.count(limit) == 0)
    return fail(cudaErrorInvalidValue);
  limits[limit] = v;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetLimit(size_t *v, enum cudaLimit limit) {
  if (limits.count(limit) == 0)
    return fail(cudaErrorInvalidValue);
  *v = limits[limit];
  return cudaSuccess;
}
cudaError_t cudaDeviceSetCacheConfig(enum cudaFuncCache) { return cudaSuccess; }
cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
cudaError_t cudaProfilerStop(void) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize(void) {
  if (simt::may_wait_for_all() != cudaSuccess)
    return simt::last_error;
  simt::finish_all();
  return simt::device_error;
}
cudaError_t cudaDeviceReset(void) {
  const cudaError_t e = cudaDeviceSynchronize();
  simt::device_error = simt::last_error = cudaSuccess;
  return e;
}
cudaError_t cudaDriverGetVersion(int *v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
  *v = CUDART_VERSION;
  return cudaSuccess;
}
/* What ended a kernel stays until the device is reset. */
cudaError_t cudaGetLastError(void) {
  const cudaError_t e = cudaPeekAtLastError();
  simt::last_error = cudaSuccess;
  return e;
}
cudaError_t cudaPeekAtLastError(void) {
  return simt::device_error != cudaSuccess ? simt::device_error : simt::last_error;
}
struct error_text {
  const char *name, *text;
};
static const std::map<int, error_text> errors = {
#define E(name, text) {name, {#name, text}},
    E(cudaSuccess, "no error") E(cudaErrorInvalidValue, "invalid argument") E(
        cudaErrorMemoryAllocation, "out of memory") E(cudaErrorInitializationError,
                                                      "initialization error")
        E(cudaErrorInvalidConfiguration, "invalid configuration argument") E(
            cudaErrorInvalidPitchValue,
            "invalid pitch argument") E(cudaErrorInvalidSymbol,
                                        "invalid device symbol") E(cudaErrorInvalidDevicePointer,
                                                                   "invalid device pointer")
            E(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy") E(
                cudaErrorInsufficientDriver,
                "CUDA driver version is insufficient for CUDA runtime "
                "version") E(cudaErrorMissingConfiguration,
                             "__global__ function call is not configured")
                E(cudaErrorInvalidDeviceFunction, "invalid device function") E(
                    cudaErrorNoDevice,
                    "no CUDA-capable device is detected") E(cudaErrorInvalidDevice,
                                                            "invalid device ordinal")
                    E(cudaErrorInvalidResourceHandle, "invalid resource handle") E(
                        cudaErrorIllegalState, "the operation cannot be performed in the present "
                                               "state") E(cudaErrorNotReady, "device not ready")
                        E(cudaErrorIllegalAddress, "an illegal memory access was encountered") E(
                            cudaErrorLaunchOutOfResources, "too many resources "
                                                           "requested for launch")
                            E(cudaErrorLaunchTimeout, "the launch timed out and was terminated") E(
                                cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled")
                                E(cudaErrorPeerAccessNotEnabled,
                                  "peer access has not been enabled") E(cudaErrorSetOnActiveProcess,
                                                                        "cannot set while device "
                                                                        "is active in this process")
                                    E(cudaErrorAssert, "device-side assert triggered") E(
                                        cudaErrorHostMemoryAlreadyRegistered,
                                        "part or all of the memory is already registered")
                                        E(cudaErrorHostMemoryNotRegistered,
                                          "pointer does not correspond to a registered memory "
                                          "region") E(cudaErrorMisalignedAddress,
                                                      "misaligned address")
                                            E(cudaErrorLaunchFailure, "unspecified launch failure")
                                                E(cudaErrorCooperativeLaunchTooLarge,
                                                  "too many blocks in cooperative launch")
                                                    E(cudaErrorNotPermitted,
                                                      "operation not "
                                                      "permitted") E(cudaErrorNotSupported,
                                                                     "operation not supported")
                                                        E(cudaErrorStreamCaptureUnsupported,
                                                          "operation not permitted when stream is "
                                                          "capturing")
                                                            E(cudaErrorStreamCaptureInvalidated,
                                                              "operation failed due to a previous "
                                                              "error during capture")
                                                                E(cudaErrorUnknown, "unknown error")
#undef E
};
const char *cudaGetErrorString(cudaError_t e) {
  const auto i = errors.find(e);
  return i != errors.end() ? i->second.text : "an error of the simulated device";
}
const char *cudaGetErrorName(cudaError_t e) {
  const auto i = errors.find(e);
  return i != errors.end() ? i->second.name : "an error of the simulated device";
}
}
