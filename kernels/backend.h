/* A backend is a name and one function per op of kernels/ops.h. Wrappers validate, backends
 * compute.
 *   ref  plain loops, f64 accumulation: the oracle of every op test
 *   cpu  OpenMP + SIMD chosen at run time: the default
 *   cuda kernels/cuda, in liblaurel_cuda.so, loaded only where an NVIDIA driver is
 *   plan executes nothing, counts (kernels/plan.h)
 *   sim  the same sources for the simulator of tests/simt, in liblaurel_sim.so: for tests */
#ifndef LRL_BACKEND_H
#define LRL_BACKEND_H
#include "kernels/arena.h"
#include "kernels/collectives.h"
#include "kernels/ops.h"
#ifdef __cplusplus
extern "C" {
#endif

/* How `laurel bench` measures what a device does by itself. */
struct lrl_stopwatch {
  /* Between the two the ops of the context count, in seconds of the device, without the host's
   * waiting. cold: its cache is emptied first. The scratch arena must be empty. */
  lrl_status (*start)(struct lrl_ctx *ctx, bool cold);
  lrl_status (*stop)(struct lrl_ctx *ctx, double *seconds);
  /* Raises *read and *update to the bytes/s of reading as many bytes, and of reading and writing
   * them in place, if these are more. */
  lrl_status (*memory_rates)(struct lrl_ctx *ctx, size_t bytes, double *read, double *update);
};

/* What may be cuDNN's. */
enum lrl_cudnn_use { LRL_CUDNN_ATTENTION = 0, LRL_CUDNN_PATCH_EMBED = 1, LRL_CUDNN_USES };
static inline const char *lrl_cudnn_name(enum lrl_cudnn_use use) {
  return use == LRL_CUDNN_ATTENTION ? "attention" : "patch_embed";
}

struct lrl_backend {
  const char *name;
  /* Memory that the device reaches; NULL: it reaches all memory, and arenas come from mmap. */
  const struct lrl_arena_source *memory;
  /* NULL: an op's time is that of the host's clock. */
  const struct lrl_stopwatch *stopwatch;
  /* Per-context state (the cpu backend's packed weights); NULL where a backend has none. */
  lrl_status (*create)(struct lrl_ctx *ctx);
  void (*destroy)(struct lrl_ctx *ctx);
  /* lrl_zero, lrl_move and lrl_read below; NULL: the host does them. */
  void (*zero)(struct lrl_ctx *ctx, void *p, size_t bytes);
  void (*move)(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes);
  lrl_status (*read)(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes);
  /* lrl_ctx_sync; NULL where ops are always done when they return. */
  lrl_status (*sync)(struct lrl_ctx *ctx);
  /* NULL: sums over ranks go through the host. */
  const struct lrl_collectives *collectives;
  /* See lrl_use_cudnn; with ctx NULL only says whether and which cuDNN is there. NULL: the backend
   * cannot use it. */
  lrl_status (*cudnn)(struct lrl_ctx *ctx, enum lrl_cudnn_use use, int *version);
#define LRL_OP_ENTRY(op) lrl_status (*op)(struct lrl_ctx * ctx, const struct lrl_##op##_args *args);
  LRL_OPS(LRL_OP_ENTRY)
#undef LRL_OP_ENTRY
};

/* Parts between lrl_ctx_begin_repeated and its end, or the host's waits in them. On a device that
 * replays what repeats: those that were, and how often a graph was made or changed for it. */
struct lrl_repeats {
  int64_t parts, built, updated, replayed;
};

/* One device context: one per rank. Not shared between threads. */
struct lrl_ctx {
  const struct lrl_backend *backend;
  struct lrl_arena scratch; /* an op's temporary memory; used is 0 between ops */
  struct lrl_arena packed;  /* re-laid weights, for the life of the context */
  int n_threads;
  bool repeated; /* see lrl_ctx_begin_repeated */
  struct lrl_repeats repeats;
  void *state; /* backend-private */
  struct {
    bool asked;          /* lrl_use_cudnn */
    const char *refused; /* what it did not take last; NULL: it took all */
    bool told;           /* the trainer has logged that */
  } cudnn[LRL_CUDNN_USES];
};

/* Names in the order of the `device` options. */
#define LRL_DEVICES "cpu|ref|cuda|sim"
static inline const char *lrl_device_name(int device) {
  static const char *const names[] = {"cpu", "ref", "cuda", "sim"};
  return names[device];
}
/* name: one of LRL_DEVICES, or "plan". n_threads 0: as OpenMP says. A backend with its own memory
 * becomes the source of all arenas that are made afterwards. Errors: unknown backend, no such
 * device, no memory.
 */
lrl_status lrl_ctx_init(struct lrl_ctx *ctx, const char *name, int n_threads);
void lrl_ctx_free(struct lrl_ctx *ctx);
/* On a device, ops are only queued, in the order of the calls, and the host goes on. Memory of
 * arenas is the device's: the host puts things there by lrl_zero and lrl_move, which are queued
 * like ops, and looks at them by lrl_read, which waits. Operands in memory of the host's (index
 * lists, layouts, results that are a few numbers) are the host's at any time: an op takes a copy of
 * what it reads there, and where it has to write there it is done when it returns. Elsewhere every
 * op is done when it returns.
 *
 * memset to 0 and memmove of operands of ops: weights, activations, gradients, state. `from` may be
 * in memory of the host's, and is free when the call returns. */
void lrl_zero(struct lrl_ctx *ctx, void *p, size_t bytes);
void lrl_move(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes);
#define LRL_MOVE_PIECE ((size_t)4 << 20) /* scratch memory of a move over itself, at most */
/* Copies what all earlier calls leave at `from`, memory of a device or not, to the host. */
lrl_status lrl_read(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes);
/* Returns when everything called before is done: ops, and collectives whose ticket was used. */
lrl_status lrl_ctx_sync(struct lrl_ctx *ctx);
/* Between the two, ops that come again and again with the same sizes and addresses, as decoding
 * steps do: a device may keep them as one thing to launch, which begins at the end at the latest,
 * where the host waits. Does not nest; the bits are the same. */
static inline void lrl_ctx_begin_repeated(struct lrl_ctx *ctx) { ctx->repeated = true; }
lrl_status lrl_ctx_end_repeated(struct lrl_ctx *ctx);
/* From now on this forward pass by cuDNN where it takes the operands: attention_fwd (bf16, no
 * shared prefixes, heads up to 128), patch_embed_fwd (addresses at multiples of 16 bytes).
 * Elsewhere the backend's own, and ctx->cudnn[use].refused says why. Bits depend on the sizes of
 * the batch. Errors: the device has no cuDNN, it is not installed, or too old. */
lrl_status lrl_use_cudnn(struct lrl_ctx *ctx, enum lrl_cudnn_use use);
/* Instruction set the cpu backend chose on this machine: "avx512", "avx2" or "generic"; and whether
 * bf16 dot products run in hardware. For `laurel doctor`. */
const char *lrl_cpu_isa(void);
bool lrl_cpu_has_bf16(void);

/* Loads the library of "cuda" or "sim", from $LAUREL_BACKENDS, the program's folder or the one
 * above. Errors: no driver, no library, one of another version; the message says which. */
lrl_status lrl_backend_load(const char *name, const struct lrl_backend **out);
/* What such a library exports as lrl_backend_open: its table, NULL when `abi` is not its own. The
 * library takes lrl_fail_at, arenas and the like from the program. */
#define LRL_BACKEND_ABI (1000 + (int)sizeof(struct lrl_backend) + (int)sizeof(struct lrl_ctx))
typedef const struct lrl_backend *lrl_backend_open_fn(int abi);

extern const struct lrl_backend lrl_backend_ref;
/* The cpu backend's table depends on the machine; see kernels/cpu_backend.c. */
const struct lrl_backend *lrl_backend_cpu(void);
/* The table of one instruction set ("generic", "avx2", "avx512"), for tests; NULL when this machine
 * cannot run it or there is no such name. */
const struct lrl_backend *lrl_backend_cpu_isa(const char *isa);

#ifdef __cplusplus
}
#endif
#endif
