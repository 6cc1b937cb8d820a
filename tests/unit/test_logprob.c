/* Log-probabilities and entropy of a linear onto the vocabulary: against plain f64 loops, across
 * chunks, row by row. */
#include "kernels/philox.h"
#include "model/nn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 530, WIDTH = 12, VOCAB = 37, SEED = 11 }; /* more rows than a chunk */
static const float temperature = 0.7f;

static struct lrl_ctx ctx;
static struct lrl_arena steps;
static float x0[ROWS * WIDTH], w0[VOCAB * WIDTH];
static int32_t target[ROWS];

static void fill(float *x, int64_t n, uint64_t stream) {
  struct lrl_rng r = lrl_rng_make(SEED, LRL_RNG_TEST, stream);
  for (int64_t i = 0; i < n; i++)
    x[i] = lrl_rng_normal(&r);
}
static int setup(void **state) {
  (void)state;
  fill(x0, ROWS * WIDTH, 1);
  fill(w0, VOCAB * WIDTH, 2);
  struct lrl_rng r = lrl_rng_make(SEED, LRL_RNG_TEST, 3);
  for (int i = 0; i < ROWS; i++)
    target[i] = i % 11 == 4 ? -100 : (int32_t)lrl_rng_below(&r, VOCAB);
  return lrl_ctx_init(&ctx, "cpu", 2) == LRL_OK &&
                 lrl_arena_init(&steps, "steps", (size_t)1 << 28) == LRL_OK
             ? 0
             : -1;
}
static int teardown(void **state) {
  (void)state;
  lrl_arena_free(&steps);
  lrl_ctx_free(&ctx);
  return 0;
}

static void cast(lrl_dtype t, const float *from, void *to, int64_t n) {
  assert_int_equal(lrl_cast(&ctx, &(struct lrl_cast_args){n, LRL_F32, t, from, to}), LRL_OK);
}
struct run {
  float logprobs[ROWS], entropy[ROWS], dx[ROWS * WIDTH], dw[VOCAB * WIDTH];
};
/* Rows [first, first + n) in `type`; gradients for the given ones of the outputs. */
static void run(lrl_dtype type, int64_t first, int64_t n, const float *d_logprobs,
                const float *d_entropy, struct run *r) {
  struct lrl_tape tape;
  const size_t mark = lrl_arena_mark(&steps);
  lrl_tape_init(&tape, &ctx, &steps, true);
  void *xd = lrl_tape_alloc(&tape, sizeof x0), *wd = lrl_tape_alloc(&tape, sizeof w0);
  cast(type, x0 + first * WIDTH, xd, n * WIDTH);
  cast(type, w0, wd, VOCAB * WIDTH);
  struct lrl_tensor *x = lrl_tensor_wrap(&tape, type, n, WIDTH, xd), *entropy;
  struct lrl_tensor *w = lrl_tensor_wrap(&tape, type, VOCAB, WIDTH, wd);
  memset(r->dw, 0, sizeof r->dw);
  x->needs_grad = true;
  w->needs_grad = w->is_param = true;
  w->grad = r->dw;
  w->version = 0;
  struct lrl_tensor *lp = lrl_nn_linear_logprob(&tape, x, w, target + first, temperature, &entropy);
  assert_int_equal(tape.status, LRL_OK);
  memcpy(r->logprobs, lp->data, (size_t)n * sizeof(float));
  memcpy(r->entropy, entropy->data, (size_t)n * sizeof(float));
  if (d_logprobs != NULL)
    lrl_grad_seed(&tape, lp, d_logprobs);
  if (d_entropy != NULL)
    lrl_grad_seed(&tape, entropy, d_entropy);
  assert_int_equal(lrl_backward(&tape), LRL_OK);
  if (d_logprobs != NULL || d_entropy != NULL) {
    assert_true(x->has_grad);
    for (int64_t i = 0; i < n * WIDTH; i++)
      r->dx[i] =
          type == LRL_F32 ? ((float *)x->grad)[i] : lrl_bf16_to_f32(((uint16_t *)x->grad)[i]);
  }
  lrl_arena_reset(&steps, mark);
}

/* Log-prob, entropy and their gradients in f64. */
static void naive(const float *d_logprobs, const float *d_entropy, double *logprobs,
                  double *entropy, double *dx, double *dw) {
  memset(dx, 0, ROWS * WIDTH * sizeof *dx);
  memset(dw, 0, VOCAB * WIDTH * sizeof *dw);
  for (int t = 0; t < ROWS; t++) {
    double z[VOCAB], sum = 0.0, h = 0.0;
    logprobs[t] = entropy[t] = 0.0;
    if (target[t] < 0)
      continue;
    for (int j = 0; j < VOCAB; j++) {
      z[j] = 0.0;
      for (int i = 0; i < WIDTH; i++)
        z[j] += (double)x0[t * WIDTH + i] * (double)w0[j * WIDTH + i] / (double)temperature;
      sum += exp(z[j]);
    }
    for (int j = 0; j < VOCAB; j++)
      h -= exp(z[j]) / sum * (z[j] - log(sum));
    logprobs[t] = z[target[t]] - log(sum);
    entropy[t] = h;
    for (int j = 0; j < VOCAB; j++) {
      const double p = exp(z[j]) / sum;
      double g = (double)d_logprobs[t] * ((j == target[t] ? 1.0 : 0.0) - p);
      g -= (double)d_entropy[t] * p * (z[j] - log(sum) + h);
      g /= (double)temperature;
      for (int i = 0; i < WIDTH; i++) {
        dx[t * WIDTH + i] += g * (double)w0[j * WIDTH + i];
        dw[j * WIDTH + i] += g * (double)x0[t * WIDTH + i];
      }
    }
  }
}
static double worst(const float *got, const double *want, int n) {
  double error = 0.0, scale = 1e-6;
  for (int i = 0; i < n; i++) {
    const double d = fabs((double)got[i] - want[i]);
    error = isnan(d) ? INFINITY : fmax(error, d);
    scale = fmax(scale, fabs(want[i]));
  }
  return error / scale;
}

