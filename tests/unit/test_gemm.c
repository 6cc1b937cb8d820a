/* The cpu backend's matrix product, on every instruction set of this machine: right for every kind
 * of operand, and an element of C has the same bits for every number of rows and columns, for a
 * packed and an unpacked B and for every number of threads. */
#include "kernels/philox.h"
#include "tests/kernels/instruction_sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *filled(int64_t n, lrl_dtype dtype, uint64_t stream) {
  struct lrl_rng rng = lrl_rng_make(1, LRL_RNG_TEST, stream);
  char *out = malloc((size_t)(n * lrl_dtype_bytes(dtype)) + 1);
  assert_non_null(out);
  for (int64_t i = 0; i < n; i++) {
    float v = lrl_rng_normal(&rng);
    uint16_t h = lrl_f32_to_bf16(v);
    if (dtype == LRL_F32)
      memcpy(out + 4 * i, &v, sizeof v);
    else
      memcpy(out + 2 * i, &h, sizeof h);
  }
  return out;
}
static double at(const void *p, lrl_dtype t, int64_t i) {
  return t == LRL_BF16 ? (double)lrl_bf16_to_f32(((const uint16_t *)p)[i])
                       : (double)((const float *)p)[i];
}

/* Contexts of 1, 2 and 3 threads on one instruction set. */
struct contexts {
  const char *isa;
  struct lrl_ctx ctx[3];
};
static bool open_contexts(struct contexts *c, int i) {
  *c = (struct contexts){0};
  if (instruction_set(i, &c->isa) == NULL)
    return false;
  for (int t = 0; t < 3; t++)
    assert_int_equal(instruction_set_init(&c->ctx[t], i, t + 1), LRL_OK);
  return true;
}
static void close_contexts(struct contexts *c) {
  for (int t = 0; t < 3; t++)
    lrl_ctx_free(&c->ctx[t]);
}

