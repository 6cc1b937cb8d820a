/* Collectives by NCCL, on a stream of their own. Events go both ways: a collective waits for the
 * ops called before it, and ops wait for it where `use` says so. The communicator is of the kind
 * that never blocks the host, so that every wait is ours: it looks for NCCL's errors, the time
 * limit and dead peers (cuda_group_pause), and then aborts the communicator, which ends NCCL's
 * kernels. */
#include "kernels/cuda/host.cuh"

#ifdef LRL_NO_NCCL
lrl_status cuda_group_pause(cuda_state *, bool) { return LRL_OK; }
void cuda_group_destroy(cuda_state *) {}
const struct lrl_collectives *cuda_collectives() { return NULL; }
#else
#include <nccl.h>
#include <new>

static_assert(sizeof(ncclUniqueId) == LRL_GROUP_ID, "NCCL changed its id");

enum { N_DONE = 256 };
struct cuda_group {
  struct lrl_device_group g;
  int users;
  bool broken;
  ncclComm_t comm;
  cudaStream_t stream;
  cudaEvent_t ready;        /* the ops before the newest collective */
  cudaEvent_t done[N_DONE]; /* by ticket; a newer one in its place only makes ops wait longer */
  int64_t tickets;
};

static cuda_group *group_of(struct lrl_ctx *ctx) {
  return static_cast<cuda_state *>(ctx->state)->group;
}
static cudaStream_t ops_of(struct lrl_ctx *ctx) {
  return static_cast<cuda_state *>(ctx->state)->stream;
}

static void end(cuda_group *g) {
  if (g->comm != NULL)
    ncclCommAbort(g->comm);
  g->comm = NULL;
  g->broken = true;
}
static lrl_status look(cuda_group *g) {
  ncclResult_t r = ncclSuccess;
  if (g->broken)
    return LRL_FAIL(LRL_ERR_COMM, "NCCL: the group of this rank has ended");
  if (g->comm != NULL && ncclCommGetAsyncError(g->comm, &r) != ncclSuccess)
    r = ncclInternalError;
  if (r == ncclSuccess || r == ncclInProgress)
    return LRL_OK;
  const lrl_status s = LRL_FAIL(LRL_ERR_COMM, "NCCL: %s (rank %d): another rank may be gone",
                                ncclGetErrorString(r), g->g.rank);
  end(g);
  return s;
}
static lrl_status turn(cuda_group *g, bool first) {
  LRL_TRY(look(g));
  const lrl_status s = g->g.pause(g->g.user, first);
  if (s != LRL_OK)
    end(g);
  return s;
}
lrl_status cuda_group_pause(cuda_state *s, bool first) { return turn(s->group, first); }

/* The end of a call that may still be under way. */
static lrl_status settle(cuda_group *g, ncclResult_t r, const char *call) {
  for (bool first = true; r == ncclInProgress; first = false) {
    LRL_TRY(turn(g, first));
    if (ncclCommGetAsyncError(g->comm, &r) != ncclSuccess)
      r = ncclInternalError;
  }
  if (r == ncclSuccess)
    return LRL_OK;
  const lrl_status s = LRL_FAIL(LRL_ERR_COMM, "NCCL: %s in %.40s", ncclGetErrorString(r), call);
  end(g);
  return s;
}
#define LRL_NCCL(g, call) LRL_TRY(settle((g), (call), #call))

/* ---- life ---- */

static lrl_status identify(struct lrl_ctx *, char device[LRL_DEVICE_ID]) {
  struct cudaDeviceProp p;
  int d;
  LRL_CUDA(cudaGetDevice(&d));
  LRL_CUDA(cudaGetDeviceProperties(&p, d));
  memcpy(device, p.uuid.bytes, LRL_DEVICE_ID);
  return LRL_OK;
}
static lrl_status make_id(char id[LRL_GROUP_ID]) {
  ncclUniqueId u;
  const ncclResult_t r = ncclGetUniqueId(&u);
  if (r != ncclSuccess)
    return LRL_FAIL(LRL_ERR_COMM, "NCCL: %s in ncclGetUniqueId", ncclGetErrorString(r));
  memcpy(id, u.internal, LRL_GROUP_ID);
  return LRL_OK;
}
static lrl_status join(struct lrl_ctx *ctx, const struct lrl_device_group *group) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  if (s->group != NULL) {
    s->group->users++;
    return LRL_OK;
  }
  cuda_group *g = s->group = new (std::nothrow) cuda_group();
  if (g == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a group of ranks");
  g->g = *group;
  g->users = 1;
  int least, greatest;
  LRL_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  LRL_CUDA(cudaStreamCreateWithPriority(&g->stream, cudaStreamNonBlocking, greatest));
  LRL_CUDA(cudaEventCreateWithFlags(&g->ready, cudaEventDisableTiming));
  for (int i = 0; i < N_DONE; i++)
    LRL_CUDA(cudaEventCreateWithFlags(&g->done[i], cudaEventDisableTiming));
  ncclUniqueId id;
  memcpy(id.internal, group->id, LRL_GROUP_ID);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  LRL_NCCL(g, ncclCommInitRankConfig(&g->comm, group->size, id, group->rank, &config));
  return LRL_OK;
}
/* What was queued is waited for: a communicator in use cannot be destroyed. */
static lrl_status close_comm(cuda_state *s) {
  cuda_group *g = s->group;
  LRL_TRY(look(g));
  LRL_TRY(cuda_wait(s, g->stream));
  LRL_NCCL(g, ncclCommFinalize(g->comm));
  ncclCommDestroy(g->comm);
  g->comm = NULL;
  return LRL_OK;
}
void cuda_group_destroy(cuda_state *s) {
  cuda_group *g = s->group;
  if (g == NULL)
    return;
  if (g->comm != NULL && close_comm(s) != LRL_OK)
    end(g);
  for (int i = 0; i < N_DONE; i++)
    if (g->done[i] != NULL)
      cudaEventDestroy(g->done[i]);
  if (g->ready != NULL)
    cudaEventDestroy(g->ready);
  if (g->stream != NULL)
    cudaStreamDestroy(g->stream);
  delete g;
  s->group = NULL;
}
static void leave(struct lrl_ctx *ctx) {
  cuda_group *g = group_of(ctx);
  if (g != NULL && --g->users == 0)
    cuda_group_destroy(static_cast<cuda_state *>(ctx->state));
}
static lrl_status check(struct lrl_ctx *ctx) {
  cuda_group *g = group_of(ctx);
  return g != NULL ? look(g) : LRL_OK;
}

