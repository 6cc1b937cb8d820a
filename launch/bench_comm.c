/* `mpirun -np N laurel bench comm`: bandwidth of summing gradients over ranks, against MPI's own
 * all-reduce in calls of 1 MiB in the same run. A rate is the bytes of a rank's gradient over the
 * time; 2 ranks on one host read and write twice as many each. */
#include "launch/bench_parts.h"
#include "model/param_build.h"
#include "train/option_rows.h"
#include "train/shard.h"

#include <mpi.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { UNIT = 1 << 20 /* floats */, CALL = 1 << 18 /* floats */ };

struct comm_config {
  int64_t megabytes, repeats, threads;
};
#define AT(f) offsetof(struct comm_config, f)
static const struct lrl_option rows[] = {
    LRL_ROW_INT("megabytes", AT(megabytes), "64", 4, 1024, "MiB", "gradient of a rank"),
    LRL_ROW_INT("repeats", AT(repeats), "20", 1, 100000, "", "measured sums, after two before"),
    LRL_ROW_INT("threads", AT(threads), "1", 0, 1024, "", "of a rank; 0: as many as it may use"),
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct comm_bench {
  struct comm_config cfg;
  struct lrl_comm *comm;
  struct lrl_ctx ctx;
  struct lrl_arena arena;
  struct lrl_param_set params;
  struct lrl_shard shard;
};

static lrl_status reduce(struct comm_bench *b) { return lrl_shard_finish(&b->shard); }
static lrl_status reduce_and_gather(struct comm_bench *b) {
  LRL_TRY(lrl_shard_finish(&b->shard));
  return lrl_shard_gather(&b->shard);
}
static lrl_status plain_mpi(struct comm_bench *b) {
  for (int u = 0; u < b->params.n_units; u++)
    for (int64_t at = 0; at < b->params.units[u].n; at += CALL)
      if (MPI_Allreduce(MPI_IN_PLACE, b->params.units[u].grad + at, CALL, MPI_FLOAT, MPI_SUM,
                        MPI_COMM_WORLD) != MPI_SUCCESS)
        return LRL_FAIL(LRL_ERR_COMM, "MPI_Allreduce failed");
  return LRL_OK;
}

/* Best and median rate of one way, over all ranks' slowest. */
static lrl_status measure(struct comm_bench *b, const char *name,
                          lrl_status (*way)(struct comm_bench *)) {
  const int64_t n = b->cfg.repeats;
  double *seconds = calloc((size_t)n, sizeof *seconds);
  if (seconds == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld timings", (long long)n);
  lrl_status s = LRL_OK;
  for (int64_t i = -2; i < n && s == LRL_OK; i++) {
    double together = 0, t0;
    s = lrl_comm_sum_f64(b->comm, &together, 1);
    t0 = omp_get_wtime();
    if (s == LRL_OK)
      s = way(b);
    if (s == LRL_OK)
      s = lrl_comm_sum_f64(b->comm, &together, 1); /* ends with the slowest rank */
    if (i >= 0)
      seconds[i] = omp_get_wtime() - t0;
    if (s == LRL_OK)
      s = lrl_shard_clear(&b->shard);
  }
  if (s == LRL_OK && lrl_comm_rank(b->comm) == 0) {
    const double bytes = (double)b->params.n_units * UNIT * sizeof(float);
    qsort(seconds, (size_t)n, sizeof *seconds, lrl_bench_by_value);
    printf("%-44s %10.2f %10.2f\n", name, bytes / seconds[0] / 1e9, bytes / seconds[n / 2] / 1e9);
  }
  free(seconds);
  return s;
}

static lrl_status measure_stage(struct comm_bench *b, int stage) {
  const size_t mark = lrl_arena_mark(&b->arena);
  lrl_status s = lrl_shard_init(&b->shard, stage, false, &b->ctx, &b->params, b->comm, &b->arena);
  if (s == LRL_OK && stage == 0)
    s = measure(b, "MPI_Allreduce, calls of 1 MiB", plain_mpi);
  if (s == LRL_OK)
    s = stage == 0 ? measure(b, "sum to all ranks (ZeRO stage 0)", reduce)
                   : measure(b, "sum of slices, gather of parameters (1)", reduce_and_gather);
  lrl_shard_destroy(&b->shard);
  lrl_arena_reset(&b->arena, mark);
  return s;
}

static lrl_status run(struct comm_bench *b) {
  LRL_TRY(lrl_comm_create(&b->comm));
  if (lrl_comm_size(b->comm) == 1)
    return LRL_FAIL(LRL_ERR_ARG, "one rank has nobody to sum with; start it with mpirun -np 2");
  LRL_TRY(lrl_ctx_init(&b->ctx, "cpu", (int)b->cfg.threads));
  LRL_TRY(lrl_arena_init(&b->arena, "gradients", (size_t)1 << 40));
  for (int64_t at = 0; at < b->cfg.megabytes; at += 4) {
    const int unit = lrl_param_unit_add(&b->params, "unit", LRL_F32, true);
    lrl_param_add(&b->params, unit, "unit.weight", UNIT, 0, 0.0f);
  }
  LRL_TRY(lrl_param_set_alloc(&b->params, &b->arena));
  if (lrl_comm_rank(b->comm) == 0)
    printf("%d ranks, %s, %lld MiB of gradients each\n%-44s %10s %10s\n", lrl_comm_size(b->comm),
           lrl_comm_shares_memory(b->comm) ? "memory shared" : "over MPI",
           (long long)b->params.n_units * 4, "GB/s", "best", "median");
  LRL_TRY(measure_stage(b, 0));
  return measure_stage(b, 1);
}

int lrl_bench_comm(int argc, char **argv) {
  if (lrl_bench_help("comm", &table, argc, argv))
    return 0;
  struct comm_bench *b = calloc(1, sizeof *b);
  if (b == NULL)
    return 1;
  lrl_status s = lrl_bench_options(&table, &b->cfg, argc, argv);
  if (s == LRL_OK)
    s = run(b);
  if (s != LRL_OK) {
    fprintf(stderr, "laurel bench comm: %s\n", lrl_last_error());
    if (lrl_comm_size(b->comm) > 1)
      lrl_comm_abort(b->comm, 1);
  }
  lrl_param_set_free(&b->params);
  lrl_arena_free(&b->arena);
  if (b->ctx.backend != NULL)
    lrl_ctx_free(&b->ctx);
  lrl_comm_destroy(b->comm);
  free(b);
  return s == LRL_OK ? 0 : 1;
}
