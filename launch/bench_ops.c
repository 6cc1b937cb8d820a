/* `laurel bench ops`: every op of the op table against what the machine can do in the same run. */
#include "launch/bench_ops.h"

#include "train/option_rows.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct ops_config {
  char only[LRL_OPTION_TEXT];
  double seconds;
  int64_t threads, shrink;
  int device, sizes;
};
#define AT(f) offsetof(struct ops_config, f)
static const struct lrl_option options[] = {
    LRL_ROW_TEXT("only", AT(only), "", "rows whose name has this in it; empty: all"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "what computes"),
    LRL_ROW_ENUM("sizes", AT(sizes), "auto", "auto|small|7b",
                 "of the rows: small ones, or those of a 7B model; auto: 7b on a GPU"),
    LRL_ROW_NUM("seconds", AT(seconds), "0.15", 0, 3600, "to spend on a row; at least 3 calls"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_INT("shrink", AT(shrink), "1", 1, 65536, "", "divides the first size of every row"),
};
static const struct lrl_option_table table = {options, sizeof options / sizeof options[0]};

struct ops_bench {
  struct ops_config cfg;
  struct lrl_ctx ctx;
  struct lrl_arena memory;
  struct lrl_bench_peaks peaks;
  bool big;    /* sizes of a 7B model */
  int n_below; /* rows below their threshold */
  struct lrl_bench_op op;
};

bool lrl_bench_more(struct lrl_bench_op *op) {
  double seconds = 0.0;
  if (op->status == LRL_OK && op->n >= -1)
    op->status = lrl_bench_stop(&op->watch, &seconds);
  if (op->status != LRL_OK)
    return false;
  if (op->n >= 0) {
    op->seconds[op->n] = seconds;
    op->total += seconds;
  }
  op->n++;
  if (op->n == LRL_BENCH_RUNS || (op->n >= 3 && op->total >= op->budget))
    return false;
  /* What memory bounds starts with nothing in the cache, where a device can empty it. */
  op->status = lrl_bench_start(&op->watch, op->unit != LRL_BENCH_FLOPS);
  return op->status == LRL_OK;
}

static void print(struct ops_bench *b, const struct lrl_bench_row *row) {
  struct lrl_bench_op *op = &b->op;
  const bool flops = op->unit == LRL_BENCH_FLOPS;
  const double peak = flops                          ? b->peaks.flops[op->dtype == LRL_BF16]
                      : op->unit == LRL_BENCH_UPDATE ? b->peaks.update
                                                     : b->peaks.read;
  qsort(op->seconds, (size_t)op->n, sizeof op->seconds[0], lrl_bench_by_value);
  const double best = op->seconds[0], ratio = 100 * op->work / best / peak;
  const int want = row->want[op->dtype == LRL_BF16];
  char sizes[64], name[64], asked[32] = "";
  int n = snprintf(sizes, sizeof sizes, "%lld", (long long)op->a);
  if (op->b > 0)
    n += snprintf(sizes + n, sizeof sizes - (size_t)n, " x %lld", (long long)op->b);
  if (op->c > 0)
    snprintf(sizes + n, sizeof sizes - (size_t)n, " x %lld", (long long)op->c);
  snprintf(name, sizeof name, "%s %s", row->op, row->what);
  if (want > 0)
    snprintf(asked, sizeof asked, ">= %d%%%s", want, ratio < want ? "  below" : "");
  b->n_below += want > 0 && ratio < want;
  printf("%-30s %-21s %-4s %9.3f %9.3f %8.1f %s %6.1f%%  %s\n", name, sizes,
         op->dtype == LRL_BF16 ? "bf16" : "f32", best * 1e3, op->seconds[op->n / 2] * 1e3,
         op->work / best / 1e9, flops ? "GF/s" : "GB/s", ratio, asked);
  fflush(stdout);
}

static lrl_status probe_flops(struct ops_bench *b, lrl_dtype dtype) {
  const int64_t size = 8192 / b->cfg.shrink; /* of a device's product */
  return lrl_bench_probe_flops(&b->peaks, dtype, &b->ctx, &b->memory, size < 64 ? 64 : size);
}

static lrl_status measure(struct ops_bench *b, const struct lrl_bench_row *row, lrl_dtype dtype) {
  const uint64_t version = b->op.version + 1;
  b->op = (struct lrl_bench_op){.ctx = &b->ctx,
                                .memory = &b->memory,
                                .dtype = dtype,
                                .a = row->a > b->cfg.shrink ? row->a / b->cfg.shrink : 1,
                                .b = row->b,
                                .c = row->c,
                                .width = b->big ? 4096 : 512,
                                .watch = {.ctx = &b->ctx},
                                .budget = b->cfg.seconds,
                                .spread = ((int64_t)160 << 20) / b->cfg.shrink,
                                .version = version,
                                .n = -2};
  lrl_status s = row->run(&b->op);
  lrl_arena_reset(&b->memory, 0);
  LRL_TRY(s);
  LRL_TRY(b->op.status);
  if (b->op.unit == LRL_BENCH_FLOPS)
    LRL_TRY(probe_flops(b, dtype));
  print(b, row);
  return LRL_OK;
}

static lrl_status run(void *state) {
  struct ops_bench *b = state;
  LRL_TRY(lrl_ctx_init(&b->ctx, lrl_device_name(b->cfg.device), (int)b->cfg.threads));
  LRL_TRY(lrl_arena_init(&b->memory, "operands", (size_t)64 << 30));
  b->big = b->cfg.sizes == 2 || (b->cfg.sizes == 0 && strcmp(b->ctx.backend->name, "cuda") == 0);
  for (int i = 0; i < 5; i++) {
    LRL_TRY(probe_flops(b, LRL_F32));
    LRL_TRY(probe_flops(b, LRL_BF16));
    if (i < 2)
      LRL_TRY(lrl_bench_probe_memory(&b->peaks, &b->ctx, &b->memory,
                                     ((size_t)512 << 20) / (size_t)b->cfg.shrink));
  }
  if (b->ctx.backend->stopwatch != NULL)
    printf("device %s, its own clock, caches emptied; ", b->ctx.backend->name);
  else
    printf("%d threads, %s, bf16 %s; ", b->ctx.n_threads, lrl_cpu_isa(),
           lrl_cpu_has_bf16() ? "in hardware" : "emulated in f32");
  printf("measured peaks: f32 %.1f and bf16 %.1f GFLOP/s, memory read %.1f and updated in place "
         "%.1f GB/s\n",
         b->peaks.flops[0] / 1e9, b->peaks.flops[1] / 1e9, b->peaks.read / 1e9,
         b->peaks.update / 1e9);
  printf("%-30s %-21s %-4s %9s %9s %13s %7s  %s\n", "op", "sizes", "type", "best ms", "median",
         "rate", "of peak", "threshold");
  const char *only = b->cfg.only;
  const struct lrl_bench_row *rows = b->big ? lrl_bench_7b_rows : lrl_bench_rows;
  for (int i = 0; i < (b->big ? lrl_bench_n_7b_rows : lrl_bench_n_rows); i++) {
    const struct lrl_bench_row *row = &rows[i];
    if (strstr(row->op, only) == NULL && strstr(row->what, only) == NULL)
      continue;
    if (!row->bf16_only)
      LRL_TRY(measure(b, row, LRL_F32));
    if (!row->f32_only)
      LRL_TRY(measure(b, row, LRL_BF16));
  }
  if (b->op.version == 0)
    return LRL_FAIL(LRL_ERR_ARG, "no op has \"%s\" in its name", only);
  if (b->n_below > 0)
    printf("%d rows are below their threshold; a busy machine does that too\n", b->n_below);
  return LRL_OK;
}

static void clear(void *state) {
  struct ops_bench *b = state;
  lrl_arena_free(&b->memory);
  if (b->ctx.backend != NULL)
    lrl_ctx_free(&b->ctx);
}

int lrl_bench_ops(int argc, char **argv) {
  static const struct lrl_bench_part part = {"ops", &table, sizeof(struct ops_bench), run, clear};
  return lrl_bench_part_main(&part, argc, argv);
}
