/* The contact sheet of `laurel filter`: how the scores lie, and the flagged rows with their
 * pictures, the worst first. */
#include "launch/chart.h"
#include "launch/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THUMBNAIL = 160, MOST_IMAGES = 4, MOST_TEXT = 1200, N_BINS = 40 };

/* A row on the sheet, filled while the files are read. */
struct card {
  int64_t row, place; /* place: on the sheet */
  int64_t file, line, n_images;
  char *id, *question, *answer, *image[MOST_IMAGES];
};
struct lrl_filter_sheet {
  const struct lrl_filter *f;
  struct card *card; /* by row */
  int64_t *at;       /* of a place: its card */
  int64_t n, next, n_flagged, n_kept;
};

/* ---- which rows ---- */

static const struct lrl_filter *sorting; /* qsort has no argument for it */

/* The farthest below the rest of their source first; rows without a score last. */
static int by_z(const void *a, const void *b) {
  const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
  const double x = sorting->row[i].z, y = sorting->row[j].z;
  if (isnan(x) || isnan(y))
    return isnan(x) && isnan(y) ? (i > j) - (i < j) : isnan(x) ? 1 : -1;
  return x < y ? -1 : x > y ? 1 : (i > j) - (i < j);
}

static int by_row(const void *a, const void *b) {
  const int64_t i = ((const struct card *)a)->row, j = ((const struct card *)b)->row;
  return (i > j) - (i < j);
}

