/* Collectives of a warp, and cp.async. */
#include "simt.h"

#include "include/simt_core.h"

#include "include/simt_warp.h"

#include <stdlib.h>
#include <string.h>

namespace simt {
void do_shuffle(thread *warp, unsigned mask) {
  for (unsigned m = mask; m != 0; m &= m - 1) {
    const int lane = __builtin_ctz(m);
    shuffle *s = static_cast<shuffle *>(warp[lane].operand);
    const int width = s->width, base = lane & -width, at = lane - base;
    if (width < 1 || width > 32 || (width & (width - 1)) != 0)
      report("%s: width %d is not a power of two up to 32", warp[lane].what_name, width);
    int from = lane;
    switch (s->mode) {
    case SHUFFLE_INDEX:
      from = base + (s->arg & (width - 1));
      break;
    case SHUFFLE_UP:
      from = at - s->arg < 0 ? lane : lane - s->arg;
      break;
    case SHUFFLE_DOWN:
      from = at + s->arg >= width ? lane : lane + s->arg;
      break;
    default: /* a lane of a later segment keeps its own value, an earlier one may be read */
      from = lane ^ s->arg;
      from = from >= base + width ? lane : from & 31;
    }
    if ((mask >> from & 1) == 0) {
      report("%s: lane %d reads lane %d, which does not take part", warp[lane].what_name, lane,
             from);
      memset(s->result, 0xff, sizeof s->result);
      continue;
    }
    const shuffle *other = static_cast<shuffle *>(warp[from].operand);
    if (s->bytes <= 8)
      s->result[0] = other->value[0];
    else
      memcpy(s->result, other->value, sizeof s->result);
  }
}
void do_ballot(thread *warp, unsigned mask) {
  unsigned all = 0;
  for (unsigned m = mask; m != 0; m &= m - 1) {
    const int lane = __builtin_ctz(m);
    all |= (unsigned)static_cast<ballot *>(warp[lane].operand)->predicate << lane;
  }
  for (unsigned m = mask; m != 0; m &= m - 1)
    static_cast<ballot *>(warp[__builtin_ctz(m)].operand)->result = all;
}
void do_match(thread *warp, unsigned mask) {
  for (unsigned m = mask; m != 0; m &= m - 1) {
    match *mine = static_cast<match *>(warp[__builtin_ctz(m)].operand);
    unsigned same = 0;
    for (unsigned o = mask; o != 0; o &= o - 1)
      if (static_cast<match *>(warp[__builtin_ctz(o)].operand)->value == mine->value)
        same |= 1u << __builtin_ctz(o);
    mine->result = mine->all && same != mask ? 0 : same;
  }
}

/* The source is read and the bytes land as late as is legal, when the thread waits; until then the
 * destination holds NaN. */
struct async_copy {
  void *to;
  const void *from;
  int bytes, valid, group;
};
void cp_async(void *to, const void *from, int bytes, int valid, const char *file, int line) {
  thread *t = self;
  if (bytes != 4 && bytes != 8 && bytes != 16)
    report("%s:%d: cp.async of %d bytes", file, line, bytes);
  if ((uintptr_t)to % (unsigned)bytes != 0 || (valid > 0 && (uintptr_t)from % (unsigned)bytes != 0))
    report("%s:%d: misaligned cp.async of %d bytes from %p to %p", file, line, bytes, from, to);
  if (!is_shared(to, (size_t)bytes)) {
    report("%s:%d: cp.async writes outside shared memory", file, line);
    return;
  }
  if (t->n_async == t->cap_async) {
    t->cap_async = t->cap_async > 0 ? 2 * t->cap_async : 64;
    t->async =
        static_cast<async_copy *>(realloc(t->async, (size_t)t->cap_async * sizeof *t->async));
  }
  t->async[t->n_async++] = {to, from, bytes, valid, t->async_group};
  if (valid > 0)
    access(from, valid, READ, SIMT_PC);
  access(to, bytes, ASYNC_ISSUE, SIMT_PC);
  memset(to, 0xff, (size_t)bytes);
}
void cp_async_commit() { self->async_group++; }
void cp_async_wait(int pending) {
  thread *t = self;
  int kept = 0;
  for (int i = 0; i < t->n_async; i++) {
    const async_copy a = t->async[i];
    if (a.group < t->async_group - pending) {
      memcpy(a.to, a.from, (size_t)a.valid);
      memset(static_cast<char *>(a.to) + a.valid, 0, (size_t)(a.bytes - a.valid));
      access(a.to, a.bytes, ASYNC_LAND, SIMT_PC);
    } else {
      t->async[kept++] = a;
    }
  }
  t->n_async = kept;
}
void copy_async(void *to, const void *from, size_t n, size_t rank, size_t all) {
  char *d = static_cast<char *>(to);
  const char *s = static_cast<const char *>(from);
  const uintptr_t both = (uintptr_t)d | (uintptr_t)s | n;
  const size_t size = both % 16 == 0 ? 16 : both % 8 == 0 ? 8 : both % 4 == 0 ? 4 : 1;
  for (size_t at = rank * size; at < n; at += size * all)
    if (size == 1 || !is_shared(d + at, size)) {
      access(s + at, (int)size, READ, SIMT_PC);
      access(d + at, (int)size, WRITE, SIMT_PC);
      memcpy(d + at, s + at, size);
    } else {
      cp_async(d + at, s + at, (int)size, (int)size, __FILE__, __LINE__);
    }
}
void all_ordered() { trace_barrier(); }
void counters_mma() { counters.mma += self->lane == 0; }
} // namespace simt
