/* Every op of LRL_OPS on every instruction set, measured against ref (f64) as CONVENTIONS "Tests"
 * says: an output may be off by twice what the same plain loops are off by in f32
 * (tests/kernels/naive.h). An op without a case does not compile. With a device named (test_ops
 * sim) the same on that device; the simulator runs its threads in another order each time. */
#include "tests/kernels/instruction_sets.h"
#include "tests/unit/op_cases.h"
#include "tests/unit/sim_device.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Tiles +- 1, nothing, one; the last is large enough for blocks and threads to share the work. */
static const int64_t shapes[][2] = {{0, 8},   {1, 1},   {3, 7},   {4, 16},  {9, 15},
                                    {16, 17}, {17, 33}, {33, 64}, {65, 97}, {259, 65}};

static const char *device; /* NULL: every instruction set of the cpu */
static struct sim_device sim;
static bool simulated;

static const struct lrl_backend *under_test(int i, const char **name) {
  static struct lrl_ctx ctx; /* keeps the device's library loaded */
  if (device == NULL)
    return instruction_set(i, name);
  *name = device;
  if (i == 0 && ctx.backend == NULL && lrl_ctx_init(&ctx, device, 1) != LRL_OK)
    return NULL;
  return i == 0 ? ctx.backend : NULL;
}

static void drop(struct op_run *r) {
  for (int i = 0; i < r->n_buffers; i++)
    give_back(&r->buffers[i]);
}

/* Largest difference of buffer b to the oracle's, which is NaN only where x must be. */
static double error_of(const struct op_run *x, const struct op_run *oracle, int b) {
  const struct buffer *p = &x->buffers[b], *q = &oracle->buffers[b];
  double error = 0.0;
  for (int64_t i = 0; i < p->n; i++) {
    const double u = get(p->dtype, p->memory + GUARD, i), v = get(q->dtype, q->memory + GUARD, i);
    if (isnan(u) != isnan(v) || (isinf(v) && u != v))
      return INFINITY;
    if (isfinite(v))
      error = fmax(error, fabs(u - v));
  }
  return error;
}
/* Largest finite element of buffer b. */
static double size_of(const struct op_run *oracle, int b) {
  const struct buffer *q = &oracle->buffers[b];
  double size = 0.0;
  for (int64_t i = 0; i < q->n; i++) {
    const double v = get(q->dtype, q->memory + GUARD, i);
    size = isfinite(v) ? fmax(size, fabs(v)) : size;
  }
  return size;
}

static size_t bytes_of(const struct buffer *b) {
  return (size_t)(b->n * lrl_dtype_bytes(b->dtype)) + 2 * (size_t)GUARD;
}
/* Of all buffers, or of the inputs only. */
static bool same_bits(const struct op_run *x, const struct op_run *y, bool inputs_only) {
  for (int b = 0; b < x->n_buffers; b++)
    if (!(inputs_only && x->buffers[b].output) &&
        memcmp(x->buffers[b].memory, y->buffers[b].memory, bytes_of(&x->buffers[b])) != 0)
      return false;
  return true;
}

static bool guards_intact(const struct op_run *r) {
  for (int b = 0; b < r->n_buffers; b++) {
    const char *start = r->buffers[b].memory, *end = start + bytes_of(&r->buffers[b]) - GUARD;
    for (int i = 0; i < GUARD; i++)
      if (start[i] != (char)0xff || end[i] != (char)0xff)
        return false;
  }
  return true;
}

static uint64_t seed = 7;
/* The oracle, the yardstick, and each instruction set with 1 and 2 threads. */
static struct lrl_ctx ref, naive, cpu[N_INSTRUCTION_SETS][2];

static int bad; /* complaints about the op */
#define EXPECT(truth, isa, r, ...)                                                                 \
  do {                                                                                             \
    if (!(truth)) {                                                                                \
      printf("%s %s n %d w %d: ", isa, lrl_dtype_name((r)->dtype), (int)(r)->n, (int)(r)->w);      \
      printf(__VA_ARGS__);                                                                         \
      printf("\n");                                                                                \
      bad++;                                                                                       \
    }                                                                                              \
  } while (0)

