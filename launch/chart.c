#include "launch/chart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  WIDTH = 360,
  HEIGHT = 210,
  LEFT = 44,
  TOP = 8,
  BOTTOM = 30,
  MOST_PIECES = 200,
  MOST_NAME = 16
};

/* What is drawn where: x0 .. x1 to left .. right, y0 .. y1 to bottom .. top. */
struct frame {
  double x0, x1, y0, y1, left, right, top, bottom;
};

static double at_x(const struct frame *f, double x) {
  return f->left + (x - f->x0) / (f->x1 - f->x0) * (f->right - f->left);
}
static double at_y(const struct frame *f, double y) {
  return f->bottom - (y - f->y0) / (f->y1 - f->y0) * (f->bottom - f->top);
}

static void open_figure(FILE *f, const char *title, int height) {
  fputs("<figure class=\"card\"><h3>", f);
  lrl_html_text(f, title);
  fprintf(f, "</h3><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, height);
  lrl_html_text(f, title);
  fputs("\">", f);
}

static void text_at(FILE *f, double x, double y, const char *more, const char *text) {
  fprintf(f, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, more);
  lrl_html_text(f, text);
  fputs("</text>", f);
}

/* ---- axes ---- */

/* A step of 1, 2 or 5 times a power of ten that cuts `range` into at most n parts. */
static double nice_step(double range, int n) {
  const double raw = range / n, p = pow(10, floor(log10(raw))), r = raw / p;
  return (r <= 1 ? 1 : r <= 2 ? 2 : r <= 5 ? 5 : 10) * p;
}

/* Makes room where all values are equal, and a little beyond the extremes. */
static void widen(double *lo, double *hi) {
  if (!(*hi > *lo)) {
    const double d = fabs(*lo) > 0 ? 0.1 * fabs(*lo) : 1;
    *lo -= d;
    *hi += d;
  }
  const double pad = 0.04 * (*hi - *lo);
  *lo -= pad;
  *hi += pad;
}

static void number(char *out, size_t size, double v, double step) {
  if (fabs(v) >= 10000)
    snprintf(out, size, fmod(v, 1000) == 0 && fabs(v) < 1e6 ? "%.0fk" : "%.2g",
             fabs(v) < 1e6 && fmod(v, 1000) == 0 ? v / 1000 : v);
  else if (step < 0.001 && fabs(v) > 0)
    snprintf(out, size, "%.2g", v);
  else
    snprintf(out, size, "%.*f", step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9), v);
}

/* Tick i of a scale from lo on; the last one is the highest at or below hi. */
static double tick(double lo, double step, int i) {
  const double v = (ceil(lo / step) + i) * step;
  return fabs(v) < step / 1e6 ? 0 : v;
}

static void axes(FILE *f, const struct frame *r, const char *x_name, bool y_ticks) {
  char text[32];
  const double xs = nice_step(r->x1 - r->x0, 5), ys = nice_step(r->y1 - r->y0, 4);
  for (int i = 0; y_ticks && tick(r->y0, ys, i) <= r->y1; i++) {
    const double v = tick(r->y0, ys, i), y = at_y(r, v);
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>", r->left, y, r->right);
    number(text, sizeof text, v, ys);
    text_at(f, r->left - 5, y + 4, " text-anchor=\"end\"", text);
  }
  for (int i = 0; tick(r->x0, xs, i) <= r->x1; i++) {
    number(text, sizeof text, tick(r->x0, xs, i), xs);
    text_at(f, at_x(r, tick(r->x0, xs, i)), r->bottom + 13, " text-anchor=\"middle\"", text);
  }
  fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>", r->left, r->bottom, r->right);
  text_at(f, r->right, r->bottom + 26, " text-anchor=\"end\"", x_name);
}

/* ---- curves ---- */

static void point(FILE *f, const struct frame *r, const struct lrl_series *s, int64_t i,
                  bool *pen) {
  fprintf(f, "%c%.1f %.1f", *pen ? 'L' : 'M', at_x(r, s->x[i]), at_y(r, s->y[i]));
  *pen = true;
}

/* Lowest and highest of values [from, to), in their order; a piece without a finite value lifts the
 * pen. */
