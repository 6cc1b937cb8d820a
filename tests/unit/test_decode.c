/* Attention over cached pages gives the bits of attention over a packed layout. */
#include "kernels/backend.h"
#include "kernels/philox.h"
#include "tests/kernels/instruction_sets.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PROMPT = 101, ANSWER = 70, TOKENS = PROMPT + ANSWER, PAGES = 4 };

static void *randoms(lrl_dtype t, int64_t n, uint64_t stream) {
  struct lrl_rng g = lrl_rng_make(17, LRL_RNG_TEST, stream);
  void *x = malloc((size_t)(n * lrl_dtype_bytes(t)));
  for (int64_t i = 0; i < n; i++) {
    const float v = lrl_rng_normal(&g);
    if (t == LRL_BF16)
      ((uint16_t *)x)[i] = lrl_f32_to_bf16(v);
    else
      ((float *)x)[i] = v;
  }
  return x;
}

struct heads {
  int64_t q, kv, d;
};

/* The answer's rows, decoded `at_once` tokens at a time, against the packed forward pass. */
static void compare(struct lrl_ctx *ctx, lrl_dtype t, struct heads h, int64_t at_once) {
  const int64_t wq = h.q * h.d, wk = h.kv * h.d, size = lrl_dtype_bytes(t);
  const int32_t start[] = {0, PROMPT}, length[] = {PROMPT, ANSWER}, parent[] = {-1, 0};
  const struct lrl_layout l = {TOKENS, 2, start, length, parent, NULL};
  char *q = randoms(t, TOKENS * wq, 1), *k = randoms(t, TOKENS * wk, 2),
       *v = randoms(t, TOKENS * wk, 3);
  char *want = malloc((size_t)(TOKENS * wq * size)), *got = malloc((size_t)(TOKENS * wq * size));
  float *lse = malloc((size_t)(TOKENS * h.q) * sizeof *lse);
  const size_t bytes = (size_t)(PAGES * h.kv * lrl_kv_head_size(h.d) * size);
  void *k_pages = calloc(1, bytes), *v_pages = calloc(1, bytes);
  /* Pages in a shuffled order; the answer starts a page of its own. */
  const int32_t order[PAGES] = {3, 1, 0, 2};
  int32_t slot[TOKENS], first[ANSWER + 1] = {0}, page[ANSWER * PAGES], used[ANSWER * PAGES];
  for (int32_t i = 0; i < TOKENS; i++) {
    const int32_t own = i < PROMPT ? i : i - PROMPT;
    slot[i] = order[own / LRL_KV_PAGE + (i < PROMPT ? 0 : 2)] * LRL_KV_PAGE + own % LRL_KV_PAGE;
  }
  assert_int_equal(lrl_kv_write(ctx, &(struct lrl_kv_write_args){TOKENS, h.kv, h.d, PAGES, t, slot,
                                                                 k, v, k_pages, v_pages}),
                   LRL_OK);
  assert_int_equal(
      lrl_attention_fwd(ctx, &(struct lrl_attention_fwd_args){&l, h.q, h.kv, h.d, t, true, 0.2f, q,
                                                              k, v, wq, wk, wk, wq, want, lse}),
      LRL_OK);
  for (int64_t from = 0; from < ANSWER; from += at_once) {
    const int64_t n = ANSWER - from < at_once ? ANSWER - from : at_once;
    int32_t listed = 0;
    for (int64_t i = 0; i < n; i++) {
      first[i] = listed;
      const int32_t seen[PAGES] = {LRL_KV_PAGE, PROMPT - LRL_KV_PAGE, LRL_KV_PAGE, LRL_KV_PAGE};
      int32_t left = PROMPT + (int32_t)(from + i) + 1;
      for (int p = 0; left > 0; p++) {
        page[listed] = order[p];
        used[listed] = left < seen[p] ? left : seen[p];
        left -= used[listed++];
      }
    }
    first[n] = listed;
    const int64_t at = (PROMPT + from) * wq * size;
    assert_int_equal(
        lrl_attention_decode(
            ctx, &(struct lrl_attention_decode_args){n, h.q, h.kv, h.d, PAGES, t, 0.2f, first, page,
                                                     used, q + at, k_pages, v_pages, got + at}),
        LRL_OK);
  }
  if (memcmp(want + PROMPT * wq * size, got + PROMPT * wq * size, (size_t)(ANSWER * wq * size)) !=
      0) {
    printf("%s, %d threads, %s, heads %d/%d of %d, %d at once: bits differ\n", ctx->backend->name,
           ctx->n_threads, lrl_dtype_name(t), (int)h.q, (int)h.kv, (int)h.d, (int)at_once);
    fail();
  }
  void *const all[] = {q, k, v, want, got, lse, k_pages, v_pages};
  for (int i = 0; i < 8; i++)
    free(all[i]);
}

static void every_case(struct lrl_ctx *ctx) {
  const struct heads heads[] = {{4, 2, 6}, {3, 3, 32}, {8, 2, 64}, {5, 1, 80}, {6, 2, 9}};
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
    for (int t = 0; t < 2; t++) {
      compare(ctx, t == 0 ? LRL_F32 : LRL_BF16, heads[i], 1);
      compare(ctx, t == 0 ? LRL_F32 : LRL_BF16, heads[i], 40);
    }
}

static void test_bits_of_every_instruction_set(void **state) {
  (void)state;
  for (int i = 0; i < N_INSTRUCTION_SETS; i++)
    for (int threads = 1; threads <= 3; threads += 2) {
      struct lrl_ctx ctx;
      const char *name;
      if (instruction_set(i, &name) == NULL)
        continue;
      assert_int_equal(instruction_set_init(&ctx, i, threads), LRL_OK);
      every_case(&ctx);
      lrl_ctx_free(&ctx);
    }
}

static void test_refuses_bad_lists(void **state) {
  (void)state;
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "cpu", 1), LRL_OK);
  float q[8] = {0}, o[8], *pages = calloc((size_t)lrl_kv_head_size(8), sizeof *pages);
  const int32_t good_start[] = {0, 1}, bad_start[] = {0, -1}, late[] = {1, 1}, page[] = {0},
                far[] = {1}, used[] = {1}, none[] = {0}, many[] = {65}, slot[] = {64};
  const int32_t *const start[] = {good_start, bad_start, late, good_start, good_start, good_start};
  const int32_t *const list[] = {page, page, page, far, page, page};
  const int32_t *const fill[] = {used, used, used, used, none, many};
  for (int i = 0; i < 6; i++) {
    const struct lrl_attention_decode_args a = {1,        1,       1,       8, 1,     LRL_F32, 1.0f,
                                                start[i], list[i], fill[i], q, pages, pages,   o};
    assert_int_equal(lrl_attention_decode(&ctx, &a) == LRL_OK, i == 0);
    lrl_error_clear();
  }
  assert_int_not_equal(lrl_kv_write(&ctx, &(struct lrl_kv_write_args){1, 1, 8, 1, LRL_F32, slot, q,
                                                                      q, pages, pages}),
                       LRL_OK);
  lrl_error_clear();
  free(pages);
  lrl_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits_of_every_instruction_set),
                                     cmocka_unit_test(test_refuses_bad_lists)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
