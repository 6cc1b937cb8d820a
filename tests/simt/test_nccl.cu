/* Collectives between processes: right in every order in which queued operations may start, and
 * each fault reported: an event left out, ranks that call different things, a rank that does not
 * come. */
#include <nccl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/simt/simt.h"

enum { RANKS = 3, N = 1000 }; /* N is no multiple of anything */
enum fault { NONE, NO_WAIT_BEFORE, NO_WAIT_AFTER, OTHER_COUNT, OTHER_CALL, ABSENT };
static const char *const names[] = {"none",        "no event before", "no event after",
                                    "other count", "other call",      "absent"};
enum { GOOD = 0, WRONG = 1, REPORTED = 2 };

__global__ void fill(float *x, int n, float first, float step) {
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    x[i] = first + step * (float)i;
}
__global__ void twice(float *x, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    x[i] *= 2.0f;
}
static ncclResult_t settled(ncclComm_t c, ncclResult_t r) {
  while (r == ncclInProgress)
    ncclCommGetAsyncError(c, &r);
  return r;
}
/* Rank r's x[i] is r + i: sums are known. Reduce-scatter, doubled by a kernel, all-gather,
 * all-reduce. */
static int rank_main(int rank, ncclUniqueId id, fault f, simt_streams streams, unsigned seed) {
  const simt_settings s = {SIMT_ASCENDING, streams, seed, 1, 1};
  simt_configure(&s);
  cudaSetDevice(rank);
  ncclComm_t comm;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  if (settled(comm, ncclCommInitRankConfig(&comm, RANKS, id, rank, &config)) != ncclSuccess)
    return WRONG;
  if (f == ABSENT && rank == 1) {
    usleep(1500000);
    _exit(REPORTED);
  }
  float *x, *host;
  cudaStream_t compute, talk;
  cudaEvent_t before, after;
  const size_t bytes = RANKS * N * sizeof *x;
  cudaMalloc(&x, bytes);
  cudaMallocHost(&host, bytes);
  cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&talk, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&before, cudaEventDisableTiming);
  cudaEventCreateWithFlags(&after, cudaEventDisableTiming);
  fill<<<1, 64, 0, compute>>>(x, RANKS * N, (float)rank, 1.0f);
  cudaEventRecord(before, compute);
  if (f != NO_WAIT_BEFORE || rank != 0)
    cudaStreamWaitEvent(talk, before, 0);
  const size_t n = f == OTHER_COUNT && rank == 2 ? N - 1 : N;
  float *row = x + rank * N;
  if (f == OTHER_CALL && rank == 2)
    ncclAllReduce(x, x, N, ncclFloat32, ncclSum, comm, talk);
  else
    ncclReduceScatter(x, row, n, ncclFloat32, ncclSum, comm, talk);
  cudaEventRecord(after, talk);
  if (f != NO_WAIT_AFTER || rank != 0)
    cudaStreamWaitEvent(compute, after, 0);
  twice<<<1, 64, 0, compute>>>(row, N);
  cudaEventRecord(before, compute);
  cudaStreamWaitEvent(talk, before, 0);
  ncclAllGather(row, x, N * sizeof *x, ncclInt8, comm, talk);
  ncclAllReduce(x, x, RANKS * N, ncclFloat32, ncclSum, comm, talk);
  cudaMemcpyAsync(host, x, bytes, cudaMemcpyDeviceToHost, talk);
  ncclResult_t r;
  while (cudaStreamQuery(talk) == cudaErrorNotReady)
    if (ncclCommGetAsyncError(comm, &r) != ncclSuccess || r != ncclSuccess)
      return WRONG;
  int bad = 0;
  for (int i = 0; i < RANKS * N; i++)
    bad += host[i] != 2.0f * RANKS * (float)(3 + RANKS * i); /* (0 + 1 + 2) + 3 i, doubled */
  cudaStreamSynchronize(compute);
  ncclCommFinalize(comm);
  ncclCommDestroy(comm);
  return simt_reports(NULL) > 0 ? REPORTED : bad > 0 ? WRONG : GOOD;
}
int main() {
  int passed = 0, failed = 0;
  for (int f = NONE; f <= ABSENT; f++)
    for (int order = 0; order < 4; order++) {
      ncclUniqueId id;
      pid_t pids[RANKS];
      int worst = GOOD;
      setenv("SIMT_HANG", f == ABSENT ? "1" : "60", 1);
      ncclGetUniqueId(&id);
      fflush(stdout);
      for (int r = 0; r < RANKS; r++)
        if ((pids[r] = fork()) == 0)
          _exit(rank_main(r, id, (fault)f, (simt_streams)(order < 3 ? order : 2), (unsigned)order));
      for (int r = 0; r < RANKS; r++) {
        int status;
        waitpid(pids[r], &status, 0);
        /* A report that ends the process comes with abort(). */
        const int result = WIFEXITED(status)             ? WEXITSTATUS(status)
                           : WTERMSIG(status) == SIGABRT ? REPORTED
                                                         : 99;
        worst = result > worst ? result : worst;
      }
      /* Missing events between streams are reported by clocks when kernels are traced; else they
       * show as wrong numbers, in some orders. */
      const bool events = f == NO_WAIT_BEFORE || f == NO_WAIT_AFTER;
      const bool good = f == NONE                     ? worst == GOOD
                        : events && !simt_is_traced() ? worst <= REPORTED
                                                      : worst == REPORTED;
      good ? passed++ : failed++;
      if (!good)
        printf("fault '%s', order %d: result %d\n", names[f], order, worst);
      if (f == ABSENT && order == 1)
        break; /* each waits for the limit */
    }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
