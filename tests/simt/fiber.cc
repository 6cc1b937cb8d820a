/* Threads of a block as fibers of one OS thread: a switch is a dozen instructions (swapcontext
 * would be two system calls). A thread runs until its next barrier or warp operation; the last one
 * to arrive completes it for all. */
#include "simt.h"

#include <cuda_runtime_api.h>

#include "include/simt_core.h"

#include "include/simt_launch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace simt {
thread *self;
uint3 block_index;
dim3 block_size, grid_size;
/* Programs that know nothing of the simulator: SIMT_ORDER and SIMT_STREAMS (0 to 2), SIMT_SEED. */
static int from_environment(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text != NULL ? atoi(text) : otherwise;
}
simt_settings settings = {(simt_order)from_environment("SIMT_ORDER", SIMT_ASCENDING),
                          (simt_streams)from_environment("SIMT_STREAMS", SIMT_EAGER),
                          (unsigned)from_environment("SIMT_SEED", 1), 1, 0};
simt_counters counters;
const char *kernel_name;
size_t dynamic_shared_bytes, static_shared_bytes;
shared_variable variables[MAX_VARIABLES];
int n_variables;

enum { MAX_BARRIERS = 16 };
static unsigned char *reserve(size_t bytes) {
  void *p =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("simulator: cannot reserve memory");
    abort();
  }
  return static_cast<unsigned char *>(p);
}
/* Static and dynamic shared memory are one window: addresses are 32-bit offsets in it. */
static unsigned char *const window = reserve(MAX_STATIC + MAX_SHARED + 4096);
unsigned char *const static_shared_memory = window;
unsigned char *const dynamic_shared = window + MAX_STATIC;
unsigned char *const stacks = reserve((size_t)STACK * MAX_THREADS);

static thread threads[MAX_THREADS];
static void *main_stack;
static int n_threads, n_warps, n_live;
static unsigned runnable[32], live[32], waiting[32], gathering[32];
static struct {
  int arrived, expected, votes, result;
  const char *file;
  int line;
} barriers[MAX_BARRIERS];
static const job *current;
static uint64_t launch_number;
static unsigned rng = 1;

unsigned random_number() {
  rng ^= rng << 13;
  rng ^= rng >> 17;
  rng ^= rng << 5;
  return rng;
}
bool is_shared(const void *p, size_t bytes) {
  const unsigned char *c = static_cast<const unsigned char *>(p);
  return c >= window && c + bytes <= dynamic_shared + dynamic_shared_bytes;
}
uint32_t shared_address(const void *p) {
  return is_shared(p, 0) ? (uint32_t)(static_cast<const unsigned char *>(p) - window) : 0xdead0000u;
}
void *shared_pointer(uint32_t a) { return window + a; }

extern "C" void simt_switch(void **save, void *load);
asm(".text\n.globl simt_switch\n.hidden simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size simt_switch,.-simt_switch\n");

static thread *pick_lane(int warp) {
  const unsigned m = runnable[warp];
  int lane = __builtin_ctz(m);
  if (settings.order == SIMT_DESCENDING)
    lane = 31 - __builtin_clz(m);
  if (settings.order == SIMT_RANDOM) { /* the first from a random one on */
    const unsigned first = random_number() >> 7 & 31, later = m & ~0u << first;
    lane = __builtin_ctz(later != 0 ? later : m);
  }
  return &threads[warp * 32 + lane];
}
/* No lane of the warp can run: those at the same __activemask go on, together. */
static void gather(int warp) {
  const thread *first = &threads[warp * 32 + __builtin_ctz(gathering[warp])];
  unsigned all = 0;
  for (unsigned m = gathering[warp]; m != 0; m &= m - 1) {
    const thread *t = &threads[warp * 32 + __builtin_ctz(m)];
    if (t->line == first->line && strcmp(t->file, first->file) == 0)
      all |= 1u << t->lane;
  }
  for (unsigned m = all; m != 0; m &= m - 1) {
    threads[warp * 32 + __builtin_ctz(m)].mask = all;
    threads[warp * 32 + __builtin_ctz(m)].state = RUNNABLE;
  }
  gathering[warp] &= ~all;
  runnable[warp] |= all;
}
/* The next thread to run: a lane of the same warp first, so that a warp marches together; in random
 * order sometimes of any. */
