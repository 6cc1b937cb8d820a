/* Receipts: printed text with item names, prices and a total. */
#include "data/synth/item.h"

#include <stdio.h>

/* Points: a grid of 8 characters by 16 lines; every second line is blank. */
enum { GLYPH = 7, FIRST_LINE = 2, TOTAL_LINE = 12, MOST = 4, N_GOODS = 12 };
static const char *const goods[N_GOODS] = {"tea",  "milk",  "bread", "eggs",  "rice", "soap",
                                           "fish", "apple", "salt",  "juice", "cake", "pasta"};
static const char *const shops[] = {"CORNER", "MARKET", "STORE", "GROCER"};

struct receipt {
  int n, item[MOST + 1], price[MOST]; /* item[n] is one that is not on it */
};

static lrl_status render(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                         const struct receipt *r) {
  struct lrl_canvas *c = &item->image[0];
  char line[16];
  int total = 0;
  item->n_images = 1;
  LRL_TRY(lrl_canvas_init(c, d->unit, 2, 4, lrl_synth_paper(d)));
  lrl_canvas_text(c, 1, 0, GLYPH, shops[lrl_synth_int(d, 0, 3)], lrl_synth_ink);
  for (int i = 0; i < r->n; i++) {
    snprintf(line, sizeof line, "%-5s%3d", goods[r->item[i]], r->price[i]);
    lrl_canvas_text(c, 1, (FIRST_LINE + 2 * i) * GLYPH, GLYPH, line, lrl_synth_ink);
    total += r->price[i];
  }
  snprintf(line, sizeof line, "TOTAL%3d", total);
  lrl_canvas_rect(c, 1, (TOTAL_LINE - 1) * GLYPH + 2, 54, 1, lrl_synth_ink);
  lrl_canvas_text(c, 1, TOTAL_LINE * GLYPH, GLYPH, line, lrl_synth_ink);
  return LRL_OK;
}

static void reply_number(struct lrl_synth_draw *d, struct lrl_synth_item *item, const int n[2]) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  char right[16], wrong[16];
  snprintf(right, sizeof right, "%d", n[0]);
  snprintf(wrong, sizeof wrong, "%d", n[1]);
  item->kind = "wrong_number";
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_number(item, n[0], -1, -1);
}

/* Prices 1..9 of n goods with the given sum. */
static void split_sum(struct lrl_synth_draw *d, int sum, int n, int *price) {
  for (int i = 0; i < n; i++) {
    int left = n - 1 - i, lo = sum - 9 * left, hi = sum - left;
    price[i] = lrl_synth_int(d, lo < 1 ? 1 : lo, hi > 9 ? 9 : hi);
    sum -= price[i];
  }
}

static void ask_total(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct receipt *r) {
  int n[2];
  lrl_synth_two_numbers(d, 4, 30, 1, 9, n);
  do
    r->n = lrl_synth_int(d, 2, MOST);
  while (n[0] < r->n || n[0] > 9 * r->n);
  split_sum(d, n[0], r->n, r->price);
  item->question = "total";
  lrl_synth_print(item->prompt, "What is the total?");
  reply_number(d, item, n);
}

/* Half the time another line has the wrong price. */
static void ask_price(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct receipt *r) {
  int n[2];
  lrl_synth_two_numbers(d, 1, 9, 1, 5, n);
  r->price[0] = n[0];
  if (lrl_synth_chance(d, 50))
    r->price[1] = n[1];
  item->question = "price";
  lrl_synth_print(item->prompt, "What is the price of %s?", goods[r->item[0]]);
  reply_number(d, item, n);
}

static void ask_sum(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct receipt *r) {
  int n[2];
  lrl_synth_two_numbers(d, 2, 18, 1, 6, n);
  split_sum(d, n[0], 2, r->price);
  item->question = "sum";
  lrl_synth_print(item->prompt, "What do %s and %s cost together?", goods[r->item[0]],
                  goods[r->item[1]]);
  reply_number(d, item, n);
}

static void ask_item(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                     const struct receipt *r) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  const char *right = goods[r->item[0]], *wrong = goods[r->item[r->n]];
  bool swap = lrl_synth_chance(d, 50);
  item->question = "item";
  item->kind = "hallucinated_object";
  lrl_synth_print(item->prompt, "Which was bought, %s or %s?", swap ? wrong : right,
                  swap ? right : wrong);
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_choice(item, right, goods, N_GOODS);
}

static void ask_count(struct lrl_synth_draw *d, struct lrl_synth_item *item, struct receipt *r) {
  int n[2];
  lrl_synth_two_numbers(d, 1, MOST, 1, 2, n);
  r->n = n[0];
  item->question = "count";
  lrl_synth_print(item->prompt, "How many goods were bought?");
  reply_number(d, item, n);
  item->kind = "wrong_count";
}

/* Puts the lines in a random order: the asked one need not come first. */
static void shuffle(struct lrl_synth_draw *d, struct receipt *r) {
  int order[MOST];
  struct receipt from = *r;
  lrl_synth_choose(d, r->n, r->n, order);
  for (int i = 0; i < r->n; i++) {
    r->item[i] = from.item[order[i]];
    r->price[i] = from.price[order[i]];
  }
}

lrl_status lrl_synth_receipt(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  struct receipt r = {.n = d->easy ? 1 : lrl_synth_int(d, 2, MOST)};
  int kind = d->easy ? 5 : lrl_synth_int(d, 0, 9);
  lrl_synth_choose(d, N_GOODS, MOST + 1, r.item);
  for (int i = 0; i < MOST; i++)
    r.price[i] = lrl_synth_int(d, 1, 9);
  if (kind <= 2)
    ask_total(d, item, &r);
  else if (kind <= 4)
    ask_price(d, item, &r);
  else if (kind <= 7)
    ask_item(d, item, &r);
  else if (kind <= 8)
    ask_count(d, item, &r);
  else
    ask_sum(d, item, &r);
  shuffle(d, &r);
  return render(d, item, &r);
}
