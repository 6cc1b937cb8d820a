/* Stand-in for NCCL: ranks are processes of one host and meet in shared memory. A collective runs
 * when its stream gets there, piece by piece, and waits in the queue for the other ranks like a
 * kernel of NCCL's does. Sums go around the ring from the rank behind the owner of the part, so
 * that nobody relies on the order of ranks. Reported, and the process ended: ranks that do not make
 * the same calls, and a rank that the others wait for longer than SIMT_HANG seconds (300). */
#include "streams.h"

#include <nccl.h>

#include <atomic>
#include <fcntl.h>
#include <memory>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static_assert(ncclInProgress == 7 && ncclSum == 0 && ncclInt8 == 0 && ncclFloat32 == 7,
              "not NCCL's values");

namespace {
enum { PIECE = 1 << 18 }; /* bytes a rank shows the others at a time */
enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER };
const char *const kinds[] = {"all-reduce", "reduce-scatter", "all-gather"};
struct signature {
  long number;
  int kind, type;
  size_t count;
};
/* What a rank shows. Counters only grow. */
struct slot {
  alignas(64) std::atomic<long> begun; /* collectives whose signature stands here */
  std::atomic<long> shown, taken;      /* pieces */
  std::atomic<int> device;
  signature what;
  char data[PIECE];
};
struct board {
  std::atomic<int> joined;
  slot slots[1];
};

double now() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
double hang_limit() {
  const char *text = getenv("SIMT_HANG");
  return text != NULL ? atof(text) : 300.0;
}
} // namespace

/* The real header only names the type, too. */
struct ncclComm {
  int rank, size, device;
  board *b;
  size_t bytes;
  char name[NCCL_UNIQUE_ID_BYTES];
  double started;
  bool ready = false, aborted = false;
  long queued = 0, done = 0, pieces = 0;
  ~ncclComm() { munmap(b, bytes); }
};
typedef std::shared_ptr<ncclComm> shared_comm;

namespace {
/* Handles are the addresses of shared pointers: queued operations outlive an aborted communicator.
 */
shared_comm &comm_of(ncclComm_t c) { return *reinterpret_cast<shared_comm *>(c); }

size_t width(ncclDataType_t t) { return t == ncclFloat32 ? 4 : t == ncclInt8 ? 1 : 0; }

struct collective {
  shared_comm c;
  signature what;
  const char *from;
  char *to;
  bool begun = false, checked = false, shown = false;
  size_t at = 0; /* elements of the part done */
  long polls = 0;
  double since = 0;

  [[noreturn]] void stop(const char *why, int rank) {
    const signature &o = c->b->slots[rank].what;
    simt::report("rank %d, collective %ld (%s of %zu, type %d): %s rank %d (collective %ld, %s of "
                 "%zu, type %d)",
                 c->rank, what.number, kinds[what.kind], what.count, what.type, why, rank, o.number,
                 kinds[o.kind], o.count, o.type);
    abort();
  }
  /* Whether all ranks have reached the value. */
  bool all(std::atomic<long> slot::*counter, long value) {
    for (int r = 0; r < c->size; r++)
      if ((c->b->slots[r].*counter).load(std::memory_order_acquire) < value) {
        if (++polls % 1024 == 1) {
          if (since == 0)
            since = now();
          if (now() - since > hang_limit())
            stop("still waits for", r);
        }
        return false;
      }
    polls = 0;
    since = 0;
    return true;
  }
  size_t parts() const { return what.kind == REDUCE_SCATTER ? (size_t)c->size : 1; }
  size_t size() const { return width((ncclDataType_t)what.type); }
  size_t piece() const {
    const size_t most = PIECE / (size() * parts());
    return what.count - at < most ? what.count - at : most;
  }
  void begin() {
    const size_t own = what.count * size();
    simt::stream_access(from, own * parts(), false);
    simt::stream_access(to, own * (what.kind == ALL_GATHER ? (size_t)c->size : 1), true);
    slot &mine = c->b->slots[c->rank];
    mine.what = what;
    mine.begun.store(what.number + 1, std::memory_order_release);
    begun = true;
  }
  void check() {
    for (int r = 0; r < c->size; r++) {
      const signature &o = c->b->slots[r].what;
      if (o.number != what.number || o.kind != what.kind || o.type != what.type ||
          o.count != what.count)
        stop("is another call than that of", r);
    }
    checked = true;
  }
  void show(size_t n) {
    slot &mine = c->b->slots[c->rank];
    for (size_t p = 0; p < parts(); p++)
      memcpy(mine.data + p * n * size(), from + (p * what.count + at) * size(), n * size());
    mine.shown.store(++c->pieces, std::memory_order_release);
    shown = true;
  }
  const char *data(int rank) const { return c->b->slots[rank].data; }
  void take(size_t n) {
    if (what.kind == ALL_GATHER) {
      for (int r = 0; r < c->size; r++)
        memcpy(to + ((size_t)r * what.count + at) * size(), data(r), n * size());
    } else {
      const size_t row = what.kind == REDUCE_SCATTER ? (size_t)c->rank * n : 0;
      for (size_t i = 0; i < n; i++) {
        const size_t owner =
            what.kind == REDUCE_SCATTER ? (size_t)c->rank : (at + i) * (size_t)c->size / what.count;
        float sum = 0.0f;
        for (int k = 1; k <= c->size; k++) {
          float x;
          memcpy(&x, data((int)((owner + (size_t)k) % (size_t)c->size)) + (row + i) * 4, 4);
          sum = k == 1 ? x : sum + x;
        }
        memcpy(to + (at + i) * 4, &sum, 4);
      }
    }
    at += n;
    shown = false;
    c->b->slots[c->rank].taken.store(c->pieces, std::memory_order_release);
  }
  bool run() {
    if (c->aborted)
      return true;
    if (!c->ready || c->done != what.number)
      return false; /* another stream's collective comes first */
    if (!begun)
      begin();
    if (!checked) {
      if (!all(&slot::begun, what.number + 1))
        return false;
      check();
    }
    for (;;) {
      const size_t n = piece();
      if (!shown) {
        if (!all(&slot::taken, c->pieces))
          return false;
        if (at == what.count && at > 0)
          break;
        show(n);
      }
      if (!all(&slot::shown, c->pieces))
        return false;
      take(n);
      if (what.count == 0)
        break;
    }
    simt::mark_written(to, what.count * size() * (what.kind == ALL_GATHER ? (size_t)c->size : 1));
    c->done++;
    return true;
  }
};

ncclResult_t queue(ncclComm_t handle, kind k, const void *from, void *to, size_t count,
                   ncclDataType_t type, ncclRedOp_t op, cudaStream_t stream) {
  shared_comm c = comm_of(handle);
  const char *send = static_cast<const char *>(from);
  char *receive = static_cast<char *>(to);
  if (width(type) == 0 || op != ncclSum || (k != ALL_GATHER && type != ncclFloat32))
    return ncclInvalidArgument;
  if (c->aborted)
    return ncclInvalidUsage;
  if (simt::current_device != c->device || simt::stream_of(stream)->device != c->device) {
    simt::report("a collective is called with another device than its communicator's");
    return ncclInvalidUsage;
  }
  /* What NCCL allows of overlapping: the same place in the whole. */
  const size_t own = count * width(type);
  const char *in_place = k == ALL_GATHER ? receive + (size_t)c->rank * own : receive;
  const char *mine = k == REDUCE_SCATTER ? send + (size_t)c->rank * own : send;
  const size_t send_bytes = k == REDUCE_SCATTER ? own * (size_t)c->size : own;
  const size_t receive_bytes = k == ALL_GATHER ? own * (size_t)c->size : own;
  if (send < receive + receive_bytes && receive < send + send_bytes && in_place != mine)
    simt::report("the buffers of a collective (%s) overlap and it is not in place", kinds[k]);
  std::shared_ptr<collective> o(
      new collective{c, {c->queued++, k, (int)type, count}, send, receive});
  simt::operation p;
  p.name = k == ALL_REDUCE   ? "ncclAllReduce"
           : k == ALL_GATHER ? "ncclAllGather"
                             : "ncclReduceScatter";
  p.outside = true;
  p.run = [o] { return o->run(); };
  simt::push(stream, std::move(p));
  return ncclSuccess;
}

/* One look at who is there. */
ncclResult_t join(ncclComm &c) {
  if (c.ready || c.aborted)
    return ncclSuccess;
  if (c.b->joined.load() < c.size)
    return now() - c.started < hang_limit() ? ncclInProgress : ncclSystemError;
  c.ready = true;
  shm_unlink(c.name);
  for (int r = 0; r < c.size; r++)
    if (r != c.rank && c.b->slots[r].device.load() == c.device)
      return ncclInvalidUsage; /* two ranks, one device */
  return ncclSuccess;
}
} // namespace