/* ---- collectives ---- */

static lrl_status begin(struct lrl_ctx *ctx) {
  cuda_group *g = group_of(ctx);
  LRL_TRY(look(g));
  LRL_TRY(cuda_flush(static_cast<cuda_state *>(ctx->state)));
  LRL_CUDA(cudaEventRecord(g->ready, ops_of(ctx)));
  LRL_CUDA(cudaStreamWaitEvent(g->stream, g->ready, 0));
  return LRL_OK;
}
static lrl_status queued(cuda_group *g, int64_t *ticket) {
  LRL_CUDA(cudaEventRecord(g->done[g->tickets % N_DONE], g->stream));
  *ticket = ++g->tickets;
  return LRL_OK;
}
static lrl_status all_reduce(struct lrl_ctx *ctx, float *x, int64_t n, int64_t *ticket) {
  cuda_group *g = group_of(ctx);
  LRL_TRY(begin(ctx));
  LRL_NCCL(g, ncclAllReduce(x, x, (size_t)n, ncclFloat32, ncclSum, g->comm, g->stream));
  return queued(g, ticket);
}
/* n counts float4: slices have a multiple of 16 elements. */
static __global__ __launch_bounds__(256) void add_to(float4 *sum, const float4 *x, int64_t n) {
  for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n;
       i += (int64_t)gridDim.x * blockDim.x) {
    const float4 a = sum[i], b = x[i];
    sum[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
}
static lrl_status reduce_scatter(struct lrl_ctx *ctx, float *x, int64_t n, bool zero, float *sum,
                                 bool add, int64_t *ticket) {
  cuda_group *g = group_of(ctx);
  float *row = x + g->g.rank * n;
  LRL_TRY(begin(ctx));
  if (zero)
    LRL_CUDA(cudaMemsetAsync(x, 0, (size_t)(g->g.size * n) * sizeof *x, g->stream));
  LRL_NCCL(g, ncclReduceScatter(x, add ? row : sum, (size_t)n, ncclFloat32, ncclSum, g->comm,
                                g->stream));
  if (add && n > 0) {
    const int64_t quads = n / 4, blocks = ceil_div(quads, 256);
    const int64_t most = 4 * static_cast<cuda_state *>(ctx->state)->n_sm;
    add_to<<<(unsigned)(blocks < most ? blocks : most), 256, 0, g->stream>>>(
        reinterpret_cast<float4 *>(sum), reinterpret_cast<const float4 *>(row), quads);
    LRL_CUDA(cudaGetLastError());
  }
  return queued(g, ticket);
}
static lrl_status all_gather(struct lrl_ctx *ctx, void *data, size_t bytes, size_t slice_bytes,
                             void *room, int64_t *ticket) {
  cuda_group *g = group_of(ctx);
  const size_t at = (size_t)g->g.rank * slice_bytes;
  const bool fills = (size_t)g->g.size * slice_bytes == bytes;
  char *to = static_cast<char *>(fills ? data : room);
  LRL_TRY(begin(ctx));
  if (!fills && at < bytes)
    LRL_CUDA(cudaMemcpyAsync(to + at, static_cast<char *>(data) + at,
                             bytes - at < slice_bytes ? bytes - at : slice_bytes, cudaMemcpyDefault,
                             g->stream));
  LRL_NCCL(g, ncclAllGather(to + at, to, slice_bytes, ncclInt8, g->comm, g->stream));
  if (!fills)
    LRL_CUDA(cudaMemcpyAsync(data, room, bytes, cudaMemcpyDefault, g->stream));
  return queued(g, ticket);
}
static lrl_status use(struct lrl_ctx *ctx, int64_t ticket) {
  cuda_group *g = group_of(ctx);
  if (ticket > 0)
    LRL_CUDA(cudaStreamWaitEvent(ops_of(ctx), g->done[(ticket - 1) % N_DONE], 0));
  return LRL_OK;
}

const struct lrl_collectives *cuda_collectives() {
  static const struct lrl_collectives table = {identify,   make_id,        join,       leave, check,
                                               all_reduce, reduce_scatter, all_gather, use};
  return &table;
}
#endif
