/* Attention over cached pages on the device that the first argument names, against ref: lengths
 * around the borders of panels, pages and splits, partly filled pages in the middle, groups of one
 * head to more than a tile holds. A token's bits are the same alone, in any batch and in any pages.
 * On the simulator also: no reports in any order, and memory is read about once. */
#include "tests/unit/op_run.h"
#include "tests/unit/sim_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *device = "cpu";
static struct sim_device sim;
static bool simulated;

/* Tokens of the batch, by how many slots of each of their pages are filled. */
enum { TOKENS = 10, LISTED = 38, PAGES = 64 };
static const int32_t n_pages[TOKENS] = {1, 0, 1, 9, 1, 2, 4, 5, 8, 7};
static const int32_t filled_slots[LISTED] = {1,                                  /* 1 */
                                                                                 /* 0 */
                                             33,                                 /* 33 */
                                             64, 37, 64, 64, 64, 64, 64, 64, 31, /* 516 */
                                             64,                                 /* 64 */
                                             64, 1,                              /* 65 */
                                             64, 64, 64, 64,                     /* 256 */
                                             64, 64, 64, 64, 1,                  /* 257 */
                                             64, 64, 64, 64, 64, 64, 64, 64,     /* 512 */
                                             5, 64, 64, 64, 64, 64, 32};         /* 357 */

struct shape {
  int64_t heads, kv, d;
};
struct batch {
  struct shape s;
  lrl_dtype dtype;
  struct op_run run;
  void *q, *k, *v;
  int32_t *page;
};

/* Twins: the same numbers in other pages. */
static void make(struct batch *b, struct lrl_ctx *ctx, struct shape s, lrl_dtype t, int turn) {
  *b = (struct batch){.s = s, .dtype = t, .run = {.ctx = ctx, .ref = ctx, .dtype = t, .seed = 5}};
  const int64_t head = lrl_kv_head_size(s.d);
  b->q = filled(&b->run, t, LRL_BF16, TOKENS * s.heads * s.d, false);
  char *from[2], *to[2];
  for (int i = 0; i < 2; i++) {
    const int64_t n = PAGES * s.kv * head;
    from[i] = filled(&b->run, t, LRL_BF16, n, false);
    to[i] = add_buffer(&b->run, t, n, false);
    memset(to[i], 0, (size_t)(n * lrl_dtype_bytes(t)));
  }
  b->page = add_buffer(&b->run, LRL_I32, LISTED, false);
  const size_t bytes = (size_t)(s.kv * head * lrl_dtype_bytes(t));
  for (int32_t e = 0; e < LISTED; e++) { /* 37 and 64 have no common divisor */
    b->page[e] = (e * 37 + turn * 11) % PAGES;
    for (int i = 0; i < 2; i++)
      memcpy(to[i] + (size_t)b->page[e] * bytes, from[i] + (size_t)e * bytes, bytes);
  }
  b->k = to[0];
  b->v = to[1];
}
static void drop(struct batch *b) {
  for (int i = 0; i < b->run.n_buffers; i++)
    give_back(&b->run.buffers[i]);
}
/* Tokens first..first + n - 1 to their rows of o. */
static void decode(struct lrl_ctx *ctx, const struct batch *b, int first, int n, char *o) {
  int32_t start[TOKENS + 1] = {0}, before = 0;
  for (int t = 0; t < first; t++)
    before += n_pages[t];
  for (int t = 0; t < n; t++)
    start[t + 1] = start[t] + n_pages[first + t];
  const int64_t row = b->s.heads * b->s.d * lrl_dtype_bytes(b->dtype);
  assert_int_equal(
      lrl_attention_decode(ctx,
                           &(struct lrl_attention_decode_args){
                               n, b->s.heads, b->s.kv, b->s.d, PAGES, b->dtype, 0.2f, start,
                               b->page + before, filled_slots + before, (char *)b->q + first * row,
                               b->k, b->v, o + first * row}),
      LRL_OK);
  assert_int_equal(lrl_ctx_sync(ctx), LRL_OK);
}

