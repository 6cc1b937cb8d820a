/* Barriers of blocks and grids, and the meetings of a warp's lanes. */
#include "fiber.h"

#include <string.h>

namespace simt {
/* Whole warps may leave before the others' barrier; of a warp, all lanes or none. */
static void check_left(const char *file, int line) {
  for (int w = 0; w * 32 < n_threads; w++) {
    const int lanes = n_threads - w * 32;
    const unsigned all = lanes < 32 ? (1u << lanes) - 1 : ~0u;
    if (now.live[w] != 0 && now.live[w] != all) {
      report("__syncthreads at %s:%d after threads have left whose warp is there (live %08x)", file,
             line, now.live[w]);
      return;
    }
  }
}
void release_barrier(int id) {
  if (id == 0 && now.barriers[0].expected == 0 && now.n_live != n_threads && settings.strict)
    check_left(now.barriers[0].file, now.barriers[0].line);
  now.barriers[id].result = now.barriers[id].votes;
  now.barriers[id].arrived = now.barriers[id].votes = 0;
  now.fresh = ~0u;
  trace_barrier();
  for (int i = 0; i < n_threads; i++) {
    thread *t = &now.threads[i];
    if (t->state == AT_BARRIER && t->barrier == id) {
      t->state = RUNNABLE;
      now.runnable[t->warp] |= 1u << t->lane;
    }
  }
}
int barrier(int id, int expected, int vote, const char *file, int line) {
  auto &b = now.barriers[id & 15];
  counters.barriers++;
  if (traced)
    trace_arrival();
  self->stored = false;
  if (b.arrived == 0) {
    b.file = file;
    b.line = line;
  } else if (id == 0 && (b.line != line || (b.file != file && strcmp(b.file, file) != 0))) {
    report("divergent __syncthreads: some threads at %s:%d, others at %s:%d", b.file, b.line, file,
           line);
  }
  b.expected = expected;
  b.votes += vote != 0;
  self->barrier = id & 15;
  if (++b.arrived == (expected == 0 ? now.n_live : expected)) {
    release_barrier(id & 15);
    return b.result;
  }
  wait_as(AT_BARRIER, file, line);
  return now.barriers[id & 15].result;
}
bool is_cooperative() { return current->cooperative; }
/* Before a volatile access to shared memory the warp's lanes take turns, and none comes to its next
 * one before all have done this one: kernels work that rely on warps in step, as before __syncwarp.
 */
void volatile_access(const void *p, bool reads) {
  if (self == NULL)
    return;
  const int w = self->warp;
  const unsigned runnable = now.runnable[w], later = runnable & ~1u << self->lane;
  const bool in_step = settings.order == SIMT_ASCENDING && is_shared(p, 1);
  if (reads && (!in_step || (later == 0 && ++now.rounds % 64 == 0))) {
    yield(); /* it may be waiting for the value to change */
  } else if (in_step) {
    now.marching |= 1u << w;
    go(&now.threads[w * 32 + __builtin_ctz(later != 0 ? later : runnable)]);
  }
}
void grid_barrier(const char *file, int line) {
  if (!current->cooperative)
    report("barrier of the grid at %s:%d in a launch that is not cooperative", file, line);
  if (traced)
    trace_arrival();
  now.at_grid++;
  wait_as(AT_GRID, file, line);
}

/* All of these lanes are at an operation of the warp; the running thread is of the warp. */
static void complete(unsigned lanes) {
  const int w = self->warp;
  thread *warp = &now.threads[w * 32], *first = &warp[__builtin_ctz(lanes)];
  bool same = true;
  for (unsigned m = lanes; m != 0; m &= m - 1) {
    thread *t = &warp[__builtin_ctz(m)];
    same = same && t->what == first->what;
    t->state = RUNNABLE;
    if (t->what != first->what || t->mask != first->mask)
      report("lanes %d and %d meet in different warp operations: %s (%s:%d, mask %08x) and %s "
             "(%s:%d, mask %08x)",
             t->lane, first->lane, t->what_name, t->file, t->line, t->mask, first->what_name,
             first->file, first->line, first->mask);
  }
  if (same)
    first->what(warp, lanes);
  if (traced)
    trace_warp_op(w);
  now.waiting[w] &= ~lanes;
  now.runnable[w] |= lanes;
}
/* CUDA waits for the lanes that have not left. A mask that names one that has is reported in trace
 * builds only, and not where the lane has stored nothing since it was last together with others:
 * `if (row >= n) return;` is what kernels do. */
static void absent(const thread *gone, const thread *t) {
  if (traced && settings.strict && gone->stored)
    report("%s at %s:%d: mask %08x names lane %d, which has left", t->what_name, t->file, t->line,
           t->mask, gone->lane);
}
/* The first warp to come through an operation after a barrier does not run away from the others:
 * kernels work whose warps need to be about as far as each other, though that is a race. */
static void let_others() {
  const int w = self->warp;
  if (settings.order != SIMT_ASCENDING || (now.fresh >> w & 1) == 0)
    return;
  now.fresh &= ~(1u << w);
  for (int k = 1; k < n_warps; k++) {
    const int v = (w + k) % n_warps;
    if ((now.fresh >> v & 1) != 0 && now.runnable[v] != 0) {
      go(pick(v));
      return;
    }
  }
}
void meet(collective what, const char *name, unsigned mask, void *operand, const char *file,
          int line) {
  thread *me = self, *warp = &now.threads[me->warp * 32];
  const unsigned bit = 1u << me->lane;
  counters.warp_ops++;
  if (traced)
    trace_arrival();
  me->stored = false;
  me->what = what;
  me->what_name = name;
  me->mask = mask;
  me->operand = operand;
  me->file = file;
  me->line = line;
  if ((mask & bit) == 0)
    report("%s at %s:%d: lane %d calls it but is not in its mask %08x", name, file, line, me->lane,
           mask);
  unsigned others = mask & ~bit;
  for (unsigned m = others & ~now.live[me->warp]; m != 0; m &= m - 1)
    if (me->warp * 32 + __builtin_ctz(m) < n_threads) /* a block may end within a warp */
      absent(&warp[__builtin_ctz(m)], me);
  others &= now.live[me->warp];
  now.waiting[me->warp] |= bit;
  if ((others & ~now.waiting[me->warp]) == 0) {
    complete(others | bit);
    let_others();
  } else {
    wait_as(AT_WARP_OP, file, line);
  }
}
void left_warp() {
  const int w = self->warp;
  unsigned seen = 0;
  for (unsigned m = now.waiting[w]; (m &= ~seen) != 0;) {
    const thread *t = &now.threads[w * 32 + __builtin_ctz(m)];
    const unsigned lanes = t->mask & now.live[w];
    seen |= 1u << t->lane | lanes;
    if ((t->mask >> self->lane & 1) == 0)
      continue;
    absent(self, t);
    if ((lanes & ~now.waiting[w]) == 0)
      complete(lanes);
  }
}
static void synced(thread *warp, unsigned) { trace_warp_sync(warp->warp); }
void warp_sync(unsigned mask, const char *file, int line) {
  meet(synced, "__syncwarp", mask, NULL, file, line);
}
} // namespace simt
