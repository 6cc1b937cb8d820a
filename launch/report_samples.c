/* Samples on the page of `laurel report`: "eval/samples" of metrics.jsonl. */
#include "launch/chart.h"
#include "launch/report.h"

#include <string.h>

enum { THUMBNAIL = 110, MOST_TEXT = 600, MOST_IMAGES = 4 };

static const json_t *samples_of(const struct lrl_report_run *r) {
  return json_object_get(r->last, "eval/samples");
}

/* Whether both runs answered the same prompts. */
static bool same_prompts(const struct lrl_report_run *a, const struct lrl_report_run *b) {
  const json_t *x = samples_of(a), *y = samples_of(b);
  bool same = json_array_size(x) > 0 && json_array_size(x) == json_array_size(y);
  for (size_t k = 0; same && k < json_array_size(x); k++)
    for (int i = 0; i < 2; i++) {
      const char *key = i == 0 ? "prompt" : "images";
      const json_t *p = json_object_get(json_array_get(x, k), key),
                   *q = json_object_get(json_array_get(y, k), key);
      same = same && (p == NULL ? q == NULL : q != NULL && json_equal(p, q));
    }
  return same;
}

static void put_response(FILE *f, const char *who, int colour, int64_t step, const json_t *s) {
  const json_t *score = json_object_get(s, "score"), *gold = json_object_get(s, "gold");
  const char *text = json_string_value(json_object_get(s, "response"));
  fputs("<div class=\"who\">", f);
  if (colour >= 0)
    fprintf(f, "<span class=\"s%d\">", colour % LRL_HTML_COLOURS);
  lrl_html_text(f, who);
  fprintf(f, "%s, step %lld", colour >= 0 ? "</span>" : "", (long long)step);
  if (json_is_number(score))
    fprintf(f, " &middot; reward %.3f", json_number_value(score));
  if (json_is_number(gold))
    fprintf(f, " &middot; gold %.3g", json_number_value(gold));
  fprintf(f, "%s</div><div class=\"text\">",
          json_is_false(json_object_get(s, "finished")) ? " &middot; cut off" : "");
  if (text == NULL || text[0] == '\0')
    fprintf(f, "<span class=\"soft\">(%s)</span>", text == NULL ? "no text" : "empty");
  else
    lrl_html_cut(f, text, MOST_TEXT);
  fputs("</div>", f);
}

static void put_prompt(FILE *f, const json_t *s) {
  const json_t *images = json_object_get(s, "images");
  const char *prompt = json_string_value(json_object_get(s, "prompt"));
  for (size_t k = 0; k < json_array_size(images) && k < MOST_IMAGES; k++) {
    const char *path = json_string_value(json_array_get(images, k));
    if (path != NULL)
      lrl_html_thumbnail(f, path, THUMBNAIL, path);
  }
  fputs("<div class=\"text\">", f);
  lrl_html_cut(f, prompt == NULL ? "" : prompt, MOST_TEXT);
  fputs("</div>", f);
}

/* Prompt k of run i, with the answers of it and of the runs behind it that have the same prompts.
 */
static void put_card(FILE *f, const struct lrl_report_run *r, int n, int i, size_t k) {
  const json_t *before = json_array_get(json_object_get(r[i].first, "eval/samples"), k);
  fputs("<article class=\"card\">", f);
  put_prompt(f, json_array_get(samples_of(&r[i]), k));
  if (before != NULL && r[i].first_eval != r[i].last_eval)
    put_response(f, "before", -1, r[i].first_eval, before);
  for (int j = i; j < n; j++)
    if (j == i || same_prompts(&r[i], &r[j]))
      put_response(f, r[j].name, j, r[j].last_eval, json_array_get(samples_of(&r[j]), k));
  fputs("</article>\n", f);
}

void lrl_report_samples(FILE *f, const struct lrl_report_run *r, int n) {
  bool any = false;
  for (int i = 0; i < n; i++) {
    bool fresh = json_array_size(samples_of(&r[i])) > 0;
    for (int k = 0; k < i && fresh; k++)
      fresh = !same_prompts(&r[k], &r[i]);
    if (!fresh)
      continue;
    if (!any)
      fputs("<h2>Answers to held-out prompts</h2>\n", f);
    any = true;
    fputs("<div class=\"grid\">\n", f);
    for (size_t k = 0; k < json_array_size(samples_of(&r[i])); k++)
      put_card(f, r, n, i, k);
    fputs("</div>\n", f);
  }
}
