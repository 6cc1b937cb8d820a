#include "train/metrics.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static lrl_status open_at(const char *folder, const char *name, int64_t bytes, FILE **out) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, bytes > 0 ? "r+" : "w");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  lrl_status s = LRL_OK;
  if (fseek(f, 0, SEEK_END) != 0 || ftell(f) < bytes)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s is shorter than when the checkpoint was written", path);
  else if (ftruncate(fileno(f), (off_t)bytes) != 0 || fseek(f, bytes, SEEK_SET) != 0)
    s = LRL_FAIL(LRL_ERR_IO, "cannot cut %s to what the checkpoint knows: %s", path,
                 strerror(errno));
  if (s != LRL_OK) {
    fclose(f);
    return s;
  }
  *out = f;
  return LRL_OK;
}

lrl_status lrl_metrics_open(struct lrl_metrics *m, const char *folder, int64_t values_bytes,
                            int64_t timing_bytes) {
  *m = (struct lrl_metrics){.terminal = isatty(STDERR_FILENO) == 1};
  LRL_TRY(open_at(folder, "metrics.jsonl", values_bytes, &m->values));
  return open_at(folder, "timing.jsonl", timing_bytes, &m->timing);
}

void lrl_metrics_position(const struct lrl_metrics *m, int64_t *values_bytes,
                          int64_t *timing_bytes) {
  *values_bytes = m->values == NULL ? 0 : ftell(m->values);
  *timing_bytes = m->timing == NULL ? 0 : ftell(m->timing);
}

static lrl_status write_line(FILE *f, const char *name, json_t *values) {
  char *line = NULL;
  bool ok = f == NULL;
  if (!ok && values != NULL) {
    line = json_dumps(values, JSON_COMPACT | JSON_REAL_PRECISION(9));
    ok = line != NULL && fprintf(f, "%s\n", line) > 0 && fflush(f) == 0;
  }
  json_decref(values);
  free(line);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", name, strerror(errno));
}
lrl_status lrl_metrics_write(struct lrl_metrics *m, json_t *values) {
  return write_line(m->values, "metrics.jsonl", values);
}
lrl_status lrl_metrics_write_timing(struct lrl_metrics *m, json_t *values) {
  return write_line(m->timing, "timing.jsonl", values);
}

lrl_status lrl_metrics_close(struct lrl_metrics *m) {
  lrl_metrics_clear_line(m);
  bool ok = m->values == NULL || fclose(m->values) == 0;
  ok = (m->timing == NULL || fclose(m->timing) == 0) && ok;
  *m = (struct lrl_metrics){0};
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write the metrics: %s", strerror(errno));
}

json_t *lrl_metrics_number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

void lrl_metrics_progress(struct lrl_metrics *m, const struct lrl_progress *p) {
  double now = omp_get_wtime();
  if (!m->terminal || m->values == NULL || now - m->last_drawn < 0.2)
    return;
  m->last_drawn = now;
  m->line_open = true;
  int64_t left = (int64_t)p->seconds_left;
  fprintf(stderr,
          "\r\033[Kstep %lld/%lld  %s  %.0f tokens/s  %lld:%02lld left  "
          "%.1f GB",
          (long long)p->step, (long long)p->n_steps, p->figures, p->tokens_per_second,
          (long long)(left / 60), (long long)(left % 60), (double)lrl_peak_memory() / 1e9);
  fflush(stderr);
}

void lrl_metrics_clear_line(struct lrl_metrics *m) {
  if (m->line_open)
    fputs("\r\033[K", stderr);
  m->line_open = false;
}

int64_t lrl_peak_memory(void) {
  struct rusage u;
  return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}
