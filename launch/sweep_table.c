/* The table of a sweep: one row per combination of choices, means and deviations over seeds. */
#include "launch/sweep.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cell {
  double mean, std; /* NaN: none; std of one value: NaN */
  int64_t n;
};

static bool same_row(const struct lrl_sweep *s, int64_t i, int64_t j) {
  for (int64_t a = 0; a < s->n_axes; a++)
    if (!s->axis[a].seeds && s->point[i].choice[a] != s->point[j].choice[a])
      return false;
  return true;
}

/* Whether no earlier point belongs to the same row. */
static bool begins_row(const struct lrl_sweep *s, int64_t i) {
  for (int64_t j = 0; j < i; j++)
    if (same_row(s, i, j))
      return false;
  return true;
}

static struct cell cell_of(const struct lrl_sweep *s, int64_t row, int64_t column) {
  struct cell c = {NAN, NAN, 0};
  double sum = 0, square = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int64_t i = row; i < s->n_points; i++) {
      const double v = same_row(s, row, i) ? lrl_sweep_value(s, i, &s->column[column]) : NAN;
      if (!isfinite(v))
        continue;
      if (pass == 0) {
        sum += v;
        c.n++;
      } else {
        square += (v - c.mean) * (v - c.mean);
      }
    }
    if (pass == 0 && c.n > 0)
      c.mean = sum / (double)c.n;
  }
  if (c.n > 1)
    c.std = sqrt(square / (double)(c.n - 1));
  return c;
}

static const char *choice_name(const struct lrl_sweep *s, int64_t point, int64_t axis) {
  return s->axis[axis].choice[s->point[point].choice[axis]].name;
}

/* Worst state of the point's runs. */
static const char *state_of(const struct lrl_sweep *s, int64_t point) {
  static const char *const states[] = {"finished", "unfinished", "failed"};
  int worst = 0;
  for (int64_t k = 0; k < s->n_stages; k++) {
    const enum lrl_sweep_state state = s->run[s->point[point].run[k]].state;
    const int now = state == LRL_SWEEP_FINISHED ? 0 : state == LRL_SWEEP_PENDING ? 1 : 2;
    worst = now > worst ? now : worst;
  }
  return states[worst];
}

/* Rows and seeds of a row that are finished, of all. */
static void count(const struct lrl_sweep *s, int64_t row, int64_t *done, int64_t *n) {
  *done = *n = 0;
  for (int64_t i = row; i < s->n_points; i++)
    if (same_row(s, row, i)) {
      ++*n;
      *done += strcmp(state_of(s, i), "finished") == 0;
    }
}

/* ---- for people ---- */

static void cell_text(const struct cell *c, char *out, size_t size) {
  if (c->n == 0)
    snprintf(out, size, "-");
  else if (c->n == 1)
    snprintf(out, size, "%.4g", c->mean);
  else
    snprintf(out, size, "%.4g +- %.2g", c->mean, c->std);
}

/* One line, the header for row < 0, in columns as wide as most[]; without `to` it only widens them.
 */
static void line(const struct lrl_sweep *s, int64_t row, size_t *most, FILE *to) {
  size_t c = 0;
  char text[160];
  for (int64_t a = 0; a < s->n_axes + s->n_columns + 1; a++) {
    const bool axis = a < s->n_axes, last = a == s->n_axes + s->n_columns;
    if (axis && s->axis[a].seeds)
      continue;
    if (row < 0) {
      snprintf(text, sizeof text, "%s",
               axis   ? s->axis[a].name
               : last ? "runs"
                      : s->column[a - s->n_axes].title);
    } else if (axis) {
      snprintf(text, sizeof text, "%s", choice_name(s, row, a));
    } else if (last) {
      int64_t done, n;
      count(s, row, &done, &n);
      snprintf(text, sizeof text, done == n ? "%lld" : "%lld of %lld", (long long)done,
               (long long)n);
    } else {
      const struct cell x = cell_of(s, row, a - s->n_axes);
      cell_text(&x, text, sizeof text);
    }
    if (to == NULL)
      most[c] = strlen(text) > most[c] ? strlen(text) : most[c];
    else
      fprintf(to, axis ? "%s%-*s" : "%s%*s", c > 0 ? "  " : "", (int)most[c], text);
    c++;
  }
  if (to != NULL)
    fputc('\n', to);
}

