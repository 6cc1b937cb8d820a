/* Philox4x32-10 on the device: the numbers of kernels/philox.c. */
#ifndef LRL_CUDA_PHILOX_CUH
#define LRL_CUDA_PHILOX_CUH
#include <stdint.h>

#include "kernels/philox.h"

__device__ __forceinline__ void philox(uint64_t seed, uint32_t purpose, uint64_t index, uint32_t k,
                                       uint32_t (&c)[4]) {
  uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
  c[0] = k;
  c[1] = purpose;
  c[2] = (uint32_t)index;
  c[3] = (uint32_t)(index >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const uint32_t lo0 = 0xD2511F53u * c[0], hi0 = __umulhi(0xD2511F53u, c[0]);
    const uint32_t lo1 = 0xCD9E8D57u * c[2], hi1 = __umulhi(0xCD9E8D57u, c[2]);
    c[0] = hi1 ^ c[1] ^ key0;
    c[2] = hi0 ^ c[3] ^ key1;
    c[1] = lo1;
    c[3] = lo0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}
#endif
