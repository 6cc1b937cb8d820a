/* Every op of LRL_OPS, cpu against ref. An op without a case does not compile. */
#include "tests/unit/op_cases.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const int64_t shapes[][2] = {{0, 8},   {1, 1},   {3, 7},   {4, 16}, {9, 15},
                                    {16, 17}, {17, 33}, {33, 64}, {65, 97}};

static double at(const struct buffer *b, int64_t i) {
  const char *p = b->memory + GUARD;
  if (b->dtype == LRL_BF16)
    return (double)lrl_bf16_to_f32(((const uint16_t *)(const void *)p)[i]);
  if (b->dtype == LRL_F64)
    return ((const double *)(const void *)p)[i];
  return (double)((const float *)(const void *)p)[i];
}

static void drop(struct op_run *r) {
  for (int i = 0; i < r->n_buffers; i++) {
    free(r->buffers[i].memory);
  }
}

/* Largest difference of the outputs, relative to each output's largest value. */
static double worst_error(const struct op_run *x, const struct op_run *y, lrl_dtype type) {
  double worst = 0.0;
  for (int b = 0; b < x->n_buffers; b++) {
    const struct buffer *p = &x->buffers[b], *q = &y->buffers[b];
    double scale = 1e-6, error = 0.0;
    if (!p->output || (p->dtype == LRL_BF16) != (type == LRL_BF16))
      continue;
    for (int64_t i = 0; i < p->n; i++) {
      const double u = at(p, i), v = at(q, i);
      scale = fmax(scale, fabs(v));
      error = isnan(u) || isnan(v) ? INFINITY : fmax(error, fabs(u - v));
    }
    worst = fmax(worst, error / scale);
  }
  return worst;
}

static bool same_bits(const struct op_run *x, const struct op_run *y) {
  for (int b = 0; b < x->n_buffers; b++)
    if (memcmp(x->buffers[b].memory, y->buffers[b].memory,
               (size_t)(x->buffers[b].n * lrl_dtype_bytes(x->buffers[b].dtype)) + 2 * GUARD) != 0)
      return false;
  return true;
}

static bool guards_intact(const struct op_run *r) {
  for (int b = 0; b < r->n_buffers; b++) {
    const struct buffer *p = &r->buffers[b];
    const char *end = p->memory + GUARD + p->n * lrl_dtype_bytes(p->dtype);
    for (int i = 0; i < GUARD; i++)
      if (p->memory[i] != (char)0xff || end[i] != (char)0xff)
        return false;
  }
  return true;
}

/* Inputs are made from the same stream for both runs, so an op that writes one differs here. */
static bool inputs_same(const struct op_run *x, const struct op_run *y) {
  for (int b = 0; b < x->n_buffers; b++)
    if (!x->buffers[b].output &&
        memcmp(x->buffers[b].memory, y->buffers[b].memory,
               (size_t)(x->buffers[b].n * lrl_dtype_bytes(x->buffers[b].dtype))) != 0)
      return false;
  return true;
}

static void compare(const char *op, lrl_status (*run)(struct op_run *), bool grad) {
  struct lrl_ctx ref, one, two;
  assert_int_equal(lrl_ctx_init(&ref, "ref", 2), LRL_OK);
  assert_int_equal(lrl_ctx_init(&one, "cpu", 1), LRL_OK);
  assert_int_equal(lrl_ctx_init(&two, "cpu", 2), LRL_OK);
  struct lrl_ctx *ctx[4] = {&ref, &one, &two, &two};
  int bad = 0;
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int t = 0; t < 2; t++) {
      struct op_run r[4];
      const lrl_dtype type = t == 0 ? LRL_F32 : LRL_BF16;
      for (int i = 0; i < 4; i++) {
        r[i] = (struct op_run){
            .ctx = ctx[i], .ref = &ref, .dtype = type, .n = shapes[s][0], .w = shapes[s][1]};
        omp_set_num_threads(ctx[i]->n_threads);
        if (run(&r[i]) != LRL_OK) {
          printf("%s: %s\n", op, lrl_last_error());
          lrl_error_clear();
          bad++;
        }
      }
      const double factor = grad ? 3.0 : 2.0;
      const double f32 = worst_error(&r[1], &r[0], LRL_F32),
                   bf16 = worst_error(&r[1], &r[0], LRL_BF16);
      if (f32 > factor * 4e-6 || bf16 > factor * 0x1p-8 || !same_bits(&r[1], &r[2]) ||
          !same_bits(&r[2], &r[3]) || !guards_intact(&r[0]) || !guards_intact(&r[1]) ||
          !inputs_same(&r[0], &r[1])) {
        printf("%s %s n %d w %d: f32 %.2g bf16 %.2g threads %s repeat %s guards %d%d inputs %s\n",
               op, lrl_dtype_name(type), (int)r[0].n, (int)r[0].w, f32, bf16,
               same_bits(&r[1], &r[2]) ? "same" : "DIFFER",
               same_bits(&r[2], &r[3]) ? "same" : "DIFFER", guards_intact(&r[0]),
               guards_intact(&r[1]), inputs_same(&r[0], &r[1]) ? "kept" : "CHANGED");
        bad++;
      }
      for (int i = 0; i < 4; i++)
        drop(&r[i]);
    }
  lrl_ctx_free(&ref);
  lrl_ctx_free(&one);
  lrl_ctx_free(&two);
  assert_int_equal(bad, 0);
}

#define TEST(op)                                                                                   \
  static void test_##op(void **state) {                                                            \
    (void)state;                                                                                   \
    if (lrl_backend_cpu()->op == NULL) {                                                           \
      printf("SKIP: the cpu backend has no " #op "\n");                                            \
      skip();                                                                                      \
    }                                                                                              \
    compare(#op, case_##op, strstr(#op, "_bwd") != NULL);                                          \
  }
LRL_OPS(TEST)

int main(void) {
#define ROW(op) cmocka_unit_test(test_##op),
  const struct CMUnitTest tests[] = {LRL_OPS(ROW)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
