/* The page of `laurel report`: heading, figures at the end, curves. */
#include "launch/chart.h"
#include "launch/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BASES = 512, MOST_SERIES = 48 };

/* Metrics that are looked at first, in this order, with what they are. A name stands for itself,
 * "train/" and "eval/" before it. */
static const struct {
  const char *base, *title;
} main_panels[] = {
    {"loss", "loss"},
    {"accuracy", "accuracy (a tie is wrong)"},
    {"margin", "margin: chosen less rejected"},
    {"objective/scores", "learned reward"},
    {"objective/gold", "gold reward"},
    {"objective/kl", "KL to the reference, nats a response"},
    {"response_length/mean", "response length, tokens"},
    {"response_length/clip_ratio", "share of unfinished responses"},
    {"objective/entropy", "entropy, nats a token"},
    {"actor/ppo_kl", "KL to the policy that sampled"},
    {"actor/pg_clipfrac", "share of clipped ratios"},
    {"critic/vf_explained_var", "explained variance of the critic"},
    {"mean_reward", "mean reward"},
    {"perplexity", "perplexity"},
    {"grad_norm", "norm of the gradient"},
    {"learning_rate", "learning rate"},
    {"perf/throughput", "tokens per second"},
};
enum { N_MAIN = sizeof main_panels / sizeof main_panels[0] };

/* What stands in the table at the top. */
static const struct {
  const char *key, *title;
} figures[] = {
    {"eval/accuracy", "held-out accuracy"},
    {"eval/loss", "held-out loss"},
    {"eval/perplexity", "held-out perplexity"},
    {"eval/margin", "held-out margin"},
    {"eval/length_baseline", "accuracy of preferring the longer answer"},
    {"eval/objective/scores", "learned reward, held-out prompts"},
    {"eval/objective/gold", "gold reward, held-out prompts"},
    {"eval/objective/kl", "KL to the reference, nats a response"},
    {"eval/response_length/mean", "tokens of a response"},
    {"train/loss", "training loss"},
    {"perf/throughput", "tokens per second"},
};

void lrl_report_number(FILE *f, double v) {
  if (isnan(v))
    fputs("<td class=\"n\"></td>", f);
  else
    fprintf(f,
            fabs(v) >= 1e4 && fabs(v) < 1e9 ? "<td class=\"n\">%.0f</td>"
                                            : "<td class=\"n\">%.4g</td>",
            v);
}

void lrl_report_heads(FILE *f, const struct lrl_report_run *r, int n) {
  for (int i = 0; i < n; i++) {
    fprintf(f, "<th class=\"n s%d\">", i % LRL_HTML_COLOURS);
    lrl_html_text(f, r[i].name);
    fputs("</th>", f);
  }
}

static void put_figures(FILE *f, const struct lrl_report_run *r, int n) {
  fputs("<div class=\"wide\"><table><tr><th>at the end</th>", f);
  lrl_report_heads(f, r, n);
  fputs("</tr><tr><td>steps</td>", f);
  for (int i = 0; i < n; i++) {
    double last = 0;
    for (int k = 0; k < r[i].n_curves; k++)
      last = fmax(last, r[i].curve[k].x[r[i].curve[k].n - 1]);
    fprintf(f, "<td class=\"n\">%.0f</td>", last);
  }
  fputs("</tr>", f);
  for (size_t k = 0; k < sizeof figures / sizeof figures[0]; k++) {
    bool any = false;
    for (int i = 0; i < n; i++)
      any = any || isfinite(lrl_report_last(&r[i], figures[k].key));
    if (!any)
      continue;
    fprintf(f, "<tr><td>%s</td>", figures[k].title);
    for (int i = 0; i < n; i++)
      lrl_report_number(f, lrl_report_last(&r[i], figures[k].key));
    fputs("</tr>", f);
  }
  fputs("</table></div>\n", f);
}

/* ---- curves ---- */

static const char *base_of(const char *key) {
  return strncmp(key, "train/", 6) == 0 ? key + 6 : strncmp(key, "eval/", 5) == 0 ? key + 5 : key;
}

