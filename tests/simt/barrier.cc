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
void grid_barrier(const char *file, int line) {
  if (!current->cooperative)
    report("barrier of the grid at %s:%d in a launch that is not cooperative", file, line);
  if (traced)
    trace_arrival();
  now.at_grid++;
  wait_as(AT_GRID, file, line);
}

void meet(collective what, const char *name, unsigned mask, void *operand, const char *file,
          int line) {
  thread *me = self, *warp = &now.threads[me->warp * 32];
  const unsigned bit = 1u << me->lane;
  counters.warp_ops++;
  if (traced)
    trace_arrival();
  me->what = what;
  me->what_name = name;
  me->mask = mask;
  me->operand = operand;
  if ((mask & bit) == 0)
    report("%s at %s:%d: lane %d calls it but is not in its mask %08x", name, file, line, me->lane,
           mask);
  unsigned others = mask & ~bit;
  if ((others & ~now.live[me->warp]) != 0) {
    /* CUDA takes a full mask in a block that ends within a warp. */
    const int lanes = n_threads - me->warp * 32;
    const unsigned exist = lanes < 32 ? (1u << lanes) - 1 : ~0u;
    if (settings.strict && (others & exist & ~now.live[me->warp]) != 0)
      report("%s at %s:%d: mask %08x names lanes that have left (live %08x)", name, file, line,
             mask, now.live[me->warp]);
    others &= now.live[me->warp];
  }
  if ((others & now.waiting[me->warp]) == others) {
    bool same = true;
    for (unsigned m = others; m != 0; m &= m - 1) {
      thread *t = &warp[__builtin_ctz(m)];
      same = same && t->what == what;
      t->state = RUNNABLE;
      if (t->what != what || t->mask != mask)
        report("lanes %d and %d meet in different warp operations: %s (%s:%d, mask %08x) and %s "
               "(%s:%d, mask %08x)",
               me->lane, t->lane, name, file, line, mask, t->what_name, t->file, t->line, t->mask);
    }
    if (same)
      what(warp, others | bit);
    if (traced)
      trace_warp_op(me->warp);
    now.waiting[me->warp] &= ~others;
    now.runnable[me->warp] |= others;
    return;
  }
  now.waiting[me->warp] |= bit;
  wait_as(AT_WARP_OP, file, line);
}
static void synced(thread *warp, unsigned) { trace_warp_sync(warp->warp); }
void warp_sync(unsigned mask, const char *file, int line) {
  meet(synced, "__syncwarp", mask, NULL, file, line);
}
} // namespace simt