extern "C" {
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  unsigned long r[2] = {(unsigned long)getpid(), 0};
  FILE *f = fopen("/dev/urandom", "rb");
  if (f == NULL || fread(&r[1], sizeof r[1], 1, f) != 1)
    return ncclSystemError;
  fclose(f);
  memset(id, 0, sizeof *id);
  snprintf(id->internal, sizeof id->internal, "/simt_nccl_%lx_%lx", r[0], r[1]);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
  if (config == NULL || config->magic != 0xcafebeef || config->size != sizeof *config || rank < 0 ||
      rank >= nranks)
    return ncclInvalidArgument;
  const size_t bytes = sizeof(board) + sizeof(slot) * (size_t)nranks;
  const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, (off_t)bytes) != 0)
    return ncclSystemError;
  void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (m == MAP_FAILED)
    return ncclSystemError;
  ncclComm *c = new ncclComm();
  c->rank = rank;
  c->size = nranks;
  c->device = simt::current_device;
  c->b = static_cast<board *>(m);
  c->bytes = bytes;
  c->started = now();
  memcpy(c->name, id.internal, sizeof c->name);
  c->b->slots[rank].device = c->device;
  c->b->joined++;
  *comm = reinterpret_cast<ncclComm_t>(new shared_comm(c));
  ncclResult_t r = join(*c);
  while (r == ncclInProgress && config->blocking != 0) {
    sched_yield();
    r = join(*c);
  }
  return r;
}
/* The device goes on while the host asks. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  simt::stream_of(0);
  simt::advance_some();
  *error = join(*comm_of(comm));
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm_of(comm)->done != comm_of(comm)->queued)
    simt::report("a communicator is finalised while collectives are queued");
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm_of(comm)->aborted = true;
  delete &comm_of(comm);
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return ncclCommAbort(comm); }
const char *ncclGetErrorString(ncclResult_t r) {
  switch (r) {
  case ncclSuccess:
    return "no error";
  case ncclInProgress:
    return "NCCL operation in progress";
  case ncclInvalidUsage:
    return "invalid usage";
  case ncclInvalidArgument:
    return "invalid argument";
  case ncclRemoteError:
    return "remote process exited or there was a network error";
  default:
    return "an error of the simulated NCCL";
  }
}
ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return queue(comm, ALL_REDUCE, from, to, count, type, op, stream);
}
ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return queue(comm, REDUCE_SCATTER, from, to, count, type, op, stream);
}
ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return queue(comm, ALL_GATHER, from, to, count, type, ncclSum, stream);
}
}
