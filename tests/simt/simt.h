/* The simulator's inside and its interface for tests. See tests/simt/README.md. */
#ifndef SIMT_H
#define SIMT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* In which order threads, warps and blocks run, and queued operations of streams start. */
enum simt_order { SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM };
enum simt_streams { SIMT_EAGER, SIMT_LAZY, SIMT_SHUFFLED };
struct simt_settings {
  enum simt_order order;
  enum simt_streams streams;
  unsigned seed;
  int strict; /* a thread that leaves before a barrier of its warp's others is reported */
  int quiet;  /* reports are counted and kept, not printed */
};
/* Deterministic counts. A request is one load or store instruction of a warp; global memory moves
 * in sectors of 32 bytes; shared memory in wavefronts, one per request without bank conflicts.
 * Loads and stores are seen in trace builds only. */
struct simt_counters {
  uint64_t launches, blocks, switches, barriers, warp_ops, mma;
  uint64_t global_requests, global_sectors, global_bytes; /* bytes: distinct ones of each request */
  uint64_t global_read_sectors, global_write_sectors;
  uint64_t shared_requests, shared_wavefronts;
  uint64_t reads, writes; /* of threads */
};
void simt_configure(const struct simt_settings *s);
/* Counts since the last simt_reset of all kernels, or of those named. */
void simt_get_counters(const char *kernel, struct simt_counters *out);
void simt_reset(void); /* counters and reports */
/* Reports since the last reset; *text holds the first hundred, one a line. */
int simt_reports(const char **text);
int simt_is_traced(void);
/* With SIMT_MIGRATE=1 in the environment: blocks of managed memory that came to the host because it
 * touched them, since the last reset; *text (may be NULL) says from where, one place a line. */
uint64_t simt_migrations(const char **text);
/* Memory of managed kind: exact bounds are checked, what is in it counts as written. */
void *simt_alloc(size_t bytes);
void simt_free(void *p);

#ifdef __cplusplus
}

struct CUstream_st;
namespace simt {
struct job;
void run(job *j);             /* the whole grid, now */
void break_device(int error); /* a cudaError_t that stays: the kernel has ended before its end */
__attribute__((format(printf, 1, 2))) void report(const char *fmt, ...);

extern simt_settings settings;
extern simt_counters counters; /* of the running kernel */
extern const bool traced;      /* the kernels are instrumented (trace builds) */
extern size_t dynamic_shared_bytes, static_shared_bytes;
extern const char *kernel_name;
unsigned random_number();

struct shared_variable {
  const char *name;
  size_t at, bytes; /* offset in the static part of shared memory */
};
extern shared_variable variables[];
extern int n_variables;
enum { MAX_VARIABLES = 128, MAX_SHARED = 228 * 1024, MAX_STATIC = 96 * 1024, STACK = 128 * 1024 };
extern unsigned char *const static_shared_memory;
extern unsigned char *const stacks; /* STACK bytes of each thread */
enum { MAX_RESIDENT = 32768 };      /* threads of blocks that have begun and not finished */
inline bool is_stack(const void *p) {
  return (uintptr_t)p - (uintptr_t)stacks < (uintptr_t)STACK * MAX_RESIDENT;
}

/* trace.cc: called by the scheduler. */
void trace_launch(const void *params, size_t bytes);
void trace_block();
void trace_block_end(); /* it has finished, or stands aside: */
struct traced_block;
traced_block *trace_put_aside();
void trace_bring_back(traced_block *b); /* and frees it */
void trace_drop(traced_block *b);
void trace_resume();       /* the last one goes on at once */
void trace_grid_barrier(); /* all blocks are ordered; then for each: */
void trace_grid_passed(traced_block *b);
void trace_settle();         /* the running thread is about to stop */
void trace_arrival();        /* the running thread comes to a barrier or warp operation */
void trace_barrier();        /* all threads of the block are ordered */
void trace_warp_sync(int w); /* the lanes of a warp are */
void trace_warp_op(int w);   /* end of a segment for the counters */

void counters_of_launch(const char *kernel); /* adds them to the kernel's and starts anew */

/* Device memory (memory.cc). */
enum memory_kind { DEVICE, MANAGED, PINNED };
struct allocation {
  unsigned char *at;
  size_t bytes;
  memory_kind kind;
  bool live, mapped; /* mapped: pages of its own */
};
void *allocate(size_t bytes, memory_kind kind);
bool release(void *p);
bool adopt(void *p, size_t bytes); /* the host's memory becomes PINNED */
bool disown(void *p);
/* The last one that starts at or before p; NULL when there is none. */
const allocation *find_allocation(const void *p);
bool is_device_memory(const void *p); /* live, DEVICE or MANAGED */
void mark_written(const void *p, size_t bytes);

/* Managed memory that stays with the device (migrate.cc). */
bool migrates();
void watch(void *p, size_t bytes);
void unwatch(const void *p);
void forget_migrations();
/* While the outermost one lives the device may run; `open` before it does. */
struct device_window {
  device_window();
  ~device_window();
  static void open();
};

/* What the checks know about a byte: who wrote and read it last (trace.cc), and whether anything
 * has been written there. Streams are kept per 16 bytes (cudart.cc). Pages exist for any address.
 */
struct byte_shadow {
  uint64_t writer, reader;
};
struct stream_shadow {
  uint32_t writer, readers[2];
};
struct shadow_page {
  byte_shadow bytes[4096];
  bool written[4096];
  stream_shadow streams[256];
};
shadow_page *shadow_of(const void *p);
void clear_race_shadow(); /* forgets writers and readers of kernels */

/* An operation of a stream touches device memory: races between streams (cudart.cc). */
void stream_access(const void *p, size_t bytes, bool write);
/* Puts a host function into a stream's queue; it returns false while it must wait. */
void enqueue_call(CUstream_st *stream, const char *name, bool (*run)(void *), void *arg);
} // namespace simt
#endif
#endif
