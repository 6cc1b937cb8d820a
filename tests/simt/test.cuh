/* What tests of the simulator share: checks that count, and vectors of the device. */
#ifndef SIMT_TEST_CUH
#define SIMT_TEST_CUH
#include <cuda_runtime.h>
#include <stdio.h>
#include <vector>

#include "tests/simt/simt.h"

static int passed, failed;
#define CHECK(x)                                                                                   \
  do {                                                                                             \
    const bool good_ = (x);                                                                        \
    good_ ? passed++ : failed++;                                                                   \
    if (!good_)                                                                                    \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                       \
  } while (0)
template <class T> struct device {
  T *p;
  size_t n;
  explicit device(size_t count, T fill = T()) : n(count) {
    cudaMalloc(&p, n * sizeof(T));
    set(std::vector<T>(n, fill));
  }
  void set(const std::vector<T> &v) {
    cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice);
  }
  std::vector<T> get() {
    std::vector<T> v(n);
    cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost);
    return v;
  }
  ~device() { cudaFree(p); }
};
/* Runs `all` in every order of threads and of streams; nothing may be reported. */
static inline int in_every_order(void (*all)()) {
  for (simt_order order : {SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM})
    for (simt_streams streams : {SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED}) {
      const simt_settings s = {order, streams, 3, 0, 0};
      simt_configure(&s);
      simt_reset();
      all();
      CHECK(simt_reports(NULL) == 0);
    }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
#endif
