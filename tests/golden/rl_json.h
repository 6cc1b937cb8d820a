/* rlhf_golden.json as RL cases: nested objects, padded [rows][time] arrays of f64. */
#ifndef LRL_TESTS_GOLDEN_RL_JSON_H
#define LRL_TESTS_GOLDEN_RL_JSON_H
#include "tests/golden/rl.h"

/* One section of the file. A handler is called per member and packs with its own case. */
struct rl_json {
  struct rl c; /* packed by inputs/mask */
  json_t *root;
};
/* The value at "a/b/c", NULL when absent. */
static inline json_t *rj_get(const struct rl_json *j, const char *path) {
  json_t *at = j->root;
  char part[128];
  while (*path != 0 && at != NULL) {
    const size_t n = strcspn(path, "/");
    snprintf(part, sizeof part, "%.*s", (int)n, path);
    at = json_object_get(at, part);
    path += n + (path[n] == '/');
  }
  return at;
}
static inline double rj_num(const struct rl_json *j, const char *path, double otherwise) {
  const json_t *v = rj_get(j, path);
  return json_is_number(v) ? json_number_value(v) : otherwise;
}
/* A list, or the rows of a list of lists one after the other; NULL when there is none. `n` and
 * `width` (of a row) may be NULL. */
static inline double *rj_list(struct rl_json *j, const json_t *v, int64_t *n, int64_t *width) {
  const size_t rows = json_array_size(v);
  const bool nested = rows > 0 && json_is_array(json_array_get(v, 0));
  const size_t w = nested ? json_array_size(json_array_get(v, 0)) : 1;
  if (n != NULL)
    *n = (int64_t)rows;
  if (width != NULL)
    *width = (int64_t)w;
  if (rows == 0)
    return NULL;
  double *x = bag_zeros(&j->c.b, (int64_t)(rows * w), sizeof *x);
  for (size_t i = 0; i < rows * w; i++) {
    const json_t *row = json_array_get(v, i / w);
    x[i] = json_number_value(nested ? json_array_get(row, i % w) : row);
  }
  return x;
}
/* A padded array as f32. */
static inline float *rj_padded(struct rl_json *j, const char *path) {
  int64_t rows, width;
  const double *x = rj_list(j, rj_get(j, path), &rows, &width);
  float *y = x == NULL ? NULL : bag_floats(&j->c.b, rows * width);
  for (int64_t i = 0; y != NULL && i < rows * width; i++)
    y[i] = (float)x[i];
  return y;
}
static inline float *rj_in(struct rl_json *j, const char *path) {
  return rl_pack(&j->c, rj_padded(j, path));
}
static inline double *rj_scores(struct rl_json *j) {
  return rj_list(j, rj_get(j, "inputs/score"), NULL, NULL);
}
/* Result lines against the value at `path`. */
static inline void rj_check(struct rl_json *j, const char *path, const float *got) {
  const float *want = rj_padded(j, path);
  golden_check(j->c.g, j->c.name, path, want == NULL ? NAN : rl_error(&j->c, got, want), j->c.tol);
}
static inline void rj_check1(struct rl_json *j, const char *path, double got) {
  golden_check(j->c.g, j->c.name, path, rl_error1(got, rj_num(j, path, NAN)), j->c.tol);
}
/* A list of scalars, one per row or pair. */
static inline void rj_check_list(struct rl_json *j, const char *path, const double *got) {
  int64_t n = 0;
  const double *want = rj_list(j, rj_get(j, path), &n, NULL);
  double worst = want == NULL ? NAN : 0.0;
  for (int64_t i = 0; i < n; i++)
    worst = bag_worse(worst, rl_error1(got[i], want[i]));
  golden_check(j->c.g, j->c.name, path, worst, j->c.tol);
}
static inline void rj_skip(struct rl_json *j, const char *path, const char *why) {
  golden_skip(j->c.g, j->c.name, path, why);
}

/* Sections; each reports everything under its key. golden_rlhf_stats.c, _rewards.c and _losses.c.
 */
typedef lrl_status rj_section(struct rl_json *j, const char *name, json_t *section);
rj_section rj_masked, rj_kl, rj_rewards, rj_dschat, rj_gae, rj_trl_pipeline, rj_group, rj_adaptive,
    rj_running;
rj_section rj_policy, rj_value, rj_rm;
#endif
