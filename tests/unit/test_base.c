/* Status, arena, Philox, bf16 rounding and the refusals of the checked wrappers. */
#include "kernels/backend.h"
#include "kernels/philox.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_status_keeps_first(void **state) {
  (void)state;
  lrl_error_clear();
  assert_string_equal(lrl_last_error(), "");
  assert_int_equal(LRL_FAIL(LRL_ERR_IO, "first %d", 1), LRL_ERR_IO);
  assert_int_equal(LRL_FAIL(LRL_ERR_ARG, "second"), LRL_ERR_ARG);
  assert_string_equal(lrl_last_error(), "first 1");
  lrl_error_clear();
  assert_string_equal(lrl_last_error(), "");
}

static void test_arena(void **state) {
  (void)state;
  struct lrl_arena a;
  assert_int_equal(lrl_arena_init(&a, "test memory", (size_t)1 << 20), LRL_OK);
  char *p = lrl_arena_alloc(&a, 3);
  size_t mark = lrl_arena_mark(&a);
  char *q = lrl_arena_alloc(&a, 100);
  assert_true(p != NULL && q >= p + 3);
  assert_int_equal((uintptr_t)p % LRL_ALIGN, 0);
  assert_int_equal((uintptr_t)q % LRL_ALIGN, 0);
  lrl_arena_reset(&a, mark);
  assert_ptr_equal(lrl_arena_alloc(&a, 100), q);
  assert_non_null(lrl_arena_alloc(&a, 0));
  assert_null(lrl_arena_alloc(&a, (size_t)1 << 40));
  assert_string_not_equal(lrl_last_error(), "");
  lrl_error_clear();
  lrl_arena_free(&a);
}

/* Known answers of Random123 for philox4x32-10: counter and key all zeros, all ones. Our counter is
 * (k, purpose, index low, index high), the key is the seed. */
/* More than any machine has: refused before a page is touched. */
static void test_arena_beyond_memory(void **state) {
  (void)state;
  struct lrl_arena a;
  assert_int_equal(lrl_arena_init(&a, "weights", (size_t)1 << 44), LRL_OK);
  assert_null(lrl_arena_alloc(&a, (size_t)15 << 40));
  assert_non_null(strstr(lrl_last_error(), "weights: 15728640 MiB more are needed, the machine"));
  lrl_error_clear();
  assert_int_equal(a.used, 0);
  assert_non_null(lrl_arena_alloc(&a, 100));
  lrl_arena_free(&a);
}

static void test_philox(void **state) {
  (void)state;
  const uint32_t zeros[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  const uint32_t ones[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  uint32_t got[4];
  lrl_philox(0, 0, 0, 0, got);
  assert_memory_equal(got, zeros, sizeof got);
  lrl_philox(UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX, got);
  assert_memory_equal(got, ones, sizeof got);
}

static void test_bf16(void **state) {
  (void)state;
  assert_int_equal(lrl_f32_to_bf16(1.0f), 0x3f80);
  assert_int_equal(lrl_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);     /* tie to even, down */
  assert_int_equal(lrl_f32_to_bf16(1.0f + 3 * 0x1p-8f), 0x3f82); /* tie to even, up */
  assert_int_equal(lrl_f32_to_bf16(1.0f + 0x1.1p-8f), 0x3f81);
  assert_int_equal(lrl_f32_to_bf16(-INFINITY), 0xff80);
  assert_int_equal(lrl_f32_to_bf16(3.4e38f), 0x7f80);
  assert_true(isnan(lrl_bf16_to_f32(lrl_f32_to_bf16(NAN))));
}

static void refuse(lrl_status got, lrl_status want, const char *word) {
  assert_int_equal(got, want);
  assert_non_null(strstr(lrl_last_error(), word));
  lrl_error_clear();
}

static void test_wrappers_refuse(void **state) {
  (void)state;
  struct lrl_ctx ctx;
  float x[8] = {0}, y[8] = {0};
  int32_t bad_id[1] = {4};
  assert_int_equal(lrl_ctx_init(&ctx, "ref", 1), LRL_OK);
  refuse(lrl_add(&ctx, &(struct lrl_add_args){-1, LRL_F32, x, x, y}), LRL_ERR_SHAPE, "add");
  refuse(lrl_add(&ctx, &(struct lrl_add_args){1, LRL_I32, x, x, y}), LRL_ERR_DTYPE, "add");
  refuse(lrl_add(&ctx, &(struct lrl_add_args){1, LRL_F32, x, NULL, y}), LRL_ERR_ARG, "NULL");
  refuse(lrl_embedding_fwd(&ctx, &(struct lrl_embedding_fwd_args){1, 2, 4, LRL_F32, bad_id, x, y}),
         LRL_ERR_ARG, "index 4");
  struct lrl_gemm_args g = {
      .m = 2, .n = 2, .k = 2, .a = x, .b = y, .c = x, .ld_a = 2, .ld_b = 2, .ld_c = 2};
  refuse(lrl_gemm(&ctx, &g), LRL_ERR_ARG, "overlaps");
  g.ld_a = 1;
  refuse(lrl_gemm(&ctx, &g), LRL_ERR_SHAPE, "stride");
  struct lrl_backend empty = {.name = "empty"};
  ctx.backend = &empty;
  refuse(lrl_add(&ctx, &(struct lrl_add_args){1, LRL_F32, x, x, y}), LRL_ERR_ARG,
         "op add is not available on backend empty");
  lrl_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_status_keeps_first),
                                     cmocka_unit_test(test_arena),
                                     cmocka_unit_test(test_arena_beyond_memory),
                                     cmocka_unit_test(test_philox),
                                     cmocka_unit_test(test_bf16),
                                     cmocka_unit_test(test_wrappers_refuse)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
