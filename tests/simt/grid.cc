/* The blocks of a launch, one after the other. A block whose threads spin, or wait for the whole
 * grid, stands aside with its shared memory while others run: all blocks that fit are resident. */
#include "fiber.h"
#include "sanitizer.h"

#include <deque>
#include <stdlib.h>
#include <string.h>
#include <vector>

uint3 blockIdx;
dim3 blockDim, gridDim;

namespace simt {
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
const job *current;
uint64_t launch_number;

static thread pool[MAX_RESIDENT];
/* A block that stands aside. */
struct resident {
  block_state state;
  thread *next; /* who goes on */
  int n_variables;
  std::vector<unsigned char> shared; /* its variables, then its dynamic part */
  traced_block *trace;
};
/* Turns of spinning blocks, each of hundreds of looks, until none will ever see what it waits for.
 */
static long patience(unsigned blocks) { return blocks < 40 ? 5000L * blocks : 200000L; }
static std::deque<resident *> ready, at_grid;
static std::vector<bool> begun; /* blocks, once they do not begin in order any more */
static std::vector<int> free_slots;
static int n_slots; /* that have been used */
static unsigned n_blocks, first_block, n_begun, in_order, lowest;

/* A block that the next thread sees: what stays behind is what a careless kernel would read. */
void poison(void *p, size_t n) { memset(p, 0xff, n); }
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
  SIMT_ALLOW(static_shared_memory + at, bytes);
  poison(static_shared_memory + at, bytes);
  *key = {launch_number, static_shared_memory + at};
  return key->at;
}

static unsigned in_settings_order(unsigned k) {
  return settings.order == SIMT_DESCENDING ? n_blocks - 1 - k : (k + first_block) % n_blocks;
}
/* The next block in order or, for who waits, the lowest; none before it is left out for ever. */
static unsigned take(bool lowest_one) {
  unsigned b;
  if (lowest_one) {
    if (begun.empty()) {
      begun.resize(n_blocks);
      for (unsigned k = 0; k < in_order; k++)
        begun[in_settings_order(k)] = true;
    }
    while (begun[lowest])
      lowest++;
    b = lowest;
  } else {
    while (!begun.empty() && begun[in_settings_order(in_order)])
      in_order++;
    b = in_settings_order(in_order++);
  }
  if (!begun.empty())
    begun[b] = true;
  n_begun++;
  return b;
}
static void set_index() {
  const dim3 g = gridDim;
  blockIdx = {now.number % g.x, now.number / g.x % g.y, now.number / g.x / g.y};
}
static thread *start_block(unsigned number, int slot) {
  const dim3 b = blockDim;
  poison(dynamic_shared, dynamic_shared_bytes);
  for (int i = 0; i < n_variables; i++)
    poison(static_shared_memory + variables[i].at, variables[i].bytes);
  memset(&now, 0, sizeof now);
  now.number = number;
  now.slot = slot;
  now.threads = pool + slot * n_threads;
  now.n_live = n_threads;
  now.fresh = ~0u;
  set_index();
  for (int w = 0; w < n_warps; w++)
    now.runnable[w] = now.live[w] =
        w * 32 + 32 <= n_threads ? 0xffffffffu : (1u << (n_threads - w * 32)) - 1;
  for (int i = 0; i < n_threads; i++) {
    thread *t = &now.threads[i];
    const unsigned u = (unsigned)i;
    t->id = {u % b.x, u / b.x % b.y, u / b.x / b.y};
    t->linear = i;
    t->warp = i / 32;
    t->lane = i % 32;
    t->state = RUNNABLE;
    t->file = "start";
    t->line = t->n_async = t->async_group = 0;
    t->stored = false;
    prepare(t, slot);
  }
  counters.blocks++;
  trace_block();
  return pick(settings.order == SIMT_DESCENDING ? n_warps - 1 : 0);
}