static void piece(FILE *f, const struct frame *r, const struct lrl_series *s, int64_t from,
                  int64_t to, bool *pen) {
  int64_t low = -1, high = -1;
  for (int64_t i = from; i < to; i++) {
    if (!isfinite(s->y[i]))
      continue;
    low = low < 0 || s->y[i] < s->y[low] ? i : low;
    high = high < 0 || s->y[i] > s->y[high] ? i : high;
  }
  if (low < 0) {
    *pen = false;
    return;
  }
  point(f, r, s, low < high ? low : high, pen);
  if (low != high)
    point(f, r, s, low < high ? high : low, pen);
}

static void curve(FILE *f, const struct frame *r, const struct lrl_series *s) {
  const int64_t n_pieces = s->n < 2 * (int64_t)MOST_PIECES ? s->n : MOST_PIECES;
  bool pen = false;
  fprintf(f, "<g class=\"s%d\"><path class=\"curve%s\" d=\"", s->colour % LRL_HTML_COLOURS,
          s->dots ? "" : " faint");
  for (int64_t k = 0; k < n_pieces; k++)
    piece(f, r, s, k * s->n / n_pieces, (k + 1) * s->n / n_pieces, &pen);
  fputs("\"/>", f);
  for (int64_t i = 0; s->dots && s->n <= 60 && i < s->n; i++)
    if (isfinite(s->y[i]))
      fprintf(f,
              "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\"><title>%g: "
              "%.5g</title></circle>",
              at_x(r, s->x[i]), at_y(r, s->y[i]), s->x[i], s->y[i]);
  fputs("</g>", f);
}

/* The last finite value; -1: none. */
static int64_t last_of(const struct lrl_series *s) {
  int64_t i = s->n - 1;
  while (i >= 0 && !isfinite(s->y[i]))
    i--;
  return i;
}

/* Names at the ends of the curves, pushed apart from above; a curve may end before the others. */
static void labels(FILE *f, const struct frame *r, const struct lrl_series *s, int n) {
  enum { MOST = 16, APART = 12 };
  int order[MOST], m = 0;
  double y[MOST];
  for (int i = 0; i < n && m < MOST; i++) {
    const int64_t last = s[i].name == NULL ? -1 : last_of(&s[i]);
    if (last < 0)
      continue;
    const double mine = at_y(r, s[i].y[last]) + 4;
    int k = m++;
    for (; k > 0 && y[k - 1] > mine; k--) {
      y[k] = y[k - 1];
      order[k] = order[k - 1];
    }
    y[k] = mine;
    order[k] = i;
  }
  for (int k = 1; k < m; k++)
    y[k] = fmax(y[k], y[k - 1] + APART);
  const double over = m > 0 ? fmax(0, y[m - 1] - r->bottom) : 0;
  for (int k = 0; k < m; k++) {
    char more[64], name[24];
    snprintf(more, sizeof more, " class=\"label s%d\"", s[order[k]].colour % LRL_HTML_COLOURS);
    snprintf(name, sizeof name, strlen(s[order[k]].name) > MOST_NAME ? "%.*s\u2026" : "%.*s",
             MOST_NAME, s[order[k]].name);
    text_at(f, at_x(r, s[order[k]].x[last_of(&s[order[k]])]) + 4, y[k] - over, more, name);
  }
}

static struct frame frame_of(const struct lrl_series *s, int n) {
  struct frame r = {INFINITY, -INFINITY, INFINITY, -INFINITY, LEFT, WIDTH, TOP, HEIGHT - BOTTOM};
  size_t longest = 0;
  for (int k = 0; k < n; k++) {
    const size_t len = s[k].name == NULL || last_of(&s[k]) < 0 ? 0 : strlen(s[k].name);
    longest = len > longest ? len : longest;
    for (int64_t i = 0; i < s[k].n; i++)
      if (isfinite(s[k].y[i])) {
        r.x0 = fmin(r.x0, s[k].x[i]);
        r.x1 = fmax(r.x1, s[k].x[i]);
        r.y0 = fmin(r.y0, s[k].y[i]);
        r.y1 = fmax(r.y1, s[k].y[i]);
      }
  }
  r.right = WIDTH - (longest == 0 ? 8 : 10 + 6.2 * fmin((double)longest, MOST_NAME + 1));
  return r;
}

