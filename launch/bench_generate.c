/* `laurel bench generate`: tokens a second of cached decoding, and the bytes of weights read a
 * second against the machine's read bandwidth in the same run. Every step must read all weights but
 * the embedding once, however many samples it decodes; that is the floor printed beside. */
#include "launch/bench_parts.h"
#include "model/generate.h"
#include "model/param_build.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct generate_config {
  struct lrl_bench_network net;
  int64_t prompt, tokens, batch, repeats, threads;
  int device;
  double temperature, top_p;
  int64_t top_k;
};
#define AT(f) offsetof(struct generate_config, f)
static const struct lrl_option rows[] = {
    LRL_BENCH_NETWORK_ROWS(AT(net), "32000", "bf16"),
    LRL_ROW_INT("prompt", AT(prompt), "64", 1, 1000000, "tokens", "length of a prompt"),
    LRL_ROW_INT("tokens", AT(tokens), "64", 2, 1000000, "tokens", "new tokens a sample"),
    LRL_ROW_INT("batch", AT(batch), "0", 0, 4096, "", "samples at once; 0: 1, 8 and 32"),
    LRL_ROW_INT("repeats", AT(repeats), "3", 1, 1000, "", "measured runs, after one before"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "what computes"),
    LRL_ROW_NUM("temperature", AT(temperature), "1", 0, 100, "of sampling; 0: greedy"),
    LRL_ROW_NUM("top_p", AT(top_p), "1", 0, 1, "of sampling"),
    LRL_ROW_INT("top_k", AT(top_k), "0", 0, 1000000, "", "of sampling; 0: off"),
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct generate_bench {
  struct generate_config cfg;
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  struct lrl_lm lm;
  struct lrl_bench_peaks peaks;
};

static lrl_status setup(struct generate_bench *b) {
  const struct generate_config *c = &b->cfg;
  const lrl_dtype dtype = lrl_bench_dtype(&c->net);
  struct lrl_decoder_config d;
  LRL_TRY(lrl_bench_decoder(&c->net, c->prompt + c->tokens, &d));
  LRL_TRY(lrl_ctx_init(&b->ctx, lrl_device_name(c->device), (int)c->threads));
  LRL_TRY(lrl_arena_init(&b->weights, "weights and cache", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&b->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_decoder_build(&b->decoder, &d, &b->params, dtype, false));
  const int head = lrl_param_unit_add(&b->params, "output", dtype, false);
  lrl_param_add(&b->params, head, "output.weight", c->net.vocab, c->net.hidden, 0.02f);
  LRL_TRY(lrl_param_set_alloc(&b->params, &b->weights));
  b->lm = (struct lrl_lm){&b->decoder, &b->params.units[head], 0};
  return lrl_param_set_init(&b->params, 1);
}

/* When every sample has its first token, decoding alone remains. */
struct clock {
  int64_t tokens, batch;
  double first, last;
};
static void on_token(void *user, const struct lrl_gen_sample *s, bool done) {
  struct clock *k = user;
  (void)s;
  (void)done;
  if (++k->tokens == k->batch)
    k->first = omp_get_wtime();
  k->last = omp_get_wtime();
}

static lrl_status one_run(struct generate_bench *b, int64_t batch, double *prefill,
                          double *decode) {
  const struct generate_config *c = &b->cfg;
  const size_t mark = lrl_arena_mark(&b->weights);
  struct lrl_gen_prompt *prompts =
      lrl_arena_host(&b->weights, (size_t)batch * sizeof(struct lrl_gen_prompt));
  int32_t *ids = lrl_arena_host(&b->weights, (size_t)(batch * c->prompt) * sizeof *ids);
  if (prompts == NULL || ids == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < batch; i++) {
    prompts[i] = (struct lrl_gen_prompt){
        .ids = ids + i * c->prompt, .n_ids = c->prompt, .n_samples = 1, .key = (uint64_t)i};
    for (int64_t t = 0; t < c->prompt; t++)
      ids[i * c->prompt + t] = (int32_t)((i * 31 + t * 7919) % c->net.vocab);
  }
  const struct lrl_gen_options o = {.temperature = c->temperature,
                                    .top_p = c->top_p,
                                    .top_k = c->top_k,
                                    .repetition_penalty = 1.0,
                                    .max_new_tokens = c->tokens,
                                    .max_samples = batch,
                                    .prefill_tokens = batch * c->prompt,
                                    .seed = 1};
  struct lrl_generation out;
  struct clock clock = {.batch = batch};
  const double t0 = omp_get_wtime();
  LRL_TRY(lrl_generate(&b->ctx, &b->lm, &o, prompts, batch, &b->weights, &b->steps, on_token,
                       &clock, &out));
  *prefill = clock.first - t0;
  *decode = clock.last - clock.first;
  lrl_arena_reset(&b->weights, mark);
  return LRL_OK;
}

static lrl_status measure(struct generate_bench *b, int64_t batch) {
  const struct generate_config *c = &b->cfg;
  double *seconds = calloc((size_t)c->repeats, sizeof *seconds), prefill, best_prefill = 1e30;
  if (seconds == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld timings", (long long)c->repeats);
  lrl_status s = one_run(b, batch, &prefill, &seconds[0]);
  for (int64_t i = 0; i < c->repeats && s == LRL_OK; i++) {
    s = one_run(b, batch, &prefill, &seconds[i]);
    best_prefill = prefill < best_prefill ? prefill : best_prefill;
  }
  if (s == LRL_OK) {
    const struct lrl_repeats *r = &b->ctx.repeats;
    double weights = 0;
    for (int u = 0; u < b->params.n_units; u++)
      if (u != b->decoder.embed_unit)
        weights += (double)(b->params.units[u].n * lrl_dtype_bytes(b->params.units[u].dtype));
    qsort(seconds, (size_t)c->repeats, sizeof *seconds, lrl_bench_by_value);
    const double steps = (double)(c->tokens - 1), best = seconds[0] / steps,
                 median = seconds[c->repeats / 2] / steps, floor = weights / b->peaks.read;
    printf("%5lld %12.0f %12.0f %12.0f %10.3f %10.3f %9.1f %9.1f%%\n", (long long)batch,
           (double)(batch * c->prompt) / best_prefill, (double)batch / best, (double)batch / median,
           best * 1e3, floor * 1e3, weights / best / 1e9, 100 * floor / best);
    if (r->parts > 0)
      printf("      of %lld steps so far %lld were replays; graphs: %lld made, %lld changed\n",
             (long long)r->parts, (long long)r->replayed, (long long)r->built,
             (long long)r->updated);
  }
  free(seconds);
  return s;
}

static lrl_status run(void *state) {
  struct generate_bench *b = state;
  LRL_TRY(setup(b));
  const size_t probe = (size_t)(b->cfg.net.hidden < 512 ? 1 : 512)
                       << 20; /* small: on the simulator */
  for (int i = 0; i < 3; i++)
    LRL_TRY(lrl_bench_probe_memory(&b->peaks, &b->ctx, &b->steps, probe));
  printf("measured read bandwidth %.1f GB/s, %d threads, %s\n", b->peaks.read / 1e9,
         b->ctx.n_threads, b->cfg.net.dtype == 0 ? "f32" : "bf16");
  printf("%5s %12s %12s %12s %10s %10s %9s %10s\n", "batch", "prefill t/s", "decode t/s", "median",
         "ms/step", "floor ms", "GB/s", "of read");
  if (b->cfg.batch > 0)
    return measure(b, b->cfg.batch);
  LRL_TRY(measure(b, 1));
  LRL_TRY(measure(b, 8));
  return measure(b, 32);
}

static void clear(void *state) {
  struct generate_bench *b = state;
  lrl_decoder_free(&b->decoder);
  lrl_param_set_free(&b->params);
  lrl_arena_free(&b->weights);
  lrl_arena_free(&b->steps);
  if (b->ctx.backend != NULL)
    lrl_ctx_free(&b->ctx);
}

int lrl_bench_generate(int argc, char **argv) {
  static const struct lrl_bench_part part = {"generate", &table, sizeof(struct generate_bench), run,
                                             clear};
  return lrl_bench_part_main(&part, argc, argv);
}
