/* `laurel bench step`: one whole training step of a text decoder - forward, cross-entropy over the
 * whole vocabulary, backward, gradient norm, AdamW - against the machine's arithmetic peak in the
 * same run. */
#include "launch/bench_parts.h"
#include "model/param_build.h"
#include "train/optimizer.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct bench_config {
  struct lrl_bench_network net;
  int64_t sequences, length, steps, threads;
  double seconds;
  int device;
  bool recompute;
};
#define AT(f) offsetof(struct bench_config, f)
static const struct lrl_option rows[] = {
    LRL_BENCH_NETWORK_ROWS(AT(net), "32000", "f32"),
    LRL_ROW_INT("sequences", AT(sequences), "8", 1, 100000, "", "sequences a step"),
    LRL_ROW_INT("length", AT(length), "512", 1, 1000000, "tokens", "tokens a sequence"),
    LRL_ROW_INT("steps", AT(steps), "10", 1, 100000, "",
                "measured steps at most, after one that warms up"),
    LRL_ROW_NUM("seconds", AT(seconds), "30", 0, 1e6,
                "to spend on measured steps; at least two are made"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "what computes"),
    LRL_ROW_BOOL("recompute", AT(recompute), "false",
                 "recompute each layer going back instead of keeping its activations"),
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct bench {
  struct bench_config cfg;
  struct lrl_bench_peaks peaks;
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  int output_unit;
  struct lrl_optimizer optimizer;
  int32_t *ids, *target, *start, *length;
  struct lrl_layout layout;
};

static lrl_status setup(struct bench *b) {
  const struct bench_config *c = &b->cfg;
  struct lrl_decoder_config d;
  LRL_TRY(lrl_bench_decoder(&c->net, c->length, &d));
  lrl_dtype dtype = lrl_bench_dtype(&c->net);
  LRL_TRY(lrl_ctx_init(&b->ctx, lrl_device_name(c->device), (int)c->threads));
  LRL_TRY(lrl_arena_init(&b->weights, "weights and optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&b->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_decoder_build(&b->decoder, &d, &b->params, dtype, true));
  b->output_unit = lrl_param_unit_add(&b->params, "output", dtype, true);
  lrl_param_add(&b->params, b->output_unit, "output.weight", c->net.vocab, c->net.hidden, 0.02f);
  LRL_TRY(lrl_param_set_alloc(&b->params, &b->weights));
  LRL_TRY(lrl_param_set_init(&b->params, 1));
  const struct lrl_optimizer_options o = {
      .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .max_grad_norm = 1.0};
  LRL_TRY(lrl_optimizer_init(&b->optimizer, &o, &b->ctx, &b->params, NULL, &b->weights));
  int64_t tokens = c->sequences * c->length;
  b->ids = lrl_arena_alloc(&b->weights, (size_t)tokens * sizeof *b->ids);
  b->target = lrl_arena_alloc(&b->weights, (size_t)tokens * sizeof *b->target);
  b->start = lrl_arena_alloc(&b->weights, (size_t)c->sequences * sizeof *b->start);
  b->length = lrl_arena_alloc(&b->weights, (size_t)c->sequences * sizeof *b->length);
  if (b->ids == NULL || b->target == NULL || b->start == NULL || b->length == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < tokens; i++) {
    b->ids[i] = (int32_t)((i * 7919) % c->net.vocab);
    b->target[i] = (int32_t)(((i + 1) * 7919) % c->net.vocab);
  }
  for (int64_t s = 0; s < c->sequences; s++) {
    b->start[s] = (int32_t)(s * c->length);
    b->length[s] = (int32_t)c->length;
  }
  b->layout = (struct lrl_layout){
      .n_tokens = tokens, .n_seqs = c->sequences, .start = b->start, .length = b->length};
  return LRL_OK;
}

/* One step; seconds of forward + loss, backward and update in t[0..3). */
static lrl_status one_step(struct bench *b, double *loss, double t[3]) {
  struct lrl_tape tape;
  struct lrl_bench_watch watch = {.ctx = &b->ctx};
  LRL_TRY(lrl_bench_start(&watch, false));
  lrl_tape_init(&tape, &b->ctx, &b->steps, true);
  lrl_optimizer_attach(&b->optimizer, &tape, true);
  tape.recompute = b->cfg.recompute;
  struct lrl_decoder_input in = {.ids = b->ids, .layout = &b->layout};
  struct lrl_decoder_output out;
  lrl_decoder_forward(&tape, &b->decoder, &in, &out);
  struct lrl_tensor *x = lrl_decoder_final(&tape, &b->decoder, &out, NULL, 0);
  const int64_t n = b->layout.n_tokens;
  const float *losses = NULL;
  if (tape.status == LRL_OK)
    losses = lrl_nn_linear_cross_entropy(
        &tape, x, lrl_tensor_param(&tape, &b->params.units[b->output_unit], 0), b->target,
        1.0f / (float)n);
  float *seen = lrl_tape_host(&tape, (size_t)n * sizeof *seen);
  LRL_TRY(tape.status);
  LRL_TRY(lrl_bench_stop(&watch, &t[0]));
  LRL_TRY(lrl_bench_start(&watch, false));
  LRL_TRY(lrl_backward(&tape));
  LRL_TRY(lrl_bench_stop(&watch, &t[1]));
  LRL_TRY(lrl_read(&b->ctx, seen, losses, (size_t)n * sizeof *seen));
  *loss = 0;
  for (int64_t i = 0; i < n; i++)
    *loss += (double)seen[i];
  struct lrl_optimizer_stats stats;
  LRL_TRY(lrl_bench_start(&watch, false));
  LRL_TRY(lrl_optimizer_step(&b->optimizer, 1e-4, &stats));
  LRL_TRY(lrl_bench_stop(&watch, &t[2]));
  if (stats.skipped)
    return LRL_FAIL(LRL_ERR_NUMERIC, "the gradient is not finite");
  lrl_arena_reset(&b->steps, 0);
  return LRL_OK;
}

/* 6 x weights of the matrices + 6 x causal attention, per token (CPU and KERNELS notes). */
static double step_flops(const struct bench_config *c) {
  double h = (double)c->net.hidden, d = h / (double)c->net.heads;
  double per_layer =
      h * (h + 2.0 * d * (double)c->net.kv_heads) + h * h + 3.0 * h * (double)c->net.ffn;
  double weights = (double)c->net.layers * per_layer + h * (double)c->net.vocab;
  double attention = (double)c->net.layers * h * (double)c->length;
  return 6.0 * (weights + attention) * (double)(c->sequences * c->length);
}

static void print(const struct bench *b, double *seconds, int64_t n, const double part[3]) {
  qsort(seconds, (size_t)n, sizeof *seconds, lrl_bench_by_value);
  const double flops = step_flops(&b->cfg), tokens = (double)b->layout.n_tokens;
  const double peak = b->peaks.flops[b->cfg.net.dtype], figures[] = {seconds[0], seconds[n / 2]};
  printf("%-8s %10s %12s %12s %14s  threshold\n", "", "seconds", "tokens/s", "GFLOP/s",
         "% of peak");
  for (int i = 0; i < 2; i++)
    printf("%-8s %10.4f %12.0f %12.1f %13.1f%%  %s\n", i == 0 ? "best" : "median", figures[i],
           tokens / figures[i], flops / figures[i] / 1e9, 100 * flops / figures[i] / peak,
           i > 0                   ? ""
           : b->cfg.net.dtype == 0 ? ">= 60%"
                                   : ">= 50%");
  printf("best of %lld: forward and loss %.4f, backward %.4f, update %.4f seconds\n", (long long)n,
         part[0], part[1], part[2]);
  printf("measured peak %.1f GFLOP/s; step memory %.1f MiB\n", peak / 1e9,
         (double)b->steps.peak / (1 << 20));
}

static lrl_status run(void *state) {
  struct bench *b = state;
  LRL_TRY(setup(b));
  printf("training step, %s: %lld layers x %lld, vocabulary %lld, %lld x %lld tokens\n",
         b->cfg.net.dtype == 0 ? "f32" : "bf16", (long long)b->cfg.net.layers,
         (long long)b->cfg.net.hidden, (long long)b->cfg.net.vocab, (long long)b->cfg.sequences,
         (long long)b->cfg.length);
  fflush(stdout);
  double *seconds = calloc((size_t)b->cfg.steps, sizeof *seconds), first = 0, loss = 0;
  if (seconds == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld timings", (long long)b->cfg.steps);
  double part[3] = {0}, best_part[3] = {0}, best = 1e30, spent = 0;
  int64_t n = 0;
  const lrl_dtype dtype = lrl_bench_dtype(&b->cfg.net);
  lrl_status s = one_step(b, &first, part);
  while (s == LRL_OK && n < b->cfg.steps && (n < 2 || spent < b->cfg.seconds)) {
    s = lrl_bench_probe_flops(&b->peaks, dtype, &b->ctx, &b->steps,
                              b->cfg.net.hidden < 512 ? 128 : 8192);
    if (s != LRL_OK)
      break;
    s = one_step(b, &loss, part);
    seconds[n] = part[0] + part[1] + part[2];
    spent += seconds[n];
    if (seconds[n] < best)
      memcpy(best_part, part, sizeof part);
    best = seconds[n] < best ? seconds[n] : best;
    n++;
  }
  if (s == LRL_OK) {
    printf("loss %.4f -> %.4f\n", first, loss);
    print(b, seconds, n, best_part);
  }
  free(seconds);
  return s;
}

static void clear(void *state) {
  struct bench *b = state;
  lrl_optimizer_destroy(&b->optimizer);
  lrl_decoder_free(&b->decoder);
  lrl_param_set_free(&b->params);
  lrl_arena_free(&b->weights);
  lrl_arena_free(&b->steps);
  if (b->ctx.backend != NULL)
    lrl_ctx_free(&b->ctx);
}

int lrl_bench_step(int argc, char **argv) {
  static const struct lrl_bench_part part = {"step", &table, sizeof(struct bench), run, clear};
  return lrl_bench_part_main(&part, argc, argv);
}