static lrl_status choose(struct lrl_filter_sheet *s) {
  const struct lrl_filter *f = s->f;
  int64_t *order = malloc((size_t)(f->n + 1) * sizeof *order);
  if (order == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sheet");
  for (int64_t i = 0; i < f->n; i++)
    order[i] = i;
  sorting = f;
  qsort(order, (size_t)f->n, sizeof *order, by_z);
  const int64_t n_kept = f->n - f->n_flagged;
  s->n_flagged = f->n_flagged < f->o.sheet ? f->n_flagged : f->o.sheet;
  s->n_kept = f->o.sheet / 8 < n_kept ? f->o.sheet / 8 : n_kept;
  s->card = calloc((size_t)(s->n_flagged + s->n_kept) + 1, sizeof *s->card);
  int64_t taken[2] = {0, 0};
  for (int64_t k = 0; k < f->n && s->card != NULL; k++) {
    const int kind = f->row[order[k]].flagged ? 0 : 1;
    if (taken[kind] < (kind == 0 ? s->n_flagged : s->n_kept))
      s->card[s->n++] =
          (struct card){.row = order[k], .place = (kind == 0 ? 0 : s->n_flagged) + taken[kind]++};
  }
  free(order);
  if (s->card == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sheet");
  qsort(s->card, (size_t)s->n, sizeof *s->card, by_row);
  s->at = calloc((size_t)s->n + 1, sizeof *s->at);
  for (int64_t i = 0; i < s->n && s->at != NULL; i++)
    s->at[s->card[i].place] = i;
  return s->at != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sheet");
}

lrl_status lrl_filter_sheet_create(const struct lrl_filter *f, struct lrl_filter_sheet **out) {
  *out = calloc(1, sizeof **out);
  if (*out == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sheet");
  (*out)->f = f;
  return choose(*out);
}

void lrl_filter_sheet_free(struct lrl_filter_sheet *s) {
  for (int64_t i = 0; s != NULL && i < s->n; i++) {
    free(s->card[i].id);
    free(s->card[i].question);
    free(s->card[i].answer);
    for (int k = 0; k < MOST_IMAGES; k++)
      free(s->card[i].image[k]);
  }
  if (s != NULL) {
    free(s->card);
    free(s->at);
  }
  free(s);
}

/* ---- what stands in them ---- */

/* Everything before the answer, turn by turn. */
static char *question_of(const struct lrl_pair *p) {
  char *text = NULL;
  size_t n = 0;
  FILE *m = open_memstream(&text, &n);
  if (m == NULL)
    return NULL;
  for (int64_t i = 0; i + 1 < p->n_chosen; i++)
    fprintf(m, "%s%s%s%s", i > 0 ? "\n" : "", p->n_chosen > 2 ? p->chosen[i].role : "",
            p->n_chosen > 2 ? ": " : "", p->chosen[i].content);
  fclose(m);
  return text;
}

lrl_status lrl_filter_sheet_take(struct lrl_filter_sheet *s, int64_t row, int64_t file,
                                 const struct lrl_pair *p) {
  if (s->next == s->n || s->card[s->next].row != row)
    return LRL_OK;
  struct card *c = &s->card[s->next++];
  const bool whole = p->aside == LRL_ASIDE_NONE;
  c->file = file;
  c->line = p->line;
  c->id = strdup(p->id);
  c->question = whole ? question_of(p) : strndup(p->from->text, p->from->n_text);
  c->answer = strdup(whole ? p->chosen[p->n_chosen - 1].content : "");
  bool ok = c->id != NULL && c->question != NULL && c->answer != NULL;
  c->n_images = whole ? p->n_images : 0;
  for (int64_t k = 0; k < c->n_images && k < MOST_IMAGES; k++)
    ok = (c->image[k] = strdup(p->images[k])) != NULL && ok;
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sheet");
}

/* ---- the page ---- */

static void put_images(FILE *to, const struct lrl_filter *f, const struct card *c) {
  char *root = lrl_filter_image_root(f, c->file);
  for (int64_t k = 0; k < c->n_images && k < MOST_IMAGES && root != NULL; k++) {
    char *path = lrl_path_join(root, c->image[k]);
    if (path != NULL)
      lrl_html_thumbnail(to, path, THUMBNAIL, c->image[k]);
    free(path);
  }
  if (c->n_images > MOST_IMAGES)
    fprintf(to, "<span class=\"none\">and %lld more</span>", (long long)c->n_images - MOST_IMAGES);
  free(root);
}

static void put_said(FILE *to, const char *who, const char *text) {
  fprintf(to, "<div class=\"who\">%s</div><div class=\"text\">", who);
  if (text[strspn(text, " \t\r\n")] == '\0')
    fputs("<span class=\"soft\">(empty)</span>", to);
  else
    lrl_html_cut(to, text, MOST_TEXT);
  fputs("</div>", to);
}

static void put_card(FILE *to, const struct lrl_filter *f, const struct card *c) {
  const struct lrl_filter_row *r = &f->row[c->row];
  fputs("<article class=\"card\">", to);
  put_images(to, f, c);
  if (isfinite(r->score))
    fprintf(to, "<h3 class=\"num\">%.3f <span class=\"soft\">z %.2f</span></h3>", r->score, r->z);
  if (r->reason != NULL) {
    fputs("<div class=\"bad\">", to);
    lrl_html_text(to, r->reason);
    fputs("</div>", to);
  }
  put_said(to, "question", c->question);
  if (isfinite(r->score))
    put_said(to, "answer", c->answer);
  fputs("<div class=\"who\">", to);
  lrl_html_text(to, f->sources.name[r->source]);
  if (c->id[0] != '\0') {
    fputs(" &middot; ", to);
    lrl_html_text(to, c->id);
  }
  fprintf(to, " &middot; line %lld", (long long)c->line);
  if (r->fault >= 0) {
    fputs(" &middot; fault: ", to);
    lrl_html_text(to, f->faults.name[r->fault]);
  }
  fputs("</div></article>\n", to);
}

/* Cards of the places [from, to). */
static void put_cards(const struct lrl_filter_sheet *s, FILE *out, int64_t from, int64_t to) {
  fputs("<div class=\"grid\">\n", out);
  for (int64_t place = from; place < to; place++)
    put_card(out, s->f, &s->card[s->at[place]]);
  fputs("</div>\n", out);
}

static void put_sources(FILE *to, const struct lrl_filter *f) {
  const int32_t n = f->o.per_source ? f->sources.n : 1;
  fputs(
      "<div class=\"wide\"><table><tr><th>source</th><th class=\"n\">rows</th>"
      "<th class=\"n\">flagged</th><th class=\"n\">median score</th><th class=\"n\">MAD</th></tr>",
      to);
  for (int32_t i = 0; i < n; i++) {
    const struct lrl_filter_group *g = &f->group[i];
    fputs("<tr><td class=\"t\">", to);
    lrl_html_text(to, f->o.per_source ? f->sources.name[i] : "all rows");
    fprintf(to,
            "</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td class=\"n\">%.3f</td>"
            "<td class=\"n\">%.3f</td></tr>",
            (long long)g->n_rows, (long long)g->n_flagged, g->spread.median, g->spread.mad);
  }
  fputs("</table></div>\n", to);
}

static lrl_status put_faults(FILE *to, const struct lrl_filter *f) {
  fputs("<h2>Known faults</h2>\n<div class=\"wide\"><table><tr><th>fault</th><th class=\"n\">rows"
        "</th><th class=\"n\">flagged</th><th class=\"n\">AUC of the score</th>"
        "<th class=\"n\">AUC of z</th></tr>",
        to);
  for (int32_t k = 0; k < f->faults.n; k++) {
    struct lrl_filter_fault x;
    LRL_TRY(lrl_filter_fault_of(f, k, &x));
    fputs("<tr><td class=\"t\">", to);
    lrl_html_text(to, f->faults.name[k]);
    fprintf(to, "</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td>", (long long)x.n_rows,
            (long long)x.n_flagged);
    for (int i = 0; i < 2 && !isnan(x.auc[i].auc); i++)
      fprintf(to, "<td class=\"n\">%.3f &plusmn; %.3f</td>", x.auc[i].auc, x.auc[i].se);
    fputs("</tr>", to);
  }
  fputs("</table></div>\n", to);
  return LRL_OK;
}

static void put_histogram(FILE *to, const struct lrl_filter *f) {
  double lo = INFINITY, hi = -INFINITY, count[2][N_BINS] = {{0}};
  for (int64_t i = 0; i < f->n; i++)
    if (isfinite(f->row[i].score)) {
      lo = fmin(lo, f->row[i].score);
      hi = fmax(hi, f->row[i].score);
    }
  const double width = hi > lo ? (hi - lo) / N_BINS : 1.0 / N_BINS;
  for (int64_t i = 0; i < f->n; i++)
    if (isfinite(f->row[i].score)) {
      const int bin = (int)((f->row[i].score - lo) / width);
      count[f->row[i].flagged][bin < N_BINS ? bin : N_BINS - 1] += 1;
    }
  const struct lrl_histogram h = {
      "scores (blue: kept, orange: flagged)", "score", lo, width, N_BINS, false,
      isfinite(f->below) ? f->below : NAN};
  const struct lrl_bins b[2] = {{"kept", 0, count[0]}, {"flagged", 1, count[1]}};
  fputs("<div class=\"grid\">", to);
  lrl_chart_histogram(to, &h, b, 2);
  fputs("</div>\n", to);
}

lrl_status lrl_filter_sheet_write(const struct lrl_filter_sheet *s, FILE *to) {
  const struct lrl_filter *f = s->f;
  lrl_html_begin(to, "laurel filter");
  fputs("<p class=\"soft\">", to);
  lrl_html_text(to, f->o.data);
  fputs(" scored by ", to);
  lrl_html_text(to, f->o.model);
  fprintf(to,
          "</p>\n<p>%lld rows, %lld of them flagged; %lld could not be scored. Rows are measured "
          "against the others of %s: robust z = (score &minus; median) / (1.4826 MAD).</p>\n",
          (long long)f->n, (long long)f->n_flagged, (long long)(f->n - f->n_scored),
          f->o.per_source ? "their source" : "all sources");
  if (f->o.contrast > 0)
    fprintf(
        to,
        "<p>A score is the reward of the row less the mean reward of up to %lld replies of other "
        "rows in its place.</p>\n",
        (long long)f->o.contrast);
  put_histogram(to, f);
  put_sources(to, f);
  if (f->faults.n > 0)
    LRL_TRY(put_faults(to, f));
  fputs("<h2>Flagged, the farthest below first</h2>\n", to);
  if (f->n_flagged > s->n_flagged)
    fprintf(to, "<p>The first %lld of %lld; all are in flagged.json and scores.jsonl.</p>\n",
            (long long)s->n_flagged, (long long)f->n_flagged);
  if (f->n_flagged == 0)
    fputs("<p>None.</p>\n", to);
  put_cards(s, to, 0, s->n_flagged);
  fprintf(to, "<h2>Kept, the lowest %lld for comparison</h2>\n", (long long)s->n_kept);
  put_cards(s, to, s->n_flagged, s->n_flagged + s->n_kept);
  lrl_html_end(to);
  return LRL_OK;
}
