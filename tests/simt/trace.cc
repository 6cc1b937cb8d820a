/* Checks of every load and store of a kernel. In trace builds the kernels are compiled with gcc's
 * -fsanitize=thread, whose callbacks are defined here instead of libtsan's (hooks.cc).
 *
 * Ordering rules. Threads of different warps are ordered by a barrier of the block only; lanes of a
 * warp by __syncwarp or a barrier (shuffles, votes and mma order no memory); blocks of a launch by
 * nothing, except that a block which sees another's atomic sees what that block wrote before its
 * __threadfence (the "last block finishes" idiom). */
#include "simt.h"

#include "include/simt_core.h"

#include "report.h"

#include <algorithm>
#include <link.h>
#include <set>
#include <string.h>
#include <unordered_map>
#include <vector>

namespace simt {
namespace {
/* A side of a byte's shadow. stamp counts the orderings of a warp in a block. */
struct who {
  uint64_t block : 24, thread : 10, stamp : 17, launch : 11, flag1 : 1, flag2 : 1;
};
enum { MAX_STAMP = (1 << 17) - 1, MAX_LAUNCH = (1 << 11) - 1, MANY = (1 << 24) - 1 };
/* writer: flag1 by an atomic, flag2 cp.async in flight. reader: flag1 several lanes of its warp,
 * flag2 several warps; block MANY: several blocks. */
who unpack(uint64_t v) {
  who w;
  memcpy(&w, &v, sizeof w);
  return w;
}
uint64_t pack(who w) {
  uint64_t v;
  memcpy(&v, &w, sizeof v);
  return v;
}
byte_shadow shared_shadow[MAX_STATIC + MAX_SHARED];
unsigned launch, block, last_block, stamps[32], barrier_stamps[32];
bool active, fenced;
std::set<unsigned> acquired;
std::unordered_map<const void *, std::set<unsigned>> released;
const unsigned char *params_begin, *params_end;
const char *const kinds[] = {
    "read", "write", "atomic", "cp.async", "landing cp.async", "volatile read", "volatile write"};

who me(bool flag) {
  who w = {};
  w.block = block;
  w.thread = (unsigned)self->linear;
  w.stamp = stamps[self->warp];
  w.launch = launch;
  w.flag1 = flag;
  return w;
}
/* Of this launch (and, for shared memory, of this block). */
bool current(who w, bool shared) { return w.launch == launch && (!shared || w.block == block); }
bool other_block(who w) { return w.block != block && acquired.count(w.block) == 0; }
bool unordered(who w) {
  if (w.block != block)
    return other_block(w);
  const int t = (int)w.thread, warp = t / 32;
  if (t == self->linear || w.stamp == MAX_STAMP)
    return false;
  return warp == self->warp ? w.stamp == stamps[warp] : w.stamp >= barrier_stamps[warp];
}
/* A write races with what was read since the last ordering, also by lanes or warps no longer named.
 */
bool unordered_reader(who r) {
  if (r.block == MANY || r.block != block)
    return r.block == MANY || other_block(r);
  if (r.stamp == MAX_STAMP)
    return false;
  const int warp = (int)r.thread / 32;
  if (r.flag2 && r.stamp >= barrier_stamps[warp])
    return true;
  if (r.flag1 && warp == self->warp && r.stamp == stamps[warp])
    return true;
  return unordered(r);
}
std::string race(access_kind kind, const char *where, who other, const char *did) {
  char text[300];
  const int named = (int)other.thread;
  if (other.block != block)
    snprintf(text, sizeof text, "%s race: %s of memory that %s %s in this launch", where,
             kinds[kind], other.block == MANY ? "other blocks" : "another block", did);
  else if (named == self->linear) /* it read last, others before it */
    snprintf(text, sizeof text,
             "%s race: %s by thread %d of memory that other threads %s with no %s between", where,
             kinds[kind], named, did, other.flag2 ? "barrier" : "__syncwarp");
  else
    snprintf(text, sizeof text,
             "%s race: %s by thread %d of memory that thread %d %s with no %s between", where,
             kinds[kind], self->linear, named, did,
             named / 32 == self->warp ? "__syncwarp" : "barrier");
  return text;
}
/* Two threads may write the same word when they write the same value. That shows only after the
 * write, when the thread comes to the simulator next: settle(). */
struct {
  const unsigned char *at; /* NULL: nothing is open */
  int bytes;
  unsigned char before[16];
  const void *pc;
  std::string text;
} same_word;
void settle() {
  if (same_word.at == NULL)
    return;
  const unsigned char *at = same_word.at;
  same_word.at = NULL;
  if (memcmp(at, same_word.before, (size_t)same_word.bytes) != 0)
    report_at(same_word.pc, "race", "%s", same_word.text.c_str());
}
const unsigned char *access_at; /* what is being checked */
int access_bytes;
void same_or_race(const void *pc, std::string text) {
  same_word.at = access_at;
  same_word.bytes = access_bytes < 16 ? access_bytes : 16;
  memcpy(same_word.before, access_at, (size_t)same_word.bytes);
  same_word.pc = pc;
  same_word.text = std::move(text);
}
/* A loop of compare and swap begins with a plain look at a word that others change by atomics. A
 * look that no atomic of the same thread on the same word follows before its next barrier or warp
 * operation, is a race. */
struct look {
  const thread *by;
  const void *at, *pc;
  std::string text;
};
std::vector<look> looks;
void suspect(const void *pc, std::string text) {
  looks.push_back({self, access_at, pc, std::move(text)});
}
void no_suspect(const void *p) {
  for (size_t i = looks.size(); i-- > 0;)
    if (looks[i].by == self && looks[i].at == p)
      looks.erase(looks.begin() + (ptrdiff_t)i);
}
/* Checks and records one byte; false: reported. */
bool byte_access(byte_shadow *s, access_kind kind, const void *pc, bool shared) {
  const char *where = shared ? "shared memory" : "global memory";
  who w = unpack(s->writer), r = unpack(s->reader);
  const bool written = current(w, shared), read = current(r, shared);
  if (kind == READ && written && w.flag2) {
    report_at(pc, "async", "reads shared memory while a cp.async into it is in flight");
    return false;
  }
  const bool atomic = kind == ATOMIC || kind == VOLATILE_READ || kind == VOLATILE_WRITE;
  if (shared && !written && (kind == READ || kind == ATOMIC || kind == VOLATILE_READ)) {
    report_at(pc, "uninitialised", "%s of shared memory that was never written", kinds[kind]);
    return false;
  }
  if (written && unordered(w) && !(atomic && w.flag1)) {
    const bool may_be_same = kind == WRITE && !w.flag1 && !w.flag2;
    if (may_be_same)
      same_or_race(pc, race(kind, where, w, "wrote"));
    if (kind == READ && w.flag1) {
      suspect(pc, race(kind, where, w, "wrote"));
      return true;
    }
    if (!may_be_same) {
      report_at(pc, "race", "%s", race(kind, where, w, "wrote").c_str());
      return false;
    }
  }
  if (kind == VOLATILE_READ)
    return true;
  if (kind != READ) {
    if (read && unordered_reader(r)) {
      report_at(pc, "race", "%s", race(kind, where, r, "read").c_str());
      return false;
    }
    who n = me(atomic);
    n.flag2 = kind == ASYNC_ISSUE;
    s->writer = pack(n);
    if (kind == ATOMIC && read && r.block == block && (int)r.thread == self->linear && !r.flag1 &&
        !r.flag2)
      s->reader = 0; /* it looked before its atomic */
    return true;
  }
  who n = me(false);
  if (read && r.block != block) {
    n.block = MANY;
  } else if (read && r.stamp >= barrier_stamps[r.thread / 32]) { /* since the last barrier */
    const bool same_warp = (int)r.thread / 32 == self->warp;
    n.flag2 = r.flag2 || !same_warp;
    n.flag1 = same_warp && r.stamp == n.stamp && (r.flag1 || (int)r.thread != self->linear);
  }
  s->reader = pack(n);
  return true;
}
/* Checks and records n bytes, most often all with the same past. */
bool bytes_access(byte_shadow *s, int n, access_kind kind, const void *pc, bool shared) {
  bool alike = true;
  for (int i = 1; i < n; i++)
    alike = alike && s[i].writer == s[0].writer && s[i].reader == s[0].reader;
  for (int i = 0; i < (alike ? 1 : n); i++)
    if (!byte_access(&s[i], kind, pc, shared))
      return false;
  for (int i = 1; i < n && alike; i++)
    s[i] = s[0];
  return true;
}

void shared_access(const unsigned char *p, int n, access_kind kind, const void *pc) {
  const size_t at = (size_t)(p - static_shared_memory);
  if (at >= MAX_STATIC) {
    const size_t offset = at - MAX_STATIC;
    if (offset + (size_t)n > dynamic_shared_bytes) {
      report_at(pc, "bounds", "%s of %d bytes at offset %zu of %zu bytes of dynamic shared memory",
                kinds[kind], n, offset, dynamic_shared_bytes);
      return;
    }
  } else {
    const shared_variable *near = NULL;
    bool inside = false;
    for (int i = 0; i < n_variables && !inside; i++)
      if (variables[i].at <= at) {
        near = &variables[i];
        inside = at + (size_t)n <= near->at + near->bytes;
      }
    if (!inside) {
      report_at(pc, "bounds",
                "%s of %d bytes at %zu bytes behind the start of shared %s (%zu bytes)",
                kinds[kind], n, near != NULL ? at - near->at : 0,
                near != NULL ? near->name : "memory", near != NULL ? near->bytes : 0);
      return;
    }
  }
  if (bytes_access(&shared_shadow[at], n, kind, pc, true))
    count_access(p, n, true, kind, pc);
}
void global_access(const unsigned char *p, int n, access_kind kind, const void *pc,
                   const allocation *a) {
  if (!a->live) {
    report_at(pc, "freed", "%s of freed memory", kinds[kind]);
    return;
  }
  if (p + n > a->at + a->bytes) {
    report_at(pc, "bounds",
              "%s of %d bytes at %td bytes from the start of an allocation of %zu bytes",
              kinds[kind], n, p - a->at, a->bytes);
    return;
  }
  for (int i = 0, here; i < n; i += here) { /* a misaligned access may lie in two pages */
    shadow_page *s = shadow_of(p + i);
    const size_t at = (uintptr_t)(p + i) & 4095;
    here = at + (size_t)(n - i) > 4096 ? (int)(4096 - at) : n - i;
    if (a->kind == DEVICE && kind != WRITE && kind != VOLATILE_WRITE &&
        memchr(s->written + at, false, (size_t)here) != NULL) {
      report_at(pc, "uninitialised", "%s of global memory that was never written", kinds[kind]);
      return;
    }
    if (!bytes_access(&s->bytes[at], here, kind, pc, false))
      return;
    if (kind != READ && kind != VOLATILE_READ)
      memset(s->written + at, true, (size_t)here);
  }
  stream_access(p, (size_t)n, kind != READ && kind != VOLATILE_READ);
  count_access(p, n, false, kind, pc);
}

/* Memory of loaded programs and libraries: constants, __device__ and __constant__ variables, and
 * the simulator's own, such as threadIdx. */
struct module {
  uintptr_t from, to;
  bool has(const void *p) const { return (uintptr_t)p - from < to - from; }
};
module last_module; /* most often the one of threadIdx */
bool is_module_memory(const void *p) {
  static std::vector<module> modules;
  static auto add = [](struct dl_phdr_info *info, size_t, void *) {
    module m = {UINTPTR_MAX, 0};
    for (int i = 0; i < info->dlpi_phnum; i++)
      if (info->dlpi_phdr[i].p_type == PT_LOAD) {
        const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        m = {std::min(m.from, from), std::max(m.to, from + info->dlpi_phdr[i].p_memsz)};
      }
    modules.push_back(m);
    return 0;
  };
  if (modules.empty())
    dl_iterate_phdr(add, NULL);
  for (const module &m : modules)
    if (m.has(p)) {
      last_module = m;
      return true;
    }
  return false;
}
/* Who sees a flag sees what was written before the fence before it. */
void order(const void *p, bool acquires, bool releases) {
  std::set<unsigned> &seen = released[p];
  if (acquires)
    acquired.insert(seen.begin(), seen.end());
  if (releases && fenced) {
    seen.insert(acquired.begin(), acquired.end());
    seen.insert(block);
  }
}
} // namespace

void access(const void *p, int n, access_kind kind, const void *pc) {
  if (!traced || self == NULL || !active)
    return;
  const unsigned char *c = static_cast<const unsigned char *>(p);
  if ((kind == VOLATILE_READ || kind == VOLATILE_WRITE) && !is_shared(p, 1))
    order(p, kind == VOLATILE_READ, kind == VOLATILE_WRITE);
  if (is_stack(p) || (c >= params_begin && c < params_end) || last_module.has(p))
    return;
  settle();
  self->stored |= kind != READ && kind != VOLATILE_READ;
  const bool shared =
      c >= static_shared_memory && c < static_shared_memory + MAX_STATIC + MAX_SHARED;
  const allocation *a = shared ? NULL : find_allocation(p);
  if (!shared && (a == NULL || c >= a->at + a->bytes + 256)) {
    if (!is_module_memory(p))
      report_at(pc, "host", "%s of host memory (or far out of bounds) at %p", kinds[kind], p);
    return;
  }
  if ((n & (n - 1)) == 0 && (uintptr_t)p % (unsigned)n != 0)
    report_at(pc, "alignment", "misaligned %s of %d bytes", kinds[kind], n);
  access_at = c;
  access_bytes = n;
  if (kind == ATOMIC && !looks.empty())
    no_suspect(p);
  if (shared)
    shared_access(c, n, kind, pc);
  else
    global_access(c, n, kind, pc, a);
}
void access_range(const void *p, size_t n, access_kind kind, const void *pc) {
  const char *c = static_cast<const char *>(p);
  if (self == NULL || !active || is_stack(p))
    return;
  for (size_t size; n > 0; c += size, n -= size) {
    size = 16;
    while (size > n || (uintptr_t)c % size != 0)
      size /= 2;
    access(c, (int)size, kind, pc);
  }
}
void fence() { fenced = true; }
void atomic_order(const void *p) {
  if (traced && self != NULL)
    order(p, true, true);
}

static void new_launch() {
  released.clear();
  looks.clear();
  if (traced && launch++ == MAX_LAUNCH) {
    clear_race_shadow();
    memset(shared_shadow, 0, sizeof shared_shadow);
    launch = 1;
  }
}
void trace_launch(const void *params, size_t bytes) {
  params_begin = static_cast<const unsigned char *>(params);
  params_end = params_begin + bytes;
  last_block = 0;
  new_launch();
}
void trace_block() {
  block = last_block = (last_block + 1) % MANY;
  acquired.clear();
  fenced = false;
  active = true;
  for (int w = 0; w < 32; w++)
    stamps[w] = barrier_stamps[w] = 0;
}
void trace_block_end() {
  settle();
  active = false;
  for (int w = 0; w < 32; w++)
    trace_warp_op(w);
}
void trace_resume() { active = true; }
void trace_settle() { settle(); }
void trace_arrival() {
  for (size_t i = looks.size(); i-- > 0;)
    if (looks[i].by == self) {
      report_at(looks[i].pc, "race", "%s", looks[i].text.c_str());
      looks.erase(looks.begin() + (ptrdiff_t)i);
    }
}
void trace_warp_sync(int w) { stamps[w] += stamps[w] < MAX_STAMP; }
void trace_barrier() {
  for (int w = 0; w < 32; w++) {
    trace_warp_sync(w);
    barrier_stamps[w] = stamps[w];
    trace_warp_op(w);
  }
}

struct traced_block {
  unsigned launch, block, stamps[32], barrier_stamps[32];
  bool fenced;
  std::set<unsigned> acquired;
  std::vector<byte_shadow> shared; /* static, dynamic */
};
traced_block *trace_put_aside() {
  if (!traced)
    return NULL;
  traced_block *b = new traced_block{launch, block, {}, {}, fenced, acquired, {}};
  memcpy(b->stamps, stamps, sizeof stamps);
  memcpy(b->barrier_stamps, barrier_stamps, sizeof stamps);
  b->shared.assign(shared_shadow, shared_shadow + static_shared_bytes);
  const byte_shadow *dynamic = shared_shadow + MAX_STATIC;
  b->shared.insert(b->shared.end(), dynamic, dynamic + dynamic_shared_bytes);
  return b;
}
void trace_bring_back(traced_block *b) {
  active = true;
  if (b == NULL)
    return;
  block = b->block;
  fenced = b->fenced;
  acquired.swap(b->acquired);
  memcpy(stamps, b->stamps, sizeof stamps);
  memcpy(barrier_stamps, b->barrier_stamps, sizeof stamps);
  const auto dynamic = b->shared.end() - (ptrdiff_t)dynamic_shared_bytes;
  std::copy(b->shared.begin(), dynamic, shared_shadow);
  std::copy(dynamic, b->shared.end(), shared_shadow + MAX_STATIC);
  delete b;
}
void trace_drop(traced_block *b) { delete b; }
/* As if the launch ended and another began, which finds the blocks' shared memory written. */
void trace_grid_barrier() { new_launch(); }
void trace_grid_passed(traced_block *b) {
  if (b == NULL)
    return;
  for (byte_shadow &s : b->shared)
    for (uint64_t *side : {&s.writer, &s.reader}) {
      who w = unpack(*side);
      if (w.launch == b->launch && w.block == b->block) {
        w.launch = launch;
        *side = pack(w);
      }
    }
  b->launch = launch;
  b->fenced = false;
  b->acquired.clear();
  for (int w = 0; w < 32; w++)
    b->barrier_stamps[w] = b->stamps[w] += b->stamps[w] < MAX_STAMP;
}
} // namespace simt
