/* `laurel bench`: one whole training step of a text decoder - forward, cross-entropy over the whole
 * vocabulary, backward, gradient norm, AdamW - against the machine's arithmetic peak in the same
 * run. */
#include "kernels/cpu_peak.h"
#include "launch/bench_parts.h"
#include "launch/commands.h"
#include "launch/config.h"
#include "model/decoder.h"
#include "model/param_build.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct bench_config {
  int64_t layers, hidden, ffn, heads, kv_heads, vocab, sequences, length, steps, threads;
  int dtype;
  bool recompute;
};
#define ROW(key, field, def, lo, hi, unit, help)                                                   \
  { key, LRL_OPTION_INT, offsetof(struct bench_config, field), def, lo, hi, NULL, unit, help }
static const struct lrl_option rows[] = {
    ROW("layers", layers, "8", 1, 1000, "", "decoder layers"),
    ROW("hidden", hidden, "512", 1, 65536, "", "width"),
    ROW("ffn", ffn, "1408", 1, 262144, "", "SwiGLU width"),
    ROW("heads", heads, "8", 1, 1024, "", "query heads"),
    ROW("kv_heads", kv_heads, "8", 1, 1024, "", "key/value heads"),
    ROW("vocab", vocab, "32000", 1, 1000000, "tokens", "vocabulary"),
    ROW("sequences", sequences, "8", 1, 100000, "", "sequences a step"),
    ROW("length", length, "512", 1, 1000000, "tokens", "tokens a sequence"),
    ROW("steps", steps, "10", 1, 100000, "", "measured steps, after two that warm up"),
    ROW("threads", threads, "0", 0, 1024, "", "threads; 0: as many as the machine has"),
    {"dtype", LRL_OPTION_ENUM, offsetof(struct bench_config, dtype), "f32", 0, 0, "f32|bf16", "",
     "type of weights and activations"},
    {"recompute", LRL_OPTION_BOOL, offsetof(struct bench_config, recompute), "false", 0, 0, NULL,
     "", "recompute each layer going back instead of keeping its activations"},
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct bench {
  struct bench_config cfg;
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  int output_unit;
  float *m[LRL_MAX_UNITS], *v[LRL_MAX_UNITS], *master[LRL_MAX_UNITS];
  int32_t *ids, *target, *start, *length;
  struct lrl_layout layout;
};

static lrl_status setup(struct bench *b) {
  const struct bench_config *c = &b->cfg;
  if (c->hidden % c->heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "hidden %lld is no multiple of heads %lld", (long long)c->hidden,
                    (long long)c->heads);
  struct lrl_decoder_config d = {.vocab_size = c->vocab,
                                 .hidden_size = c->hidden,
                                 .intermediate_size = c->ffn,
                                 .num_hidden_layers = c->layers,
                                 .num_attention_heads = c->heads,
                                 .num_key_value_heads = c->kv_heads,
                                 .rms_norm_eps = 1e-5,
                                 .initializer_range = 0.02,
                                 .pad_token_id = -1,
                                 .rope = {.head_dim = c->hidden / c->heads,
                                          .max_position_embeddings = c->length,
                                          .theta = 1e6}};
  lrl_dtype dtype = c->dtype == 0 ? LRL_F32 : LRL_BF16;
  LRL_TRY(lrl_ctx_init(&b->ctx, "cpu", (int)c->threads));
  LRL_TRY(lrl_arena_init(&b->weights, "weights and optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&b->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_decoder_build(&b->decoder, &d, &b->params, dtype, true));
  b->output_unit = lrl_param_unit_add(&b->params, "output", dtype, true);
  lrl_param_add(&b->params, b->output_unit, "output.weight", c->vocab, c->hidden, 0.02f);
  LRL_TRY(lrl_param_set_alloc(&b->params, &b->weights));
  LRL_TRY(lrl_param_set_alloc_grads(&b->params, &b->weights));
  LRL_TRY(lrl_param_set_init(&b->params, 1));
  for (int i = 0; i < b->params.n_units; i++) {
    struct lrl_param_unit *u = &b->params.units[i];
    size_t bytes = (size_t)u->n * sizeof(float);
    b->m[i] = lrl_arena_alloc(&b->weights, bytes);
    b->v[i] = lrl_arena_alloc(&b->weights, bytes);
    b->master[i] = dtype == LRL_F32 ? u->data : lrl_arena_alloc(&b->weights, bytes);
    if (b->m[i] == NULL || b->v[i] == NULL || b->master[i] == NULL)
      return LRL_ERR_MEMORY;
    memset(b->m[i], 0, bytes);
    memset(b->v[i], 0, bytes);
    if (dtype != LRL_F32)
      LRL_TRY(lrl_cast(
          &b->ctx, &(struct lrl_cast_args){
                       .n = u->n, .from = dtype, .to = LRL_F32, .x = u->data, .y = b->master[i]}));
  }
  int64_t tokens = c->sequences * c->length;
  b->ids = lrl_arena_alloc(&b->weights, (size_t)tokens * sizeof *b->ids);
  b->target = lrl_arena_alloc(&b->weights, (size_t)tokens * sizeof *b->target);
  b->start = lrl_arena_alloc(&b->weights, (size_t)c->sequences * sizeof *b->start);
  b->length = lrl_arena_alloc(&b->weights, (size_t)c->sequences * sizeof *b->length);
  if (b->ids == NULL || b->target == NULL || b->start == NULL || b->length == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < tokens; i++) {
    b->ids[i] = (int32_t)((i * 7919) % c->vocab);
    b->target[i] = (int32_t)(((i + 1) * 7919) % c->vocab);
  }
  for (int64_t s = 0; s < c->sequences; s++) {
    b->start[s] = (int32_t)(s * c->length);
    b->length[s] = (int32_t)c->length;
  }
  b->layout = (struct lrl_layout){
      .n_tokens = tokens, .n_seqs = c->sequences, .start = b->start, .length = b->length};
  return LRL_OK;
}

static lrl_status update(struct bench *b, int64_t step) {
  double total = 0;
  for (int i = 0; i < b->params.n_units; i++) {
    struct lrl_param_unit *u = &b->params.units[i];
    double sum;
    LRL_TRY(lrl_sumsq(&b->ctx, &(struct lrl_sumsq_args){.n = u->n, .x = u->grad, .out = &sum}));
    total += sum;
  }
  if (!(total < 1e30))
    return LRL_FAIL(LRL_ERR_NUMERIC, "the gradient is not finite");
  for (int i = 0; i < b->params.n_units; i++) {
    struct lrl_param_unit *u = &b->params.units[i];
    LRL_TRY(lrl_adamw(&b->ctx, &(struct lrl_adamw_args){.n = u->n,
                                                        .param_dtype = u->dtype,
                                                        .param = u->data,
                                                        .master = b->master[i],
                                                        .m = b->m[i],
                                                        .v = b->v[i],
                                                        .grad = u->grad,
                                                        .lr = 1e-4,
                                                        .beta1 = 0.9,
                                                        .beta2 = 0.95,
                                                        .eps = 1e-8,
                                                        .weight_decay = 0.1,
                                                        .grad_scale = 1.0,
                                                        .step = step}));
    u->version++;
    memset(u->grad, 0, (size_t)u->n * sizeof *u->grad);
  }
  return LRL_OK;
}

/* One step; seconds of forward + loss, backward and update in t[0..3). */
static lrl_status one_step(struct bench *b, int64_t step, double *loss, double t[3]) {
  struct lrl_tape tape;
  double t0 = omp_get_wtime();
  lrl_tape_init(&tape, &b->ctx, &b->steps, true);
  tape.recompute = b->cfg.recompute;
  struct lrl_decoder_input in = {.ids = b->ids, .layout = &b->layout};
  struct lrl_decoder_output out;
  lrl_decoder_forward(&tape, &b->decoder, &in, &out);
  struct lrl_tensor *x = lrl_decoder_final(&tape, &b->decoder, &out, NULL, 0);
  float weight = 1.0f / (float)b->layout.n_tokens;
  if (tape.status == LRL_OK)
    lrl_nn_linear_cross_entropy(&tape, x,
                                lrl_tensor_param(&tape, &b->params.units[b->output_unit], 0),
                                b->target, weight, loss);
  double t1 = omp_get_wtime();
  LRL_TRY(tape.status);
  LRL_TRY(lrl_backward(&tape));
  double t2 = omp_get_wtime();
  LRL_TRY(update(b, step));
  t[0] = t1 - t0;
  t[1] = t2 - t1;
  t[2] = omp_get_wtime() - t2;
  lrl_arena_reset(&b->steps, 0);
  return LRL_OK;
}

/* 6 x weights of the matrices + 6 x causal attention, per token (CPU and KERNELS notes). */
static double step_flops(const struct bench_config *c) {
  double h = (double)c->hidden, d = h / (double)c->heads;
  double per_layer = h * (h + 2.0 * d * (double)c->kv_heads) + h * h + 3.0 * h * (double)c->ffn;
  double weights = (double)c->layers * per_layer + h * (double)c->vocab;
  double attention = (double)c->layers * h * (double)c->length;
  return 6.0 * (weights + attention) * (double)(c->sequences * c->length);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static lrl_status run(struct bench *b) {
  LRL_TRY(setup(b));
  double *seconds = calloc((size_t)b->cfg.steps, sizeof *seconds), part[3] = {0}, loss = 0;
  if (seconds == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld timings", (long long)b->cfg.steps);
  lrl_status s = LRL_OK;
  double best_part[3] = {0}, first = 0;
  for (int64_t i = 0; i < b->cfg.steps + 2 && s == LRL_OK; i++) {
    s = one_step(b, i + 1, &loss, part);
    first = i == 0 ? loss : first;
    if (i < 2 || s != LRL_OK)
      continue;
    seconds[i - 2] = part[0] + part[1] + part[2];
    if (best_part[0] == 0 || seconds[i - 2] < best_part[0] + best_part[1] + best_part[2])
      memcpy(best_part, part, sizeof part);
  }
  if (s == LRL_OK) {
    qsort(seconds, (size_t)b->cfg.steps, sizeof *seconds, by_value);
    double median = seconds[b->cfg.steps / 2], flops = step_flops(&b->cfg);
    double peak = lrl_cpu_peak(b->cfg.dtype == 1, b->ctx.n_threads);
    double tokens = (double)b->layout.n_tokens;
    printf("loss %.4f -> %.4f\n", first, loss);
    printf("%-8s %10s %12s %12s %14s\n", "", "seconds", "tokens/s", "GFLOP/s", "% of peak");
    printf("%-8s %10.4f %12.0f %12.1f %13.1f%%\n", "best", seconds[0], tokens / seconds[0],
           flops / seconds[0] / 1e9, 100 * flops / seconds[0] / peak);
    printf("%-8s %10.4f %12.0f %12.1f %13.1f%%\n", "median", median, tokens / median,
           flops / median / 1e9, 100 * flops / median / peak);
    printf("best step: forward and loss %.4f, backward %.4f, update %.4f seconds\n", best_part[0],
           best_part[1], best_part[2]);
    printf("measured peak %.1f GFLOP/s; step memory %.1f MiB\n", peak / 1e9,
           (double)b->steps.peak / (1 << 20));
  }
  free(seconds);
  return s;
}

int lrl_command_bench(int argc, char **argv) {
  if (argc > 0 && strcmp(argv[0], "comm") == 0)
    return lrl_bench_comm(argc - 1, argv + 1);
  if (argc > 0 && strcmp(argv[0], "checkpoint") == 0)
    return lrl_bench_checkpoint(argc - 1, argv + 1);
  if (argc > 0 && strcmp(argv[0], "generate") == 0)
    return lrl_bench_generate(argc - 1, argv + 1);
  struct bench b = {0};
  lrl_config_defaults(&table, &b.cfg);
  if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
    printf("usage: laurel bench [key=value ...] | comm ... | checkpoint ... | generate ...\n\n");
    lrl_config_help(&table, stdout);
    return 0;
  }
  lrl_status s = LRL_OK;
  for (int i = 0; i < argc && s == LRL_OK; i++)
    s = lrl_config_override(&table, &b.cfg, argv[i]);
  if (s == LRL_OK)
    s = run(&b);
  if (s != LRL_OK)
    fprintf(stderr, "laurel bench: %s\n", lrl_last_error());
  lrl_decoder_free(&b.decoder);
  lrl_param_set_free(&b.params);
  lrl_arena_free(&b.weights);
  lrl_arena_free(&b.steps);
  if (b.ctx.backend != NULL)
    lrl_ctx_free(&b.ctx);
  return s == LRL_OK ? 0 : 1;
}
