/* Threads of the simulated device, barriers, collectives of a warp, shared memory, and what the
 * checks and counters need. One OS thread runs all; a CUDA thread is a fiber (tests/simt/fiber.cc).
 */
#pragma once
#include <cuda_runtime_api.h>
#include <stdint.h>

/* Where in the source a call stands; the last parameters of every built-in. */
#define SIMT_AT const char *file_ = __builtin_FILE(), int line_ = __builtin_LINE()

/* Code of the simulator inside kernels: its own loads and stores are none of theirs. */
#define SIMT_UNTRACED __attribute__((no_sanitize("thread", "undefined")))

#define __device__
#define __host__
#define __constant__
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __inline_hint__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __builtin_assume(x) ((void)0)
#define __maxnreg__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#ifndef __restrict__
#define __restrict__ __restrict
#endif
#define __builtin_align__(n) __attribute__((aligned(n)))

/* Plain names, so that programs may use them for their own variables and members. */
extern uint3 blockIdx;
extern dim3 blockDim, gridDim;

namespace simt {
enum state { RUNNABLE, AT_WARP_OP, AT_BARRIER, AT_GRID, DONE };
struct async_copy;
struct thread;
/* Completes a collective for the lanes of `mask` of the 32 threads of a warp. */
typedef void (*collective)(thread *warp, unsigned mask);
struct thread {
  void *stack_pointer, *fake_stack;
  uint3 id;
  int linear, warp, lane, state;
  const char *file; /* where it waits */
  int line;
  collective what;
  const char *what_name;
  unsigned mask;
  void *operand; /* of the collective: its own struct */
  int barrier, vote;
  bool stored;       /* since its last barrier or warp operation; trace builds only */
  async_copy *async; /* cp.async in flight, oldest first */
  int n_async, cap_async, async_group;
  const char *ptx_site; /* inside inline PTX: file:line */
};
extern thread *self;
/* A kernel is called without a launch: like CUDA's, it does nothing and leaves an error. */
bool unlaunched();

/* All lanes of mask meet at the same collective; the last one runs it. */
void meet(collective what, const char *name, unsigned mask, void *operand, const char *file,
          int line);
/* Barrier `id` (0 is __syncthreads); n_threads 0: all that live. Returns how many threads came with
 * vote != 0. */
int barrier(int id, int n_threads, int vote, const char *file, int line);
void grid_barrier(const char *file, int line);
bool is_cooperative(); /* the launch */
void warp_sync(unsigned mask, const char *file, int line);
/* The lanes of the warp that come to the same place before all others wait, or have left. */
unsigned lanes_together(const char *file, int line);
/* Lets another thread run: what a spinning thread needs. */
void yield();
void volatile_access(const void *p, bool reads); /* lets others run before it */
void trap(const char *file, int line);

struct shared_key {
  uint64_t launch;
  void *at;
};
void *static_shared(shared_key *key, size_t bytes, size_t align, const char *name);
extern unsigned char *const dynamic_shared;
bool is_shared(const void *p, size_t bytes);
uint32_t shared_address(const void *p);
void *shared_pointer(uint32_t address);

/* Volatile accesses may meet atomics and each other. */
enum access_kind { READ, WRITE, ATOMIC, ASYNC_ISSUE, ASYNC_LAND, VOLATILE_READ, VOLATILE_WRITE };
/* A load or store the instrumented code does not show: of atomics and PTX instructions. */
void access(const void *p, int bytes, access_kind kind, const void *pc);
#define SIMT_PC __builtin_return_address(0)
/* __threadfence: what this block wrote is visible to a block that later sees its atomics. */
void fence();
void atomic_order(const void *p);

void cp_async(void *to, const void *from, int bytes, int valid, const char *file, int line);
void cp_async_commit();
void cp_async_wait(int pending);
/* The share of one of `all` threads, as cp.async where the addresses allow it. */
void copy_async(void *to, const void *from, size_t bytes, size_t rank, size_t all);
/* Whoever runs in this block is ordered with all others of it from here on (cuda::barrier). */
void all_ordered();
void counters_mma();
} // namespace simt

#define threadIdx (simt::self->id)
static constexpr int warpSize = 32;

inline void __syncthreads(SIMT_AT) { simt::barrier(0, 0, 0, file_, line_); }
inline int __syncthreads_count(int p, SIMT_AT) { return simt::barrier(0, 0, p != 0, file_, line_); }
inline int __syncthreads_or(int p, SIMT_AT) {
  return simt::barrier(0, 0, p != 0, file_, line_) != 0;
}
inline int __syncthreads_and(int p, SIMT_AT) {
  return simt::barrier(0, 0, p == 0, file_, line_) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_AT) {
  simt::warp_sync(mask, file_, line_);
}
inline void __threadfence() { simt::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { simt::fence(); }
inline void __nanosleep(unsigned) { simt::yield(); }
inline void __trap(SIMT_AT) { simt::trap(file_, line_); }
inline unsigned __activemask(SIMT_AT) { return simt::lanes_together(file_, line_); }
inline size_t __cvta_generic_to_shared(const void *p) { return simt::shared_address(p); }
inline void *__cvta_shared_to_generic(size_t a) { return simt::shared_pointer((uint32_t)a); }
inline bool __isShared(const void *p) { return simt::is_shared(p, 1); }
