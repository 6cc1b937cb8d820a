/* Files of laurel sweep for tests, with "DIR" for the scratch folder. The including test is one
 * program; everything is static. */
#ifndef LRL_SWEEP_FIXTURE_H
#define LRL_SWEEP_FIXTURE_H
#include "launch/sweep.h"
#include "run_fixture.h"

static inline char *with_dir(const char *text) { /* "DIR" becomes the scratch folder */
  char *out = malloc(8192), *to = out;
  assert_non_null(out);
  for (const char *p = text; *p != '\0';)
    if (strncmp(p, "DIR", 3) == 0) {
      to += sprintf(to, "%s", dir);
      p += 3;
    } else {
      *to++ = *p++;
    }
  *to = '\0';
  return out;
}

static inline const char *write_file(const char *name, const char *text) {
  static char path[160];
  char *whole = with_dir(text);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(whole, f);
  fclose(f);
  free(whole);
  return path;
}

static inline bool exists(const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return access(path, F_OK) == 0;
}

static struct lrl_sweep s; /* large */

static inline void expect_near(double got, double want, double tolerance) {
  if (!(fabs(got - want) <= tolerance))
    fail_msg("%.9g, not %.9g", got, want);
}

static inline lrl_status plan(const char *text, int n, char **overrides) {
  lrl_sweep_free(&s);
  s = (struct lrl_sweep){0};
  lrl_error_clear();
  LRL_TRY(lrl_sweep_read(write_file("sweep.yaml", text), n, overrides, &s));
  LRL_TRY(lrl_sweep_plan(&s));
  for (int64_t i = 0; i < s.n_columns; i++)
    LRL_TRY(lrl_sweep_column_parse(&s, &s.column[i]));
  return LRL_OK;
}

static inline void planned(const char *text, int n, char **overrides) {
  if (plan(text, n, overrides) != LRL_OK)
    fail_msg("%s", lrl_last_error());
}
#endif
