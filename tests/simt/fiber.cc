/* Threads of a block as fibers of one OS thread: a switch is a dozen instructions (swapcontext
 * would be two system calls). A thread runs until its next barrier or warp operation; the last one
 * to arrive completes it for all. */
#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#define UNCHECKED __attribute__((no_sanitize("address")))

namespace simt {
thread *self;
block_state now;
int n_threads, n_warps;
reason left_because;
thread *left_by;

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
unsigned char *const stacks = reserve((size_t)STACK * MAX_RESIDENT);

static unsigned rng = 1;
void seed(unsigned s) { rng = s * 2654435761u | 1; }
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

static void *main_stack;
#ifdef __SANITIZE_ADDRESS__
/* AddressSanitizer wants to know which stack is in use. */
static void *main_fake;
static const void *main_bottom;
static size_t main_size;
static bool from_main;
static unsigned char *stack_of(const thread *t) {
  return stacks + ((size_t)now.slot * (size_t)n_threads + (size_t)t->linear) * STACK;
}
UNCHECKED static void switching(thread *me, thread *next) {
  void **fake = me == NULL ? &main_fake : me->state == DONE ? NULL : &me->fake_stack;
  from_main = me == NULL;
  __sanitizer_start_switch_fiber(fake, next != NULL ? stack_of(next) : main_bottom,
                                 next != NULL ? (size_t)STACK : main_size);
}
UNCHECKED static void switched(thread *me) {
  const void *bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(me != NULL ? me->fake_stack : main_fake, &bottom, &size);
  if (from_main) {
    main_bottom = bottom;
    main_size = size;
  }
}
#else
static void switching(thread *, thread *) {}
static void switched(thread *) {}
#endif
UNCHECKED void go(thread *next) {
  thread *me = self;
  if (next == me)
    return;
  counters.switches++;
  if (traced)
    trace_settle();
  self = next;
  switching(me, next);
  simt_switch(me != NULL ? &me->stack_pointer : &main_stack,
              next != NULL ? next->stack_pointer : main_stack);
  switched(me);
}

static thread *pick_lane(int warp) {
  const unsigned m = now.runnable[warp];
  int lane = __builtin_ctz(m);
  if ((now.marching >> warp & 1) != 0 && self != NULL && self->warp == warp) {
    const unsigned later = m & ~1u << self->lane; /* nobody is a round ahead of another */
    lane = __builtin_ctz(later != 0 ? later : m);
  }
  if (settings.order == SIMT_DESCENDING)
    lane = 31 - __builtin_clz(m);
  if (settings.order == SIMT_RANDOM) { /* the first from a random one on */
    const unsigned first = random_number() >> 7 & 31, later = m & ~0u << first;
    lane = __builtin_ctz(later != 0 ? later : m);
  }
  return &now.threads[warp * 32 + lane];
}
/* No lane of the warp can run: those at the same __activemask go on, together. */
static void gather(int warp) {
  const thread *first = &now.threads[warp * 32 + __builtin_ctz(now.gathering[warp])];
  unsigned all = 0;
  for (unsigned m = now.gathering[warp]; m != 0; m &= m - 1) {
    const thread *t = &now.threads[warp * 32 + __builtin_ctz(m)];
    if (t->line == first->line && strcmp(t->file, first->file) == 0)
      all |= 1u << t->lane;
  }
  for (unsigned m = all; m != 0; m &= m - 1) {
    now.threads[warp * 32 + __builtin_ctz(m)].mask = all;
    now.threads[warp * 32 + __builtin_ctz(m)].state = RUNNABLE;
  }
  now.gathering[warp] &= ~all;
  now.runnable[warp] |= all;
}
/* The next thread to run: a lane of the same warp first, so that a warp marches together; in random
 * order sometimes of any. */
thread *pick(int warp) {
  if (settings.order != SIMT_RANDOM && now.runnable[warp] != 0)
    return pick_lane(warp);
  if (settings.order == SIMT_RANDOM && random_number() % 8 == 0)
    warp = (int)(random_number() % (unsigned)n_warps);
  for (int k = 0; k < n_warps; k++) {
    const int w =
        settings.order == SIMT_DESCENDING ? (warp - k + n_warps) % n_warps : (warp + k) % n_warps;
    if (now.runnable[w] == 0 && now.gathering[w] != 0)
      gather(w);
    if (now.runnable[w] != 0)
      return pick_lane(w);
  }
  return NULL;
}
static const char *place_of(const thread *t) {
  return t->state == AT_BARRIER ? "a barrier"
         : t->state == AT_GRID  ? "a barrier of the grid"
         : t->state == RUNNABLE ? "no barrier"
                                : t->what_name;
}
void stuck() {
  std::string where;
  char text[200];
  for (int i = 0; i < n_threads && where.size() < 300; i++) {
    const thread *t = &now.threads[i], *p = i > 0 ? t - 1 : NULL;
    if (t->state != DONE && (p == NULL || p->state != t->state || p->line != t->line)) {
      snprintf(text, sizeof text, " thread %d at %s (%s:%d)", i, place_of(t), t->file, t->line);
      where += text;
    }
  }
  report("deadlock: %d of %d threads wait for each other:%s", now.n_live, n_threads, where.c_str());
  if (self != NULL)
    leave_block(BROKEN);
}
/* Nobody of the block can run. */
static void nobody() {
  if (now.at_grid == now.n_live)
    leave_block(AT_GRID_BARRIER);
  else
    stuck();
}
void wait_as(state s, const char *file, int line) {
  self->state = s;
  self->file = file;
  self->line = line;
  now.runnable[self->warp] &= ~(1u << self->lane);
  thread *next = pick(self->warp);
  if (next != NULL)
    go(next);
  else
    nobody();
}
/* Any other thread, and now and then another block: who spins may wait for either. */
void yield() {
  if (self == NULL)
    return;
  if (++now.yields > 256 + 4 * n_threads) {
    now.yields = 0;
    leave_block(SPINS);
    return;
  }
  if (now.gathering[self->warp] != 0)
    gather(self->warp); /* one of them may be who this thread waits for */
  const int first = (int)(random_number() % (unsigned)n_warps);
  for (int k = 0; k < n_warps; k++) {
    const int w = (first + k) % n_warps;
    const unsigned m = now.runnable[w], later = m & ~0u << (random_number() >> 7 & 31);
    if (m != 0) {
      go(&now.threads[w * 32 + __builtin_ctz(later != 0 ? later : m)]);
      return;
    }
  }
}
void trap(const char *file, int line) {
  report("__trap() at %s:%d", file, line);
  leave_block(BROKEN);
}
/* assert() in a kernel: libc's would end the process. */
} // namespace simt
extern "C" __attribute__((noreturn)) void __assert_fail(const char *what, const char *file,
                                                        unsigned line, const char *function) {
  using namespace simt;
  fflush(stdout);
  if (self == NULL) {
    fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, what);
    abort();
  }
  const uint3 b = blockIdx, t = self->id;
  fprintf(stderr, "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s' failed.\n", file,
          line, function, b.x, b.y, b.z, t.x, t.y, t.z, what);
  break_device(cudaErrorAssert);
  leave_block(BROKEN);
  __builtin_trap();
}
namespace simt {
unsigned lanes_together(const char *file, int line) {
  const int w = self->warp;
  now.gathering[w] |= 1u << self->lane;
  self->what_name = "__activemask";
  wait_as(AT_WARP_OP, file, line); /* until nobody of the warp can run (gather) */
  return self->mask;
}

UNCHECKED static void leave() {
  thread *me = self;
  if (traced)
    trace_arrival();
  if (me->n_async > 0) {
    if (settings.strict)
      report("a thread leaves with %d cp.async in flight", me->n_async);
    cp_async_commit();
    cp_async_wait(0);
  }
  me->state = DONE;
  now.n_live--;
  now.runnable[me->warp] &= ~(1u << me->lane);
  now.live[me->warp] &= ~(1u << me->lane);
  left_warp();
  const auto &b = now.barriers[0];
  if (b.arrived > 0 && b.expected == 0 && b.arrived == now.n_live)
    release_barrier(0);
  thread *next = pick(me->warp);
  if (next != NULL)
    go(next);
  else if (now.n_live == 0)
    leave_block(FINISHED);
  else
    nobody();
}
UNCHECKED static void thread_main() {
  switched(self);
  current->call(current->params);
  leave();
  __builtin_trap();
}
void prepare(thread *t, int slot) {
  /* Tops of stacks lie in different cache sets: all 64 KiB apart would be two to three times
   * slower. */
  const size_t above = (size_t)slot * (size_t)n_threads + (size_t)t->linear + 1;
  void **sp =
      reinterpret_cast<void **>(stacks + above * STACK - 64 - ((size_t)t->linear * 320 & 0x1fc0));
  *--sp = NULL;
  *--sp = reinterpret_cast<void *>(thread_main);
  for (int r = 0; r < 6; r++)
    *--sp = NULL;
  t->stack_pointer = sp;
  t->fake_stack = NULL;
}
} // namespace simt