static thread *pick(int warp) {
  if (settings.order != SIMT_RANDOM && runnable[warp] != 0)
    return pick_lane(warp);
  if (settings.order == SIMT_RANDOM && random_number() % 8 == 0)
    warp = (int)(random_number() % (unsigned)n_warps);
  for (int k = 0; k < n_warps; k++) {
    const int w =
        settings.order == SIMT_DESCENDING ? (warp - k + n_warps) % n_warps : (warp + k) % n_warps;
    if (runnable[w] == 0 && gathering[w] != 0)
      gather(w);
    if (runnable[w] != 0)
      return pick_lane(w);
  }
  return NULL;
}
/* NULL goes back to run(). */
static void go(thread *next) {
  thread *me = self;
  if (next == me)
    return;
  counters.switches++;
  self = next;
  simt_switch(me != NULL ? &me->stack_pointer : &main_stack,
              next != NULL ? next->stack_pointer : main_stack);
}
static void stuck() {
  std::string where;
  char text[200];
  for (int i = 0; i < n_threads && where.size() < 300; i++) {
    const thread *t = &threads[i], *p = i > 0 ? t - 1 : NULL;
    if (t->state != DONE && (p == NULL || p->state != t->state || p->line != t->line)) {
      snprintf(text, sizeof text, " thread %d at %s (%s:%d)", i,
               t->state == AT_BARRIER ? "a barrier" : t->what_name, t->file, t->line);
      where += text;
    }
  }
  report("deadlock: %d of %d threads wait for each other:%s", n_live, n_threads, where.c_str());
  go(NULL);
}
static void wait_as(state s, const char *file, int line) {
  self->state = s;
  self->file = file;
  self->line = line;
  runnable[self->warp] &= ~(1u << self->lane);
  thread *next = pick(self->warp);
  if (next != NULL)
    go(next);
  else
    stuck();
}
void yield() {
  if (self == NULL)
    return;
  if (gathering[self->warp] != 0)
    gather(self->warp); /* one of them may be who this thread waits for */
  thread *next = pick((int)(random_number() % (unsigned)n_warps));
  if (next != NULL)
    go(next);
}
void trap(const char *file, int line) {
  report("__trap() at %s:%d", file, line);
  go(NULL);
}
unsigned lanes_together(const char *file, int line) {
  const int w = self->warp;
  gathering[w] |= 1u << self->lane;
  self->what_name = "__activemask";
  wait_as(AT_WARP_OP, file, line); /* until nobody of the warp can run (gather) */
  return self->mask;
}

static void release(int id) {
  barriers[id].result = barriers[id].votes;
  barriers[id].arrived = barriers[id].votes = 0;
  trace_barrier();
  for (int i = 0; i < n_threads; i++)
    if (threads[i].state == AT_BARRIER && threads[i].barrier == id) {
      threads[i].state = RUNNABLE;
      runnable[threads[i].warp] |= 1u << threads[i].lane;
    }
}
int barrier(int id, int expected, int vote, const char *file, int line) {
  auto &b = barriers[id & 15];
  counters.barriers++;
  if (b.arrived == 0) {
    b.file = file;
    b.line = line;
  } else if (id == 0 && (b.line != line || (b.file != file && strcmp(b.file, file) != 0))) {
    report("divergent __syncthreads: some threads at %s:%d, others at %s:%d", b.file, b.line, file,
           line);
  }
  if (expected == 0 && n_live != n_threads && settings.strict)
    report("__syncthreads at %s:%d after %d threads have left", file, line, n_threads - n_live);
  b.expected = expected;
  b.votes += vote != 0;
  self->barrier = id & 15;
  if (++b.arrived == (expected == 0 ? n_live : expected)) {
    release(id & 15);
    return b.result;
  }
  wait_as(AT_BARRIER, file, line);
  return b.result;
}

void meet(collective what, const char *name, unsigned mask, void *operand, const char *file,
          int line) {
  thread *me = self, *warp = &threads[me->warp * 32];
  const unsigned bit = 1u << me->lane;
  counters.warp_ops++;
  me->what = what;
  me->what_name = name;
  me->mask = mask;
  me->operand = operand;
  if ((mask & bit) == 0)
    report("%s at %s:%d: lane %d calls it but is not in its mask %08x", name, file, line, me->lane,
           mask);
  unsigned others = mask & ~bit;
  if ((others & ~live[me->warp]) != 0) {
    if (settings.strict)
      report("%s at %s:%d: mask %08x names lanes that have left or do not exist (live %08x)", name,
             file, line, mask, live[me->warp]);
    others &= live[me->warp];
  }
  if ((others & waiting[me->warp]) == others) {
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
    waiting[me->warp] &= ~others;
    runnable[me->warp] |= others;
    return;
  }
  waiting[me->warp] |= bit;
  wait_as(AT_WARP_OP, file, line);
}
static void synced(thread *warp, unsigned) { trace_warp_sync(warp->warp); }
void warp_sync(unsigned mask, const char *file, int line) {
  meet(synced, "__syncwarp", mask, NULL, file, line);
}