/* A product with operands of its own, C poisoned (beta 0) or filled (beta 1), between guards. */
enum { GUARD = 64 };
static void make(struct lrl_gemm_args *g, char **c, size_t *c_bytes) {
  g->ld_a = (g->trans_a ? g->m : g->k) + 3;
  g->ld_b = (g->trans_b ? g->k : g->n) + 1;
  g->ld_c = g->n + 2;
  g->a = filled((g->trans_a ? g->k : g->m) * g->ld_a, g->dtype, 1);
  g->b = filled((g->trans_b ? g->n : g->k) * g->ld_b, g->dtype, 2);
  *c_bytes = (size_t)(g->m * g->ld_c * lrl_dtype_bytes(g->c_dtype)) + 2 * GUARD;
  *c = malloc(*c_bytes);
  assert_non_null(*c);
}
static void run(struct lrl_ctx *ctx, struct lrl_gemm_args *g, char *c, size_t c_bytes) {
  memset(c, 0xff, c_bytes);
  if (g->beta != 0.0f) {
    char *start = filled(g->m * g->ld_c, g->c_dtype, 3);
    memcpy(c + GUARD, start, c_bytes - 2 * GUARD);
    free(start);
  }
  g->c = c + GUARD;
  if (lrl_gemm(ctx, g) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  for (int i = 0; i < GUARD; i++)
    assert_true(c[i] == (char)0xff && c[c_bytes - 1 - (size_t)i] == (char)0xff);
}

/* |C - f64| <= k-term rounding of the naive same-dtype sum, doubled (CONVENTIONS "Tests"). */
static void check_values(const struct contexts *x, const struct lrl_gemm_args *g, const char *c) {
  char *start = filled(g->m * g->ld_c, g->c_dtype, 3);
  for (int64_t i = 0; i < g->m; i++)
    for (int64_t j = 0; j < g->ld_c; j++) {
      const double got = at(c + GUARD, g->c_dtype, i * g->ld_c + j);
      if (j >= g->n) { /* the gap between rows keeps what it had */
        assert_true(g->beta != 0.0f ? got == at(start, g->c_dtype, i * g->ld_c + j) : isnan(got));
        continue;
      }
      double sum = g->bias == NULL ? 0 : at(g->bias, g->dtype, j), size = fabs(sum);
      if (g->beta != 0.0f)
        sum += at(start, g->c_dtype, i * g->ld_c + j);
      for (int64_t k = 0; k < g->k; k++) {
        const double p = at(g->a, g->dtype, g->trans_a ? k * g->ld_a + i : i * g->ld_a + k) *
                         at(g->b, g->dtype, g->trans_b ? j * g->ld_b + k : k * g->ld_b + j);
        sum += p;
        size += fabs(p);
      }
      const double allowed = 2 * (size * 0x1p-24 * (4 + sqrt((double)g->k)) +
                                  (g->c_dtype == LRL_BF16 ? fabs(sum) * 0x1p-9 : 0) + 1e-7);
      if (!(fabs(got - sum) <= allowed))
        fail_msg("%s %s -> %s m %d n %d k %d trans %d%d: C[%d,%d] is %g, expected %g +- %g", x->isa,
                 lrl_dtype_name(g->dtype), lrl_dtype_name(g->c_dtype), (int)g->m, (int)g->n,
                 (int)g->k, g->trans_a, g->trans_b, (int)i, (int)j, got, sum, allowed);
    }
  free(start);
}

/* Sizes around the tiles (6, 14 rows; 8, 16, 32 columns), a chunk of the depth and an odd depth. */
static const int64_t sizes[][3] = {{1, 1, 1},     {1, 32, 64},    {2, 17, 3},   {3, 8, 383},
                                   {5, 31, 385},  {6, 16, 384},   {7, 33, 0},   {13, 15, 769},
                                   {14, 32, 16},  {15, 47, 1000}, {28, 64, 31}, {97, 65, 130},
                                   {200, 70, 401}};

/* Every kind of operand against f64, with 1 thread; then 2 and 3 threads and a packed B, bitwise.
 */
static void test_values(void **state) {
  (void)state;
  for (int isa = 0; isa < N_INSTRUCTION_SETS; isa++) {
    struct contexts x;
    if (!open_contexts(&x, isa))
      continue;
    uint64_t version = 1;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
      for (int kind = 0; kind < 12; kind++) {
        struct lrl_gemm_args g = {.m = sizes[s][0],
                                  .n = sizes[s][1],
                                  .k = sizes[s][2],
                                  .trans_a = kind % 4 == 2,
                                  .trans_b = kind % 4 == 1 || kind % 4 == 3,
                                  .dtype = kind < 4 ? LRL_F32 : LRL_BF16,
                                  .c_dtype = kind < 8 ? LRL_F32 : LRL_BF16,
                                  .beta = kind % 2 == 0 ? 1.0f : 0.0f};
        char *c, *again;
        size_t bytes;
        make(&g, &c, &bytes);
        g.bias = kind % 4 == 3 ? filled(g.n, g.dtype, 4) : NULL;
        again = malloc(bytes);
        assert_non_null(again);
        run(&x.ctx[0], &g, c, bytes);
        check_values(&x, &g, c);
        for (int way = 0; way < 4; way++) {
          g.b_version = way == 3 ? version++ : 0;
          run(&x.ctx[way % 3], &g, again, bytes);
          if (memcmp(c, again, bytes) != 0)
            fail_msg("%s %s m %d n %d k %d kind %d: %s differs in bits", x.isa,
                     lrl_dtype_name(g.dtype), (int)g.m, (int)g.n, (int)g.k, kind,
                     way == 3 ? "a packed B" : "another run or number of threads");
        }
        union {
          const void *in;
          void *out;
        } a = {.in = g.a}, b = {.in = g.b}, bias = {.in = g.bias};
        free(a.out);
        free(b.out);
        free(bias.out);
        free(c);
        free(again);
      }
    close_contexts(&x);
  }
}

/* C[0:m, 0:n] of a large product and of a product of m x n are the same bits. */
static void check_invariance(struct contexts *x, lrl_dtype dtype, int64_t n, int64_t k,
                             bool trans_a, bool trans_b, uint64_t version) {
  enum { ROWS = 520 };
  static const int64_t rows[] = {1,   2,   3,   4,   5,   6,   7,   8,   13,  14,
                                 15,  16,  17,  31,  32,  33,  64,  65,  127, 129,
                                 191, 193, 255, 257, 383, 385, 511, 513, 519};
  const size_t row = (size_t)(n * lrl_dtype_bytes(dtype));
  char *a = filled(ROWS * k, dtype, 1), *b = filled(n * k, dtype, 2);
  char *whole = malloc(ROWS * row), *part = malloc(ROWS * row);
  assert_true(whole != NULL && part != NULL);
  struct lrl_gemm_args g = {.m = ROWS,
                            .n = n,
                            .k = k,
                            .trans_a = trans_a,
                            .trans_b = trans_b,
                            .dtype = dtype,
                            .c_dtype = dtype,
                            .a = a,
                            .b = b,
                            .ld_a = trans_a ? ROWS : k,
                            .ld_b = trans_b ? k : n,
                            .ld_c = n,
                            .c = whole,
                            .b_version = version};
  assert_int_equal(lrl_gemm(&x->ctx[1], &g), LRL_OK);
  g.c = part;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    g.m = rows[i];
    memset(part, 0xff, ROWS * row);
    assert_int_equal(lrl_gemm(&x->ctx[i % 3], &g), LRL_OK);
    if (memcmp(whole, part, (size_t)g.m * row) != 0)
      fail_msg("%s %s n %d k %d trans %d%d version %d: %d rows differ in bits from %d", x->isa,
               lrl_dtype_name(dtype), (int)n, (int)k, trans_a, trans_b, (int)version, (int)g.m,
               ROWS);
  }
  free(a);
  free(b);
  free(whole);
  free(part);
}

