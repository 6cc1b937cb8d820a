/* Parts of the page of `laurel report` that are no curves. */
#include "launch/chart.h"
#include "launch/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SOURCES = 128, NAME = 128 };

/* ---- sources ---- */

struct sources {
  char name[MOST_SOURCES][NAME];
  int n;
};

/* Sources of all runs that have the metric, in order of appearance. */
static void find_sources(const struct lrl_report_run *r, int n, const char *metric,
                         struct sources *s) {
  s->n = 0;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < r[i].n_curves; k++) {
      const char *key = r[i].curve[k].key, *of = lrl_report_of_source(&r[i], key);
      if (of == NULL || strcmp(of, metric) != 0 || s->n == MOST_SOURCES)
        continue;
      snprintf(s->name[s->n], NAME, "%.*s", (int)(of - key) - 6, key + 5);
      bool fresh = true;
      for (int j = 0; j < s->n; j++)
        fresh = fresh && strcmp(s->name[j], s->name[s->n]) != 0;
      s->n += fresh;
    }
}

static double last_of(const struct lrl_report_run *r, const char *source, const char *metric) {
  char key[320];
  snprintf(key, sizeof key, "eval/%s%s%s", source, source[0] == '\0' ? "" : "/", metric);
  return lrl_report_last(r, key);
}

/* 95 % interval of Wilson for a share of n. */
static void wilson(double p, double n, double *lo, double *hi) {
  const double z = 1.96, d = 1 + z * z / n, c = (p + z * z / (2 * n)) / d;
  const double h = z / d * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  *lo = n > 0 ? c - h : p;
  *hi = n > 0 ? c + h : p;
}

static void put_accuracies(FILE *f, const struct lrl_report_run *r, int n,
                           const struct sources *s) {
  struct lrl_bar *bars = calloc((size_t)(s->n + 1) * (size_t)n, sizeof *bars);
  int m = 0;
  for (int k = -1; k < s->n && bars != NULL; k++) {
    bool first = true;
    for (int i = 0; i < n; i++) {
      const char *name = k < 0 ? "" : s->name[k];
      const double p = last_of(&r[i], name, "accuracy"), pairs = last_of(&r[i], name, "num_pairs");
      if (!isfinite(p))
        continue;
      struct lrl_bar b = {first ? k < 0 ? "all" : name : NULL, r[i].name, i, p, p, p};
      wilson(p, pairs, &b.lo, &b.hi);
      bars[m++] = b;
      first = false;
    }
  }
  if (m > 0)
    lrl_chart_bars(f, "accuracy by source, with 95 % intervals", 0.5, bars, m);
  free(bars);
}

static void put_table(FILE *f, const struct lrl_report_run *r, int n, const struct sources *s,
                      const char *metric, const char *title) {
  if (s->n == 0)
    return;
  fprintf(f, "<div class=\"card wide\"><h3>%s</h3><table><tr><th>source</th>", title);
  lrl_report_heads(f, r, n);
  fputs("</tr>", f);
  for (int k = -1; k < s->n; k++) {
    const char *name = k < 0 ? "" : s->name[k];
    fputs("<tr><td class=\"t\">", f);
    lrl_html_text(f, k < 0 ? "all" : name);
    fputs("</td>", f);
    for (int i = 0; i < n; i++)
      lrl_report_number(f, last_of(&r[i], name, metric));
    fputs("</tr>", f);
  }
  fputs("</table></div>\n", f);
}

void lrl_report_sources(FILE *f, const struct lrl_report_run *r, int n) {
  static const struct {
    const char *metric, *title;
  } tables[] = {{"margin", "margin"},
                {"length_baseline", "accuracy of preferring the longer answer"},
                {"perplexity", "perplexity"},
                {"objective/scores", "learned reward"},
                {"objective/gold", "gold reward"},
                {"response_length/mean", "tokens of a response"}};
  struct sources s;
  bool any = false;
  for (size_t k = 0; k < sizeof tables / sizeof tables[0]; k++) {
    find_sources(r, n, tables[k].metric, &s);
    if (s.n > 0 && !any)
      fputs("<h2>By source, at the last evaluation</h2>\n<div class=\"grid\">\n", f);
    any = any || s.n > 0;
    if (k == 0) {
      find_sources(r, n, "accuracy", &s);
      if (s.n > 0)
        put_accuracies(f, r, n, &s);
      find_sources(r, n, tables[k].metric, &s);
    }
    put_table(f, r, n, &s, tables[k].metric, tables[k].title);
  }
  if (any)
    fputs("</div>\n", f);
}

/* ---- margins ---- */

/* Counts below -5, of 20 bins of 0.5, from 5 on (train/reward.c). */
enum { N_BINS = 22 };

static void put_histogram(FILE *f, const struct lrl_report_run *r, int n, const char *key,
                          const char *title) {
  double(*count)[N_BINS] = calloc((size_t)n, sizeof *count);
  struct lrl_bins *bins = calloc((size_t)n, sizeof *bins);
  int m = 0;
  for (int i = 0; i < n && count != NULL && bins != NULL; i++) {
    const json_t *a = json_object_get(r[i].last, key);
    if (json_array_size(a) != N_BINS)
      continue;
    for (size_t k = 0; k < N_BINS; k++)
      count[m][k] = json_number_value(json_array_get(a, k));
    bins[m] = (struct lrl_bins){r[i].name, i, count[m]};
    m++;
  }
  const struct lrl_histogram h = {title, "chosen less rejected", -5.5, 0.5, N_BINS, true, 0};
  if (m > 0)
    lrl_chart_histogram(f, &h, bins, m);
  free(count);
  free(bins);
}

