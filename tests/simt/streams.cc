#include "streams.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

namespace simt {
int current_device;
static std::vector<CUstream_st *> &streams = *new std::vector<CUstream_st *>; /* for ever */
static clock_vector host;
static const operation *running;
static unsigned rng = 12345;
clock_vector &host_clock() { return host; }

/* Its own numbers: those of fibers start anew at every launch. */
static unsigned chance() {
  rng ^= rng << 13;
  rng ^= rng >> 17;
  rng ^= rng << 5;
  return rng;
}
CUstream_st *new_stream(bool blocking) {
  if (streams.empty())
    streams.push_back(new CUstream_st{0, true, 0, {}, {}, NULL, 0});
  for (size_t i = 1; i < streams.size(); i++)
    if (streams[i] == NULL)
      return streams[i] = new CUstream_st{(int)i, blocking, current_device, {}, {}, NULL, 0};
  if (streams.size() == MAX_STREAMS)
    return NULL;
  streams.push_back(
      new CUstream_st{(int)streams.size(), blocking, current_device, {}, {}, NULL, 0});
  return streams.back();
}
void drop_stream(CUstream_st *s) {
  finish_stream(s);
  streams[(size_t)s->id] = NULL;
  delete s;
}
CUstream_st *stream_of(cudaStream_t s) {
  if (streams.empty())
    streams.push_back(new CUstream_st{0, true, 0, {}, {}, NULL, 0});
  return s == 0 || s == cudaStreamLegacy || s == cudaStreamPerThread ? streams[0] : s;
}

/* A granule of 16 bytes remembers its last writer and two readers as stream << 24 | operation. */
void stream_access(const void *p, size_t bytes, bool write) {
  if (running == NULL || bytes == 0)
    return;
  if (!is_device_memory(p)) {
    const allocation *a = find_allocation(p);
    if (a != NULL && !a->live && static_cast<const unsigned char *>(p) < a->at + a->bytes)
      report("%s %s memory that was freed", running->name.c_str(), write ? "writes" : "reads");
    return;
  }
  const int me = running->stream;
  const uint32_t mine = (uint32_t)(me + 1) << 24 | (running->number & 0xffffffu);
  auto unordered = [&](uint32_t x) {
    const int s = (int)(x >> 24) - 1;
    return s >= 0 && s != me && running->clock.at[s] < (x & 0xffffffu);
  };
  const char *c = static_cast<const char *>(p);
  for (uintptr_t g = (uintptr_t)c / 16; g <= ((uintptr_t)c + bytes - 1) / 16; g++) {
    stream_shadow &s = shadow_of(reinterpret_cast<void *>(g * 16))->streams[g & 255];
    uint32_t bad = unordered(s.writer) ? s.writer : 0;
    for (int i = 0; i < 2 && write && bad == 0; i++)
      bad = unordered(s.readers[i]) ? s.readers[i] : 0;
    if (bad != 0 && !running->reported) {
      const_cast<operation *>(running)->reported = true;
      report(
          "stream race: %s (stream %d, operation %u) %s memory that operation %u of stream %d %s, "
          "with no event or synchronisation between",
          running->name.c_str(), me, running->number, write ? "writes" : "reads", bad & 0xffffffu,
          (int)(bad >> 24) - 1, bad == s.writer ? "writes" : "reads");
    }
    if (write)
      s = {mine, {0, 0}};
    else if (s.readers[0] == 0 || s.readers[0] >> 24 == mine >> 24)
      s.readers[0] = mine;
    else
      s.readers[1] = mine;
  }
}

bool advance() {
  device_window window;
  const size_t n = streams.size(), first = chance() % n;
  for (size_t i = 0; i < n; i++) {
    CUstream_st *s = streams[(i + first) % n];
    if (s == NULL || s->queue.empty())
      continue;
    operation &o = s->queue.front();
    if (o.ready && !o.ready())
      continue;
    running = &o;
    device_window::open();
    const bool finished = o.run();
    running = NULL;
    if (finished) {
      s->queue.pop_front();
      return true;
    }
  }
  return false;
}
static bool all_empty() {
  for (const CUstream_st *s : streams)
    if (s != NULL && !s->queue.empty())
      return false;
  return true;
}
static bool waits_outside() {
  for (const CUstream_st *s : streams)
    if (s != NULL && !s->queue.empty() && s->queue.front().outside)
      return true;
  return false;
}
/* try_only: up to where only another process can go on. */
static void drain(const std::function<bool()> &done, bool try_only = false) {
  device_window window;
  long idle = 0;
  while (!done()) {
    if (advance()) {
      idle = 0;
    } else if (waits_outside()) {
      if (try_only)
        return;
      sched_yield();
    } else if (++idle > 100000000L || all_empty()) {
      fprintf(stderr, "SIMT: deadlock: no queued operation can run\n");
      abort();
    }
  }
}
void finish_stream(CUstream_st *s) {
  drain([s] { return s->queue.empty(); });
  host.join(s->clock);
}
void finish_event(CUevent_st *e) {
  const long need = e->recorded;
  drain([e, need] { return e->done >= need; });
  host.join(e->clock);
}
void finish_all() {
  stream_of(0);
  drain(all_empty);
  for (const CUstream_st *s : streams)
    if (s != NULL)
      host.join(s->clock);
}
void push(cudaStream_t stream, operation o) {
  device_window window;
  CUstream_st *s = stream_of(stream);
  spoil_capture(stream); /* what comes here is not captured */
  s->clock.join(host);
  for (CUstream_st *other : streams) /* the legacy default stream waits for, and holds up, others */
    if (other != NULL && other != s &&
        (s->id == 0 ? other->blocking : other->id == 0 && s->blocking)) {
      s->clock.join(other->clock);
      drain([other] { return other->queue.empty(); });
    }
  o.stream = s->id;
  o.number = ++s->clock.at[s->id];
  o.clock = s->clock;
  s->queue.push_back(std::move(o));
  if (settings.streams == SIMT_EAGER)
    drain([s] { return s->queue.empty(); }, true);
  else if (settings.streams == SIMT_SHUFFLED)
    while (chance() % 3 == 0 && advance())
      ;
}
void enqueue_call(CUstream_st *stream, const char *name, bool (*run)(void *), void *arg) {
  operation o;
  o.name = name;
  o.run = [run, arg] { return run(arg); };
  push(stream, std::move(o));
}
} // namespace simt
