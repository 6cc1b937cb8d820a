/* The cuda backend's table, contexts and memory. */
#include "kernels/cuda/cudnn.cuh"
#include "kernels/cuda/host.cuh"

#include <stdlib.h>

lrl_status cuda_blas_create(cuda_state *s);
void cuda_blas_destroy(cuda_state *s);
extern const struct lrl_stopwatch cuda_stopwatch;

lrl_status cuda_status(cudaError_t e, const char *call) {
  if (e == cudaSuccess)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_LIB, "CUDA: %s in %.60s", cudaGetErrorString(e), call);
}

/* ---- which device ---- */

static int number(const char *name) {
  const char *text = getenv(name);
  return text != NULL ? atoi(text) : -1;
}
/* One device a rank: ranks of a host take its devices in turn, by their number on the host, which
 * the launcher says. A launcher that shows each rank its own device is right, too. Once, before
 * anything is allocated. */
static lrl_status choose_device(int *device) {
  static int chosen = -1;
  int n = 0;
  if (chosen < 0) {
    LRL_CUDA(cudaGetDeviceCount(&n));
    if (n < 1)
      return LRL_FAIL(LRL_ERR_LIB, "device 'cuda': the driver sees no GPU");
    int rank = number("OMPI_COMM_WORLD_LOCAL_RANK");
    rank = rank >= 0 ? rank : number("MPI_LOCALRANKID");
    rank = rank >= 0 ? rank : number("SLURM_LOCALID");
    const int mine = rank > 0 ? rank % n : 0;
    LRL_CUDA(cudaSetDevice(mine));
    chosen = mine;
  }
  *device = chosen;
  return LRL_OK;
}

/* ---- memory that host and device share ---- */

struct range {
  char *begin;
  size_t bytes;
};
static std::vector<range> reserved;

/* Managed memory gets its pages when they are touched; a device grants about what the machine has.
 * It lives on the device: what the host touches comes over and goes back at the next kernel that
 * needs it. A driver or a device that cannot move single pages refuses the advice, and works. */
#if CUDART_VERSION >= 13000
static cudaMemLocation home(int device) { return {cudaMemLocationTypeDevice, device}; }
static cudaError_t fetch(void *p, size_t bytes, int device) {
  return cudaMemPrefetchAsync(p, bytes, home(device), 0, cudaStreamPerThread);
}
#else
static int home(int device) { return device; }
static cudaError_t fetch(void *p, size_t bytes, int device) {
  return cudaMemPrefetchAsync(p, bytes, device, cudaStreamPerThread);
}
#endif
static void at_home(void *p, size_t bytes) {
  int device;
  if (choose_device(&device) == LRL_OK)
    (void)cudaMemAdvise(p, bytes, cudaMemAdviseSetPreferredLocation, home(device));
  (void)cudaGetLastError();
}
static void settle(void *p, size_t bytes) {
  int device;
  if (choose_device(&device) == LRL_OK)
    (void)fetch(p, bytes, device);
  (void)cudaGetLastError();
}
static void *reserve(size_t *bytes) {
  void *p = NULL;
  int device;
  if (choose_device(&device) != LRL_OK)
    return NULL;
  for (;;) {
    const cudaError_t e = cudaMallocManaged(&p, *bytes, cudaMemAttachGlobal);
    if (e == cudaSuccess) {
      reserved.push_back({static_cast<char *>(p), *bytes});
      at_home(p, *bytes);
      return p;
    }
    (void)cudaGetLastError();
    if (e != cudaErrorMemoryAllocation) { /* no device, a driver too old */
      (void)cuda_status(e, "asking for memory");
      return NULL;
    }
    if (*bytes < (size_t)128 << 20)
      return NULL;
    *bytes /= 2;
  }
}
static void release(void *p, size_t) {
  for (size_t i = 0; i < reserved.size(); i++)
    if (reserved[i].begin == p) {
      reserved.erase(reserved.begin() + (long)i);
      cudaFree(p);
      return;
    }
}
static const struct lrl_arena_source memory = {reserve, release, settle, false};

