/* Parts that repeat, as decoding steps do: calls for the stream are noted with all that they need,
 * and go to it together. A part that is byte by byte one that was there before is launched as a
 * graph, at the cost of one launch; nothing is assumed of what was not compared. What is there for
 * the first time is launched call by call, which costs less than a graph that is not used again.
 *
 * What an op reads in the host's memory gets a slot, the same in every part as long as sizes stay:
 * the host writes to pinned memory, and one copy at the part's start takes all slots to the device.
 */
#include "kernels/cuda/host.cuh"

#include <stdlib.h>

namespace {
enum { KEPT = 8 }; /* parts; samples that end and start make a decoder change between some */
const size_t SLOTS = (size_t)4 << 20, APART = 4096;
struct call {
  cuda_run *run;
  size_t bytes; /* that follow, up to a multiple of 16 */
};
struct upload {
  char *to, *from;
  size_t bytes;
};
struct part {
  std::vector<char> calls;
  cudaGraphExec_t graph; /* NULL: there was none yet */
  bool stale, refused;   /* graph: of an earlier part; the calls cannot be captured */
  int64_t last_use;
};
struct slot {
  const void *from;
  size_t bytes;
  char *at; /* pinned */
};
} // namespace
struct cuda_recorder {
  struct lrl_repeats *count;
  std::vector<char> calls;
  part kept[KEPT];
  int64_t n_flushed;
  bool off;
  char *pinned, *device; /* [SLOTS] */
  size_t used, sent;
  std::vector<slot> slots;
};

lrl_status cuda_recorder_create(struct lrl_ctx *ctx) {
  cuda_state *s = static_cast<cuda_state *>(ctx->state);
  const char *wish = getenv("LAUREL_GRAPHS");
  s->recorder = new cuda_recorder();
  s->recorder->count = &ctx->repeats;
  s->recorder->off = wish != NULL && strcmp(wish, "0") == 0;
  return LRL_OK;
}
void cuda_recorder_destroy(cuda_state *s) {
  cuda_recorder *r = s->recorder;
  if (r == NULL)
    return;
  for (part &p : r->kept)
    if (p.graph != NULL)
      cudaGraphExecDestroy(p.graph);
  cudaFreeHost(r->pinned);
  cudaFree(r->device);
  delete r;
  s->recorder = NULL;
}

static lrl_status send(const void *call, cudaStream_t stream) {
  const upload *u = static_cast<const upload *>(call);
  if (u->bytes > 0)
    LRL_CUDA(cudaMemcpyAsync(u->to, u->from, u->bytes, cudaMemcpyHostToDevice, stream));
  return LRL_OK;
}
static void append(cuda_recorder *r, cuda_run *run, const void *data, size_t bytes) {
  const call c = {run, bytes};
  const size_t at = r->calls.size();
  r->calls.resize(at + sizeof c + (bytes + 15) / 16 * 16);
  memcpy(&r->calls[at], &c, sizeof c);
  memcpy(&r->calls[at + sizeof c], data, bytes);
}
void cuda_record(cuda_state *s, cuda_run *run, const void *data, size_t bytes) {
  const upload u = {}; /* its size is known when all is */
  if (s->recorder->calls.empty())
    append(s->recorder, send, &u, sizeof u);
  append(s->recorder, run, data, bytes);
}

/* ---- slots ---- */

void *cuda_slot(cuda_state *s, const void *p, size_t bytes) {
  cuda_recorder *r = s->recorder;
  const size_t room = (size_t)lrl_kv_room((int64_t)((bytes + APART - 1) / APART)) * APART;
  for (const slot &k : r->slots) /* every layer reads the same lists */
    if (k.from == p && k.bytes == bytes && memcmp(k.at, p, bytes) == 0)
      return r->device + (k.at - r->pinned);
  if (r->pinned == NULL &&
      (cudaMallocHost(reinterpret_cast<void **>(&r->pinned), SLOTS) != cudaSuccess ||
       cudaMalloc(reinterpret_cast<void **>(&r->device), SLOTS) != cudaSuccess)) {
    (void)cudaGetLastError();
    cudaFreeHost(r->pinned);
    r->pinned = NULL;
    return NULL;
  }
  if (room > SLOTS - r->used)
    return NULL;
  char *at = r->pinned + r->used;
  memcpy(at, p, bytes);
  r->used += room;
  r->slots.push_back({p, bytes, at});
  return r->device + (at - r->pinned);
}
void cuda_slots_reuse(cuda_state *s) {
  s->recorder->used = s->recorder->sent = 0;
  s->recorder->slots.clear();
}

