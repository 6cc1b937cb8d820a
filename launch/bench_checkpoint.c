/* `laurel bench checkpoint`: writing a checkpoint to the disk against write() and fsync() of the
 * same bytes, by turns. */
#include "launch/bench_parts.h"
#include "model/param_build.h"
#include "train/checkpoint.h"
#include "train/option_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIT = 4 << 20 /* floats */ };

struct checkpoint_config {
  int64_t megabytes, repeats;
  char dir[LRL_OPTION_TEXT];
};
#define AT(f) offsetof(struct checkpoint_config, f)
static const struct lrl_option rows[] = {
    LRL_ROW_INT("megabytes", AT(megabytes), "1024", 16, 4096, "MiB", "size of the checkpoint"),
    LRL_ROW_INT("repeats", AT(repeats), "5", 1, 1000, "", "measured turns, after one before"),
    LRL_ROW_TEXT("dir", AT(dir), ".", "folder to write in"),
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct checkpoint_bench {
  struct checkpoint_config cfg;
  struct lrl_arena arena;
  struct lrl_param_set params;
};

static lrl_status plain(struct checkpoint_bench *b, const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  bool ok = fd >= 0;
  for (int u = 0; ok && u < b->params.n_units; u++) {
    const char *p = b->params.units[u].data;
    for (size_t left = UNIT * sizeof(float); ok && left > 0;) {
      ssize_t n = write(fd, p, left);
      ok = n > 0;
      p += n;
      left -= (size_t)n;
    }
  }
  ok = ok && fsync(fd) == 0;
  if (fd >= 0)
    ok = close(fd) == 0 && ok;
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static lrl_status checkpoint(struct checkpoint_bench *b, const char *path) {
  struct lrl_checkpoint *k;
  LRL_TRY(lrl_checkpoint_create(path, NULL, &k));
  lrl_status s = lrl_checkpoint_put_params(k, NULL, "params", &b->params);
  if (s == LRL_OK)
    return lrl_checkpoint_commit(k);
  lrl_checkpoint_discard(k);
  return s;
}

static lrl_status read_back(struct checkpoint_bench *b, const char *path) {
  struct lrl_checkpoint *k;
  LRL_TRY(lrl_checkpoint_open(path, NULL, &k));
  lrl_status s = lrl_checkpoint_get_params(k, "params", &b->params);
  lrl_checkpoint_close(k);
  return s;
}

/* seconds[way][turn] of both ways to write and of reading. Each writes into memory that an equal
 * file has just given back: on virtual machines fresh pages cost more than the writing. */
static lrl_status turns(struct checkpoint_bench *b, double *seconds[3]) {
  static lrl_status (*const ways[])(struct checkpoint_bench *, const char *) = {plain, checkpoint,
                                                                                read_back};
  char path[2][LRL_OPTION_TEXT + 32];
  snprintf(path[0], sizeof path[0], "%s/laurel_bench.bin", b->cfg.dir);
  snprintf(path[1], sizeof path[1], "%s/laurel_bench.h5", b->cfg.dir);
  lrl_status s = LRL_OK;
  for (int64_t turn = -1; turn < b->cfg.repeats && s == LRL_OK; turn++)
    for (int way = 0; way < 3 && s == LRL_OK; way++) {
      if (way < 2)
        unlink(path[way]);
      double t0 = omp_get_wtime();
      s = ways[way](b, path[way > 0]);
      if (turn >= 0)
        seconds[way][turn] = omp_get_wtime() - t0;
    }
  unlink(path[0]);
  unlink(path[1]);
  return s;
}

static lrl_status run(void *state) {
  struct checkpoint_bench *b = state;
  LRL_TRY(lrl_arena_init(&b->arena, "weights", (size_t)8 << 30));
  for (int64_t at = 0; at < b->cfg.megabytes; at += 16) {
    char name[32];
    snprintf(name, sizeof name, "unit.%d.weight", b->params.n_units);
    const int unit = lrl_param_unit_add(&b->params, name, LRL_F32, false);
    lrl_param_add(&b->params, unit, name, UNIT, 0, 0.02f);
  }
  LRL_TRY(lrl_param_set_alloc(&b->params, &b->arena));
  LRL_TRY(lrl_param_set_init(&b->params, 1));
  const size_t n = (size_t)b->cfg.repeats;
  double *all = calloc(3 * n, sizeof *all), *seconds[3] = {all, all + n, all + 2 * n};
  if (all == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu timings", n);
  lrl_status s = turns(b, seconds);
  if (s == LRL_OK) {
    static const char *const names[] = {"write() and fsync()", "checkpoint", "checkpoint, read"};
    const double bytes = (double)b->params.n_units * UNIT * sizeof(float);
    for (int way = 0; way < 3; way++)
      qsort(seconds[way], n, sizeof **seconds, lrl_bench_by_value);
    printf("%-24s %10s %10s %16s\n", "GB/s", "best", "median", "of write()");
    for (int way = 0; way < 3; way++)
      printf("%-24s %10.2f %10.2f %15.2fx\n", names[way], bytes / seconds[way][0] / 1e9,
             bytes / seconds[way][n / 2] / 1e9, seconds[0][n / 2] / seconds[way][n / 2]);
  }
  free(all);
  return s;
}

static void clear(void *state) {
  struct checkpoint_bench *b = state;
  lrl_param_set_free(&b->params);
  lrl_arena_free(&b->arena);
}

int lrl_bench_checkpoint(int argc, char **argv) {
  static const struct lrl_bench_part part = {"checkpoint", &table, sizeof(struct checkpoint_bench),
                                             run, clear};
  return lrl_bench_part_main(&part, argc, argv);
}
