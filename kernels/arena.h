/* Arenas: the only big memory in the program. Address space is reserved once, committed in
 * growing steps of huge pages (2 to 64 MiB) as the high-water mark grows, touched at commit and
 * never given back: on virtual machines the first touch of a page costs more than a whole kernel
 * (CPU 2b: 12.5 us per 4 KiB), so a steady training step must not fault. Allocation is a bump of an
 * offset; freeing is going back. */
#ifndef LRL_ARENA_H
#define LRL_ARENA_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

#define LRL_ALIGN 64 /* bytes; one cache line, one zmm register */

/* Where the arenas of the process get their address space when a device cannot reach ordinary
 * memory. reserve may give less than *bytes and says how much; NULL when it has none. Set before
 * arenas are made (lrl_ctx_init does), NULL for ordinary memory. */
struct lrl_arena_source {
  void *(*reserve)(size_t *bytes);
  void (*release)(void *p, size_t bytes);
  /* Brings pages to the device before it needs them; may be NULL. */
  void (*settle)(void *p, size_t bytes);
  bool counted; /* nobody computes in it: large contents are neither written nor read (plan) */
};
void lrl_arena_use(const struct lrl_arena_source *source);

struct lrl_arena {
  char *base;
  const struct lrl_arena_source *source; /* NULL: ordinary memory */
  void *reservation;                     /* of the source, reservation_bytes of it */
  size_t reservation_bytes;
  char *host; /* addresses of lrl_arena_host, where they are not the arena's own */
  size_t reserved, committed, used, peak; /* bytes */
  const char *name;                       /* for messages; a literal */
};

/* Reserves `reserve_bytes` of address space (no memory is used yet). */
lrl_status lrl_arena_init(struct lrl_arena *a, const char *name, size_t reserve_bytes);
/* Returns when everything that was queued on the device is done (cudaFree waits for all streams:
 * CUDA C++ Programming Guide, "Stream Ordered Memory Allocator"). */
void lrl_arena_free(struct lrl_arena *a);
/* 64-byte aligned, uninitialised; NULL (and LRL_ERR_MEMORY recorded) when the arena is exhausted or
 * the machine has no memory. bytes == 0 gives a valid pointer. */
void *lrl_arena_alloc(struct lrl_arena *a, size_t bytes);
/* The same, filled with zeros unless the memory is only counted. */
void *lrl_arena_zeros(struct lrl_arena *a, size_t bytes);
/* The same for what the host writes and reads: records of a tape, index lists, texts. Marks and
 * resets cover it, but on a device it has addresses of its own: ops that are still under way in
 * memory that was given back cannot write over it, and pages do not go to and fro. */
void *lrl_arena_host(struct lrl_arena *a, size_t bytes);
/* Gives the whole pages within p[0 .. bytes), memory of the arena that nobody uses any more, back
 * to the system; what is in them is lost. */
void lrl_arena_release(struct lrl_arena *a, void *p, size_t bytes);
/* After the host wrote what a device will work with (weights, at set-up): its pages go there now,
 * not one by one when they are used. */
void lrl_arena_settle(struct lrl_arena *a);
/* Makes the first `bytes` of the arena resident now. */
lrl_status lrl_arena_pretouch(struct lrl_arena *a, size_t bytes);
static inline size_t lrl_arena_mark(const struct lrl_arena *a) { return a->used; }
static inline void lrl_arena_reset(struct lrl_arena *a, size_t mark) { a->used = mark; }

/* Keeps glibc from returning freed memory to the kernel (for the libraries' sake: OpenMPI and HDF5
 * allocate large buffers per call). Call once at program start. */
void lrl_malloc_setup(void);

#ifdef __cplusplus
}
#endif
#endif