static void test_values_and_gradients(void **state) {
  (void)state;
  static float d_lp[ROWS], d_h[ROWS], nothing[ROWS];
  static double lp[ROWS], h[ROWS], dx[ROWS * WIDTH], dw[VOCAB * WIDTH];
  static struct run r;
  for (int k = 0; k < 3; k++) { /* both, only one */
    fill(d_lp, ROWS, 4);
    fill(d_h, ROWS, 5);
    const float *a = k == 2 ? NULL : d_lp, *b = k == 1 ? NULL : d_h;
    run(LRL_F32, 0, ROWS, a, b, &r);
    naive(a == NULL ? nothing : a, b == NULL ? nothing : b, lp, h, dx, dw);
    assert_true(worst(r.logprobs, lp, ROWS) < 1e-6);
    assert_true(worst(r.entropy, h, ROWS) < 1e-6);
    assert_true(worst(r.dx, dx, ROWS * WIDTH) < 3e-6);
    assert_true(worst(r.dw, dw, VOCAB * WIDTH) < 3e-6);
    run(LRL_BF16, 0, ROWS, a, b, &r);
    assert_true(worst(r.dx, dx, ROWS * WIDTH) < 0.03);
    assert_true(worst(r.dw, dw, VOCAB * WIDTH) < 0.03);
  }
}

/* A row alone, as a rollout computes it, has the bits it has in a training batch. */
static void test_rows_are_independent(void **state) {
  (void)state;
  static struct run all, one;
  for (int type = 0; type < 2; type++) {
    run(type == 0 ? LRL_F32 : LRL_BF16, 0, ROWS, NULL, NULL, &all);
    for (int64_t t = 0; t < ROWS; t += 53) {
      run(type == 0 ? LRL_F32 : LRL_BF16, t, 1, NULL, NULL, &one);
      assert_memory_equal(one.logprobs, all.logprobs + t, sizeof(float));
      assert_memory_equal(one.entropy, all.entropy + t, sizeof(float));
    }
  }
}

/* Shifting all logits changes nothing; probabilities add up to 1; -inf is probability 0, in the
 * gradient too; a sure token has log-probability 0 and never more. */
static void test_distribution(void **state) {
  (void)state;
  enum { V = 21 };
  float z[V * V], lp[V], h[V], lse[V], d[V * V], ones[V];
  int32_t id[V];
  double sum = 0.0;
  fill(z, V, 9);
  for (int j = 0; j < V; j++)
    z[j] = roundf(z[j] * 1024.0f) / 1024.0f; /* so that the shifts below are exact */
  for (int t = 0; t < V; t++) {
    id[t] = t;
    ones[t] = 1.0f;
    for (int j = 0; t > 0 && j < V; j++)
      z[t * V + j] = z[j] + (float)(t % 4 * 16);
  }
  struct lrl_logprob_fwd_args a = {V, V, 1.0f, z, id, lp, h, lse, false};
  assert_int_equal(lrl_logprob_fwd(&ctx, &a), LRL_OK);
  for (int t = 0; t < V; t++) {
    sum += exp((double)lp[t]);
    assert_true(h[t] == h[0]);
  }
  assert_true(fabs(sum - 1.0) < 1e-6);
  for (int t = 0; t < V; t++)
    for (int j = 1; j < V; j++)
      z[t * V + j] = j == 1 ? 3.0f : -INFINITY;
  for (int t = 0; t < V; t++)
    z[t * V] = t == 0 ? -INFINITY : 3.0f;
  id[0] = id[1] = 1;
  a.n_tokens = 2;
  assert_int_equal(lrl_logprob_fwd(&ctx, &a), LRL_OK);
  assert_true(lp[0] == 0.0f && h[0] == 0.0f);
  assert_true(fabsf(lp[1] + logf(2.0f)) < 1e-6f && fabsf(h[1] - logf(2.0f)) < 1e-6f);
  assert_int_equal(lrl_logprob_bwd(&ctx, &(struct lrl_logprob_bwd_args){2, V, 1.0f, z, id, lse, h,
                                                                        ones, ones, LRL_F32, d}),
                   LRL_OK);
  for (int i = 0; i < 2 * V; i++) {
    const float want = i == V ? -0.5f : i == V + 1 ? 0.5f : 0.0f;
    assert_true(fabsf(d[i] - want) < 1e-6f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values_and_gradients),
      cmocka_unit_test(test_rows_are_independent),
      cmocka_unit_test(test_distribution),
  };
  printf("seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, teardown);
}
