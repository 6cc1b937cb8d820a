/* One rank of tests/unit/test_device_ranks.c, started by mpirun: gradients of made-up units.
 *   device_worker DEVICE sums    every ZeRO stage, summed by the device's collectives; checked to
 *                                the bit: all numbers are small integers
 *   device_worker DEVICE host    the same through memory that the ranks share
 *   device_worker DEVICE mpi     the same as between hosts
 *   device_worker DEVICE stuck   rank 1 hangs */
#include "kernels/backend.h"
#include "model/param_build.h"
#include "train/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNITS = 5, MICRO = 2, STEPS = 3 };
static const int64_t rows[UNITS] = {3, 7, 1, 12, 5}; /* of 64: slices of 2 or 3 ranks do not fit */
static struct lrl_comm *comm;
static struct lrl_ctx ctx;
static struct lrl_arena arena;
static struct lrl_param_set params;
static struct lrl_shard shard;
static float *one[UNITS];  /* what a micro-batch adds to a unit's gradient */
static float *sums[UNITS]; /* of this rank's part of the gradient, as the gradient norm reads it */
static float *seen[UNITS]; /* the unit's parameters as the newest forward found them, twice */

#define CHECK(cond)                                                                                \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "%s:%d: rank %d: not so: %s\n%s\n", __FILE__, __LINE__, lrl_comm_rank(comm), \
              #cond, lrl_last_error());                                                            \
      lrl_comm_abort(comm, 3);                                                                     \
    }                                                                                              \
  } while (0)
#define OK(expr) CHECK((expr) == LRL_OK)

static float contribution(int rank, int unit, int64_t i) {
  return (float)(1 + rank + 3 * unit + i % 5);
}
/* Rank 1 never uses unit 1 in the second micro-batch, and the last rank has a single micro-batch.
 * In the second turn nobody uses the first and the last unit, whose gathers are then under way
 * beside the backward. */
static bool uses(int rank, int unit, int micro, int turn) {
  return !(micro == 1 && (rank == lrl_comm_size(comm) - 1 || (rank == 1 && unit == 1))) &&
         !(turn == 2 && (unit == 0 || unit == UNITS - 1));
}
static int n_micro(int rank) { return rank == lrl_comm_size(comm) - 1 ? 1 : MICRO; }

static void open_stage(int stage, bool host_sums) {
  OK(lrl_arena_init(&arena, "memory", (size_t)64 << 20));
  memset(&params, 0, sizeof params);
  for (int u = 0; u < UNITS; u++) {
    char name[16];
    snprintf(name, sizeof name, "unit%d", u);
    const int unit = lrl_param_unit_add(&params, name, LRL_F32, true);
    lrl_param_add(&params, unit, name, rows[u], 64, 0);
  }
  OK(lrl_param_set_alloc(&params, &arena));
  for (int u = 0; u < UNITS; u++) {
    CHECK((one[u] = lrl_arena_alloc(&arena, (size_t)params.units[u].n * sizeof(float))) != NULL);
    CHECK((sums[u] = lrl_arena_zeros(&arena, (size_t)params.units[u].n * sizeof(float))) != NULL);
    CHECK((seen[u] = lrl_arena_zeros(&arena, (size_t)params.units[u].n * sizeof(float))) != NULL);
    for (int64_t i = 0; i < params.units[u].n; i++)
      one[u][i] = contribution(lrl_comm_rank(comm), u, i);
  }
  OK(lrl_shard_init(&shard, stage, host_sums, &ctx, &params, comm, &arena));
  CHECK((shard.device == NULL) == host_sums);
}

static void backward(int micro, bool last, int turn) {
  struct lrl_tape tape;
  lrl_tape_init(&tape, &ctx, &arena, true);
  lrl_shard_attach(&shard, &tape, last);
  OK(tape.status);
  const int rank = lrl_comm_rank(comm);
  for (int u = 0; u < UNITS; u++) {
    struct lrl_param_unit *unit = &params.units[u];
    unit->uses = uses(rank, u, micro, turn);
    if (unit->uses == 0)
      continue;
    const float *x = lrl_tensor_param(&tape, unit, 0)->data;
    OK(tape.status);
    OK(lrl_add(&ctx, &(struct lrl_add_args){
                         .n = unit->n, .dtype = LRL_F32, .a = x, .b = x, .y = seen[u]}));
  }
  for (int u = UNITS - 1; u >= 0; u--) {
    struct lrl_param_unit *unit = &params.units[u];
    if (unit->uses == 0)
      continue;
    if (tape.hooks != NULL)
      OK(tape.hooks->touch(tape.hooks->user, unit));
    OK(lrl_add(&ctx,
               &(struct lrl_add_args){
                   .n = unit->n, .dtype = LRL_F32, .a = unit->grad, .b = one[u], .y = unit->grad}));
    unit->uses = 0;
    if (tape.hooks != NULL)
      OK(tape.hooks->done(tape.hooks->user, unit));
  }
}

static float *gradient(int stage, int place) {
  return stage > 0 ? shard.slice[place] : params.units[shard.unit_at[place]].grad;
}
static void own(int stage, int place, int64_t *lo, int64_t *hi) {
  *lo = 0;
  *hi = params.units[shard.unit_at[place]].n;
  if (stage > 0)
    lrl_shard_range(&shard, shard.unit_at[place], lrl_comm_rank(comm), lo, hi);
}
static void add_to(float *x, const float *y, int64_t n) {
  OK(lrl_add(&ctx, &(struct lrl_add_args){.n = n, .dtype = LRL_F32, .a = x, .b = y, .y = x}));
}

