/* Charts as inline SVG for the pages of launch/html.h: coloured by its classes, 360 units wide, so
 * that two or three stand side by side on a screen and one fills a phone. Values that are not
 * finite are left out. LRL_ERR_MEMORY. */
#ifndef LRL_CHART_H
#define LRL_CHART_H
#include "launch/html.h"

struct lrl_series {
  const char *name;    /* direct label at its end; NULL: none */
  int colour;          /* taken modulo LRL_HTML_COLOURS */
  bool dots;           /* few values that matter each, as of evaluations; else a faint line */
  const double *x, *y; /* [n], x ascending */
  int64_t n;
};
/* Curves in one frame, as a <figure class="card">. Of more than some hundred values of a series the
 * lowest and highest of each piece are drawn, so that no spike is lost. Nothing when no value is
 * finite. */
void lrl_chart_lines(FILE *f, const char *title, const char *x_name, const struct lrl_series *s,
                     int n);

/* Counts of bins of equal width from lo on, drawn over each other. ends: the first and last bin
 * also hold what lies beyond. mark: a vertical line there, NaN: none. */
struct lrl_bins {
  const char *name;
  int colour;
  const double *count; /* [n] */
};
struct lrl_histogram {
  const char *title, *x_name;
  double lo, width;
  int n;
  bool ends;
  double mark;
};
void lrl_chart_histogram(FILE *f, const struct lrl_histogram *h, const struct lrl_bins *b, int n);

/* Horizontal bars of values in [0, 1], with whiskers from lo to hi. */
struct lrl_bar {
  const char *label; /* of a group of bars: given for its first only, else NULL */
  const char *name;  /* for the tooltip */
  int colour;
  double value, lo, hi;
};
void lrl_chart_bars(FILE *f, const char *title, double mark, const struct lrl_bar *bars, int n);
#endif
