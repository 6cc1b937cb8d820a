/* cp.async as functions. */
#pragma once
#include <cuda_runtime.h>
inline void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zfill = 0,
                                    SIMT_AT) {
  simt::cp_async(to, from, (int)bytes, (int)(bytes - zfill), file_, line_);
}
inline void __pipeline_commit() { simt::cp_async_commit(); }
inline void __pipeline_wait_prior(size_t n) { simt::cp_async_wait((int)n); }
