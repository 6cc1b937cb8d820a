/* Stand-in for the CUDA runtime: attributes of devices, of pairs of them and of streams. */
#include "device_limits.h"
#include "streams.h"

#include <map>
#include <stdio.h>
#include <string.h>

using simt::fail;

static bool is_device(int d) {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess && d >= 0 && d < n;
}

extern "C" {
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
  if (!is_device(d))
    return fail(cudaErrorInvalidDevice);
  if (a == cudaDevAttrPciBusId) {
    *v = d + 1;
    return cudaSuccess;
  }
  static const std::map<int, int> values = {
      {cudaDevAttrMaxThreadsPerBlock, 1024},
      {cudaDevAttrMaxBlockDimX, 1024},
      {cudaDevAttrMaxBlockDimY, 1024},
      {cudaDevAttrMaxBlockDimZ, 64},
      {cudaDevAttrMaxGridDimX, 0x7fffffff},
      {cudaDevAttrMaxGridDimY, 65535},
      {cudaDevAttrMaxGridDimZ, 65535},
      {cudaDevAttrMaxSharedMemoryPerBlock, DEFAULT_SHARED},
      {cudaDevAttrTotalConstantMemory, 65536},
      {cudaDevAttrWarpSize, 32},
      {cudaDevAttrMaxRegistersPerBlock, 65536},
      {cudaDevAttrMaxRegistersPerMultiprocessor, 65536},
      {cudaDevAttrClockRate, 1000000},
      {cudaDevAttrMemoryClockRate, 1000000},
      {cudaDevAttrGlobalMemoryBusWidth, 1024},
      {cudaDevAttrMultiProcessorCount, MULTIPROCESSORS},
      {cudaDevAttrMaxThreadsPerMultiProcessor, MULTIPROCESSOR_THREADS},
      {cudaDevAttrMaxBlocksPerMultiprocessor, MULTIPROCESSOR_BLOCKS},
      {cudaDevAttrCanMapHostMemory, 1},
      {cudaDevAttrComputeMode, 0},
      {cudaDevAttrKernelExecTimeout, 0},
      {cudaDevAttrIntegrated, 0},
      {cudaDevAttrGpuOverlap, 1},
      {cudaDevAttrHostNativeAtomicSupported, 0},
      {cudaDevAttrMemoryPoolSupportedHandleTypes, 0},
      {cudaDevAttrConcurrentKernels, 1},
      {cudaDevAttrAsyncEngineCount, 2},
      {cudaDevAttrUnifiedAddressing, 1},
      {cudaDevAttrStreamPrioritiesSupported, 1},
      {cudaDevAttrPageableMemoryAccess, 0},
      {cudaDevAttrComputePreemptionSupported, 1},
      {cudaDevAttrCooperativeLaunch, 1},
      {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
      {cudaDevAttrMemoryPoolsSupported, 1},
      {cudaDevAttrL2CacheSize, 1 << 16},
      {cudaDevAttrComputeCapabilityMajor, 9},
      {cudaDevAttrComputeCapabilityMinor, 0},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 228 * 1024},
      {cudaDevAttrManagedMemory, 1},
      {cudaDevAttrConcurrentManagedAccess, 1},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, OPT_IN_SHARED},
      {cudaDevAttrMaxPitch, 0x7fffffff},
      {cudaDevAttrTextureAlignment, 512},
      {cudaDevAttrSurfaceAlignment, 512},
      {cudaDevAttrTexturePitchAlignment, 32},
      {cudaDevAttrEccEnabled, 0},
      {cudaDevAttrPciDeviceId, 0},
      {cudaDevAttrPciDomainId, 0},
      {cudaDevAttrTccDriver, 0},
      {cudaDevAttrGlobalL1CacheSupported, 1},
      {cudaDevAttrLocalL1CacheSupported, 1},
      {cudaDevAttrIsMultiGpuBoard, 0},
      {cudaDevAttrMultiGpuBoardGroupID, 0},
      {cudaDevAttrSingleToDoublePrecisionPerfRatio, 2},
      {cudaDevAttrCanUseHostPointerForRegisteredMem, 1},
      {cudaDevAttrHostRegisterSupported, 1},
      {cudaDevAttrPageableMemoryAccessUsesHostPageTables, 0},
      {cudaDevAttrDirectManagedMemAccessFromHost, 0},
      {cudaDevAttrMaxPersistingL2CacheSize, 0},
      {cudaDevAttrMaxAccessPolicyWindowSize, 0},
      {cudaDevAttrClusterLaunch, 0}};
  const auto i = values.find(a);
  if (i == values.end())
    return fail(cudaErrorInvalidValue);
  *v = i->second;
  return cudaSuccess;
}
/* Every device can read every other one's memory, as if over NVLink; a program asks once a pair. */
static std::map<std::pair<int, int>, bool> peers;
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) {
  if (!is_device(device) || !is_device(peer))
    return fail(cudaErrorInvalidDevice);
  *can = device != peer;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  if (peer == simt::current_device || !is_device(peer))
    return fail(cudaErrorInvalidDevice);
  bool &open = peers[{simt::current_device, peer}];
  if (open)
    return fail(cudaErrorPeerAccessAlreadyEnabled);
  open = true;
  return cudaSuccess;
}
cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  return peers.erase({simt::current_device, peer}) > 0 ? cudaSuccess
                                                       : fail(cudaErrorPeerAccessNotEnabled);
}
cudaError_t cudaDeviceGetP2PAttribute(int *v, enum cudaDeviceP2PAttr a, int device, int peer) {
  if (!is_device(device) || !is_device(peer) || device == peer)
    return fail(cudaErrorInvalidDevice);
  if (a < cudaDevP2PAttrPerformanceRank || a > cudaDevP2PAttrCudaArrayAccessSupported)
    return fail(cudaErrorInvalidValue);
  *v = a == cudaDevP2PAttrAccessSupported || a == cudaDevP2PAttrNativeAtomicSupported;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *id, int bytes, int d) {
  if (!is_device(d))
    return fail(cudaErrorInvalidDevice);
  return snprintf(id, (size_t)bytes, "0000:%02X:00.0", d + 1) < bytes ? cudaSuccess
                                                                      : fail(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceGetByPCIBusId(int *d, const char *id) {
  unsigned domain = 0, bus = 0;
  if (sscanf(id, "%x:%x", &domain, &bus) != 2 || domain != 0 || !is_device((int)bus - 1))
    return fail(cudaErrorInvalidDevice);
  *d = (int)bus - 1;
  return cudaSuccess;
}
/* Caches are not simulated: a window of what should stay in them is kept and changes nothing. */
static std::map<cudaStream_t, cudaAccessPolicyWindow> windows;
cudaError_t cudaStreamSetAttribute(cudaStream_t s, cudaLaunchAttributeID a,
                                   const cudaLaunchAttributeValue *v) {
  if (a == cudaLaunchAttributePriority) {
    simt::stream_of(s)->priority = v->priority;
    return cudaSuccess;
  }
  if (a != cudaLaunchAttributeAccessPolicyWindow)
    return fail(cudaErrorInvalidValue);
  const cudaAccessPolicyWindow &w = v->accessPolicyWindow;
  if (!(w.hitRatio >= 0.0f && w.hitRatio <= 1.0f) || w.missProp == cudaAccessPropertyPersisting)
    return fail(cudaErrorInvalidValue);
  windows[s] = w;
  return cudaSuccess;
}
cudaError_t cudaStreamGetAttribute(cudaStream_t s, cudaLaunchAttributeID a,
                                   cudaLaunchAttributeValue *v) {
  memset(v, 0, sizeof *v);
  if (a == cudaLaunchAttributePriority)
    return cudaStreamGetPriority(s, &v->priority);
  if (a != cudaLaunchAttributeAccessPolicyWindow)
    return fail(cudaErrorInvalidValue);
  if (windows.count(s) > 0)
    v->accessPolicyWindow = windows[s];
  return cudaSuccess;
}
cudaError_t cudaCtxResetPersistingL2Cache(void) { return cudaSuccess; }
}
