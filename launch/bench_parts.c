#include "launch/bench_parts.h"

#include "kernels/cpu_peak.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

bool lrl_bench_help(const char *part, const struct lrl_option_table *table, int argc, char **argv) {
  if (argc == 0 || (strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-h") != 0))
    return false;
  printf("usage: laurel bench %s [key=value ...]\n\n", part);
  lrl_config_help(table, stdout);
  return true;
}

lrl_status lrl_bench_options(const struct lrl_option_table *table, void *out, int argc,
                             char **argv) {
  lrl_config_defaults(table, out);
  for (int i = 0; i < argc; i++)
    LRL_TRY(lrl_config_override(table, out, argv[i]));
  return LRL_OK;
}

int lrl_bench_part_main(const struct lrl_bench_part *p, int argc, char **argv) {
  if (lrl_bench_help(p->name, p->table, argc, argv))
    return 0;
  void *state = calloc(1, p->size);
  if (state == NULL)
    return 1;
  lrl_status s = lrl_bench_options(p->table, state, argc, argv);
  if (s == LRL_OK)
    s = p->run(state);
  if (s != LRL_OK)
    fprintf(stderr, "laurel bench %s: %s\n", p->name, lrl_last_error());
  p->clear(state);
  free(state);
  return s == LRL_OK ? 0 : 1;
}

lrl_status lrl_bench_decoder(const struct lrl_bench_network *n, int64_t max_positions,
                             struct lrl_decoder_config *out) {
  if (n->hidden % n->heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "hidden %lld is no multiple of heads %lld", (long long)n->hidden,
                    (long long)n->heads);
  *out = (struct lrl_decoder_config){.vocab_size = n->vocab,
                                     .hidden_size = n->hidden,
                                     .intermediate_size = n->ffn,
                                     .num_hidden_layers = n->layers,
                                     .num_attention_heads = n->heads,
                                     .num_key_value_heads = n->kv_heads,
                                     .rms_norm_eps = 1e-5,
                                     .initializer_range = 0.02,
                                     .pad_token_id = -1,
                                     .rope = {.head_dim = n->hidden / n->heads,
                                              .max_position_embeddings = max_positions,
                                              .theta = 1e6}};
  return LRL_OK;
}

int lrl_bench_by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void raise(double *to, double x) { *to = x > *to ? x : *to; }

lrl_status lrl_bench_start(struct lrl_bench_watch *w, bool cold) {
  const struct lrl_stopwatch *device = w->ctx->backend->stopwatch;
  w->started = omp_get_wtime();
  return device != NULL ? device->start(w->ctx, cold) : LRL_OK;
}
lrl_status lrl_bench_stop(struct lrl_bench_watch *w, double *seconds) {
  const struct lrl_stopwatch *device = w->ctx->backend->stopwatch;
  *seconds = omp_get_wtime() - w->started;
  return device != NULL ? device->stop(w->ctx, seconds) : LRL_OK;
}

static lrl_status product_rate(struct lrl_ctx *ctx, struct lrl_arena *arena, lrl_dtype t, int64_t n,
                               double *rate) {
  const size_t mark = lrl_arena_mark(arena), bytes = (size_t)(n * n * lrl_dtype_bytes(t));
  void *a = lrl_arena_alloc(arena, bytes), *b = lrl_arena_alloc(arena, bytes),
       *c = lrl_arena_alloc(arena, bytes);
  if (a == NULL || b == NULL || c == NULL)
    return LRL_ERR_MEMORY;
  lrl_zero(ctx, a, bytes); /* zeros cost least power: nothing else can be faster */
  lrl_zero(ctx, b, bytes);
  const struct lrl_gemm_args g = {.m = n,
                                  .n = n,
                                  .k = n,
                                  .trans_b = true,
                                  .dtype = t,
                                  .c_dtype = t,
                                  .a = a,
                                  .b = b,
                                  .ld_a = n,
                                  .ld_b = n,
                                  .ld_c = n,
                                  .c = c};
  struct lrl_bench_watch watch = {.ctx = ctx};
  for (int run = -1; run < 3; run++) { /* the first one makes the plan */
    double seconds;
    LRL_TRY(lrl_bench_start(&watch, false));
    LRL_TRY(lrl_gemm(ctx, &g));
    LRL_TRY(lrl_bench_stop(&watch, &seconds));
    if (run >= 0)
      raise(rate, 2.0 * (double)n * (double)n * (double)n / seconds);
  }
  lrl_arena_reset(arena, mark);
  return LRL_OK;
}
lrl_status lrl_bench_probe_flops(struct lrl_bench_peaks *p, lrl_dtype t, struct lrl_ctx *ctx,
                                 struct lrl_arena *arena, int64_t size) {
  double *rate = &p->flops[t == LRL_BF16];
  if (ctx->backend->stopwatch != NULL)
    return product_rate(ctx, arena, t, size, rate);
  raise(rate, lrl_cpu_peak(t == LRL_BF16, ctx->n_threads));
  return LRL_OK;
}

enum { LINE = 8 }; /* words of a cache line */
typedef uint64_t line __attribute__((vector_size(LINE * 8)));

static uint64_t read_all(const line *x, int64_t n, int n_threads) {
  uint64_t total = 0;
#pragma omp parallel for num_threads(n_threads) reduction(+ : total) schedule(static)
  for (int64_t i = 0; i < n / LINE; i++) {
    line sum = x[i * LINE];
    for (int k = 1; k < LINE; k++)
      sum += x[i * LINE + k];
    total += sum[0] + sum[LINE - 1];
  }
  return total;
}
static void update_all(line *x, int64_t n, int n_threads) {
#pragma omp parallel for num_threads(n_threads) schedule(static)
  for (int64_t i = 0; i < n; i++)
    x[i] += 1;
}

lrl_status lrl_bench_probe_memory(struct lrl_bench_peaks *p, struct lrl_ctx *ctx,
                                  struct lrl_arena *arena, size_t bytes) {
  if (ctx->backend->stopwatch != NULL)
    return ctx->backend->stopwatch->memory_rates(ctx, bytes, &p->read, &p->update);
  const int n_threads = ctx->n_threads;
  const size_t mark = lrl_arena_mark(arena);
  const int64_t n = (int64_t)(bytes / sizeof(line));
  line *x = lrl_arena_alloc(arena, bytes);
  if (x == NULL)
    return LRL_ERR_MEMORY;
  volatile uint64_t sink = 0;
  for (int run = 0; run < 2; run++) {
    double t0 = omp_get_wtime();
    update_all(x, n, n_threads);
    raise(&p->update, 2 * (double)bytes / (omp_get_wtime() - t0));
    t0 = omp_get_wtime();
    sink = sink + read_all(x, n, n_threads);
    raise(&p->read, (double)bytes / (omp_get_wtime() - t0));
  }
  lrl_arena_reset(arena, mark);
  return LRL_OK;
}