static void print(const struct lrl_sweep *s, FILE *to) {
  size_t most[LRL_SWEEP_AXES + LRL_SWEEP_COLUMNS + 1] = {0};
  for (int pass = 0; pass < 2; pass++)
    for (int64_t i = -1; i < s->n_points; i++)
      if (i < 0 || begins_row(s, i))
        line(s, i, most, pass == 0 ? NULL : to);
}

/* ---- for programs ---- */

/* A field of a CSV line. */
static void field(FILE *f, const char *text, bool first) {
  fputs(first ? "" : ",", f);
  if (strpbrk(text, ",\"\n") == NULL) {
    fputs(text, f);
    return;
  }
  fputc('"', f);
  for (; *text != '\0'; text++)
    fprintf(f, *text == '"' ? "\"%c" : "%c", *text);
  fputc('"', f);
}

static void value(json_t *o, const char *key, const char *suffix, double v) {
  char name[200];
  snprintf(name, sizeof name, "%s%s", key, suffix);
  json_object_set_new(o, name, isfinite(v) ? json_real(v) : json_null());
}

/* A point with its values, or a row with its means. */
static json_t *record(const struct lrl_sweep *s, int64_t i, bool row) {
  json_t *o = json_object();
  int64_t done, n;
  for (int64_t a = 0; a < s->n_axes; a++)
    if (!row || !s->axis[a].seeds)
      json_object_set_new(o, s->axis[a].name, json_string(choice_name(s, i, a)));
  for (int64_t k = 0; k < s->n_columns; k++) {
    const struct cell c = cell_of(s, i, k);
    const char *title = s->column[k].title;
    value(o, title, "", row ? c.mean : lrl_sweep_value(s, i, &s->column[k]));
    if (row)
      value(o, title, " std", c.std);
  }
  if (!row) {
    json_object_set_new(o, "state", json_string(state_of(s, i)));
    return o;
  }
  count(s, i, &done, &n);
  json_object_set_new(o, "runs finished", json_integer(done));
  json_object_set_new(o, "runs", json_integer(n));
  return o;
}

static void csv_line(FILE *f, const json_t *o, bool header) {
  const char *key;
  json_t *v;
  bool first = true;
  json_object_foreach((json_t *)o, key, v) {
    char text[64] = "";
    if (json_is_real(v))
      snprintf(text, sizeof text, "%.9g", json_real_value(v));
    else if (json_is_integer(v))
      snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    field(f, header ? key : json_is_string(v) ? json_string_value(v) : text, first);
    first = false;
  }
  fputc('\n', f);
}

static lrl_status write_file(const struct lrl_sweep *s, const char *name, bool rows, bool csv) {
  char path[2 * LRL_OPTION_TEXT];
  snprintf(path, sizeof path, "%s/%s", s->output_dir, name);
  FILE *f = fopen(path, "w");
  bool header = csv;
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  for (int64_t i = 0; i < s->n_points; i++) {
    if (rows && !begins_row(s, i))
      continue;
    json_t *o = record(s, i, rows);
    if (header)
      csv_line(f, o, true);
    header = false;
    if (csv)
      csv_line(f, o, false);
    else if (json_dumpf(o, f, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0)
      fputc('\n', f);
    json_decref(o);
  }
  bool bad = ferror(f) != 0;
  bad = fclose(f) != 0 || bad;
  return bad ? LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno)) : LRL_OK;
}

lrl_status lrl_sweep_table(const struct lrl_sweep *s, FILE *to) {
  LRL_TRY(write_file(s, "results.jsonl", false, false));
  LRL_TRY(write_file(s, "results.csv", false, true));
  LRL_TRY(write_file(s, "table.jsonl", true, false));
  LRL_TRY(write_file(s, "table.csv", true, true));
  print(s, to);
  return LRL_OK;
}
