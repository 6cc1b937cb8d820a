/* Deferred queues of simulated streams. An operation only enters its stream's queue; synchronising
 * calls (and, in shuffled mode, any call, by chance) run the head of a random stream that may go
 * on. So a missing wait shows as data that is not there, and vector clocks report it whatever the
 * order. */
#ifndef SIMT_STREAMS_H
#define SIMT_STREAMS_H
#include "simt.h"

#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <string>

namespace simt {
enum { MAX_STREAMS = 64 };
struct clock_vector {
  unsigned at[MAX_STREAMS] = {};
  void join(const clock_vector &o) {
    for (int i = 0; i < MAX_STREAMS; i++)
      at[i] = o.at[i] > at[i] ? o.at[i] : at[i];
  }
};
struct operation {
  std::string name;
  std::function<bool()> ready; /* empty: always */
  std::function<bool()> run;   /* false: not finished, call again */
  bool outside = false;        /* may have to wait for another process */
  int stream = 0;
  unsigned number = 0;
  clock_vector clock;
  bool reported = false;
};
/* Work that can be queued, or captured and queued again and again. */
struct node {
  enum { NONE, KERNEL, COPY, SET, LIBRARY } type = NONE;
  int memory = 0; /* of copies: which sides are the host's */
  std::function<operation()> make;
};
struct capture; /* graph.cc */
} // namespace simt
struct CUstream_st {
  int id;
  bool blocking; /* orders itself with the legacy default stream */
  int device;
  std::deque<simt::operation> queue;
  simt::clock_vector clock;
  simt::capture *capturing = NULL;
  int lane = 0; /* of the capture */
  int priority = 0;
};
struct CUevent_st {
  simt::clock_vector clock;
  long recorded = 0, done = 0;
  long queued = 0; /* operations that use it */
  bool destroyed = false;
  double ms = 0.0;
  bool captured = false; /* recorded last in a capture */
};
namespace simt {
extern int current_device;
CUstream_st *stream_of(cudaStream_t s);
void push(cudaStream_t s, operation o);
void finish_stream(CUstream_st *s); /* and the host has seen it */
void finish_event(CUevent_st *e);
void finish_all();
bool advance();              /* one step of some stream; false: nothing can run */
inline void advance_some() { /* while the host asks how far things are */
  device_window window;
  for (int i = 0; i < 64 && advance(); i++)
    ;
}
clock_vector &host_clock();
CUstream_st *new_stream(bool blocking);
void drop_stream(CUstream_st *s);
extern cudaError_t last_error, device_error; /* device_error: a kernel ended badly */
cudaError_t fail(cudaError_t e);             /* what cudaGetLastError will say */

/* Captures (graph.cc). What may not be done while streams are captured makes the capture invalid
 * and returns the error. */
cudaError_t put(cudaStream_t s, node n);
capture *capture_of(cudaStream_t s);
cudaError_t may_wait_for(cudaStream_t s);
cudaError_t may_wait_for_all();
cudaError_t may_allocate();
cudaError_t may_look_at(cudaEvent_t e);
void spoil_capture(cudaStream_t s);
/* Whether the call was one of a capture and is done with. */
bool capture_record(cudaEvent_t e, cudaStream_t s);
bool capture_wait(cudaStream_t s, cudaEvent_t e, cudaError_t *result);
} // namespace simt
#endif
