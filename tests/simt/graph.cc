/* Stand-in for CUDA graphs that come from capturing streams. A graph is what was captured, in
 * order: work of lanes (the streams that took part) and events between them. A launch plays it back
 * into the stream it is given and streams of its own for the other lanes, so all checks of streams
 * hold inside of a graph, too. */
#include "streams.h"

#include <map>
#include <vector>

namespace simt {
enum { MAX_LANES = 8 };
struct step {
  enum { WORK, RECORD, WAIT } kind;
  int lane, event;
  node work;
};
struct lane_clock {
  int at[MAX_LANES] = {};
  void join(const lane_clock &o) {
    for (int i = 0; i < MAX_LANES; i++)
      at[i] = o.at[i] > at[i] ? o.at[i] : at[i];
  }
};
struct capture {
  std::vector<step> steps;
  std::vector<CUstream_st *> lanes; /* [0]: where it began */
  lane_clock clock[MAX_LANES];
  int n_events = 0;
  bool invalid = false, relaxed = false;
  std::map<CUevent_st *, std::pair<int, lane_clock>> events;
};
static std::vector<capture *> active;

static cudaError_t spoil(capture *c, cudaError_t e) {
  c->invalid = true;
  return fail(e);
}
capture *capture_of(cudaStream_t s) { return active.empty() ? NULL : stream_of(s)->capturing; }
cudaError_t may_wait_for(cudaStream_t s) {
  capture *c = capture_of(s);
  if (c != NULL)
    return spoil(c, cudaErrorStreamCaptureUnsupported);
  if (!active.empty() && stream_of(s)->id == 0)
    for (capture *a : active)
      for (const CUstream_st *lane : a->lanes)
        if (lane->blocking)
          return spoil(a, cudaErrorStreamCaptureImplicit);
  return cudaSuccess;
}
cudaError_t may_wait_for_all() {
  for (capture *c : active)
    return spoil(c, cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}
cudaError_t may_allocate() {
  for (capture *c : active)
    if (!c->relaxed)
      return spoil(c, cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}
cudaError_t may_look_at(cudaEvent_t e) {
  for (capture *c : active)
    if (c->events.count(e) > 0)
      return spoil(c, cudaErrorCapturedEvent);
  return e->captured ? fail(cudaErrorCapturedEvent) : cudaSuccess;
}
static void add(capture *c, step s) {
  c->clock[s.lane].at[s.lane]++;
  c->steps.push_back(std::move(s));
}
cudaError_t put(cudaStream_t stream, node n) {
  capture *c = capture_of(stream);
  if (c == NULL) {
    const cudaError_t e = may_wait_for(stream);
    if (e == cudaSuccess)
      push(stream, n.make());
    return e;
  }
  add(c, {step::WORK, stream_of(stream)->lane, 0, std::move(n)});
  return cudaSuccess;
}
void spoil_capture(cudaStream_t stream) {
  if (capture_of(stream) != NULL)
    spoil(capture_of(stream), cudaErrorStreamCaptureUnsupported);
}
bool capture_record(cudaEvent_t e, cudaStream_t stream) {
  capture *c = capture_of(stream);
  for (capture *a : active)
    a->events.erase(e);
  e->captured = c != NULL;
  if (c == NULL)
    return false;
  const int lane = stream_of(stream)->lane;
  add(c, {step::RECORD, lane, c->n_events, {}});
  c->events[e] = {c->n_events++, c->clock[lane]};
  return true;
}
bool capture_wait(cudaStream_t stream, cudaEvent_t e, cudaError_t *result) {
  CUstream_st *s = stream_of(stream);
  *result = cudaSuccess;
  capture *from = NULL;
  for (capture *a : active)
    if (a->events.count(e) > 0)
      from = a;
  if (from == NULL && s->capturing == NULL) {
    *result = e->captured ? fail(cudaErrorCapturedEvent) : cudaSuccess;
    return e->captured;
  }
  if (from == NULL) /* an event from outside */
    *result = e->recorded > 0 || e->captured ? spoil(s->capturing, cudaErrorStreamCaptureIsolation)
                                             : cudaSuccess;
  else if (s->capturing != NULL && s->capturing != from)
    *result = spoil(s->capturing, cudaErrorStreamCaptureMerge);
  else if (s->id == 0 || (s->capturing == NULL && from->lanes.size() == MAX_LANES))
    *result = spoil(from, cudaErrorStreamCaptureUnsupported);
  else {
    if (s->capturing == NULL) {
      s->capturing = from;
      s->lane = (int)from->lanes.size();
      from->lanes.push_back(s);
    }
    from->clock[s->lane].join(from->events[e].second);
    add(from, {step::WAIT, s->lane, from->events[e].first, {}});
  }
  return true;
}
} // namespace simt

struct CUgraph_st {
  std::vector<simt::step> steps;
  int n_lanes = 1, n_events = 0;
};
struct CUgraphExec_st {
  CUgraph_st graph;
  std::vector<cudaStream_t> lanes; /* but the first */
  std::vector<cudaEvent_t> events;
  cudaEvent_t done;
};
using simt::fail;
using simt::stream_of;

extern "C" {
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  CUstream_st *s = stream_of(stream);
  if (s->id == 0)
    return fail(cudaErrorStreamCaptureUnsupported);
  if (s->capturing != NULL)
    return fail(cudaErrorIllegalState);
  s->capturing = new simt::capture;
  s->capturing->relaxed = mode == cudaStreamCaptureModeRelaxed;
  s->capturing->lanes.push_back(s);
  s->lane = 0;
  simt::active.push_back(s->capturing);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  simt::capture *c = simt::capture_of(stream);
  *graph = NULL;
  if (c == NULL)
    return fail(cudaErrorIllegalState);
  if (stream_of(stream)->lane != 0)
    return simt::spoil(c, cudaErrorStreamCaptureUnmatched);
  cudaError_t e = c->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
  for (size_t l = 1; l < c->lanes.size() && e == cudaSuccess; l++)
    if (c->clock[0].at[l] < c->clock[l].at[l])
      e = cudaErrorStreamCaptureUnjoined;
  for (CUstream_st *lane : c->lanes)
    lane->capturing = NULL;
  for (size_t i = 0; i < simt::active.size(); i++)
    if (simt::active[i] == c)
      simt::active.erase(simt::active.begin() + (long)i);
  if (e == cudaSuccess)
    *graph = new CUgraph_st{std::move(c->steps), (int)c->lanes.size(), c->n_events};
  delete c;
  return e == cudaSuccess ? e : fail(e);
}
/* An empty one: graphs get their contents from a capture. */
cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned) {
  *graph = new CUgraph_st;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  const simt::capture *c = simt::capture_of(stream);
  *status = c == NULL    ? cudaStreamCaptureStatusNone
            : c->invalid ? cudaStreamCaptureStatusInvalidated
                         : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
/* Only how many there are: a node has nothing that could be asked here. */
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
  *n = 0;
  for (const simt::step &s : graph->steps)
    *n += s.kind == simt::step::WORK;
  return nodes == NULL ? cudaSuccess : fail(cudaErrorNotSupported);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  if (simt::may_allocate() != cudaSuccess)
    return cudaErrorStreamCaptureUnsupported;
  CUgraphExec_st *x = *exec = new CUgraphExec_st{*graph, {}, {}, NULL};
  x->lanes.resize((size_t)graph->n_lanes - 1);
  x->events.resize((size_t)graph->n_events);
  for (cudaStream_t &lane : x->lanes)
    if (cudaStreamCreateWithFlags(&lane, cudaStreamNonBlocking) != cudaSuccess)
      return cudaErrorMemoryAllocation;
  for (cudaEvent_t &e : x->events)
    cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
  return cudaEventCreateWithFlags(&x->done, cudaEventDisableTiming);
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(exec, graph, flags);
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *info) {
  const std::vector<simt::step> &a = exec->graph.steps, &b = graph->steps;
  *info = {};
  if (a.size() != b.size() || exec->graph.n_lanes != graph->n_lanes)
    info->result = cudaGraphExecUpdateErrorTopologyChanged;
  for (size_t i = 0; i < a.size() && info->result == cudaGraphExecUpdateSuccess; i++)
    if (a[i].kind != b[i].kind || a[i].lane != b[i].lane || a[i].event != b[i].event)
      info->result = cudaGraphExecUpdateErrorTopologyChanged;
    else if (a[i].work.type != b[i].work.type)
      info->result = cudaGraphExecUpdateErrorNodeTypeChanged;
    else if (a[i].work.memory != b[i].work.memory)
      info->result = cudaGraphExecUpdateErrorParametersChanged;
  if (info->result != cudaGraphExecUpdateSuccess)
    return fail(cudaErrorGraphExecUpdateFailure);
  exec->graph = *graph; /* launches under way keep what they were made of */
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (simt::capture_of(stream) != NULL)
    return simt::spoil(simt::capture_of(stream), cudaErrorStreamCaptureUnsupported);
  cudaError_t e = simt::may_wait_for(stream);
  if (e != cudaSuccess)
    return e;
  cudaStreamWaitEvent(stream, exec->done, 0); /* an executable graph runs once at a time */
  for (const simt::step &s : exec->graph.steps) {
    const cudaStream_t lane = s.lane == 0 ? stream : exec->lanes[(size_t)s.lane - 1];
    if (s.kind == simt::step::RECORD)
      cudaEventRecord(exec->events[(size_t)s.event], lane);
    else if (s.kind == simt::step::WAIT)
      cudaStreamWaitEvent(lane, exec->events[(size_t)s.event], 0);
    else
      simt::push(lane, s.work.make());
  }
  return cudaEventRecord(exec->done, stream);
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  for (cudaStream_t lane : exec->lanes)
    cudaStreamDestroy(lane);
  for (cudaEvent_t e : exec->events)
    cudaEventDestroy(e);
  cudaEventDestroy(exec->done);
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
}
