/* Host code of several streams: right when every wait is there, reported when one is missing, in
 * every order in which queued operations may start. */
#include <stdio.h>

#include "tests/simt/simt.h"

static int passed, failed;
#define CHECK(x)                                                                                   \
  do {                                                                                             \
    const bool good_ = (x);                                                                        \
    good_ ? passed++ : failed++;                                                                   \
    if (!good_)                                                                                    \
      printf("%s:%d: not so: %s (fault %d)\n", __FILE__, __LINE__, #x, fault);                     \
  } while (0)
__global__ void twice(float *y, const float *x, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    y[i] = 2.0f * x[i];
}
enum { N = 256 };
/* fault 0 none, 1 no event after the upload, 2 none before the download, 3 the source is changed
 * too early, 4 the result is read too early, 5 the buffer is overwritten while another stream reads
 * it, 6 the source is freed too early */
static float pipeline(int fault) {
  float *x, *y, *up, *down;
  cudaStream_t copy, compute;
  cudaEvent_t uploaded, computed;
  cudaMalloc(&x, N * 4);
  cudaMalloc(&y, N * 4);
  cudaMallocHost(&up, N * 4);
  cudaMallocHost(&down, N * 4);
  cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&uploaded, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&computed, cudaEventDisableTiming);
  for (int i = 0; i < N; i++)
    up[i] = (float)i;
  cudaMemcpyAsync(x, up, N * 4, cudaMemcpyHostToDevice, copy);
  if (fault == 3)
    up[5] = 1000.0f;
  if (fault == 6)
    cudaFreeHost(up);
  cudaEventRecord(uploaded, copy);
  if (fault != 1)
    cudaStreamWaitEvent(compute, uploaded, 0);
  twice<<<1, 64, 0, compute>>>(y, x, N);
  if (fault == 5)
    cudaMemsetAsync(x, 0, N * 4, copy);
  cudaEventRecord(computed, compute);
  if (fault != 2)
    cudaStreamWaitEvent(copy, computed, 0);
  cudaMemcpyAsync(down, y, N * 4, cudaMemcpyDeviceToHost, copy);
  if (fault != 4)
    cudaStreamSynchronize(copy);
  float sum = 0.0f;
  for (int i = 0; i < N; i++)
    sum += down[i];
  cudaDeviceSynchronize();
  cudaFree(x);
  cudaFree(y);
  if (fault != 6)
    cudaFreeHost(up);
  cudaFreeHost(down);
  cudaEventDestroy(uploaded);
  cudaEventDestroy(computed);
  cudaStreamDestroy(copy);
  cudaStreamDestroy(compute);
  return sum;
}
/* Times exist between events that were recorded and have passed. */
static void time_of_events(simt_streams streams) {
  cudaStream_t stream;
  cudaEvent_t from, to;
  const int fault = 0;
  float ms = 0.0f;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaEventCreate(&from);
  cudaEventCreate(&to);
  cudaEventRecord(to, stream);
  CHECK(cudaEventElapsedTime(&ms, from, to) == cudaErrorInvalidResourceHandle);
  cudaEventRecord(from, stream);
  cudaEventRecord(to, stream);
  CHECK(streams != SIMT_LAZY || cudaEventElapsedTime(&ms, from, to) == cudaErrorNotReady);
  cudaEventSynchronize(to);
  CHECK(cudaEventElapsedTime(&ms, from, to) == cudaSuccess && ms > 0.0f);
  cudaEventRecord(from, stream);
  cudaEventDestroy(from); /* is still to pass */
  cudaEventDestroy(to);
  cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  cudaGetLastError();
}
int main() {
  const float right = (float)(N * (N - 1));
  for (int fault = 0; fault < 7; fault++)
    for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED, SIMT_SHUFFLED}) {
      const simt_settings s = {SIMT_ASCENDING, streams, 1, 1, 1};
      simt_configure(&s);
      simt_reset();
      const float sum = pipeline(fault);
      const int reports = simt_reports(NULL);
      if (fault == 0)
        CHECK(sum == right && reports == 0);
      else if (fault == 3 || fault == 4 || fault == 6) /* shows only when the copy runs late */
        CHECK(streams == SIMT_EAGER || streams == SIMT_SHUFFLED || reports > 0 || sum != right);
      else
        CHECK(!simt_is_traced() || reports > 0);
    }
  for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED}) {
    const simt_settings s = {SIMT_ASCENDING, streams, 1, 1, 1};
    simt_configure(&s);
    time_of_events(streams);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