/* As the optimizer does: looks at the whole gradient, then parameters grow by its sum. In the last
 * turn ops are noted and sent together, but not behind the collectives that need them. */
static void step(int stage, int turn) {
  const int n = n_micro(lrl_comm_rank(comm));
  int64_t lo, hi;
  if (turn == STEPS)
    lrl_ctx_begin_repeated(&ctx);
  for (int micro = 0; micro < n; micro++)
    backward(micro, micro + 1 == n, turn);
  OK(lrl_shard_finish(&shard));
  for (int place = 0; place < UNITS; place++) {
    own(stage, place, &lo, &hi);
    add_to(sums[shard.unit_at[place]] + lo, gradient(stage, place), hi - lo);
  }
  if (turn == STEPS)
    OK(lrl_ctx_end_repeated(&ctx));
  for (int place = UNITS - 1; place >= 0; place--) {
    struct lrl_param_unit *u = &params.units[shard.unit_at[place]];
    own(stage, place, &lo, &hi);
    add_to((float *)u->data + lo, gradient(stage, place), hi - lo);
    OK(lrl_shard_updated(&shard, place));
  }
  OK(lrl_shard_gather(&shard));
  OK(lrl_shard_clear(&shard));
}

static float sum_of(int unit, int64_t i, int turns) {
  float sum = 0;
  for (int turn = 1; turn <= turns; turn++)
    for (int r = 0; r < lrl_comm_size(comm); r++)
      for (int micro = 0; micro < n_micro(r); micro++)
        sum += uses(r, unit, micro, turn) ? contribution(r, unit, i) : 0;
  return sum;
}
static void check(int stage, int turns) {
  for (int place = 0; place < UNITS; place++) {
    const int u = shard.unit_at[place];
    int64_t lo, hi;
    own(stage, place, &lo, &hi);
    for (int64_t i = 0; i < params.units[u].n; i++) {
      CHECK(i < lo || i >= hi || sums[u][i] == sum_of(u, i, turns));
      CHECK(((float *)params.units[u].data)[i] == sum_of(u, i, turns));
      CHECK(seen[u][i] == 2 * sum_of(u, i, turns - 1));
    }
  }
}

/* Lists of the host's, gone when the call returns, more than the backend keeps at a time: what it
 * waits for while there are collectives. */
static void lists(void) {
  enum { N = 10240, TURNS = 6 };
  float *x, *out;
  CHECK((x = lrl_arena_alloc(&arena, UNITS * sizeof *x)) != NULL);
  CHECK((out = lrl_arena_alloc(&arena, N * sizeof *out)) != NULL);
  for (int i = 0; i < UNITS; i++)
    x[i] = (float)i;
  lrl_zero(&ctx, out, N * sizeof *out);
  for (int t = 0; t < TURNS; t++) {
    int32_t *index = malloc(N * sizeof *index);
    CHECK(index != NULL);
    for (int i = 0; i < N; i++)
      index[i] = (i + t) % UNITS;
    OK(lrl_gather_rows(&ctx, &(struct lrl_gather_rows_args){.n = N,
                                                            .n_x = UNITS,
                                                            .width = 1,
                                                            .dtype = LRL_F32,
                                                            .index = index,
                                                            .x = x,
                                                            .out = out,
                                                            .beta = 1.0f}));
    memset(index, 0, N * sizeof *index);
    free(index);
  }
  OK(lrl_ctx_sync(&ctx));
  for (int i = 0; i < N; i++) {
    float sum = 0;
    for (int t = 0; t < TURNS; t++)
      sum += (float)((i + t) % UNITS);
    CHECK(out[i] == sum);
  }
}

static void close_stage(void) {
  lrl_shard_destroy(&shard);
  lrl_param_set_free(&params);
  lrl_arena_free(&arena);
}

int main(int argc, char **argv) {
  const char *device = argc > 1 ? argv[1] : "sim", *mode = argc > 2 ? argv[2] : "sums";
  const bool stuck = strcmp(mode, "stuck") == 0, hosts = strcmp(mode, "mpi") == 0;
  const bool host_sums = hosts || strcmp(mode, "host") == 0;
  OK(lrl_comm_create_with(
      &(struct lrl_comm_options){.timeout_s = stuck ? 2 : 60, .no_shared = hosts}, &comm));
  OK(lrl_ctx_init(&ctx, device, 1));
  for (int stage = stuck ? 1 : 0; stage <= (stuck ? 1 : 2); stage++) {
    open_stage(stage, host_sums);
    for (int i = 1; i <= STEPS; i++) {
      if (stuck && lrl_comm_rank(comm) == 1)
        sleep(120);
      if (stuck) { /* the sentence, and then nothing that hangs */
        backward(0, true, 1);
        CHECK(lrl_shard_finish(&shard) == LRL_OK && lrl_ctx_sync(&ctx) == LRL_ERR_COMM);
        fprintf(stderr, "%s\n", lrl_last_error());
        close_stage();
        lrl_ctx_free(&ctx);
        lrl_comm_abort(comm, 7);
      }
      step(stage, i);
      if (i < STEPS) /* the last parameters are still on their way in the next forward */
        continue;
      for (int u = 0; u < UNITS; u++)
        OK(lrl_param_ready(&params.units[u]));
      OK(lrl_ctx_sync(&ctx));
      check(stage, i);
    }
    if (stage == 0)
      lists();
    if (stage == 1 && !host_sums) /* ends with sums under way */
      backward(0, true, 1);
    close_stage();
  }
  lrl_ctx_free(&ctx);
  lrl_comm_destroy(comm);
  return 0;
}
