/* Global memory traffic of the kernels that memory bounds, at the sizes of a 7B model: at most 1.10
 * of what any implementation must move (each input once, each output once), in bytes and in sectors
 * of 32 bytes. Counted on the traced simulator, where every load and store is seen; on other
 * devices there is nothing to count. Results are compared with ref where rows are longer than a
 * block keeps. */
#include "tests/unit/op_run.h"
#include "tests/unit/sim_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { H = 4096, FFN = 14336, VOCAB = 92544, HEADS = 32, KV = 8, D = 128, VIT = 1024 };
static struct lrl_ctx ctx, ref;
static struct sim_device sim;
static struct op_run run;

static void *in_bf16(int64_t n) { return filled(&run, LRL_BF16, LRL_BF16, n, false); }
static void *in_f32(int64_t n) { return filled(&run, LRL_F32, LRL_F32, n, false); }
static void *sums_f32(int64_t n) { return filled(&run, LRL_F32, LRL_F32, n, true); }
static void *positive(int64_t n) {
  float *p = in_f32(n);
  for (int64_t i = 0; i < n; i++)
    p[i] = fabsf(p[i]) + 0.1f;
  return p;
}
/* 0, step, 2 step, ... modulo n: distinct ones where step and n have no common divisor. */
static int32_t *spread(int64_t count, int64_t n, int64_t step) {
  int32_t *p = out(&run, LRL_I32, count);
  for (int64_t i = 0; i < count; i++)
    p[i] = (int32_t)(i * step % n);
  return p;
}
/* One sequence. */
static const struct lrl_layout *tokens(int64_t n) {
  static struct lrl_layout l;
  static int32_t start, length;
  length = (int32_t)n;
  l = (struct lrl_layout){.n_tokens = n, .n_seqs = 1, .start = &start, .length = &length};
  return &l;
}