static bool reachable(const void *p) {
  const char *c = static_cast<const char *>(p);
  for (const range &r : reserved)
    if (c >= r.begin && c < r.begin + r.bytes)
      return true;
  struct cudaPointerAttributes a;
  const bool known = cudaPointerGetAttributes(&a, p) == cudaSuccess;
  (void)cudaGetLastError();
  return known && (a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged);
}

/* Without a group nothing but an error can keep the stream from ending. */
static lrl_status wait_for(cuda_state *s, cudaStream_t stream) {
  if (s->group == NULL)
    return cuda_status(cudaStreamSynchronize(stream), "waiting for the device");
  for (bool first = true;; first = false) {
    const cudaError_t e = cudaStreamQuery(stream);
    if (e != cudaErrorNotReady)
      return cuda_status(e, "waiting for the device");
    LRL_TRY(cuda_group_pause(s, first));
  }
}
lrl_status cuda_wait(cuda_state *s, cudaStream_t stream) {
  if (stream != s->stream)
    return wait_for(s, stream);
  LRL_TRY(cuda_flush(s));
  LRL_TRY(wait_for(s, stream));
  cuda_slots_reuse(s);
  return LRL_OK;
}
static lrl_status cuda_wait_event(cuda_state *s, cudaEvent_t event) {
  if (s->group == NULL)
    return cuda_status(cudaEventSynchronize(event), "waiting for the device");
  for (bool first = true;; first = false) {
    const cudaError_t e = cudaEventQuery(event);
    if (e != cudaErrorNotReady)
      return cuda_status(e, "waiting for the device");
    LRL_TRY(cuda_group_pause(s, first));
  }
}

/* ---- between host and device, in the order of the stream ---- */

/* Pinned memory that copies are made from: a ring of parts, each taken again when the copies out of
 * it are done. What is larger than a part goes from where it is, and the runtime takes a copy. */
enum { PARTS = 4 };
static const size_t PART = (size_t)64 << 10, BACK = (size_t)1 << 20;
struct cuda_staging {
  char *ring;
  char *back;  /* [BACK], pinned: what comes from the device */
  size_t used; /* of the current part */
  int part;
  cudaEvent_t left[PARTS];
};
static lrl_status staging_create(cuda_state *s) {
  cuda_staging *g = s->staging = static_cast<cuda_staging *>(calloc(1, sizeof *g));
  if (g == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a context");
  LRL_CUDA(cudaMallocHost(reinterpret_cast<void **>(&g->ring), PARTS * PART));
  LRL_CUDA(cudaMallocHost(reinterpret_cast<void **>(&g->back), BACK));
  for (int i = 0; i < PARTS; i++)
    LRL_CUDA(cudaEventCreateWithFlags(&g->left[i], cudaEventDisableTiming));
  return LRL_OK;
}
static void staging_destroy(cuda_state *s) {
  cuda_staging *g = s->staging;
  if (g == NULL)
    return;
  for (int i = 0; i < PARTS; i++)
    if (g->left[i] != NULL)
      cudaEventDestroy(g->left[i]);
  cudaFreeHost(g->ring);
  cudaFreeHost(g->back);
  free(g);
}
static lrl_status next_part(cuda_state *s) {
  cuda_staging *g = s->staging;
  LRL_CUDA(cudaEventRecord(g->left[g->part], s->stream));
  g->part = (g->part + 1) % PARTS;
  g->used = 0;
  return cuda_wait_event(s, g->left[g->part]);
}
static lrl_status copy_to_device(cuda_state *s, void *to, const void *from, size_t bytes) {
  cuda_staging *g = s->staging;
  if (bytes <= PART) {
    if (g->used + bytes > PART)
      LRL_TRY(next_part(s));
    char *at = g->ring + (size_t)g->part * PART + g->used;
    memcpy(at, from, bytes);
    from = at;
    g->used += (bytes + 15) / 16 * 16;
  }
  return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, s->stream),
                     "copying to the device");
}
static lrl_status copy_to_host(cuda_state *s, void *to, const void *from, size_t bytes) {
  LRL_TRY(cuda_flush(s));
  for (size_t at = 0; at < bytes; at += BACK) {
    const size_t n = bytes - at < BACK ? bytes - at : BACK;
    LRL_CUDA(cudaMemcpyAsync(s->staging->back, static_cast<const char *>(from) + at, n,
                             cudaMemcpyDefault, s->stream));
    LRL_TRY(cuda_wait(s, s->stream));
    memcpy(static_cast<char *>(to) + at, s->staging->back, n);
  }
  return LRL_OK;
}
void *cuda_op::copy_in(const void *p, size_t bytes) {
  if (ctx->repeated) {
    void *slot = cuda_slot(state, p, bytes);
    if (slot != NULL)
      return slot;
    status_ = status_ == LRL_OK ? cuda_flush(state) : status_;
  }
  char *s = scratch<char>((int64_t)bytes);
  if (s != NULL && bytes > 0 && status_ == LRL_OK)
    status_ = copy_to_device(state, s, p, bytes);
  return s;
}
void *cuda_op::stage(const void *p, size_t bytes, bool read, bool write) {
  if (p == NULL || bytes == 0 || reachable(p))
    return const_cast<void *>(p);
  void *s = read ? copy_in(p, bytes) : scratch<char>((int64_t)bytes);
  if (s != NULL && write)
    back_.push_back({const_cast<void *>(p), s, bytes});
  return s;
}
lrl_status cuda_op::done() {
  lrl_status s = status_;
  if (s == LRL_OK)
    s = cuda_status(cudaGetLastError(), "a launch");
  for (const back &b : back_)
    if (s == LRL_OK)
      s = copy_to_host(state, b.to, b.from, b.bytes);
  return s; /* the wrapper of kernels/check.c empties the scratch arena */
}