static int turn;
static struct op_run start(lrl_status (*op)(struct op_run *), struct lrl_ctx *ctx,
                           const struct op_run *like) {
  struct op_run r = *like;
  r.ctx = ctx;
  r.dtype = ctx == &ref ? LRL_F32 : like->values;
  omp_set_num_threads(ctx->n_threads);
  if (simulated)
    sim_order(&sim, turn++);
  const bool ok = op(&r) == LRL_OK && lrl_ctx_sync(ctx) == LRL_OK;
  EXPECT(ok, ctx->backend->name, &r, "%s", lrl_last_error());
  lrl_error_clear();
  return r;
}

/* Of one shape and type, over several draws of the inputs: the largest numbers and errors. */
struct measured {
  double size[MAX_BUFFERS], naive[MAX_BUFFERS], error[N_INSTRUCTION_SETS][MAX_BUFFERS];
};
static void update(double *most, double x) { *most = fmax(*most, x); }

static void draw(lrl_status (*op)(struct op_run *), const struct op_run *like, struct measured *m) {
  struct op_run oracle = start(op, &ref, like), plain = start(op, &naive, like);
  EXPECT(guards_intact(&oracle), "ref", &oracle, "wrote outside an operand");
  for (int b = 0; b < oracle.n_buffers; b++)
    if (oracle.buffers[b].output) {
      update(&m->size[b], size_of(&oracle, b));
      update(&m->naive[b], error_of(&plain, &oracle, b));
    }
  for (int i = 0; i < N_INSTRUCTION_SETS; i++) {
    const char *isa;
    if (under_test(i, &isa) == NULL)
      continue;
    struct op_run one = start(op, &cpu[i][0], like), two = start(op, &cpu[i][1], like),
                  again = start(op, &cpu[i][1], like);
    EXPECT(same_bits(&one, &two, false), isa, &one, "1 and 2 threads differ");
    EXPECT(same_bits(&two, &again, false), isa, &one, "two runs differ");
    EXPECT(guards_intact(&one), isa, &one, "wrote outside an operand");
    EXPECT(same_bits(&one, &plain, true), isa, &one, "an input was changed");
    for (int b = 0; b < one.n_buffers; b++)
      if (one.buffers[b].output)
        update(&m->error[i][b], error_of(&one, &oracle, b));
    drop(&one);
    drop(&two);
    drop(&again);
  }
  drop(&plain);
  drop(&oracle);
}

/* Twice the naive error, which may be 0 by luck, and a few roundings of the largest number. Sums in
 * f64 are long: two orders of them differ by more. */
static double allowed(lrl_dtype t, double naive_error, double size) {
  return t == LRL_F64    ? 0x1p-40 * size
         : t == LRL_BF16 ? 2.0 * naive_error + 0x1p-8 * size
                         : 2.0 * naive_error + 0x1p-22 * size;
}

static void compare(lrl_status (*op)(struct op_run *), lrl_dtype type, const int64_t shape[2]) {
  static struct measured m;
  memset(&m, 0, sizeof m);
  struct op_run like = {.ref = &ref, .values = type, .n = shape[0], .w = shape[1]};
  for (int i = 0; i < (like.n * like.w < 256 ? (simulated ? 2 : 8) : 1); i++) {
    like.seed = seed + 16 * (uint64_t)i;
    draw(op, &like, &m);
  }
  struct op_run plain = start(op, &naive, &like); /* says which buffers there are */
  for (int i = 0; i < N_INSTRUCTION_SETS; i++)
    for (int b = 0; b < plain.n_buffers; b++) {
      const char *isa = "";
      const double most = allowed(plain.buffers[b].dtype, m.naive[b], m.size[b]);
      (void)under_test(i, &isa);
      EXPECT(isfinite(most) && m.error[i][b] <= most, isa, &plain,
             "operand %d is off by %.3g, allowed %.3g", b, m.error[i][b], most);
    }
  drop(&plain);
}

static void test(lrl_status (*op)(struct op_run *)) {
  bad = 0;
  /* The largest has no border that the others lack; with every check it takes minutes. */
  const size_t n = sizeof shapes / sizeof *shapes - (simulated && sim.traced() ? 1 : 0);
  const char *found = "";
  for (size_t s = 0; s < n && !(simulated && sim.reports(&found) > 0); s++) {
    compare(op, LRL_F32, shapes[s]);
    compare(op, LRL_BF16, shapes[s]);
  }
  if (simulated && sim.reports(&found) > 0) {
    printf("the simulator reports: %s\n", found);
    sim.reset();
    bad++;
  }
  assert_int_equal(bad, 0);
}

