/* Attention and the patch embedding by cuDNN on the device that the first argument names, against
 * ref; what it refuses goes to the device's own kernel with a reason; a device without it says so
 * in one sentence. On the simulator cuDNN is a stand-in that computes the same graph, and offers
 * engines first whose bits change from run to run or that round f32 operands (tests/simt/cudnn.cc):
 * choosing one of them fails here. */
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

/* The third run is within a repeated part, in which ops are noted and sent together: its input
 * arrives there, by an op. */
static const void *begin_run(struct lrl_ctx *ctx, int i, const void *x, void *late, int64_t bytes) {
  if (simulated && i > 0)
    sim_order(&sim, i);
  if (i < 2)
    return x;
  lrl_ctx_begin_repeated(ctx);
  lrl_move(ctx, late, x, (size_t)bytes);
  return late;
}
static void end_run(struct lrl_ctx *ctx, int i, lrl_status s) {
  assert_int_equal(s, LRL_OK);
  assert_int_equal(i < 2 ? lrl_ctx_sync(ctx) : lrl_ctx_end_repeated(ctx), LRL_OK);
}

/* Largest difference of o and of lse from ref's; `twice` receives whether two runs agree. */
static void compare(struct lrl_ctx *ctx, struct lrl_ctx *ref, const struct lrl_layout *l,
                    lrl_dtype t, int64_t d, bool causal, double *o_off, double *lse_off,
                    bool *twice) {
  const int64_t n = l->n_tokens, wq = HEADS * d, wk = KV * d, ld = wq + 2 * wk;
  struct op_run b = {.ctx = ctx, .ref = ref, .dtype = t};
  const void *qkv = filled(&b, t, LRL_BF16, n * ld, false);
  void *late = out(&b, t, n * ld);
  const size_t size = (size_t)lrl_dtype_bytes(t);
  void *o[3];
  float *lse[3];
  for (int i = 0; i < 3; i++) {
    o[i] = out(&b, t, n * wq);
    lse[i] = out(&b, LRL_F32, n * HEADS);
    const char *q = begin_run(ctx, i, qkv, late, n * ld * (int64_t)size);
    const struct lrl_attention_fwd_args a = {l,
                                             HEADS,
                                             KV,
                                             d,
                                             t,
                                             causal,
                                             0.11f,
                                             q,
                                             q + (size_t)wq * size,
                                             q + (size_t)(wq + wk) * size,
                                             ld,
                                             ld,
                                             ld,
                                             wq,
                                             o[i],
                                             lse[i]};
    end_run(ctx, i, lrl_attention_fwd(i == 0 ? ref : ctx, &a));
  }
  double scale = 0.0;
  *o_off = *lse_off = 0.0;
  for (int64_t i = 0; i < n * wq; i++) {
    const double x = get(t, o[1], i), y = get(t, o[0], i);
    scale = fmax(scale, fabs(y));
    *o_off = isnan(x) ? INFINITY : fmax(*o_off, fabs(x - y));
  }
  *o_off /= scale;
  for (int64_t i = 0; i < n * HEADS; i++) {
    const double x = (double)lse[1][i], y = (double)lse[0][i];
    *lse_off = isnan(x) ? INFINITY : fmax(*lse_off, fabs(x - y));
  }
  *twice = memcmp(o[1], o[2], (size_t)(n * wq) * size) == 0;
  for (int i = 0; i < b.n_buffers; i++)
    give_back(&b.buffers[i]);
}

/* Contexts of the device and of ref, where the device has cuDNN. */
static void begin(struct lrl_ctx *ctx, struct lrl_ctx *ref, enum lrl_cudnn_use use) {
  assert_int_equal(lrl_ctx_init(ctx, device, 2), LRL_OK);
  assert_int_equal(lrl_ctx_init(ref, "ref", 2), LRL_OK);
  if (lrl_use_cudnn(ctx, use) == LRL_OK)
    return;
  printf("SKIP: %s\n", lrl_last_error());
  lrl_error_clear();
  lrl_ctx_free(ctx);
  lrl_ctx_free(ref);
  skip();
}
static void end(struct lrl_ctx *ctx, struct lrl_ctx *ref, int bad) {
  lrl_ctx_free(ctx);
  lrl_ctx_free(ref);
  assert_int_equal(bad, 0);
  const char *found = "";
  if (simulated && sim.reports(&found) > 0)
    fail_msg("%s", found);
}
/* Whether what cuDNN refused begins with `want`; NULL: nothing. */
static bool refused_as(const char *said, const char *want) {
  return want == NULL ? said == NULL : said != NULL && strncmp(said, want, strlen(want)) == 0;
}