/* Counts of the call that is made between the two, which must move `bytes`. */
static void begin(void) {
  const struct simt_settings s = {.order = SIMT_ASCENDING, .strict = 1};
  sim.configure(&s);
  sim.reset();
}
static void end(const char *name, double bytes) {
  struct simt_counters c;
  const char *found = "";
  sim.counters(NULL, &c);
  const double moved = (double)c.global_bytes / bytes,
               sectors = 32.0 * (double)c.global_sectors / bytes;
  printf("%-24s %12.0f bytes, moved %.3f, in sectors %.3f\n", name, bytes, moved, sectors);
  assert_int_equal(sim.reports(&found), 0);
  assert_true(moved >= 0.99); /* else the count of what must be moved is wrong */
  assert_true(moved <= 1.10 && sectors <= 1.10);
  for (int b = 0; b < run.n_buffers; b++)
    give_back(&run.buffers[b]);
  run.n_buffers = 0;
}
#define COUNT(name, bytes, op, ...)                                                                \
  do {                                                                                             \
    const struct lrl_##op##_args args_ = {__VA_ARGS__};                                            \
    begin();                                                                                       \
    assert_int_equal(lrl_##op(&ctx, &args_), LRL_OK);                                              \
    assert_int_equal(lrl_ctx_sync(&ctx), LRL_OK);                                                  \
    end(name, (double)(bytes));                                                                    \
  } while (0)

/* As many rows a block as 16384 tokens are on a hundred multiprocessors; the simulator has four. */
enum { ROWS = 256 };

static void test_norms(void **state) {
  const int64_t n = (int64_t)ROWS * H, v = (int64_t)2 * ROWS * VIT;
  (void)state;
  COUNT("rms_norm_fwd", 4 * n, rms_norm_fwd, ROWS, H, LRL_BF16, 1e-5f, in_bf16(n), NULL, in_bf16(H),
        NULL, out(&run, LRL_BF16, n), out(&run, LRL_F32, ROWS));
  COUNT("rms_norm_fwd + residual", 8 * n, rms_norm_fwd, ROWS, H, LRL_BF16, 1e-5f, in_bf16(n),
        in_bf16(n), in_bf16(H), out(&run, LRL_BF16, n), out(&run, LRL_BF16, n),
        out(&run, LRL_F32, ROWS));
  COUNT("rms_norm_bwd", 6 * n, rms_norm_bwd, ROWS, H, LRL_BF16, in_bf16(n), in_bf16(H), in_bf16(n),
        NULL, positive(ROWS), out(&run, LRL_BF16, n), sums_f32(H));
  COUNT("rms_norm_bwd + d_sum", 8 * n, rms_norm_bwd, ROWS, H, LRL_BF16, in_bf16(n), in_bf16(H),
        in_bf16(n), in_bf16(n), positive(ROWS), out(&run, LRL_BF16, n), sums_f32(H));
  COUNT("layer_norm_fwd", 4 * v, layer_norm_fwd, 2 * ROWS, VIT, LRL_BF16, 1e-5f, in_bf16(v),
        in_bf16(VIT), in_bf16(VIT), out(&run, LRL_BF16, v), out(&run, LRL_F32, 2 * ROWS),
        out(&run, LRL_F32, 2 * ROWS));
  COUNT("layer_norm_bwd + d_add", 8 * v, layer_norm_bwd, 2 * ROWS, VIT, LRL_BF16, in_bf16(v),
        in_bf16(VIT), in_bf16(v), in_bf16(v), in_f32(2 * ROWS), positive(2 * ROWS),
        out(&run, LRL_BF16, v), sums_f32(VIT), sums_f32(VIT));
}

static void test_swiglu(void **state) {
  const int64_t t = 16, n = t * FFN;
  (void)state;
  uint16_t *both = in_bf16(2 * n), *grads;
  COUNT("swiglu_fwd", 6 * n, swiglu_fwd, t, FFN, 2 * FFN, LRL_BF16, both, both + FFN,
        out(&run, LRL_BF16, n));
  both = in_bf16(2 * n);
  grads = out(&run, LRL_BF16, 2 * n);
  COUNT("swiglu_bwd", 10 * n, swiglu_bwd, t, FFN, 2 * FFN, LRL_BF16, both, both + FFN, in_bf16(n),
        grads, grads + FFN);
}

static void test_rope(void **state) {
  const int64_t t = 64, n = t * (HEADS + 2 * KV) * D, positions = 128;
  (void)state;
  COUNT("rope_qkv_fwd", 4 * n + t * D * 4, rope_qkv_fwd, t, HEADS, KV, D, positions, LRL_BF16,
        spread(t, positions, 1), in_f32(positions * D / 2), in_f32(positions * D / 2), in_bf16(n),
        out(&run, LRL_BF16, t * HEADS * D), out(&run, LRL_BF16, t * KV * D),
        out(&run, LRL_BF16, t * KV * D));
  COUNT("rope_qkv_bwd", 4 * n + t * D * 4, rope_qkv_bwd, t, HEADS, KV, D, positions, LRL_BF16,
        spread(t, positions, 1), in_f32(positions * D / 2), in_f32(positions * D / 2),
        in_bf16(t * HEADS * D), in_bf16(t * KV * D), in_bf16(t * KV * D), out(&run, LRL_BF16, n));
}

static void test_optimizer(void **state) {
  const int64_t n = (int64_t)64 * H;
  (void)state;
  COUNT("adamw", 30 * n, adamw, .n = n, .param_dtype = LRL_BF16, .param = out(&run, LRL_BF16, n),
        .master = sums_f32(n), .m = sums_f32(n), .v = positive(n), .grad = in_f32(n), .lr = 1e-4,
        .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 1.0,
        .step = 2);
  COUNT("sumsq", 4 * n, sumsq, .n = n, .x = in_f32(n), .out = out(&run, LRL_F64, 1));
  COUNT("ema of bf16", 10 * n, ema, .n = n, .dtype = LRL_BF16, .beta = 0.992, .x = in_bf16(n),
        .y = sums_f32(n));
  COUNT("ema of f32", 12 * n, ema, .n = n, .dtype = LRL_F32, .beta = 0.992, .x = in_f32(n),
        .y = sums_f32(n));
  COUNT("cast f32 to bf16", 6 * n, cast, .n = n, .from = LRL_F32, .to = LRL_BF16, .x = in_f32(n),
        .y = out(&run, LRL_BF16, n));
}

static void test_embedding(void **state) {
  const int64_t t = 64, rows = 128, n = t * H;
  (void)state;
  COUNT("embedding_fwd", 4 * n + 4 * t, embedding_fwd, t, H, rows, LRL_BF16, spread(t, rows, 1),
        in_bf16(rows * H), out(&run, LRL_BF16, n));
  COUNT("embedding_bwd", 10 * n, embedding_bwd, t, H, rows, LRL_BF16, spread(t, rows, 1), -1,
        in_bf16(n), sums_f32(rows * H));
}

/* Over the whole vocabulary, which is more than a block keeps: the results also against ref. */
static void test_vocabulary(void **state) {
  const int64_t t = 2, n = t * VOCAB;
  (void)state;
  for (int d = 0; d < 2; d++) {
    const lrl_dtype type = d == 0 ? LRL_BF16 : LRL_F32;
    const struct lrl_cross_entropy_args a = {t,
                                             VOCAB,
                                             in_f32(n),
                                             in_f32(t),
                                             spread(t, VOCAB, 91003),
                                             out(&run, LRL_F32, t),
                                             out(&run, LRL_F32, t),
                                             type,
                                             out(&run, type, n)};
    struct lrl_cross_entropy_args exact = a;
    exact.d_dtype = LRL_F32;
    exact.d_logits = out(&run, LRL_F32, n);
    exact.loss = out(&run, LRL_F32, t);
    exact.lse = out(&run, LRL_F32, t);
    assert_int_equal(lrl_cross_entropy(&ref, &exact), LRL_OK);
    begin();
    assert_int_equal(lrl_cross_entropy(&ctx, &a), LRL_OK);
    assert_int_equal(lrl_ctx_sync(&ctx), LRL_OK);
    for (int64_t i = 0; i < t; i++) {
      assert_float_equal(a.loss[i], exact.loss[i], 1e-5f * fabsf(exact.loss[i]));
      assert_float_equal(a.lse[i], exact.lse[i], 1e-5f * fabsf(exact.lse[i]));
    }
    const double rounding = d == 0 ? 0x1p-8 : 1e-5;
    for (int64_t i = 0; i < n; i++) {
      const double want = get(LRL_F32, exact.d_logits, i);
      if (!(fabs(get(type, a.d_logits, i) - want) <= rounding * fabs(want) + 1e-9))
        fail_msg("gradient %lld: %g, want %g", (long long)i, get(type, a.d_logits, i), want);
    }
    end(d == 0 ? "cross_entropy, bf16" : "cross_entropy, f32", (double)((d == 0 ? 6 : 8) * n));
  }
  COUNT("logprob_fwd", 4 * n, logprob_fwd, t, VOCAB, 1.0f, in_f32(n), spread(t, VOCAB, 91003),
        out(&run, LRL_F32, t), out(&run, LRL_F32, t), out(&run, LRL_F32, t), false);
  COUNT("logprob_bwd", 6 * n, logprob_bwd, t, VOCAB, 1.0f, in_f32(n), spread(t, VOCAB, 91003),
        positive(t), NULL, in_f32(t), NULL, LRL_BF16, out(&run, LRL_BF16, n));
}

static void test_losses(void **state) {
  const int64_t n = H;
  (void)state;
  COUNT("bradley_terry", 24 * n, bradley_terry, .n = n, .weight = 1.0f, .chosen = in_f32(n),
        .rejected = in_f32(n), .loss = (void *)out(&run, LRL_F64, n),
        .d_chosen = out(&run, LRL_F32, n), .d_rejected = out(&run, LRL_F32, n));
  COUNT("ppo_policy", 16 * n, ppo_policy, .layout = tokens(n), .clip_low = 0.2, .clip_high = 0.2,
        .logprobs = in_f32(n), .old_logprobs = in_f32(n), .advantages = in_f32(n),
        .seq_weight = in_f32(1), .stats = (void *)out(&run, LRL_F64, 10),
        .d_logprobs = out(&run, LRL_F32, n));
  COUNT("ppo_value", 16 * n, ppo_value, .layout = tokens(n), .cliprange = 0.2, .values = in_f32(n),
        .old_values = in_f32(n), .returns = in_f32(n), .seq_weight = in_f32(1),
        .stats = (void *)out(&run, LRL_F64, 4), .d_values = out(&run, LRL_F32, n));
}

int main(int argc, char **argv) {
  const char *device = argc > 1 ? argv[1] : "sim";
  if (lrl_ctx_init(&ctx, device, 1) != LRL_OK || lrl_ctx_init(&ref, "ref", 2) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  if (strcmp(device, "sim") != 0 || !sim_device_open(&sim) || !sim.traced()) {
    printf("SKIP: only the traced simulator counts\n");
    return 0;
  }
  run = (struct op_run){.ctx = &ctx, .ref = &ref, .dtype = LRL_BF16};
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_norms),     cmocka_unit_test(test_swiglu),
      cmocka_unit_test(test_rope),      cmocka_unit_test(test_optimizer),
      cmocka_unit_test(test_embedding), cmocka_unit_test(test_vocabulary),
      cmocka_unit_test(test_losses),
  };
  return cmocka_run_group_tests_name("counters", tests, NULL, NULL);
}