static void test_row_invariance(void **state) {
  (void)state;
  static const int64_t shapes[][2] = {{512, 512}, {96, 1408}, {1, 513}, {33, 70}, {531, 40}};
  for (int isa = 0; isa < N_INSTRUCTION_SETS; isa++) {
    struct contexts x;
    if (!open_contexts(&x, isa))
      continue;
    uint64_t version = 1;
    const size_t first = isa == 0 ? 1 : lrl_backend_cpu_isa(x.isa) == NULL ? 2 : 0; /* slow ones */
    for (int t = 0; t < 2; t++)
      for (size_t s = first; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < 5; kind++)
          check_invariance(&x, t == 0 ? LRL_F32 : LRL_BF16, shapes[s][0], shapes[s][1], kind == 4,
                           kind % 2 == 1, kind == 2 || kind == 3 ? version++ : 0);
    close_contexts(&x);
  }
}

/* A weight that changes with its version is packed again; one whose version stays is not. */
static void test_versions(void **state) {
  (void)state;
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "cpu", 1), LRL_OK);
  float a[2] = {1, 2}, b[2] = {3, 4}, c = 0;
  struct lrl_gemm_args g = {.m = 1,
                            .n = 1,
                            .k = 2,
                            .a = a,
                            .b = b,
                            .ld_a = 2,
                            .ld_b = 1,
                            .ld_c = 1,
                            .c = &c,
                            .b_version = 1};
  assert_int_equal(lrl_gemm(&ctx, &g), LRL_OK);
  assert_true(c == 11.0f);
  b[0] = 5;
  assert_int_equal(lrl_gemm(&ctx, &g), LRL_OK);
  assert_true(c == 11.0f);
  g.b_version = 2;
  assert_int_equal(lrl_gemm(&ctx, &g), LRL_OK);
  assert_true(c == 13.0f);
  lrl_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_values),
                                     cmocka_unit_test(test_row_invariance),
                                     cmocka_unit_test(test_versions)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