cuda_layout layout_on_device(cuda_op &op, const struct lrl_layout *l) {
  const int64_t n = l->n_seqs;
  std::vector<int32_t> all((size_t)(3 * n), -1);
  for (size_t s = 0; s < (size_t)n; s++) {
    all[s] = l->start[s];
    all[(size_t)n + s] = l->length[s];
    if (l->parent != NULL)
      all[(size_t)(2 * n) + s] = l->parent[s];
  }
  const int32_t *copy = op.upload(all.data(), 3 * n);
  return {l->n_tokens, n, copy, copy + n, copy + 2 * n};
}

cuda_groups group_by_id(cuda_op &op, const int32_t *ids, int64_t n, int64_t n_ids, int32_t skip) {
  /* Stable sort by 11 bits at a time. */
  std::vector<int32_t> from, to;
  for (int64_t i = 0; i < n; i++)
    if (ids[i] >= 0 && ids[i] < n_ids && ids[i] != skip)
      from.push_back((int32_t)i);
  to.resize(from.size());
  for (int shift = 0; shift < 31 && n_ids >> shift > 0; shift += 11) {
    std::vector<int32_t> at(2049, 0);
    for (int32_t i : from)
      at[(size_t)(ids[i] >> shift & 2047) + 1]++;
    for (int k = 0; k < 2048; k++)
      at[(size_t)k + 1] += at[(size_t)k];
    for (int32_t i : from)
      to[(size_t)at[(size_t)(ids[i] >> shift & 2047)]++] = i;
    from.swap(to);
  }
  std::vector<int32_t> begin;
  for (size_t k = 0; k < from.size(); k++)
    if (k == 0 || ids[from[k]] != ids[from[k - 1]])
      begin.push_back((int32_t)k);
  const int64_t groups = (int64_t)begin.size();
  begin.push_back((int32_t)from.size());
  from.resize((size_t)n); /* scratch memory of a size that does not depend on the ids */
  begin.resize((size_t)n + 1);
  const int32_t *order = op.upload(from.data(), n), *first = op.upload(begin.data(), n + 1);
  return {op.failed() ? 0 : groups, first, order};
}

/* ---- contexts ---- */