static const struct shape shapes[] = {{8, 2, 128}, {3, 3, 64}, {12, 1, 80}, {5, 1, 9}, {6, 2, 192}};

static void test_against_ref(void **state) {
  (void)state;
  struct lrl_ctx ref, ctx;
  assert_int_equal(lrl_ctx_init(&ctx, device, 2), LRL_OK);
  assert_int_equal(lrl_ctx_init(&ref, "ref", 2), LRL_OK);
  int bad = 0;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int t = 0; t < 2; t++) {
      const struct shape s = shapes[i];
      if (simulated && sim.traced() && i % 2 == 1)
        continue; /* a quarter of a minute else */
      const lrl_dtype type = t == 0 ? LRL_F32 : LRL_BF16;
      const int64_t n = TOKENS * s.heads * s.d;
      struct batch b, twin;
      make(&b, &ctx, s, type, 0);
      make(&twin, &ctx, s, type, 1);
      char *want = out(&b.run, type, n), *got = out(&b.run, type, n), *alone = out(&b.run, type, n);
      decode(&ref, &b, 0, TOKENS, want);
      if (simulated)
        sim_order(&sim, 1);
      decode(&ctx, &b, 0, TOKENS, got);
      if (simulated)
        sim_order(&sim, 2);
      for (int k = 0; k < TOKENS; k++)
        decode(&ctx, &twin, k, 1, alone);
      double error = 0.0, scale = 0.0;
      for (int64_t k = 0; k < n; k++) {
        const double x = get(type, got, k), y = get(type, want, k);
        scale = fmax(scale, fabs(y));
        error = isnan(x) ? INFINITY : fmax(error, fabs(x - y));
      }
      const bool same = memcmp(got, alone, (size_t)(n * lrl_dtype_bytes(type))) == 0;
      printf("%s, heads %d/%d of %d: off by %.2g of the largest%s\n", lrl_dtype_name(type),
             (int)s.heads, (int)s.kv, (int)s.d, error / scale, same ? "" : ", alone DIFFERS");
      bad += !(error <= (type == LRL_F32 ? 2e-6 : 0x1p-7) * scale) || !same;
      drop(&b);
      drop(&twin);
    }
  lrl_ctx_free(&ctx);
  lrl_ctx_free(&ref);
  assert_int_equal(bad, 0);
  const char *found = "";
  if (simulated && sim.reports(&found) > 0)
    fail_msg("%s", found);
}

/* Every cached key and value goes over the bus once for all heads of its group. */
static void test_traffic(void **state) {
  (void)state;
  if (!simulated || !sim.traced())
    skip();
  struct lrl_ctx ctx;
  struct batch b;
  struct simt_counters once, again;
  assert_int_equal(lrl_ctx_init(&ctx, device, 1), LRL_OK);
  make(&b, &ctx, (struct shape){8, 2, 128}, LRL_BF16, 0);
  char *o = out(&b.run, LRL_BF16, TOKENS * 8 * 128);
  sim.reset();
  decode(&ctx, &b, 0, TOKENS, o);
  sim.counters("decode", &once);
  sim.counters("combine", &again);
  int64_t slots = 0;
  for (int e = 0; e < LISTED; e++)
    slots += filled_slots[e];
  const double floor = (double)(slots * 2 * 2 * 128 * 2 + TOKENS * 8 * 128 * 2 * 2);
  const double moved = 32.0 * (double)(once.global_sectors + again.global_sectors);
  printf("decode: %.3f times the floor, %.3f wavefronts a request\n", moved / floor,
         (double)once.shared_wavefronts / (double)once.shared_requests);
  assert_true(once.mma > 0);
  assert_true(moved >= floor && moved <= 1.10 * floor);
  assert_true((double)once.shared_wavefronts <= 1.05 * (double)once.shared_requests);
  drop(&b);
  lrl_ctx_free(&ctx);
}

int main(int argc, char **argv) {
  if (device_of_test(argc, argv, &device) == NULL)
    return 0;
  simulated = strcmp(device, "sim") == 0 && sim_device_open(&sim);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_ref),
                                     cmocka_unit_test(test_traffic)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
