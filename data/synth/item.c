#include "data/synth/item.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const lrl_synth_colour_names[LRL_SYNTH_COLOURS] = {"red",    "green",  "blue",
                                                               "yellow", "purple", "orange"};
const struct lrl_colour lrl_synth_colours[LRL_SYNTH_COLOURS] = {
    {214, 39, 40}, {44, 160, 44}, {31, 80, 200}, {240, 215, 30}, {130, 50, 160}, {250, 130, 20}};
const char *const lrl_synth_shape_names[LRL_SHAPE_COUNT] = {"circle", "square", "triangle", "star"};
const struct lrl_colour lrl_synth_ink = {20, 20, 20};

struct lrl_colour lrl_synth_paper(struct lrl_synth_draw *d) {
  static const struct lrl_colour papers[] = {
      {255, 255, 255}, {246, 246, 240}, {238, 242, 248}, {245, 238, 238}};
  return papers[lrl_synth_int(d, 0, 3)];
}

int lrl_synth_int(struct lrl_synth_draw *d, int lo, int hi) {
  return lo + (int)lrl_rng_below(&d->rng, (uint64_t)((int64_t)hi - lo + 1));
}

bool lrl_synth_chance(struct lrl_synth_draw *d, int p) {
  return lrl_rng_below(&d->rng, 100) < (uint64_t)p;
}

void lrl_synth_choose(struct lrl_synth_draw *d, int n, int m, int *out) {
  int64_t all[64];
  LRL_ASSERT(n <= 64 && m <= n);
  for (int i = 0; i < n; i++)
    all[i] = i;
  lrl_rng_shuffle(&d->rng, all, n);
  for (int i = 0; i < m; i++)
    out[i] = (int)all[i];
}

void lrl_synth_two_numbers(struct lrl_synth_draw *d, int lo, int hi, int min_gap, int max_gap,
                           int out[2]) {
  int gap = lrl_synth_int(d, min_gap, max_gap), low = lrl_synth_int(d, lo, hi - gap);
  int first = lrl_synth_int(d, 0, 1);
  out[first] = low;
  out[1 - first] = low + gap;
}

void lrl_synth_print(char *out, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(out, LRL_SYNTH_TEXT, fmt, args);
  va_end(args);
}

static void fill(char *out, const char *form, const char *answer) {
  const char *mark = strchr(form, '#');
  LRL_ASSERT(mark != NULL);
  lrl_synth_print(out, "%.*s%s%s", (int)(mark - form), form, answer, mark + 1);
}

void lrl_synth_reply(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                     const char *const *forms, int n_forms, const char *right, const char *wrong) {
  int a = d->easy ? 0 : lrl_synth_int(d, 0, n_forms - 1), b = a;
  if (!d->easy && lrl_synth_chance(d, 20))
    b = lrl_synth_int(d, 0, n_forms - 1);
  fill(item->chosen, forms[a], right);
  fill(item->rejected, forms[b], wrong);
}

void lrl_synth_gold_choice(struct lrl_synth_item *item, const char *right,
                           const char *const *answers, int n) {
  item->gold = json_pack("{ss ss s[]}", "check", "choice", "answer", right, "others");
  for (int i = 0; i < n; i++)
    if (strcmp(answers[i], right) != 0)
      json_array_append_new(json_object_get(item->gold, "others"), json_string(answers[i]));
}

void lrl_synth_gold_number(struct lrl_synth_item *item, int right, int given_a, int given_b) {
  item->gold = json_pack("{ss si s[]}", "check", "number", "answer", right, "given");
  json_t *given = json_object_get(item->gold, "given");
  if (given_a >= 0)
    json_array_append_new(given, json_integer(given_a));
  if (given_b >= 0)
    json_array_append_new(given, json_integer(given_b));
}
