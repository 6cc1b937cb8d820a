/* Ops that are only queued, on the device that the first argument names: the same numbers as with a
 * wait after each, whenever the device gets to them. */
#include "kernels/backend.h"
#include "tests/unit/sim_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *device = "cpu";
static struct sim_device sim;
static bool simulated;
static struct lrl_ctx ctx;
static struct lrl_arena arena;
enum { ORDERS = 4 };

static void begin_order(int i) {
  if (simulated)
    sim_order(&sim, i);
  lrl_arena_reset(&arena, 0);
}
static void expect_no_report(void) {
  const char *text;
  if (simulated && sim.reports(&text) > 0)
    fail_msg("the simulator reports: %s", text);
}
static float *numbers(int64_t n, float first) {
  float *x = lrl_arena_alloc(&arena, (size_t)n * sizeof *x);
  assert_non_null(x);
  for (int64_t i = 0; i < n; i++)
    x[i] = first + (float)i;
  return x;
}

/* out[i] += x[index[i]]; the list is the host's and is gone when the call returns. */
static void add_rows(struct lrl_ctx *c, int64_t n, int64_t n_x, const float *x, float *out,
                     int64_t shift) {
  int32_t *index = malloc((size_t)n * sizeof *index);
  assert_non_null(index);
  for (int64_t i = 0; i < n; i++)
    index[i] = (int32_t)((i + shift) % n_x);
  assert_int_equal(lrl_gather_rows(c, &(struct lrl_gather_rows_args){.n = n,
                                                                     .n_x = n_x,
                                                                     .width = 1,
                                                                     .dtype = LRL_F32,
                                                                     .index = index,
                                                                     .x = x,
                                                                     .out = out,
                                                                     .beta = 1.0f}),
                   LRL_OK);
  memset(index, 0x7f, (size_t)n * sizeof *index);
  free(index);
}

/* Lists of the host go to the device by way of a ring that is much smaller than all of them. */
static void test_lists(void **state) {
  (void)state;
  enum { N = 1000, TURNS = 100, LARGE = 40000 };
  for (int order = 0; order < ORDERS; order++) {
    begin_order(order);
    const float *x = numbers(N, 0);
    float *out = numbers(N, 0), *large = numbers(LARGE, 0);
    lrl_zero(&ctx, out, N * sizeof *out);
    lrl_zero(&ctx, large, LARGE * sizeof *large);
    for (int t = 0; t < TURNS; t++)
      add_rows(&ctx, N, N, x, out, t);
    add_rows(&ctx, LARGE, N, x, large, 1);
    assert_int_equal(lrl_ctx_sync(&ctx), LRL_OK);
    for (int64_t i = 0; i < N; i++) {
      double sum = 0;
      for (int t = 0; t < TURNS; t++)
        sum += (double)((i + t) % N);
      assert_true((double)out[i] == sum);
    }
    for (int64_t i = 0; i < LARGE; i++)
      assert_true(large[i] == (float)((i + 1) % N));
    expect_no_report();
  }
}

/* Moves from the host, within the device, over themselves; records stay what the host wrote. */
static void test_moves(void **state) {
  (void)state;
  enum { N = 5000 };
  for (int order = 0; order < ORDERS; order++) {
    begin_order(order);
    float host[64];
    const size_t mark = lrl_arena_mark(&arena);
    float *a = numbers(N, 0), *b = numbers(N, 0);
    lrl_zero(&ctx, a, N * sizeof *a);
    for (int i = 0; i < 64; i++)
      host[i] = (float)(i + 1);
    lrl_move(&ctx, a, host, sizeof host);
    memset(host, 0, sizeof host);
    lrl_move(&ctx, b, a, N * sizeof *a);             /* waits for nothing */
    lrl_move(&ctx, b + 10, b, (N - 10) * sizeof *b); /* overlaps */
    assert_int_equal(
        lrl_add(&ctx, &(struct lrl_add_args){.n = N, .dtype = LRL_F32, .a = a, .b = b, .y = a}),
        LRL_OK);
    lrl_arena_reset(&arena, mark);
    /* Where the queued ops still work. */
    char *record = lrl_arena_host(&arena, 4096);
    assert_non_null(record);
    memset(record, 0x55, 4096);
    double squares = 0; /* the host's: the op waits */
    if (ctx.backend->memory != NULL) {
      assert_int_equal(lrl_sumsq(&ctx, &(struct lrl_sumsq_args){.n = N, .x = a, .out = &squares}),
                       LRL_OK);
      double want = 0;
      for (int i = 0; i < 74; i++) {
        const double y = (i < 64 ? i + 1 : 0) + (i < 10 ? i + 1 : i - 9);
        want += y * y;
      }
      assert_true(squares == want);
    }
    for (int i = 0; i < 4096; i++)
      assert_int_equal(record[i], 0x55);
    expect_no_report();
  }
}

