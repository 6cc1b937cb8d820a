/* Batch invariance of the cpu backend's GEMM: row i of C has the same bits for every number of
 * rows, so a score does not depend on what else is in the batch. */
#include "kernels/backend.h"
#include "kernels/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 520 };

static void fill(void *out, int64_t n, lrl_dtype dtype, uint64_t stream) {
  struct lrl_rng rng = lrl_rng_make(1, LRL_RNG_TEST, stream);
  for (int64_t i = 0; i < n; i++) {
    float v = lrl_rng_normal(&rng);
    if (dtype == LRL_F32)
      ((float *)out)[i] = v;
    else
      ((uint16_t *)out)[i] = lrl_f32_to_bf16(v);
  }
}

static void check_shape(struct lrl_ctx *ctx, lrl_dtype dtype, int64_t n, int64_t k, bool trans_b,
                        uint64_t version) {
  size_t e = (size_t)lrl_dtype_bytes(dtype), row = (size_t)n * e;
  char *a = malloc(ROWS * (size_t)k * e), *b = malloc((size_t)(n * k) * e);
  char *whole = malloc(ROWS * row), *part = malloc(ROWS * row);
  fill(a, ROWS * k, dtype, 1);
  fill(b, n * k, dtype, 2);
  struct lrl_gemm_args g = {.m = ROWS,
                            .n = n,
                            .k = k,
                            .trans_b = trans_b,
                            .dtype = dtype,
                            .c_dtype = dtype,
                            .a = a,
                            .b = b,
                            .ld_a = k,
                            .ld_b = trans_b ? k : n,
                            .ld_c = n,
                            .c = whole,
                            .b_version = version};
  assert_int_equal(lrl_gemm(ctx, &g), LRL_OK);
  static const int64_t counts[] = {1, 2, 7, 16, 17, 31, 33, 64, 65, 127, 129, 255, 257, 511, 513};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    g.m = counts[i];
    g.c = part;
    memset(part, 0xff, ROWS * row);
    assert_int_equal(lrl_gemm(ctx, &g), LRL_OK);
    if (memcmp(whole, part, (size_t)g.m * row) != 0)
      fail_msg("%s n %d k %d trans_b %d version %d: %d rows differ in bits from %d",
               lrl_dtype_name(dtype), (int)n, (int)k, trans_b, (int)version, (int)g.m, ROWS);
  }
  free(a);
  free(b);
  free(whole);
  free(part);
}

static void test_row_invariance(void **state) {
  (void)state;
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "cpu", 2), LRL_OK);
  static const int64_t shapes[][2] = {{512, 512}, {1408, 512}, {512, 1408}, {96, 352}, {33, 70}};
  uint64_t version = 1;
  for (int t = 0; t < 2; t++)
    for (int s = 0; s < 5; s++)
      for (int trans_b = 0; trans_b < 2; trans_b++) {
        lrl_dtype dtype = t == 0 ? LRL_F32 : LRL_BF16;
        check_shape(&ctx, dtype, shapes[s][0], shapes[s][1], trans_b, 0);
        check_shape(&ctx, dtype, shapes[s][0], shapes[s][1], trans_b, version++);
      }
  lrl_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_row_invariance)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
