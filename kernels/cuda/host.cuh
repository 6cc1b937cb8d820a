/* What ops of the cuda backend share on the host. Ops are queued on one stream, and the host waits
 * for none of them unless it has to write results into the host's memory. Operands the device
 * cannot reach, and what the host makes up for the kernels, are copied into the scratch arena in
 * the order of the stream: the host itself never writes there, for earlier ops may still use it. */
#ifndef LRL_CUDA_HOST_CUH
#define LRL_CUDA_HOST_CUH
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <string.h>
#include <vector>

#include "kernels/backend.h"

#define LRL_CUDA_DECLARE(op)                                                                       \
  __attribute__((weak)) lrl_status cuda_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *a);
LRL_OPS(LRL_CUDA_DECLARE)
#undef LRL_CUDA_DECLARE

#define LRL_CUDA(call) LRL_TRY(cuda_status(call, #call))
lrl_status cuda_status(cudaError_t e, const char *call);

/* Of a context. */
struct cuda_state {
  cudaStream_t stream;
  int n_sm;
  size_t max_shared;        /* bytes of dynamic shared memory a block may ask for */
  void *blas;               /* kernels/cuda/gemm.cu */
  struct cuda_group *group; /* kernels/cuda/nccl.cu; NULL: no collectives */
  struct cuda_staging *staging;
  void *dnn; /* kernels/cuda/cudnn.cu; NULL: cuDNN was not asked for */
  struct cuda_recorder *recorder;
};
/* Waits for what was queued on the stream, and looks after the group meanwhile. */
lrl_status cuda_wait(cuda_state *s, cudaStream_t stream);
/* One turn of a wait of the host; `first` begins one. */
lrl_status cuda_group_pause(cuda_state *s, bool first);
void cuda_group_destroy(cuda_state *s);
const struct lrl_collectives *cuda_collectives(); /* NULL in a build without NCCL */

/* ---- parts that repeat: kernels/cuda/graph.cu ---- */

/* What to do on a stream, with all that is needed by value, so that it can be done again. */
typedef lrl_status cuda_run(const void *call, cudaStream_t stream);
void cuda_record(cuda_state *s, cuda_run *run, const void *call, size_t bytes);
/* Where the device will find the host's p[0 .. bytes) until the part ends; NULL: no room. */
void *cuda_slot(cuda_state *s, const void *p, size_t bytes);
/* Sends what was recorded to the stream; before anything else goes there (cuDNN's and NCCL's work,
 * which is not recorded). */
lrl_status cuda_flush(cuda_state *s);
/* The stream is empty. */
void cuda_slots_reuse(cuda_state *s);
lrl_status cuda_recorder_create(struct lrl_ctx *ctx);
void cuda_recorder_destroy(cuda_state *s);

/* Makes the call on the context's stream, or records it within a part that repeats. */
template <class Call> lrl_status cuda_submit(struct lrl_ctx *ctx, Call call) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  if (!ctx->repeated)
    return call(s->stream);
  __builtin_clear_padding(&call); /* records are compared byte by byte */
  const auto run = [](const void *c, cudaStream_t stream) {
    return (*static_cast<const Call *>(c))(stream);
  };
  cuda_record(s, run, &call, sizeof call);
  return LRL_OK;
}
/* Arguments of a kernel. std::tuple could not be copied as bytes. */
template <class... A> struct cuda_pack {};
template <class A, class... R> struct cuda_pack<A, R...> {
  A first;
  cuda_pack<R...> rest;
};
inline cuda_pack<> cuda_packed() { return {}; }
template <class A, class... R> cuda_pack<A, R...> cuda_packed(const A &first, const R &...rest) {
  return {first, cuda_packed(rest...)};
}
template <class F, class... X> void cuda_apply(const cuda_pack<> &, const F &f, const X &...x) {
  f(x...);
}
template <class A, class... R, class F, class... X>
void cuda_apply(const cuda_pack<A, R...> &p, const F &f, const X &...x) {
  cuda_apply(p.rest, f, x..., p.first);
}
template <class Kernel, class Args> struct cuda_launch {
  Kernel kernel; /* launches it */
  dim3 grid, block;
  size_t shared;
  Args args;
  lrl_status operator()(cudaStream_t stream) const {
    const auto go = [&](const auto &...x) { kernel(grid, block, shared, stream, x...); };
    cuda_apply(args, go);
    return LRL_OK;
  }
};

