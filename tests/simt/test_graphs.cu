/* Graphs of captured streams: what they compute, what may not be done while streams are captured,
 * what an update takes, and the faults that are reported. */
#include <stdio.h>

#include "tests/simt/test.cuh"

__global__ void scale(float *y, const float *x, float a, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n)
    y[i] = a * x[i];
}
__global__ void sum(float *out, const float *x, const float *y, int n) {
  __shared__ float part[128];
  float s = 0.0f;
  for (int i = threadIdx.x; i < n; i += 128)
    s += x[i] + y[i];
  part[threadIdx.x] = s;
  __syncthreads();
  for (unsigned k = 64; k > 0; k >>= 1) {
    if (threadIdx.x < k)
      part[threadIdx.x] += part[threadIdx.x + k];
    __syncthreads();
  }
  if (threadIdx.x == 0)
    out[0] = part[0];
}

enum { N = 512 };
static float *x, *y, *z, *out, *up, *down;
static cudaStream_t first, second;
static cudaEvent_t fork_event, join_event;

/* up -> x; y = a x on one stream beside z = 2 x on the other; down = sum of both. */
enum fault { NO_FAULT, NO_JOIN, EARLY_SUM };
static cudaError_t work(float a, fault f) {
  cudaMemcpyAsync(x, up, N * 4, cudaMemcpyHostToDevice, first);
  cudaEventRecord(fork_event, first);
  cudaStreamWaitEvent(second, fork_event, 0);
  scale<<<N / 128, 128, 0, first>>>(y, x, a, N);
  scale<<<N / 128, 128, 0, second>>>(z, x, 2.0f, N);
  if (f == EARLY_SUM)
    sum<<<1, 128, 0, first>>>(out, y, z, N);
  cudaEventRecord(join_event, second);
  if (f != NO_JOIN)
    cudaStreamWaitEvent(first, join_event, 0);
  if (f != EARLY_SUM)
    sum<<<1, 128, 0, first>>>(out, y, z, N);
  return cudaMemcpyAsync(down, out, 4, cudaMemcpyDeviceToHost, first);
}
static cudaGraph_t captured(float a, fault f, cudaError_t expected) {
  cudaGraph_t graph;
  cudaStreamCaptureStatus status;
  CHECK(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  work(a, f);
  CHECK(cudaStreamIsCapturing(first, &status) == cudaSuccess &&
        status == cudaStreamCaptureStatusActive);
  CHECK(cudaStreamEndCapture(first, &graph) == expected);
  CHECK((graph != NULL) == (expected == cudaSuccess));
  cudaGetLastError();
  return graph;
}
/* Sums of launches with what is at `up` then. */
static void launch_some(cudaGraphExec_t exec, float a) {
  for (int turn = 1; turn < 4; turn++) {
    for (int i = 0; i < N; i++)
      up[i] = (float)turn;
    CHECK(cudaGraphLaunch(exec, first) == cudaSuccess);
    CHECK(cudaStreamSynchronize(first) == cudaSuccess);
    CHECK(down[0] == (a + 2.0f) * (float)(turn * N));
  }
}
static void test_launches() {
  size_t nodes = 0;
  cudaGraphExec_t exec;
  cudaGraph_t graph = captured(3.0f, NO_FAULT, cudaSuccess);
  CHECK(cudaGraphGetNodes(graph, NULL, &nodes) == cudaSuccess && nodes == 5);
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  down[0] = -1.0f; /* captured, not done */
  CHECK(cudaStreamSynchronize(first) == cudaSuccess && down[0] == -1.0f);
  launch_some(exec, 3.0f);
  CHECK(cudaGraphLaunch(exec, first) == cudaSuccess && cudaGraphLaunch(exec, first) == cudaSuccess);
  CHECK(cudaStreamSynchronize(first) == cudaSuccess && down[0] == 5.0f * 3 * N);

  cudaGraphExecUpdateResultInfo info;
  graph = captured(4.0f, NO_FAULT, cudaSuccess);
  CHECK(cudaGraphExecUpdate(exec, graph, &info) == cudaSuccess);
  cudaGraphDestroy(graph);
  launch_some(exec, 4.0f);
  cudaStreamBeginCapture(first, cudaStreamCaptureModeGlobal);
  cudaMemsetAsync(x, 0, N * 4, first);
  cudaStreamEndCapture(first, &graph);
  CHECK(cudaGraphExecUpdate(exec, graph, &info) == cudaErrorGraphExecUpdateFailure);
  CHECK(info.result == cudaGraphExecUpdateErrorTopologyChanged);
  cudaGetLastError();
  launch_some(exec, 4.0f);
  cudaGraphDestroy(graph);
  cudaGraphExecDestroy(exec);
  CHECK(cudaGetLastError() == cudaSuccess);
}

/* Calls that a capture does not outlive, and those that it forbids. */
static void test_forbidden() {
  cudaGraph_t graph;
  cudaEvent_t outside;
  cudaStream_t blocking;
  float *p = NULL;
  cudaEventCreate(&outside);
  cudaStreamCreate(&blocking);
  cudaEventRecord(outside, second);
  cudaDeviceSynchronize();
  for (int call = 0; call < 7; call++) {
    cudaError_t e = cudaSuccess, want = cudaErrorStreamCaptureUnsupported;
    const cudaStream_t s = call == 5 ? blocking : first;
    cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
    cudaMemsetAsync(x, 0, 4, s);
    cudaEventRecord(fork_event, s);
    switch (call) {
    case 0:
      e = cudaStreamSynchronize(s);
      break;
    case 1:
      e = cudaMalloc(&p, 4);
      break;
    case 2:
      e = cudaDeviceSynchronize();
      break;
    case 3:
      e = cudaEventQuery(fork_event);
      want = cudaErrorCapturedEvent;
      break;
    case 4:
      e = cudaStreamWaitEvent(s, outside, 0);
      want = cudaErrorStreamCaptureIsolation;
      break;
    case 5: /* the legacy stream would wait for one that is captured */
      e = cudaMemsetAsync(y, 0, 4, 0);
      want = cudaErrorStreamCaptureImplicit;
      break;
    default:
      e = cudaStreamQuery(s);
    }
    CHECK(e == want && p == NULL);
    CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && graph == NULL);
    cudaGetLastError();
  }
  CHECK(cudaStreamBeginCapture(0, cudaStreamCaptureModeGlobal) ==
        cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(first, &graph) == cudaErrorIllegalState);
  CHECK(cudaEventQuery(fork_event) == cudaErrorCapturedEvent); /* it was never recorded */
  cudaStreamBeginCapture(first, cudaStreamCaptureModeRelaxed);
  CHECK(cudaMalloc(&p, 4) == cudaSuccess && p != NULL);
  CHECK(cudaStreamEndCapture(first, &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  cudaFree(p);
  captured(1.0f, NO_JOIN, cudaErrorStreamCaptureUnjoined);
  cudaEventDestroy(outside);
  cudaStreamDestroy(blocking);
  cudaGetLastError();
}

static void test_faults(bool late) {
  const bool traced = simt_is_traced();
  cudaGraphExec_t exec;
  cudaGraph_t graph = captured(1.0f, EARLY_SUM, cudaSuccess);
  cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphLaunch(exec, first);
  cudaStreamSynchronize(first);
  CHECK(!traced || simt_reports(NULL) > 0); /* the sum reads what the other lane writes */
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);

  simt_reset();
  graph = captured(1.0f, NO_FAULT, cudaSuccess);
  cudaGraphInstantiate(&exec, graph, 0);
  cudaGraphLaunch(exec, first);
  up[7] += 1.0f;
  cudaStreamSynchronize(first);
  CHECK(!late || simt_reports(NULL) > 0); /* the host did not wait */

  simt_reset();
  cudaGraphLaunch(exec, first);
  cudaStreamSynchronize(first);
  CHECK(simt_reports(NULL) == 0);
  cudaFree(z);
  cudaGraphLaunch(exec, first);
  cudaStreamSynchronize(first);
  CHECK(!traced || simt_reports(NULL) > 0); /* the graph still has its address */
  cudaMalloc(&z, N * 4);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  simt_reset();
}

int main() {
  cudaMalloc(&x, N * 4);
  cudaMalloc(&y, N * 4);
  cudaMalloc(&z, N * 4);
  cudaMalloc(&out, 4);
  cudaMallocHost(&up, N * 4);
  cudaMallocHost(&down, 4);
  cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&fork_event, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&join_event, cudaEventDisableTiming);
  for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED, SIMT_SHUFFLED}) {
    const simt_settings s = {SIMT_RANDOM, streams, 3, 1, 1};
    simt_configure(&s);
    simt_reset();
    test_launches();
    test_forbidden();
    const char *text;
    CHECK(simt_reports(&text) == 0 || printf("%s", text) == 0);
    test_faults(streams == SIMT_LAZY);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
