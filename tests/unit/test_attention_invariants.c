/* What attention must satisfy whatever its implementation: run on ref and every instruction set. */
#include "kernels/philox.h"
#include "tests/kernels/instruction_sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 4, KV = 2, D = 5, WQ = HEADS * D, WK = KV * D, MAX_T = 32 };

struct tensors {
  float q[MAX_T * WQ], k[MAX_T * WK], v[MAX_T * WK], d_o[MAX_T * WQ];
  float o[MAX_T * WQ], lse[MAX_T * HEADS];
  float dq[MAX_T * WQ], dk[MAX_T * WK], dv[MAX_T * WK];
};

static void randomize(float *x, int64_t n, uint64_t stream) {
  struct lrl_rng g = lrl_rng_make(11, LRL_RNG_TEST, stream);
  for (int64_t i = 0; i < n; i++)
    x[i] = lrl_rng_normal(&g);
}

static void make(struct tensors *t) {
  memset(t, 0, sizeof *t);
  randomize(t->q, MAX_T * WQ, 1);
  randomize(t->k, MAX_T * WK, 2);
  randomize(t->v, MAX_T * WK, 3);
  randomize(t->d_o, MAX_T * WQ, 4);
}

static void forward(struct lrl_ctx *ctx, const struct lrl_layout *l, struct tensors *t) {
  assert_int_equal(
      lrl_attention_fwd(ctx,
                        &(struct lrl_attention_fwd_args){l, HEADS, KV, D, LRL_F32, true, 0.4f, t->q,
                                                         t->k, t->v, WQ, WK, WK, WQ, t->o, t->lse}),
      LRL_OK);
}

static void backward(struct lrl_ctx *ctx, const struct lrl_layout *l, struct tensors *t) {
  forward(ctx, l, t);
  assert_int_equal(
      lrl_attention_bwd(ctx, &(struct lrl_attention_bwd_args){l,    HEADS,  KV,    D,     LRL_F32,
                                                              true, 0.4f,   t->q,  t->k,  t->v,
                                                              t->o, t->d_o, WQ,    WK,    WK,
                                                              WQ,   t->lse, t->dq, t->dk, t->dv}),
      LRL_OK);
}

static double objective(struct lrl_ctx *ctx, const struct lrl_layout *l, struct tensors *t) {
  double sum = 0.0;
  forward(ctx, l, t);
  for (int64_t i = 0; i < l->n_tokens * WQ; i++)
    sum += (double)t->o[i] * (double)t->d_o[i];
  return sum;
}

static void finite_differences(struct lrl_ctx *ctx) {
  const int32_t start[] = {0, 3, 5}, length[] = {3, 2, 4}, parent[] = {-1, 0, 0};
  const struct lrl_layout l = {9, 3, start, length, parent, NULL};
  static struct tensors t, base;
  make(&t);
  backward(ctx, &l, &t);
  base = t;
  float *const x[] = {t.q, t.k, t.v};
  const float *const dx[] = {base.dq, base.dk, base.dv};
  const int64_t n[] = {9 * WQ, 9 * WK, 9 * WK};
  for (int a = 0; a < 3; a++)
    for (int64_t i = 0; i < n[a]; i++) {
      const float keep = x[a][i], step = 0x1p-7f;
      x[a][i] = keep + step;
      const double up = objective(ctx, &l, &t), hi = (double)x[a][i];
      x[a][i] = keep - step;
      const double slope = (up - objective(ctx, &l, &t)) / (hi - (double)x[a][i]);
      x[a][i] = keep;
      assert_true(fabs(slope - (double)dx[a][i]) < 1e-3);
    }
}

/* Rows of the packed order copied into the other order. */
static void permute(const float *x, float *y, const int *from, int64_t n, int64_t width) {
  for (int64_t i = 0; i < n; i++)
    memcpy(y + i * width, x + from[i] * width, (size_t)width * sizeof *x);
}

