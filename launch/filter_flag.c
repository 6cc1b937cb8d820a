/* Which rows of `laurel filter` are flagged. */
#include "launch/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int32_t group_index(const struct lrl_filter *f, const struct lrl_filter_row *r) {
  return f->o.per_source ? r->source : 0;
}

/* Scores by group, side by side: those of group g are x[start[g]] .. x[start[g + 1]]. */
static void by_group(const struct lrl_filter *f, int32_t n_groups, double *x, int64_t *start) {
  for (int64_t i = 0; i < f->n; i++)
    start[group_index(f, &f->row[i]) + 1]++;
  for (int32_t g = 0; g < n_groups; g++)
    start[g + 1] += start[g];
  for (int64_t i = 0; i < f->n; i++)
    x[start[group_index(f, &f->row[i])]++] = f->row[i].score;
  for (int32_t g = n_groups; g > 0; g--)
    start[g] = start[g - 1];
  start[0] = 0;
}

static lrl_status measure(struct lrl_filter *f, int32_t n_groups) {
  double *x = malloc((size_t)(f->n + 1) * sizeof *x);
  int64_t *start = calloc((size_t)n_groups + 2, sizeof *start);
  lrl_status status = x != NULL && start != NULL
                          ? LRL_OK
                          : LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld scores", (long long)f->n);
  if (status == LRL_OK)
    by_group(f, n_groups, x, start);
  for (int32_t g = 0; g < n_groups && status == LRL_OK; g++) {
    struct lrl_filter_group *to = &f->group[g];
    to->n_rows = start[g + 1] - start[g];
    status = lrl_spread_of(x + start[g], to->n_rows, &to->spread);
    if (status == LRL_OK)
      status = lrl_lowest_cut(x + start[g], to->n_rows, f->o.lowest, &to->cut);
  }
  free(x);
  free(start);
  return status;
}

/* Every reason there is; *reason stays NULL without one. */
static lrl_status reasons(const struct lrl_filter *f, const struct lrl_filter_row *r,
                          char **reason) {
  const struct lrl_filter_group *g = lrl_filter_group_of(f, r);
  const char *of = f->o.per_source ? f->sources.name[r->source] : "all rows";
  char text[3][300] = {"", "", ""}, *all = NULL;
  if (r->score < f->below)
    snprintf(text[0], sizeof text[0], "score %.4g is below %.4g", r->score, f->below);
  if (f->o.z > 0 && r->z <= -f->o.z)
    snprintf(text[1], sizeof text[1], "robust z %.2f in %.100s (median %.4g, MAD %.4g)", r->z, of,
             g->spread.median, g->spread.mad);
  if (r->score < g->cut)
    snprintf(text[2], sizeof text[2], "among the lowest %g %% of %.100s", 100 * f->o.lowest, of);
  const size_t room = sizeof text + 8;
  if (text[0][0] == '\0' && text[1][0] == '\0' && text[2][0] == '\0')
    return LRL_OK;
  if ((all = calloc(1, room)) == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a reason");
  for (int k = 0; k < 3; k++) {
    const size_t used = strlen(all);
    if (text[k][0] != '\0')
      snprintf(all + used, room - used, "%s%s", used > 0 ? "; " : "", text[k]);
  }
  *reason = all;
  return LRL_OK;
}

lrl_status lrl_filter_flag(struct lrl_filter *f) {
  const int32_t n = f->o.per_source ? f->sources.n : 1;
  f->group = calloc((size_t)n, sizeof *f->group);
  if (f->group == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %d sources", (int)n);
  LRL_TRY(measure(f, n));
  for (int64_t i = 0; i < f->n; i++) {
    struct lrl_filter_row *r = &f->row[i];
    if (isfinite(r->score)) {
      r->z = lrl_spread_z(&lrl_filter_group_of(f, r)->spread, r->score);
      LRL_TRY(reasons(f, r, &r->reason));
    }
    r->flagged = r->reason != NULL;
    lrl_filter_group_of(f, r)->n_flagged += r->flagged;
    f->n_flagged += r->flagged;
  }
  return LRL_OK;
}

/* 0: a row without a fault, 1: with fault k, -1: neither. */
static int side_of(const struct lrl_filter *f, const struct lrl_filter_row *r, int32_t k) {
  if (r->fault < 0)
    return -1;
  return strcmp(f->faults.name[r->fault], "none") == 0 ? 0 : r->fault == k ? 1 : -1;
}

lrl_status lrl_filter_fault_of(const struct lrl_filter *f, int32_t k,
                               struct lrl_filter_fault *out) {
  double *x[2] = {malloc((size_t)(f->n + 1) * sizeof(double)),
                  malloc((size_t)(f->n + 1) * sizeof(double))};
  lrl_status status = x[0] != NULL && x[1] != NULL
                          ? LRL_OK
                          : LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld scores", (long long)f->n);
  *out = (struct lrl_filter_fault){0};
  for (int of = 0; of < 2 && status == LRL_OK; of++) {
    int64_t n[2] = {0, 0};
    for (int64_t i = 0; i < f->n; i++) {
      const struct lrl_filter_row *r = &f->row[i];
      const int side = side_of(f, r, k);
      if (side >= 0)
        x[side][n[side]++] = of == 0 ? r->score : r->z;
    }
    status = lrl_auc_of(x[0], n[0], x[1], n[1], &out->auc[of]);
  }
  for (int64_t i = 0; i < f->n; i++) {
    out->n_rows += f->row[i].fault == k;
    out->n_flagged += f->row[i].fault == k && f->row[i].flagged;
  }
  free(x[0]);
  free(x[1]);
  return status;
}