/* One call of an op. */
class cuda_op {
  struct back {
    void *to;
    const void *from;
    size_t bytes;
  };
  std::vector<back> back_;
  lrl_status status_ = LRL_OK;
  void *stage(const void *p, size_t bytes, bool read, bool write);
  void *copy_in(const void *p, size_t bytes);

public:
  struct lrl_ctx *const ctx;
  cuda_state *const state;
  const cudaStream_t stream;
  explicit cuda_op(struct lrl_ctx *c)
      : ctx(c), state(static_cast<cuda_state *>(c->state)), stream(state->stream) {}
  /* Where the device finds n elements; NULL stays NULL. */
  template <class T> const T *in(const T *p, int64_t n) {
    return static_cast<const T *>(stage(p, (size_t)n * sizeof(T), true, false));
  }
  template <class T> T *out(T *p, int64_t n) {
    return static_cast<T *>(stage(p, (size_t)n * sizeof(T), false, true));
  }
  template <class T> T *inout(T *p, int64_t n) {
    return static_cast<T *>(stage(p, (size_t)n * sizeof(T), true, true));
  }
  template <class T, class P> const T *in_as(P *p, int64_t n) {
    return in(static_cast<const T *>(p), n);
  }
  template <class T> T *out_as(void *p, int64_t n) { return out(static_cast<T *>(p), n); }
  template <class T> T *inout_as(void *p, int64_t n) { return inout(static_cast<T *>(p), n); }
  template <class T> T *scratch(int64_t n) {
    void *p = lrl_arena_alloc(&ctx->scratch, (size_t)n * sizeof(T));
    if (p == NULL)
      status_ = LRL_ERR_MEMORY;
    return static_cast<T *>(p);
  }
  /* Scratch memory that will hold n elements of the host's. */
  template <class T> T *upload(const T *from, int64_t n) {
    return static_cast<T *>(copy_in(from, (size_t)n * sizeof(T)));
  }
  bool failed() const { return status_ != LRL_OK; }
  template <class Kernel, class... A>
  void launch(const Kernel &kernel, dim3 grid, dim3 block, size_t shared, const A &...a) {
    typedef decltype(cuda_packed(a...)) args;
    if (!failed())
      status_ = cuda_submit(
          ctx, cuda_launch<Kernel, args>{kernel, grid, block, shared, cuda_packed(a...)});
  }
  /* Where results go to the host, waits for the kernels and copies them. The op's result. */
  lrl_status done();
};

/* Pointers a vector load of 16 bytes may use. */
template <class... P> inline bool aligned16(const P *...p) {
  return (((uintptr_t)p % 16 == 0) && ...);
}
/* A launch. The arguments of a failed op are not there. */
#define LRL_LAUNCH(op, kernel, grid, block, shared, ...)                                           \
  (op).launch([](dim3 grid_, dim3 block_, size_t shared_, cudaStream_t stream_,                    \
                 const auto &...args_) { kernel<<<grid_, block_, shared_, stream_>>>(args_...); }, \
              (grid), (block), (shared), __VA_ARGS__)
/* More dynamic shared memory for a kernel than the 48 KB it has without being asked. */
template <class K> inline bool allow_shared(K kernel, size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes) ==
         cudaSuccess;
}
/* Calls f(T()) with T float or bf16. */
template <class F> inline void by_dtype(lrl_dtype t, F f) {
  if (t == LRL_BF16)
    f(__nv_bfloat16());
  else
    f(0.0f);
}
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/* Blocks of a loop over n items that each block takes `step` apart: some waves of the device. */
inline unsigned grid_for(const cuda_op &op, int64_t n, int per_sm) {
  const int64_t most = (int64_t)op.state->n_sm * per_sm;
  return (unsigned)(n < 1 ? 1 : n < most ? n : most);
}

/* A layout's arrays on the device; parent is never NULL there. */
struct cuda_layout {
  int64_t n_tokens, n_seqs;
  const int32_t *start, *length, *parent;
};
cuda_layout layout_on_device(cuda_op &op, const struct lrl_layout *l);

/* Rows grouped by where they go: of n ids those in [0, n_ids) except `skip`, in ascending order of
 * id and, within an id, of position. Group g is order[begin[g] .. begin[g + 1]) and goes to
 * ids[order[.]].
 */
struct cuda_groups {
  int64_t n_groups;
  const int32_t *begin, *order;
};
cuda_groups group_by_id(cuda_op &op, const int32_t *ids, int64_t n, int64_t n_ids, int32_t skip);
#endif