static void test_attention(void **state) {
  (void)state;
  static const int32_t length[SEQS] = {70, 65, 1, 0, 33}, parent[SEQS] = {-1, 0, 0, -1, -1};
  static const struct {
    lrl_dtype dtype;
    int64_t d;
    bool causal, shared;
    const char *refused;
  } cases[] = {{LRL_BF16, 64, false, false, NULL},
               {LRL_BF16, 128, true, false, NULL},
               {LRL_BF16, 24, true, false, NULL},
               {LRL_BF16, 64, true, true, "sequences that share a prefix"},
               {LRL_BF16, 20, true, false, "heads of a size"},
               {LRL_F32, 64, true, false, "f32"}};
  int32_t start[SEQS], n = 0;
  for (int s = 0; s < SEQS; n += length[s], s++)
    start[s] = n;
  struct lrl_ctx ref, ctx;
  begin(&ctx, &ref, LRL_CUDNN_ATTENTION);
  int bad = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct lrl_layout l = {n, SEQS, start, length, cases[i].shared ? parent : NULL, NULL};
    double o, lse;
    bool twice;
    ctx.cudnn[LRL_CUDNN_ATTENTION].refused = NULL;
    compare(&ctx, &ref, &l, cases[i].dtype, cases[i].d, cases[i].causal, &o, &lse, &twice);
    const char *said = ctx.cudnn[LRL_CUDNN_ATTENTION].refused;
    const bool right = refused_as(said, cases[i].refused);
    printf("%s d %d causal %d: o %.2g lse %.2g%s, %s\n", lrl_dtype_name(cases[i].dtype),
           (int)cases[i].d, cases[i].causal, o, lse, twice ? "" : ", two runs DIFFER",
           said != NULL ? said : "cuDNN");
    bad += !(o <= 0x1p-7 && lse <= 1e-4) || !twice || !right;
  }
  end(&ctx, &ref, bad);
}

static void test_patch_embed(void **state) {
  (void)state;
  static const struct {
    lrl_dtype dtype;
    int64_t n, size, patch, width;
    double off;
    const char *refused;
  } cases[] = {{LRL_F32, 2, 32, 7, 24, 2e-6, NULL}, /* with a border */
               {LRL_F32, 9, 16, 8, 8, 2e-6, NULL},  /* more images than go at once */
               {LRL_BF16, 3, 28, 7, 16, 0x1p-8, NULL},
               {LRL_BF16, 16, 16, 8, 8, 0x1p-8, NULL},
               {LRL_F32, 1, 8, 8, 5, 2e-6, "rows that do not start"},
               {LRL_BF16, 0, 16, 8, 8, 0, NULL}};
  struct lrl_ctx ref, ctx;
  begin(&ctx, &ref, LRL_CUDNN_PATCH_EMBED);
  int bad = 0;
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    const int64_t n = cases[c].n, size = cases[c].size, p = cases[c].patch, w = cases[c].width;
    const int64_t n_out = n * (size / p) * (size / p) * w;
    const lrl_dtype t = cases[c].dtype;
    struct op_run b = {.ctx = &ctx, .ref = &ref, .dtype = t};
    const int64_t n_pixels = n * 3 * size * size;
    const void *pixels = filled(&b, LRL_F32, LRL_F32, n_pixels, false);
    void *late = out(&b, LRL_F32, n_pixels);
    const void *weight = filled(&b, t, LRL_BF16, w * 3 * p * p, false);
    void *o[3];
    ctx.cudnn[LRL_CUDNN_PATCH_EMBED].refused = NULL;
    for (int i = 0; i < 3; i++) {
      o[i] = out(&b, t, n_out);
      const float *x = begin_run(&ctx, i, pixels, late, n_pixels * 4);
      const struct lrl_patch_embed_fwd_args a = {n, 3, size, p, w, t, x, weight, 0, o[i]};
      end_run(&ctx, i, lrl_patch_embed_fwd(i == 0 ? &ref : &ctx, &a));
    }
    double off = 0.0, scale = 1e-30;
    for (int64_t i = 0; i < n_out; i++) {
      const double x = get(t, o[1], i), y = get(t, o[0], i);
      scale = fmax(scale, fabs(y));
      off = isnan(x) ? INFINITY : fmax(off, fabs(x - y));
    }
    const bool twice = memcmp(o[1], o[2], (size_t)(n_out * lrl_dtype_bytes(t))) == 0;
    const char *said = ctx.cudnn[LRL_CUDNN_PATCH_EMBED].refused;
    printf("patch_embed %s %d x %d pixels: %.2g%s, %s\n", lrl_dtype_name(t), (int)n, (int)size,
           off / scale, twice ? "" : ", two runs DIFFER", said != NULL ? said : "cuDNN");
    bad += !(off <= cases[c].off * scale) || !twice || !refused_as(said, cases[c].refused);
    for (int i = 0; i < b.n_buffers; i++)
      give_back(&b.buffers[i]);
  }
  end(&ctx, &ref, bad);
}

static void test_device_without(void **state) {
  (void)state;
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "cpu", 1), LRL_OK);
  assert_int_not_equal(lrl_use_cudnn(&ctx, LRL_CUDNN_ATTENTION), LRL_OK);
  assert_string_equal(lrl_last_error(),
                      "attention by cuDNN needs device=cuda; device 'cpu' has its own");
  lrl_error_clear();
  lrl_ctx_free(&ctx);
}

int main(int argc, char **argv) {
  if (device_of_test(argc, argv, &device) == NULL)
    return 0;
  simulated = strcmp(device, "sim") == 0 && sim_device_open(&sim);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention),
                                     cmocka_unit_test(test_patch_embed),
                                     cmocka_unit_test(test_device_without)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