void lrl_chart_lines(FILE *f, const char *title, const char *x_name, const struct lrl_series *s,
                     int n) {
  struct frame r = frame_of(s, n);
  if (!(r.y1 >= r.y0))
    return;
  widen(&r.y0, &r.y1);
  if (!(r.x1 > r.x0)) {
    r.x0 -= 1;
    r.x1 += 1;
  }
  open_figure(f, title, HEIGHT);
  axes(f, &r, x_name, true);
  for (int k = 0; k < n; k++)
    if (!s[k].dots)
      curve(f, &r, &s[k]);
  for (int k = 0; k < n; k++)
    if (s[k].dots)
      curve(f, &r, &s[k]);
  labels(f, &r, s, n);
  fputs("</svg></figure>\n", f);
}

/* ---- histograms ---- */

static void steps(FILE *f, const struct frame *r, const struct lrl_histogram *h,
                  const struct lrl_bins *b) {
  double total = 0;
  for (int i = 0; i < h->n; i++)
    total += b->count[i];
  fprintf(f, "<path class=\"area s%d\" d=\"M%.1f %.1f", b->colour % LRL_HTML_COLOURS, r->left,
          r->bottom);
  for (int i = 0; i < h->n; i++)
    fprintf(f, "V%.1fH%.1f", at_y(r, b->count[i]), at_x(r, h->lo + (i + 1) * h->width));
  fprintf(f, "V%.1fZ\"><title>", r->bottom);
  lrl_html_text(f, b->name);
  fprintf(f, ": %.0f</title></path>", total);
}

void lrl_chart_histogram(FILE *f, const struct lrl_histogram *h, const struct lrl_bins *b, int n) {
  struct frame r = {h->lo, h->lo + h->n * h->width, 0, 0, 6, WIDTH - 6, TOP, HEIGHT - BOTTOM - 60};
  for (int k = 0; k < n; k++)
    for (int i = 0; i < h->n; i++)
      r.y1 = fmax(r.y1, b[k].count[i]);
  if (!(r.y1 > 0))
    return;
  open_figure(f, h->title, HEIGHT - 60);
  axes(f, &r, h->x_name, false);
  for (int k = 0; k < n; k++)
    steps(f, &r, h, &b[k]);
  if (h->mark >= r.x0 && h->mark <= r.x1)
    fprintf(f, "<path class=\"mark\" d=\"M%.1f %.1fV%.1f\"/>", at_x(&r, h->mark), r.top, r.bottom);
  if (h->ends)
    text_at(f, r.left, r.bottom + 26, "", "outer bins: and beyond");
  fputs("</svg></figure>\n", f);
}

/* ---- bars ---- */

void lrl_chart_bars(FILE *f, const char *title, double mark, const struct lrl_bar *bars, int n) {
  enum { ROW = 12, GAP = 20 };
  int height = TOP + BOTTOM;
  for (int i = 0; i < n; i++)
    height += ROW + (bars[i].label != NULL ? GAP : 0);
  struct frame r = {0, 1, 0, 1, 6, WIDTH - 58, TOP, height - BOTTOM};
  open_figure(f, title, height);
  axes(f, &r, "", false);
  if (mark >= 0 && mark <= 1)
    fprintf(f, "<path class=\"mark\" d=\"M%.1f %.1fV%.1f\"/>", at_x(&r, mark), r.top, r.bottom);
  double y = TOP;
  for (int i = 0; i < n; i++, y += ROW) {
    const struct lrl_bar *b = &bars[i];
    char value[32];
    if (b->label != NULL) {
      text_at(f, r.left, y + 14, "", b->label);
      y += GAP;
    }
    snprintf(value, sizeof value, "%.1f %%", 100 * b->value);
    fprintf(f, "<rect class=\"bar s%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"><title>",
            b->colour % LRL_HTML_COLOURS, r.left, y, fmax(0, at_x(&r, b->value) - r.left), ROW - 3);
    lrl_html_text(f, b->name);
    fprintf(f, ": %s</title></rect><path class=\"whisker\" d=\"M%.1f %.1fH%.1f\"/>", value,
            at_x(&r, b->lo), y + (ROW - 3) / 2.0, at_x(&r, b->hi));
    text_at(f, WIDTH - 2, y + 9, " text-anchor=\"end\"", value);
  }
  fputs("</svg></figure>\n", f);
}