#define TEST(op)                                                                                   \
  static void test_##op(void **state) {                                                            \
    (void)state;                                                                                   \
    test(case_##op);                                                                               \
  }
LRL_OPS(TEST)

/* Of ema the bits are promised. Two of three elements nearly cancel, so that a product that is not
 * rounded by itself shows: of every fifth element. */
static void test_ema_bits(void **state) {
  enum { N = 40007 };
  const double beta = 0.9, rest = 1.0 - beta;
  (void)state;
  for (int k = 0; k < 2 * N_INSTRUCTION_SETS; k++) {
    const lrl_dtype t = k % 2 == 0 ? LRL_F32 : LRL_BF16;
    const char *isa;
    if (under_test(k / 2, &isa) == NULL)
      continue;
    struct op_run r = {.ctx = &cpu[k / 2][1], .seed = seed};
    const void *x = filled(&r, t, LRL_F32, N, false);
    float *y = filled(&r, LRL_F32, LRL_F32, N, true), *want = malloc(N * sizeof *want);
    assert_non_null(want);
    for (int i = 0; i < N; i++) {
      if (i % 3 != 0)
        y[i] = (float)(-rest / beta * get(t, x, i));
      want[i] = (float)(beta * (double)y[i] + rest * get(t, x, i));
    }
    assert_int_equal(lrl_ema(r.ctx, &(struct lrl_ema_args){N, t, beta, x, y}), LRL_OK);
    assert_int_equal(lrl_ctx_sync(r.ctx), LRL_OK);
    int wrong = 0;
    for (int i = 0; i < N; i++)
      wrong += y[i] != want[i];
    if (wrong > 0)
      fail_msg("%s, %s: %d elements have other bits", isa, lrl_dtype_name(t), wrong);
    free(want);
    drop(&r);
  }
}

static lrl_status start_context(struct lrl_ctx *ctx, int i, int n_threads) {
  return device != NULL ? lrl_ctx_init(ctx, device, n_threads)
                        : instruction_set_init(ctx, i, n_threads);
}
static int open_contexts(void **state) {
  (void)state;
  if (lrl_ctx_init(&ref, "ref", 2) != LRL_OK || lrl_ctx_init(&naive, "ref", 2) != LRL_OK)
    return -1;
  naive.backend = &naive_backend;
  for (int i = 0; i < N_INSTRUCTION_SETS; i++) {
    const char *isa;
    if (under_test(i, &isa) == NULL) {
      if (device == NULL)
        printf("SKIP: this machine has no %s\n", isa);
    } else if (start_context(&cpu[i][0], i, 1) != LRL_OK ||
               start_context(&cpu[i][1], i, 2) != LRL_OK)
      return -1;
  }
  return 0;
}
static int close_contexts(void **state) {
  (void)state;
  for (int i = 0; i < N_INSTRUCTION_SETS; i++)
    for (int t = 0; t < 2 && cpu[i][t].backend != NULL; t++)
      lrl_ctx_free(&cpu[i][t]);
  lrl_ctx_free(&naive);
  lrl_ctx_free(&ref);
  return 0;
}

/* test_ops [seed], or test_ops DEVICE [pattern of tests] */
int main(int argc, char **argv) {
  const char *name;
  if (argc > 1 && (argv[1][0] < '0' || argv[1][0] > '9'))
    device = argv[1];
  else if (argc > 1)
    seed = strtoull(argv[1], NULL, 10);
  if (device != NULL && under_test(0, &name) == NULL) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  simulated = device != NULL && strcmp(device, "sim") == 0 && sim_device_open(&sim);
  if (argc > 2)
    cmocka_set_test_filter(argv[2]);
  printf("seed %llu\n", (unsigned long long)seed);
#define ROW(op) cmocka_unit_test(test_##op),
  const struct CMUnitTest tests[] = {LRL_OPS(ROW) cmocka_unit_test(test_ema_bits)};
  return cmocka_run_group_tests(tests, open_contexts, close_contexts);
}