/* Every run's curve in training, faint, and on held-out data, with dots. */
static void put_panel(FILE *f, const char *base, const char *title, const struct lrl_report_run *r,
                      int n) {
  static const char *const prefix[3] = {"train/", "", "eval/"};
  struct lrl_series s[MOST_SERIES];
  int n_series = 0;
  for (int i = 0; i < n; i++) {
    const int first = n_series;
    for (int k = 0; k < 3; k++) {
      char key[256];
      snprintf(key, sizeof key, "%s%s", prefix[k], base);
      const struct lrl_report_curve *c = lrl_report_curve_of(&r[i], key);
      if (c == NULL || n_series == MOST_SERIES)
        continue;
      s[n_series++] = (struct lrl_series){.name = n == 1 ? k == 2 ? "held out" : "training" : NULL,
                                          .colour = i,
                                          .dots = k == 2,
                                          .x = c->x,
                                          .y = c->y,
                                          .n = c->n};
    }
    if (n > 1 && n_series > first)
      s[n_series - 1].name = r[i].name; /* at the curve that matters more */
    if (n == 1 && n_series == first + 1 && !s[first].dots)
      s[first].name = NULL;
  }
  lrl_chart_lines(f, title, "step", s, n_series);
}

static bool is_main(const char *base) {
  for (int k = 0; k < N_MAIN; k++)
    if (strcmp(main_panels[k].base, base) == 0)
      return true;
  return false;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The metrics of all runs that are neither main ones nor of a source. */
static int other_bases(const struct lrl_report_run *r, int n, const char **base) {
  int m = 0;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < r[i].n_curves; k++) {
      const char *b = base_of(r[i].curve[k].key);
      bool wanted = !is_main(b) && lrl_report_of_source(&r[i], r[i].curve[k].key) == NULL;
      for (int j = 0; j < m && wanted; j++)
        wanted = strcmp(base[j], b) != 0;
      if (wanted && m < MOST_BASES)
        base[m++] = b;
    }
  qsort(base, (size_t)m, sizeof *base, by_name);
  return m;
}

static void put_curves(FILE *f, const struct lrl_report_run *r, int n) {
  const char *base[MOST_BASES];
  const int m = other_bases(r, n, base);
  fputs("<h2>Curves</h2>\n<p class=\"soft\">Lines with dots: held-out data; faint lines: training."
        "</p>\n<div class=\"grid\">\n",
        f);
  for (int k = 0; k < N_MAIN; k++)
    put_panel(f, main_panels[k].base, main_panels[k].title, r, n);
  fputs("</div>\n", f);
  if (m == 0)
    return;
  fprintf(f, "<details><summary>%d more metrics</summary>\n<div class=\"grid\">\n", m);
  for (int k = 0; k < m; k++)
    put_panel(f, base[k], base[k], r, n);
  fputs("</div></details>\n", f);
}

static void put_legend(FILE *f, const struct lrl_report_run *r, int n) {
  fputs("<ul class=\"legend\">", f);
  for (int i = 0; i < n; i++) {
    fprintf(f, "<li><span class=\"s%d\"><i></i>", i % LRL_HTML_COLOURS);
    lrl_html_text(f, r[i].name);
    fputs("</span>", f);
    if (strcmp(r[i].name, r[i].path) != 0) {
      fputs(" <code class=\"soft\">", f);
      lrl_html_text(f, r[i].path);
      fputs("</code>", f);
    }
    fputs("</li>", f);
  }
  fputs("</ul>\n", f);
}

lrl_status lrl_report_page(FILE *f, const char *title, const struct lrl_report_run *r, int n) {
  lrl_html_begin(f, title);
  put_legend(f, r, n);
  for (int i = 0; i < n; i++)
    if (r[i].n_lines == 0) {
      fputs("<p class=\"bad\">", f);
      lrl_html_text(f, r[i].name);
      fputs(" has no metrics yet.</p>\n", f);
    }
  put_figures(f, r, n);
  put_curves(f, r, n);
  lrl_report_sources(f, r, n);
  lrl_report_margins(f, r, n);
  lrl_report_samples(f, r, n);
  lrl_report_config(f, r, n);
  lrl_report_machine(f, r, n);
  lrl_html_end(f);
  return LRL_OK;
}