/* A block that the next thread sees: what stays behind is what a careless kernel would read. */
static void poison(void *p, size_t n) { memset(p, 0xff, n); }
void *static_shared(shared_key *key, size_t bytes, size_t align, const char *name) {
  if (key->launch == launch_number)
    return key->at;
  if (align < 16)
    align = 16;
  size_t at = (static_shared_bytes + align - 1) / align * align;
  if (n_variables == MAX_VARIABLES || at + bytes + 128 > MAX_STATIC) {
    report("static shared memory is exhausted by %s (%zu bytes)", name, bytes);
    abort();
  }
  variables[n_variables++] = {name, at, bytes};
  static_shared_bytes = at + bytes + 128; /* a gap, so that an overrun hits nothing */
  poison(window + at, bytes);
  *key = {launch_number, window + at};
  return key->at;
}

static void leave() {
  thread *me = self;
  if (me->n_async > 0) {
    if (settings.strict)
      report("a thread leaves with %d cp.async in flight", me->n_async);
    cp_async_commit();
    cp_async_wait(0);
  }
  me->state = DONE;
  n_live--;
  runnable[me->warp] &= ~(1u << me->lane);
  live[me->warp] &= ~(1u << me->lane);
  for (unsigned m = waiting[me->warp]; m != 0; m &= m - 1) {
    thread *t = &threads[me->warp * 32 + __builtin_ctz(m)];
    if ((t->mask >> me->lane & 1) != 0) {
      report("lane %d leaves while lane %d waits for it in %s at %s:%d", me->lane, t->lane,
             t->what_name, t->file, t->line);
      break;
    }
  }
  auto &b = barriers[0];
  if (b.arrived > 0 && b.expected == 0 && b.arrived == n_live) {
    if (settings.strict)
      report("a thread leaves while the other %d wait in __syncthreads at %s:%d", n_live, b.file,
             b.line);
    release(0);
  }
  thread *next = pick(me->warp);
  if (next == NULL && n_live > 0)
    stuck();
  go(next);
}
static void thread_main() {
  current->call(current->params);
  leave();
  __builtin_trap();
}

static void start_block(unsigned index) {
  const dim3 g = current->grid, b = current->block;
  block_index = {index % g.x, index / g.x % g.y, index / g.x / g.y};
  poison(dynamic_shared, dynamic_shared_bytes);
  for (int i = 0; i < n_variables; i++)
    poison(window + variables[i].at, variables[i].bytes);
  n_live = n_threads;
  memset(barriers, 0, sizeof barriers);
  memset(waiting, 0, sizeof waiting);
  memset(gathering, 0, sizeof gathering);
  for (int w = 0; w < n_warps; w++)
    runnable[w] = live[w] =
        w * 32 + 32 <= n_threads ? 0xffffffffu : (1u << (n_threads - w * 32)) - 1;
  for (int i = 0; i < n_threads; i++) {
    thread *t = &threads[i];
    const unsigned u = (unsigned)i;
    t->id = {u % b.x, u / b.x % b.y, u / b.x / b.y};
    t->linear = i;
    t->warp = i / 32;
    t->lane = i % 32;
    t->state = RUNNABLE;
    t->file = "start";
    t->line = t->n_async = t->async_group = 0;
    /* Tops of stacks lie in different cache sets: all 64 KiB apart would be two to three times
     * slower.
     */
    void **sp = reinterpret_cast<void **>(stacks + (size_t)(i + 1) * STACK - 64 -
                                          ((size_t)i * 320 & 0x1fc0));
    *--sp = NULL;
    *--sp = reinterpret_cast<void *>(thread_main);
    for (int r = 0; r < 6; r++)
      *--sp = NULL;
    t->stack_pointer = sp;
  }
}
void run(job *j) {
  current = j;
  kernel_name = j->name;
  block_size = j->block;
  grid_size = j->grid;
  n_threads = (int)(j->block.x * j->block.y * j->block.z);
  n_warps = (n_threads + 31) / 32;
  launch_number++;
  n_variables = 0;
  static_shared_bytes = 0;
  dynamic_shared_bytes = j->shared_bytes;
  rng = (settings.seed + (unsigned)launch_number) * 2654435761u | 1;
  const unsigned n_blocks = j->grid.x * j->grid.y * j->grid.z;
  const unsigned first = settings.order == SIMT_RANDOM ? random_number() % n_blocks : 0;
  counters.launches++;
  trace_launch(j, sizeof *j + j->param_bytes);
  for (unsigned k = 0; k < n_blocks; k++) {
    start_block(settings.order == SIMT_DESCENDING ? n_blocks - 1 - k : (k + first) % n_blocks);
    counters.blocks++;
    trace_block();
    go(pick(settings.order == SIMT_DESCENDING ? n_warps - 1 : 0));
    self = NULL;
    trace_block_end();
    if (n_live > 0)
      break;
  }
  counters_of_launch(j->name);
  kernel_name = NULL;
}
} // namespace simt
