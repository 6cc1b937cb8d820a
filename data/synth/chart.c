/* Bar charts with an axis, tick labels and a letter under each bar. */
#include "data/synth/item.h"

#include <stdio.h>

/* Points: the value axis stands at LEFT, the base line at BASE, one unit of value is STEP high. */
enum { LEFT = 13, BASE = 45, STEP = 4, HIGHEST = 10, SLOT = 10, MOST = 8 };

static const char *const labels[MOST] = {"A", "B", "C", "D", "E", "F", "G", "H"};

struct bars {
  int n, value[MOST];
};

static lrl_status render(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                         const struct bars *b) {
  static const char *const ticks[] = {"0", "5", "10"};
  struct lrl_canvas *c = &item->image[0];
  int wide = b->n > 4, end = LEFT + b->n * SLOT + 2;
  item->n_images = 1;
  LRL_TRY(lrl_canvas_init(c, d->unit, 2 + 2 * wide, 2, lrl_synth_paper(d)));
  for (int k = 0; k < 3; k++) {
    int y = BASE - 5 * k * STEP;
    lrl_canvas_text(c, k == 2 ? 0 : 6, y - 3, 6, ticks[k], lrl_synth_ink);
    lrl_canvas_rect(c, LEFT - 1, y, 1, 1, lrl_synth_ink);
  }
  lrl_canvas_rect(c, LEFT, BASE - HIGHEST * STEP - 1, 1, HIGHEST * STEP + 1, lrl_synth_ink);
  lrl_canvas_rect(c, LEFT, BASE, end - LEFT, 1, lrl_synth_ink);
  struct lrl_colour colour = lrl_synth_colours[lrl_synth_int(d, 0, LRL_SYNTH_COLOURS - 1)];
  for (int i = 0; i < b->n; i++) {
    int x = LEFT + 2 + i * SLOT, height = b->value[i] * STEP;
    lrl_canvas_rect(c, x, BASE - height, SLOT - 2, height, colour);
    lrl_canvas_text(c, x + 1, BASE + 3, 6, labels[i], lrl_synth_ink);
  }
  return LRL_OK;
}

/* Easy: three bars. One chart in six is twice as wide as high and has 5 to 8 bars. */
static void draw_bars(struct lrl_synth_draw *d, struct bars *b) {
  b->n = d->easy                       ? 3
         : lrl_synth_int(d, 1, 6) == 1 ? lrl_synth_int(d, 5, MOST)
                                       : lrl_synth_int(d, 2, 4);
  for (int i = 0; i < b->n; i++)
    b->value[i] = lrl_synth_int(d, 1, HIGHEST);
}

/* The highest (or lowest) bar stands out by 2 or more. */
static void ask_extreme(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct bars *b) {
  static const char *const forms[] = {"#", "Bar #.", "It is bar #."};
  int bar[2], highest = d->easy || lrl_synth_int(d, 0, 1);
  lrl_synth_choose(d, b->n, 2, bar);
  b->value[bar[0]] = highest ? lrl_synth_int(d, 4, HIGHEST) : lrl_synth_int(d, 1, HIGHEST - 3);
  for (int i = 0; i < b->n; i++)
    if (i != bar[0])
      b->value[i] = highest ? lrl_synth_int(d, 1, b->value[bar[0]] - 2)
                            : lrl_synth_int(d, b->value[bar[0]] + 2, HIGHEST);
  const char *right = labels[bar[0]], *wrong = labels[bar[1]];
  item->question = "extreme";
  item->kind = "wrong_label";
  lrl_synth_print(item->prompt, "Which bar is the %s?", highest ? "highest" : "lowest");
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_choice(item, right, labels, b->n);
}

static void reply_number(struct lrl_synth_draw *d, struct lrl_synth_item *item, const int n[2]) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  char right[16], wrong[16];
  snprintf(right, sizeof right, "%d", n[0]);
  snprintf(wrong, sizeof wrong, "%d", n[1]);
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_number(item, n[0], -1, -1);
}

static void ask_value(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct bars *b) {
  int n[2], bar = lrl_synth_int(d, 0, b->n - 1);
  do
    lrl_synth_two_numbers(d, 1, HIGHEST, 1, 6, n);
  while (n[0] - n[1] == 1 || n[1] - n[0] == 1);
  b->value[bar] = n[0];
  item->question = "value";
  item->kind = "wrong_number";
  lrl_synth_print(item->prompt, "What is the value of bar %s?", labels[bar]);
  reply_number(d, item, n);
}

static void ask_order(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct bars *b) {
  static const char *const forms[] = {"#", "#.", "The answer is #."};
  int bar[2], n[2];
  lrl_synth_choose(d, b->n, 2, bar);
  do
    lrl_synth_two_numbers(d, 1, HIGHEST, 1, 6, n);
  while (n[0] - n[1] == 1 || n[1] - n[0] == 1);
  b->value[bar[0]] = n[0];
  b->value[bar[1]] = n[1];
  item->question = "order";
  item->kind = "wrong_order";
  lrl_synth_print(item->prompt, "Is bar %s higher than bar %s?", labels[bar[0]], labels[bar[1]]);
  const char *right = n[0] > n[1] ? "yes" : "no", *wrong = n[0] > n[1] ? "no" : "yes";
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_choice(item, right, (const char *const[]){"yes", "no"}, 2);
}

static void ask_bars(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct bars *b) {
  int n[2];
  lrl_synth_two_numbers(d, 2, MOST, 1, 3, n);
  b->n = n[0];
  for (int i = 0; i < b->n; i++)
    b->value[i] = lrl_synth_int(d, 1, HIGHEST);
  item->question = "bars";
  item->kind = "wrong_count";
  lrl_synth_print(item->prompt, "How many bars are there?");
  reply_number(d, item, n);
}

lrl_status lrl_synth_chart(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  struct bars b;
  int kind = d->easy ? 0 : lrl_synth_int(d, 0, 9);
  draw_bars(d, &b);
  if (kind <= 2)
    ask_extreme(d, item, &b);
  else if (kind <= 5)
    ask_value(d, item, &b);
  else if (kind <= 8)
    ask_order(d, item, &b);
  else
    ask_bars(d, item, &b);
  return render(d, item, &b);
}