void lrl_report_margins(FILE *f, const struct lrl_report_run *r, int n) {
  const char *key;
  json_t *v;
  bool any = false;
  for (int i = 0; i < n; i++)
    any = any || json_object_get(r[i].last, "eval/margin_histogram") != NULL;
  if (!any)
    return;
  fputs("<h2>Margins of held-out pairs</h2>\n<p class=\"soft\">Right of the dashed line the chosen "
        "answer has the higher reward.</p>\n<div class=\"grid\">\n",
        f);
  put_histogram(f, r, n, "eval/margin_histogram", "all");
  for (int i = 0; i < n; i++)
    json_object_foreach(r[i].last, key, v) {
      const char *of = lrl_report_of_source(&r[i], key);
      bool fresh = of != NULL && strcmp(of, "margin_histogram") == 0;
      for (int k = 0; k < i && fresh; k++)
        fresh = json_object_get(r[k].last, key) == NULL;
      char title[NAME];
      if (!fresh)
        continue;
      snprintf(title, sizeof title, "%.*s", (int)(of - key) - 6, key + 5);
      put_histogram(f, r, n, key, title);
    }
  fputs("</div>\n", f);
}

/* ---- config and machine ---- */

/* A value as text; a number in as few digits as give it back. */
static void put_value(FILE *f, const json_t *v) {
  char *dumped = v == NULL || json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
  const char *text = dumped != NULL ? dumped : v == NULL ? "" : json_string_value(v);
  char *end, brief[40];
  const double x = strtod(text, &end);
  fputs("<td class=\"t\">", f);
  if (end != text && *end == '\0' && strchr(text, '.') != NULL)
    for (int digits = 1; digits <= 17; digits++) {
      snprintf(brief, sizeof brief, "%.*g", digits, x);
      if (!(strtod(brief, NULL) < x) && !(strtod(brief, NULL) > x)) {
        text = brief;
        break;
      }
    }
  lrl_html_text(f, text);
  fputs("</td>", f);
  free(dumped);
}

/* One row a key; with `differing` only of keys that not all runs have alike. */
static void put_objects(FILE *f, const struct lrl_report_run *r, int n, json_t *const *o,
                        const char *what, bool differing) {
  const char *key;
  json_t *v;
  fprintf(f, "<div class=\"wide\"><table><tr><th>%s</th>", what);
  for (int i = 0; i < n; i++) {
    fprintf(f, "<th class=\"s%d\">", i % LRL_HTML_COLOURS);
    lrl_html_text(f, r[i].name);
    fputs("</th>", f);
  }
  fputs("</tr>\n", f);
  for (int i = 0; i < n; i++)
    json_object_foreach(o[i], key, v) {
      bool fresh = true, same = true;
      for (int k = 0; k < n; k++) {
        const json_t *other = json_object_get(o[k], key);
        fresh = fresh && (k >= i || other == NULL);
        same = same && other != NULL && json_equal(other, v);
      }
      if (!fresh || (differing && same))
        continue;
      fputs("<tr><td class=\"t\"><code>", f);
      lrl_html_text(f, key);
      fputs("</code></td>", f);
      for (int k = 0; k < n; k++)
        put_value(f, json_object_get(o[k], key));
      fputs("</tr>\n", f);
    }
  fputs("</table></div>\n", f);
}

static bool differ(json_t *const *o, int n) {
  for (int i = 1; i < n; i++)
    if (!json_equal(o[0], o[i]))
      return true;
  return false;
}

void lrl_report_config(FILE *f, const struct lrl_report_run *r, int n) {
  json_t *o[64];
  bool any = false;
  for (int i = 0; i < n && i < 64; i++) {
    o[i] = r[i].config;
    any = any || json_object_size(o[i]) > 0;
  }
  if (!any)
    return;
  fputs("<h2>Config</h2>\n", f);
  if (n > 1 && differ(o, n))
    put_objects(f, r, n, o, "what differs", true);
  else if (n > 1)
    fputs("<p>The configs are the same.</p>\n", f);
  fputs("<details><summary>every key</summary>\n", f);
  put_objects(f, r, n, o, "key", false);
  fputs("</details>\n", f);
}

/* Of the last start; how many there were is said. */
void lrl_report_machine(FILE *f, const struct lrl_report_run *r, int n) {
  json_t *o[64];
  bool any = false;
  for (int i = 0; i < n && i < 64; i++) {
    const size_t starts = json_array_size(r[i].machine);
    o[i] = starts > 0 ? json_deep_copy(json_array_get(r[i].machine, starts - 1)) : json_object();
    if (starts > 1)
      json_object_set_new(o[i], "resumed", json_integer((json_int_t)starts - 1));
    any = any || starts > 0;
  }
  if (any) {
    fputs("<h2>Machine and commit</h2>\n", f);
    put_objects(f, r, n, o, "last start", false);
  }
  for (int i = 0; i < n && i < 64; i++)
    json_decref(o[i]);
}
