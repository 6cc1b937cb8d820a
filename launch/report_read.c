/* The folder of a run as `laurel report` sees it. */
#include "data/rows.h"
#include "launch/report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static lrl_status curve_for(struct lrl_report_run *r, const char *key,
                            struct lrl_report_curve **out) {
  for (int i = 0; i < r->n_curves; i++)
    if (strcmp(r->curve[i].key, key) == 0) {
      *out = &r->curve[i];
      return LRL_OK;
    }
  if (r->n_curves == r->cap_curves) {
    const int cap = r->cap_curves == 0 ? 64 : 2 * r->cap_curves;
    struct lrl_report_curve *more = realloc(r->curve, (size_t)cap * sizeof *more);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the metrics of %s", r->path);
    r->curve = more;
    r->cap_curves = cap;
  }
  *out = &r->curve[r->n_curves];
  **out = (struct lrl_report_curve){.key = strdup(key)};
  if ((*out)->key == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the metrics of %s", r->path);
  r->n_curves++;
  return LRL_OK;
}

static lrl_status add_value(struct lrl_report_run *r, const char *key, double x, double y) {
  struct lrl_report_curve *c;
  LRL_TRY(curve_for(r, key, &c));
  if (c->n == c->cap) {
    const int64_t cap = c->cap == 0 ? 64 : 2 * c->cap;
    double *xs = realloc(c->x, (size_t)cap * sizeof *xs);
    c->x = xs != NULL ? xs : c->x;
    double *ys = xs == NULL ? NULL : realloc(c->y, (size_t)cap * sizeof *ys);
    c->y = ys != NULL ? ys : c->y;
    if (ys == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the metrics of %s", r->path);
    c->cap = cap;
  }
  c->x[c->n] = x;
  c->y[c->n++] = y;
  return LRL_OK;
}

/* A line of metrics or timing; one that a killed run left half written is counted. */
static lrl_status on_line(void *user, const struct lrl_row *row) {
  struct lrl_report_run *r = user;
  const json_t *step = json_object_get(row->value, "step");
  const char *key;
  json_t *v;
  r->n_damaged += !json_is_number(step);
  if (!json_is_number(step))
    return LRL_OK;
  const double x = json_number_value(step);
  json_object_foreach((json_t *)row->value, key, v) {
    if (strncmp(key, "eval/", 5) == 0) {
      r->last_eval = (int64_t)x;
      r->first_eval = r->first_eval < 0 ? (int64_t)x : r->first_eval;
    }
    if (json_is_array(v)) {
      json_object_set(r->last, key, v);
      if (json_object_get(r->first, key) == NULL)
        json_object_set(r->first, key, v);
    } else if ((json_is_number(v) || json_is_null(v)) && v != step) {
      LRL_TRY(add_value(r, key, x, json_is_null(v) ? NAN : json_number_value(v)));
    }
  }
  r->n_lines++;
  return LRL_OK;
}

static lrl_status on_machine(void *user, const struct lrl_row *row) {
  const struct lrl_report_run *r = user;
  if (json_is_object(row->value))
    json_array_append(r->machine, (json_t *)row->value);
  return LRL_OK;
}

/* "key: value" lines; other lines are passed over. */
static lrl_status read_config(struct lrl_report_run *r, const char *path) {
  char *text;
  size_t n;
  LRL_TRY(lrl_file_read(path, &text, &n));
  for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
    char *colon = strstr(line, ": ");
    if (colon == NULL || line[0] == '#')
      continue;
    *colon = '\0';
    json_t *value = json_string(colon + 2);
    if (value != NULL)
      json_object_set_new(r->config, line, value);
  }
  free(text);
  return LRL_OK;
}

static void path_of(const struct lrl_report_run *r, const char *name, char *out, size_t size) {
  snprintf(out, size, "%s/%s", r->path, name);
}

lrl_status lrl_report_read(const char *path, struct lrl_report_run *r) {
  char file[1024];
  const size_t slashes = strlen(path);
  size_t end = slashes, begin;
  *r = (struct lrl_report_run){.path = path,
                               .first = json_object(),
                               .last = json_object(),
                               .config = json_object(),
                               .machine = json_array(),
                               .first_eval = -1,
                               .last_eval = -1};
  while (end > 1 && path[end - 1] == '/')
    end--;
  for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
    continue;
  snprintf(r->name, sizeof r->name, "%.*s", (int)(end - begin), path + begin);
  path_of(r, "metrics.jsonl", file, sizeof file);
  if (access(file, R_OK) != 0)
    return LRL_FAIL(LRL_ERR_IO, "%s is no folder of a run: it has no metrics.jsonl (%s)", path,
                    strerror(errno));
  LRL_TRY(lrl_rows_read(file, on_line, r));
  path_of(r, "timing.jsonl", file, sizeof file);
  if (access(file, R_OK) == 0)
    LRL_TRY(lrl_rows_read(file, on_line, r));
  path_of(r, "machine.jsonl", file, sizeof file);
  if (access(file, R_OK) == 0)
    LRL_TRY(lrl_rows_read(file, on_machine, r));
  path_of(r, "config.yaml", file, sizeof file);
  return access(file, R_OK) == 0 ? read_config(r, file) : LRL_OK;
}

void lrl_report_run_free(struct lrl_report_run *r) {
  for (int i = 0; i < r->n_curves; i++) {
    free(r->curve[i].key);
    free(r->curve[i].x);
    free(r->curve[i].y);
  }
  free(r->curve);
  json_decref(r->first);
  json_decref(r->last);
  json_decref(r->config);
  json_decref(r->machine);
}

const struct lrl_report_curve *lrl_report_curve_of(const struct lrl_report_run *r,
                                                   const char *key) {
  for (int i = 0; i < r->n_curves; i++)
    if (strcmp(r->curve[i].key, key) == 0)
      return &r->curve[i];
  return NULL;
}

double lrl_report_last(const struct lrl_report_run *r, const char *key) {
  const struct lrl_report_curve *c = lrl_report_curve_of(r, key);
  return c == NULL || c->n == 0 ? NAN : c->y[c->n - 1];
}

const char *lrl_report_of_source(const struct lrl_report_run *r, const char *key) {
  char whole[256];
  if (strncmp(key, "eval/", 5) != 0)
    return NULL;
  for (const char *slash = strchr(key + 5, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    snprintf(whole, sizeof whole, "eval/%s", slash + 1);
    if (lrl_report_curve_of(r, whole) != NULL || json_object_get(r->last, whole) != NULL)
      return slash + 1;
  }
  return NULL;
}