/* ---- from the record to the stream ---- */

static lrl_status launch(const std::vector<char> &calls, cudaStream_t stream) {
  call c;
  for (size_t at = 0; at < calls.size(); at += sizeof c + (c.bytes + 15) / 16 * 16) {
    memcpy(&c, &calls[at], sizeof c);
    LRL_TRY(c.run(&calls[at + sizeof c], stream));
  }
  return cuda_status(cudaGetLastError(), "a launch");
}
/* The part as a graph, NULL where it cannot be one. */
static cudaGraph_t capture(const std::vector<char> &calls, cudaStream_t stream) {
  cudaGraph_t graph = NULL;
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    (void)cudaGetLastError();
    return NULL;
  }
  const bool good = launch(calls, stream) == LRL_OK;
  (void)cudaStreamEndCapture(stream, &graph);
  (void)cudaGetLastError();
  if (good)
    return graph;
  lrl_error_clear();
  if (graph != NULL)
    cudaGraphDestroy(graph);
  return NULL;
}
/* Makes p->graph that of p->calls; updating one that was there is much cheaper. */
static void build(cuda_recorder *r, part *p, cudaStream_t stream) {
  cudaGraphExecUpdateResultInfo info;
  const cudaGraph_t graph = capture(p->calls, stream);
  const bool updated = graph != NULL && p->graph != NULL &&
                       cudaGraphExecUpdate(p->graph, graph, &info) == cudaSuccess;
  if (!updated && p->graph != NULL) {
    cudaGraphExecDestroy(p->graph);
    p->graph = NULL;
  }
  if (graph != NULL && !updated && cudaGraphInstantiate(&p->graph, graph, 0) != cudaSuccess)
    p->graph = NULL;
  (void)cudaGetLastError();
  if (graph != NULL)
    cudaGraphDestroy(graph);
  p->stale = false;
  p->refused = p->graph == NULL;
  r->count->updated += updated;
  r->count->built += !updated && !p->refused;
}
/* Where these calls are kept; new: instead of what was not used for longest. */
static part *find(cuda_recorder *r, bool *known) {
  part *oldest = &r->kept[0];
  for (part &p : r->kept) {
    *known = p.calls.size() == r->calls.size() &&
             memcmp(p.calls.data(), r->calls.data(), p.calls.size()) == 0;
    if (*known)
      return &p;
    oldest = p.last_use < oldest->last_use ? &p : oldest;
  }
  oldest->calls.swap(r->calls);
  oldest->stale = oldest->graph != NULL;
  oldest->refused = false;
  return oldest;
}
lrl_status cuda_flush(cuda_state *s) {
  cuda_recorder *r = s->recorder;
  bool known;
  if (r == NULL || r->calls.empty())
    return LRL_OK;
  const upload u = {r->device + r->sent, r->pinned + r->sent, r->used - r->sent};
  memcpy(&r->calls[sizeof(call)], &u, sizeof u);
  r->sent = r->used;
  r->count->parts++;
  part *p = find(r, &known);
  p->last_use = ++r->n_flushed;
  r->calls.clear();
  if (known && !r->off && !p->refused && (p->graph == NULL || p->stale))
    build(r, p, s->stream);
  else if (known && p->graph != NULL && !p->stale)
    r->count->replayed++;
  if (p->graph == NULL || p->stale)
    return launch(p->calls, s->stream);
  return cuda_status(cudaGraphLaunch(p->graph, s->stream), "launching a graph");
}