static void permutation_keeps_bits(struct lrl_ctx *ctx) {
  const int32_t s1[] = {0, 4, 5}, l1[] = {4, 1, 6}, s2[] = {0, 6, 10}, l2[] = {6, 4, 1};
  const int from[] = {5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4};
  const struct lrl_layout a = {11, 3, s1, l1, NULL, NULL}, b = {11, 3, s2, l2, NULL, NULL};
  static struct tensors x, y;
  static float want[MAX_T * WQ];
  make(&x);
  make(&y);
  permute(x.q, y.q, from, 11, WQ);
  permute(x.k, y.k, from, 11, WK);
  permute(x.v, y.v, from, 11, WK);
  forward(ctx, &a, &x);
  forward(ctx, &b, &y);
  permute(x.o, want, from, 11, WQ);
  assert_memory_equal(y.o, want, 11 * WQ * sizeof *want);
}

/* A longer sequence does not change what its first tokens give. */
static void causal_prefix(struct lrl_ctx *ctx) {
  const int32_t start[] = {0}, part[] = {7}, whole[] = {19};
  const struct lrl_layout a = {7, 1, start, part, NULL, NULL},
                          b = {19, 1, start, whole, NULL, NULL};
  static struct tensors x, y;
  make(&x);
  make(&y);
  forward(ctx, &a, &x);
  forward(ctx, &b, &y);
  for (int64_t i = 0; i < 7 * WQ; i++)
    assert_true(fabsf(x.o[i] - y.o[i]) < 2e-6f);
}

/* One prompt (4 tokens) with children of 3 and 5 tokens equals two sequences of 7 and 9. */
static void shared_prefix(struct lrl_ctx *ctx) {
  const int32_t s1[] = {0, 4, 7}, l1[] = {4, 3, 5}, parent[] = {-1, 0, 0};
  const int32_t s2[] = {0, 7}, l2[] = {7, 9};
  const int from[] = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 10, 11};
  const struct lrl_layout a = {12, 3, s1, l1, parent, NULL}, b = {16, 2, s2, l2, NULL, NULL};
  static struct tensors x, y;
  static float want[MAX_T * WQ], sum[MAX_T * WQ];
  make(&x);
  make(&y);
  permute(x.q, y.q, from, 16, WQ);
  permute(x.k, y.k, from, 16, WK);
  permute(x.v, y.v, from, 16, WK);
  permute(x.d_o, y.d_o, from, 16, WQ);
  memset(y.d_o + 7 * WQ, 0, 4 * WQ * sizeof *y.d_o); /* the prompt's outputs are used once */
  backward(ctx, &a, &x);
  backward(ctx, &b, &y);
  permute(x.o, want, from, 16, WQ);
  for (int64_t i = 0; i < 16 * WQ; i++)
    assert_true(fabsf(y.o[i] - want[i]) < 2e-6f);
  const float *const got[] = {x.dq, x.dk, x.dv}, *const twice[] = {y.dq, y.dk, y.dv};
  const int64_t width[] = {WQ, WK, WK};
  for (int g = 0; g < 3; g++) {
    memset(sum, 0, sizeof sum);
    for (int64_t i = 0; i < 16; i++)
      for (int64_t j = 0; j < width[g]; j++)
        sum[from[i] * width[g] + j] += twice[g][i * width[g] + j];
    for (int64_t i = 0; i < 12 * width[g]; i++)
      assert_true(fabsf(sum[i] - got[g][i]) < 1e-5f);
  }
}

static void on_each_backend(void (*check)(struct lrl_ctx *ctx)) {
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "ref", 2), LRL_OK);
  check(&ctx);
  lrl_ctx_free(&ctx);
  for (int i = 0; i < N_INSTRUCTION_SETS; i++) {
    const char *name;
    if (instruction_set(i, &name) == NULL)
      continue;
    assert_int_equal(instruction_set_init(&ctx, i, 2), LRL_OK);
    check(&ctx);
    lrl_ctx_free(&ctx);
  }
}

#define TEST(name)                                                                                 \
  static void test_##name(void **state) {                                                          \
    (void)state;                                                                                   \
    on_each_backend(name);                                                                         \
  }
TEST(finite_differences)
TEST(permutation_keeps_bits)
TEST(causal_prefix)
TEST(shared_prefix)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_permutation_keeps_bits),
      cmocka_unit_test(test_causal_prefix), cmocka_unit_test(test_shared_prefix)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