static resident *put_aside(thread *next) {
  resident *r = new resident{now, next, n_variables, {}, trace_put_aside()};
  for (int i = 0; i < n_variables; i++) {
    const unsigned char *v = static_shared_memory + variables[i].at;
    r->shared.insert(r->shared.end(), v, v + variables[i].bytes);
  }
  r->shared.insert(r->shared.end(), dynamic_shared, dynamic_shared + dynamic_shared_bytes);
  return r;
}
static thread *bring_back(resident *r) {
  const unsigned char *from = r->shared.data();
  for (int i = 0; i < n_variables; i++) {
    unsigned char *v = static_shared_memory + variables[i].at;
    if (i < r->n_variables) {
      memcpy(v, from, variables[i].bytes);
      from += variables[i].bytes;
    } else {
      poison(v, variables[i].bytes);
    }
  }
  if (dynamic_shared_bytes > 0)
    memcpy(dynamic_shared, from, dynamic_shared_bytes);
  now = r->state;
  set_index();
  trace_bring_back(r->trace);
  thread *next = r->next;
  delete r;
  return next != NULL ? next : pick(settings.order == SIMT_DESCENDING ? n_warps - 1 : 0);
}
/* Every block stands at the grid's barrier: all of them go on. */
static void release_grid() {
  trace_grid_barrier();
  for (resident *r : at_grid) {
    r->state.at_grid = 0;
    for (int i = 0; i < n_threads; i++) {
      thread *t = &r->state.threads[i];
      if (t->state == AT_GRID) {
        t->state = RUNNABLE;
        r->state.runnable[t->warp] |= 1u << t->lane;
      }
    }
    trace_grid_passed(r->trace);
  }
  ready.swap(at_grid);
}
static bool fits() { return !free_slots.empty() || (n_slots + 1) * n_threads <= MAX_RESIDENT; }
static int new_slot() {
  if (free_slots.empty())
    return n_slots++;
  const int s = free_slots.back();
  free_slots.pop_back();
  return s;
}
static void forget_blocks() {
  for (auto *list : {&ready, &at_grid}) {
    for (resident *r : *list) {
      trace_drop(r->trace);
      delete r;
    }
    list->clear();
  }
}
/* Runs blocks until all have finished; false: the launch is broken. */
static bool run_blocks() {
  unsigned n_finished = 0;
  long turns = 0;
  thread *next = start_block(take(false), new_slot());
  for (;;) {
    go(next);
    next = NULL;
    trace_block_end();
    thread *spinner = NULL;
    if (left_because == BROKEN)
      return false;
    if (left_because == FINISHED) {
      turns = 0;
      free_slots.push_back(now.slot);
      if (++n_finished == n_blocks)
        return true;
    } else if (left_because == AT_GRID_BARRIER) {
      at_grid.push_back(put_aside(NULL));
      if (at_grid.size() == n_blocks) {
        turns = 0;
        release_grid();
      }
    } else if (++turns > patience(n_begun)) {
      report("deadlock: threads spin for ever, %u of %u blocks have finished, %u have begun",
             n_finished, n_blocks, n_begun);
      return false;
    } else {
      spinner = left_by;
    }
    const bool more = n_begun < n_blocks && fits();
    const bool begin = more && (spinner != NULL || ready.empty());
    if (spinner != NULL && !begin && ready.empty()) {
      next = spinner; /* nobody else is there */
      trace_resume();
      continue;
    }
    if (spinner != NULL)
      ready.push_back(put_aside(spinner));
    if (begin) {
      next = start_block(take(spinner != NULL), new_slot());
    } else if (!ready.empty()) {
      resident *r = ready.front();
      ready.pop_front();
      next = bring_back(r);
    } else {
      report(n_begun < n_blocks ? "deadlock: a barrier of the grid, and only %zu of %u blocks fit"
                                : "deadlock: %zu of %u blocks wait at a barrier of the grid, the "
                                  "others have left",
             at_grid.size(), n_blocks);
      return false;
    }
  }
}
void run(job *j) {
  current = j;
  kernel_name = j->name;
  blockDim = j->block;
  gridDim = j->grid;
  n_threads = (int)(j->block.x * j->block.y * j->block.z);
  n_warps = (n_threads + 31) / 32;
  launch_number++;
  n_variables = 0;
  static_shared_bytes = 0;
  dynamic_shared_bytes = j->shared_bytes;
  SIMT_FORBID(static_shared_memory, MAX_STATIC + MAX_SHARED + 4096);
  SIMT_ALLOW(dynamic_shared, dynamic_shared_bytes);
  seed(settings.seed + (unsigned)launch_number);
  n_blocks = j->grid.x * j->grid.y * j->grid.z;
  first_block = settings.order == SIMT_RANDOM ? random_number() % n_blocks : 0;
  n_begun = in_order = lowest = 0;
  begun.clear();
  free_slots.clear();
  n_slots = 0;
  counters.launches++;
  trace_launch(j, sizeof *j + j->param_bytes);
  const bool whole = run_blocks();
  self = NULL;
  if (!whole) {
    break_device(cudaErrorLaunchFailure);
    forget_blocks();
    SIMT_ALLOW(stacks, (size_t)STACK * (size_t)(n_slots * n_threads));
  }
  counters_of_launch(j->name);
  kernel_name = NULL;
}
} // namespace simt
