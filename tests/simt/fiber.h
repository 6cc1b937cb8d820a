/* What the scheduler's files share: the block that runs, and how its threads change over. */
#ifndef SIMT_FIBER_H
#define SIMT_FIBER_H
#include "simt.h"

#include <cuda_runtime_api.h>

#include "include/simt_core.h"

#include "include/simt_launch.h"

#undef threadIdx

namespace simt {
enum { MAX_BARRIERS = 16 };
struct barrier_state {
  int arrived, expected, votes, result;
  const char *file;
  int line;
};
/* A block, by warps: one bit a lane. */
struct block_state {
  thread *threads;
  unsigned number; /* in the grid */
  int slot;        /* whose stacks it uses */
  int n_live, at_grid, yields, rounds;
  unsigned runnable[32], live[32], waiting[32], gathering[32];
  unsigned fresh;    /* warps without a warp operation since the last barrier */
  unsigned marching; /* warps in step at volatile accesses */
  barrier_state barriers[MAX_BARRIERS];
};
extern block_state now;
extern int n_threads, n_warps;
extern const job *current;
extern uint64_t launch_number;
enum reason { FINISHED, BROKEN, SPINS, AT_GRID_BARRIER };

/* To another thread of the block; NULL: back to grid.cc, which finds the reason in `left_because`.
 */
void go(thread *next);
extern reason left_because;
extern thread *left_by;
inline void leave_block(reason why) {
  left_because = why;
  left_by = self;
  go(NULL);
}
thread *pick(int warp); /* who runs next; NULL: nobody can */
void wait_as(state s, const char *file, int line);
void stuck(); /* reports who waits for whom, and ends the launch */
void release_barrier(int id);
void left_warp(); /* the running thread will not come to operations that wait for it */
void prepare(thread *t, int slot); /* starts at the kernel's beginning */
void seed(unsigned s);
void poison(void *p, size_t n);
} // namespace simt
#endif