static void expect_numbers(const float *x, int64_t n, float first) {
  for (int64_t i = 0; i < n; i++)
    assert_true(x[i] == first + (float)i);
}
/* All is done when the host has waited, and where the host is written to. */
static void test_waits(void **state) {
  (void)state;
  enum { N = 2000 };
  for (int order = 0; order < ORDERS; order++) {
    begin_order(order);
    float host[N];
    float *a = numbers(N, 1), *b = numbers(N, 7), *c = numbers(N, 3);
    for (int i = 0; i < N; i++)
      host[i] = (float)(20 + i);
    lrl_move(&ctx, a, b, N * sizeof *a);
    lrl_move(&ctx, b, host, sizeof host);
    lrl_zero(&ctx, c, N * sizeof *c);
    add_rows(&ctx, N, N, b, c, 0);
    lrl_move(&ctx, host, a, sizeof host);
    expect_numbers(host, N, 7);
    lrl_move(&ctx, host, c, sizeof host);
    expect_numbers(host, N, 20);
    lrl_move(&ctx, a, c, N * sizeof *a);
    assert_int_equal(lrl_ctx_sync(&ctx), LRL_OK);
    expect_numbers(a, N, 20);
    expect_no_report();
  }
}

/* Reads see what was queued before them, and nothing of what is queued later. */
static void test_reads(void **state) {
  (void)state;
  enum { N = 400000 }; /* more than the pinned memory they go through */
  for (int order = 0; order < ORDERS; order++) {
    begin_order(order);
    float *x = numbers(N, 0), *seen = malloc(N * sizeof *seen), few[3] = {1, 2, 3}, back[3];
    assert_non_null(seen);
    const struct lrl_scale_args twice = {.n = N, .x = x, .alpha = 2};
    assert_int_equal(lrl_scale(&ctx, &twice), LRL_OK);
    assert_int_equal(lrl_read(&ctx, seen, x, N * sizeof *seen), LRL_OK);
    assert_int_equal(lrl_scale(&ctx, &twice), LRL_OK);
    for (int64_t i = 0; i < N; i++)
      assert_true(seen[i] == 2 * (float)i);
    lrl_move(&ctx, x + 1, few, sizeof few);
    assert_int_equal(lrl_read(&ctx, back, x + 1, sizeof back), LRL_OK);
    assert_memory_equal(back, few, sizeof few);
    assert_int_equal(lrl_read(&ctx, back, few, sizeof back), LRL_OK); /* the host's own */
    assert_memory_equal(back, few, sizeof few);
    free(seen);
    expect_no_report();
  }
}

/* A context can be freed with ops under way, which are done then. */
static void test_broken_off(void **state) {
  (void)state;
  enum { N = 500 };
  for (int order = 0; order < ORDERS; order++) {
    begin_order(order);
    const float *x = numbers(N, 0);
    float *out = numbers(N, 4);
    struct lrl_ctx other;
    assert_int_equal(lrl_ctx_init(&other, device, 1), LRL_OK);
    lrl_zero(&other, out, N * sizeof *out);
    add_rows(&other, N, N, x, out, 0);
    lrl_ctx_free(&other);
    expect_numbers(out, N, 0);
    expect_no_report();
  }
}

int main(int argc, char **argv) {
  if (device_of_test(argc, argv, &device) == NULL)
    return 0;
  simulated = sim_device_open(&sim);
  if (lrl_ctx_init(&ctx, device, 1) != LRL_OK ||
      lrl_arena_init(&arena, "memory", (size_t)64 << 20) != LRL_OK)
    return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists), cmocka_unit_test(test_moves),
                                     cmocka_unit_test(test_waits), cmocka_unit_test(test_reads),
                                     cmocka_unit_test(test_broken_off)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lrl_arena_free(&arena);
  lrl_ctx_free(&ctx);
  return failed;
}
