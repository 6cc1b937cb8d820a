/* AddressSanitizer and UndefinedBehaviorSanitizer see what kernels do: each of these faults ends a
 * process of its own, with the sanitizer's words. The twins without a fault end well. */
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

__global__ void over_the_end(float *o, int n) { o[threadIdx.x + n] = 1.0f; }
__global__ void over_shared(float *o, int n) {
  __shared__ float s[24], next[8];
  float *p = s;
  next[threadIdx.x % 8] = 0.0f;
  p[threadIdx.x % 24 + n] = 1.0f;
  __syncthreads();
  o[threadIdx.x % 8] = s[threadIdx.x % 8] + next[threadIdx.x % 8];
}
__global__ void over_dynamic(float *o, int n) {
  extern __shared__ float s[];
  s[threadIdx.x + n] = 1.0f;
  __syncthreads();
  o[threadIdx.x] = s[31 - threadIdx.x];
}
__noinline__ __device__ void set_with_others(float *p, int n) {
  for (int i = 0; i < n; i++) {
    p[i] = 1.0f;
    __syncwarp();
  }
}
__global__ void over_local(float *o, int n) {
  float a[8];
  set_with_others(a, 8 + n);
  o[threadIdx.x] = a[threadIdx.x % 8];
}
__global__ void overflow(int *o, int n) { o[threadIdx.x] = 0x7fffffff - 31 + (int)threadIdx.x + n; }
__global__ void misaligned(float *o, int n) {
  float4 *p = reinterpret_cast<float4 *>(o + n);
  p->x += 1.0f;
}
__global__ void shift(int *o, int n) { o[threadIdx.x] = 1 << (31 + n); }

enum { GLOBAL, SHARED, DYNAMIC, LOCAL, OVERFLOW, MISALIGNED, SHIFT, FREED, N_FAULTS };
static const char *const says[N_FAULTS] = {"AddressSanitizer: use-after-poison",
                                           "AddressSanitizer: use-after-poison",
                                           "AddressSanitizer: use-after-poison",
                                           "AddressSanitizer: stack-buffer-overflow",
                                           "signed integer overflow",
                                           "misaligned address",
                                           "shift exponent 32",
                                           "AddressSanitizer: use-after-poison"};
static void fault(int which, int n) {
  float *o, *gone;
  cudaMalloc(&o, 32 * sizeof(float));
  cudaMalloc(&gone, 64 * sizeof(float));
  cudaMemset(o, 0, 32 * sizeof(float));
  if (which == GLOBAL)
    over_the_end<<<1, 32>>>(o, n);
  else if (which == SHARED)
    over_shared<<<1, 32>>>(o, n);
  else if (which == DYNAMIC)
    over_dynamic<<<1, 32, 32 * sizeof(float)>>>(o, n);
  else if (which == LOCAL)
    over_local<<<1, 32>>>(o, n);
  else if (which == OVERFLOW)
    overflow<<<1, 32>>>((int *)o, n);
  else if (which == MISALIGNED)
    misaligned<<<1, 1>>>(o, n);
  else if (which == SHIFT)
    shift<<<1, 32>>>((int *)o, n);
  if (which == FREED && n > 0)
    cudaFree(gone);
  if (which == FREED)
    over_the_end<<<1, 32>>>(gone, 0);
  cudaDeviceSynchronize();
  if (which != FREED || n == 0)
    cudaFree(gone);
  cudaFree(o);
}
/* What a process says that does it; *ended_well: it came to its end. */
static std::string in_a_process(int which, int n, bool *ended_well) {
  int ends[2];
  if (pipe(ends) != 0)
    return "no pipe";
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    fault(which, n);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t k; (k = read(ends[0], part, sizeof part)) > 0;)
    text.append(part, (size_t)k);
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  *ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return text;
}
int main() {
  int failed = 0;
  for (int i = 0; i < N_FAULTS; i++) {
    bool good_ends, bad_ends;
    const std::string good = in_a_process(i, 0, &good_ends), bad = in_a_process(i, 1, &bad_ends);
    if (!good_ends || !good.empty() || bad_ends || bad.find(says[i]) == std::string::npos) {
      failed++;
      printf("fault %d: expected '%s', got: %s\nwithout the fault: %s\n", i, says[i], bad.c_str(),
             good.c_str());
    }
  }
  printf("%d passed, %d failed\n", N_FAULTS - failed, failed);
  return failed != 0;
}
