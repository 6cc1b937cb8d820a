/* Attention with heads of 64 and 128 elements, as real models have them, against ref on the device
 * that the first argument names: sequences around the tiles' edges and a prompt with continuations.
 * On the simulator also: no reports in any order, and shared memory without bank conflicts. */
#include "tests/unit/op_run.h"
#include "tests/unit/sim_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *device = "cpu";
static struct sim_device sim;
static bool simulated;

enum { SEQS = 5, HEADS = 4, KV = 2 };
static const int32_t length[SEQS] = {70, 65, 1, 0, 33}, parent[SEQS] = {-1, 0, 0, -1, -1};

static double worst(const uint16_t *x, const uint16_t *y, int64_t n) {
  double error = 0.0, scale = 1e-6;
  for (int64_t i = 0; i < n; i++) {
    const double a = (double)lrl_bf16_to_f32(x[i]), b = (double)lrl_bf16_to_f32(y[i]);
    scale = fmax(scale, fabs(b));
    error = isnan(a) ? INFINITY : fmax(error, fabs(a - b));
  }
  return error / scale;
}

struct results {
  uint16_t *o, *dq, *dk, *dv;
  float *lse;
  struct op_run run;
};
static lrl_status compute(struct lrl_ctx *ctx, struct lrl_ctx *ref, const struct lrl_layout *l,
                          int64_t d, bool causal, struct results *r) {
  const int64_t n = l->n_tokens, wq = HEADS * d, wk = KV * d;
  r->run = (struct op_run){.ctx = ctx, .ref = ref, .dtype = LRL_BF16};
  struct op_run *b = &r->run;
  void *q = filled(b, LRL_BF16, LRL_BF16, n * wq, false),
       *k = filled(b, LRL_BF16, LRL_BF16, n * wk, false),
       *v = filled(b, LRL_BF16, LRL_BF16, n * wk, false);
  void *d_o = filled(b, LRL_BF16, LRL_BF16, n * wq, false), *ref_o = out(b, LRL_BF16, n * wq);
  float *ref_lse = out(b, LRL_F32, n * HEADS);
  r->o = out(b, LRL_BF16, n * wq);
  r->lse = out(b, LRL_F32, n * HEADS);
  r->dq = out(b, LRL_BF16, n * wq);
  r->dk = out(b, LRL_BF16, n * wk);
  r->dv = out(b, LRL_BF16, n * wk);
  const struct lrl_attention_fwd_args f = {l, HEADS, KV, d,  LRL_BF16, causal, 0.11f, q,
                                           k, v,     wq, wk, wk,       wq,     r->o,  r->lse};
  struct lrl_attention_fwd_args exact = f;
  exact.o = ref_o;
  exact.lse = ref_lse;
  LRL_TRY(lrl_attention_fwd(ctx, &f));
  LRL_TRY(lrl_attention_fwd(ref, &exact)); /* the same inputs of backward for both */
  LRL_TRY(lrl_attention_bwd(
      ctx, &(struct lrl_attention_bwd_args){l,  HEADS, KV,      d,     LRL_BF16, causal, 0.11f,
                                            q,  k,     v,       ref_o, d_o,      wq,     wk,
                                            wk, wq,    ref_lse, r->dq, r->dk,    r->dv}));
  return lrl_ctx_sync(ctx);
}

/* No report; tiles are swizzled, so a request to shared memory takes one wavefront. Starts the
 * counters anew. */
static void check_simulator(int64_t d) {
  const char *found = "";
  if (sim.reports(&found) > 0)
    fail_msg("%s", found);
  static const char *const kernels[] = {"flash_fwd", "flash_dq", "flash_dkv"};
  for (int i = 0; sim.traced() && i < 3; i++) {
    struct simt_counters c;
    sim.counters(kernels[i], &c);
    assert_true(c.mma > 0);
    printf("%s, heads of %d: %.3f wavefronts a request\n", kernels[i], (int)d,
           (double)c.shared_wavefronts / (double)c.shared_requests);
    assert_true((double)c.shared_wavefronts <= 1.05 * (double)c.shared_requests);
  }
  sim.reset();
}

static void test_heads(void **state) {
  (void)state;
  int32_t start[SEQS], n = 0;
  for (int s = 0; s < SEQS; n += length[s], s++)
    start[s] = n;
  const struct lrl_layout l = {n, SEQS, start, length, parent, NULL};
  struct lrl_ctx ref, ctx;
  assert_int_equal(lrl_ctx_init(&ctx, device, 2), LRL_OK);
  assert_int_equal(lrl_ctx_init(&ref, "ref", 2), LRL_OK);
  int bad = 0;
  for (int64_t d = 64; d <= 128; d += 64) {
    for (int causal = 0; causal < 2; causal++) {
      struct results want, got[2];
      assert_int_equal(compute(&ref, &ref, &l, d, causal == 1, &want), LRL_OK);
      for (int i = 0; i < 2; i++) {
        if (simulated)
          sim_order(&sim, i + 1);
        assert_int_equal(compute(&ctx, &ref, &l, d, causal == 1, &got[i]), LRL_OK);
      }
      const double o = worst(got[0].o, want.o, n * HEADS * d),
                   dq = worst(got[0].dq, want.dq, n * HEADS * d);
      const double dk = worst(got[0].dk, want.dk, n * KV * d),
                   dv = worst(got[0].dv, want.dv, n * KV * d);
      double lse = 0.0;
      for (int64_t i = 0; i < n * HEADS; i++)
        lse = fmax(lse, fabs((double)got[0].lse[i] - (double)want.lse[i]));
      const bool same = memcmp(got[0].o, got[1].o, (size_t)(n * HEADS * d) * 2) == 0 &&
                        memcmp(got[0].dq, got[1].dq, (size_t)(n * HEADS * d) * 2) == 0 &&
                        memcmp(got[0].dk, got[1].dk, (size_t)(n * KV * d) * 2) == 0 &&
                        memcmp(got[0].dv, got[1].dv, (size_t)(n * KV * d) * 2) == 0;
      printf("d %d causal %d: o %.2g lse %.2g dq %.2g dk %.2g dv %.2g%s\n", (int)d, causal, o, lse,
             dq, dk, dv, same ? "" : ", two runs DIFFER");
      bad += !(o <= 0x1p-7 && lse <= 1e-4 && dq <= 3 * 0x1p-8 && dk <= 3 * 0x1p-8 &&
               dv <= 3 * 0x1p-8) ||
             !same;
      struct results *all[] = {&want, &got[0], &got[1]};
      for (int i = 0; i < 3; i++)
        for (int b = 0; b < all[i]->run.n_buffers; b++)
          give_back(&all[i]->run.buffers[b]);
    }
    if (simulated)
      check_simulator(d);
  }
  lrl_ctx_free(&ctx);
  lrl_ctx_free(&ref);
  assert_int_equal(bad, 0);
}

int main(int argc, char **argv) {
  if (device_of_test(argc, argv, &device) == NULL)
    return 0;
  simulated = strcmp(device, "sim") == 0 && sim_device_open(&sim);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_heads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