static lrl_status create(struct lrl_ctx *ctx) {
  cuda_state *s = static_cast<cuda_state *>(calloc(1, sizeof *s));
  int device, shared = 0;
  if (s == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a context");
  ctx->state = s;
  LRL_TRY(choose_device(&device));
  LRL_CUDA(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
  LRL_CUDA(cudaDeviceGetAttribute(&s->n_sm, cudaDevAttrMultiProcessorCount, device));
  LRL_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  s->max_shared = (size_t)shared;
  LRL_TRY(staging_create(s));
  LRL_TRY(cuda_recorder_create(ctx));
  return cuda_blas_create(s);
}
static void destroy(struct lrl_ctx *ctx) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  if (s == NULL)
    return;
  if (s->stream != NULL) {
    cuda_group_destroy(s);
    cudaStreamSynchronize(s->stream);
    cuda_cudnn_destroy(s);
    staging_destroy(s);
    cuda_recorder_destroy(s);
    cuda_blas_destroy(s);
    cudaStreamDestroy(s->stream);
  }
  free(s);
  ctx->state = NULL;
}

static lrl_status sync(struct lrl_ctx *ctx) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  return cuda_wait(s, s->stream);
}
struct clearing {
  void *p;
  size_t bytes;
  lrl_status operator()(cudaStream_t stream) const {
    return cuda_status(cudaMemsetAsync(p, 0, bytes, stream), "clearing memory");
  }
};
struct copying {
  void *to;
  const void *from;
  size_t bytes;
  lrl_status operator()(cudaStream_t stream) const {
    return cuda_status(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream),
                       "copying on the device");
  }
};
static lrl_status read(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  if (reachable(from))
    return copy_to_host(static_cast<cuda_state *>(ctx->state), to, from, bytes);
  memcpy(to, from, bytes);
  return LRL_OK;
}
/* What goes wrong in these two shows at the next op or wait, too. */
static void zero(struct lrl_ctx *ctx, void *p, size_t bytes) {
  if (!reachable(p))
    memset(p, 0, bytes);
  else
    (void)cuda_submit(ctx, clearing{p, bytes});
}
/* Memory over itself: piece by piece through scratch memory, from the end that nothing is read from
 * later. */
static void move_over(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  void *piece = lrl_arena_alloc(&ctx->scratch, bytes < LRL_MOVE_PIECE ? bytes : LRL_MOVE_PIECE);
  for (size_t done = 0; done < bytes && piece != NULL;) {
    const size_t n = bytes - done < LRL_MOVE_PIECE ? bytes - done : LRL_MOVE_PIECE;
    const size_t at = to < from ? done : bytes - done - n;
    (void)cuda_submit(ctx, copying{piece, static_cast<const char *>(from) + at, n});
    (void)cuda_submit(ctx, copying{static_cast<char *>(to) + at, piece, n});
    done += n;
  }
  lrl_arena_reset(&ctx->scratch, mark);
}
static void move(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  const char *a = static_cast<char *>(to), *b = static_cast<const char *>(from);
  if (to == from || bytes == 0)
    return;
  if (!reachable(to)) {
    (void)read(ctx, to, from, bytes);
    return;
  }
  if (a < b + bytes && b < a + bytes) {
    move_over(ctx, to, from, bytes);
    return;
  }
  const void *slot = reachable(from) ? from : ctx->repeated ? cuda_slot(s, from, bytes) : NULL;
  if (slot != NULL)
    (void)cuda_submit(ctx, copying{to, slot, bytes});
  else if (cuda_flush(s) == LRL_OK)
    (void)copy_to_device(s, to, from, bytes);
}

static const struct lrl_backend *table() {
  static struct lrl_backend t;
  t.name = LRL_CUDA_NAME;
  t.memory = &memory;
  t.stopwatch = &cuda_stopwatch;
  t.create = create;
  t.destroy = destroy;
  t.sync = sync;
  t.zero = zero;
  t.move = move;
  t.read = read;
  t.collectives = cuda_collectives();
  t.cudnn = cuda_cudnn;
#define ENTRY(op) t.op = cuda_##op;
  LRL_OPS(ENTRY)
#undef ENTRY
  return &t;
}
extern "C" __attribute__((visibility("default"))) const struct lrl_backend *
lrl_backend_open(int abi) {
  return abi == LRL_BACKEND_ABI ? table() : NULL;
}
