/* Small sums, differences and comparisons, as text. */
#include "data/synth/item.h"

#include <stdio.h>

enum { LEAST = 10, MOST = 99, STEP = 5 }; /* numbers of two digits; the second operand is small */

/* Equal for equal problems: the two splits share none. */
static uint64_t problem(int op, int a, int b) {
  return ((uint64_t)op << 32) + ((uint64_t)a << 16) + (uint64_t)b;
}

static void reply(struct lrl_synth_draw *d, struct lrl_synth_item *item, int right, int wrong) {
  static const char *const forms[] = {"#", "The answer is #.", "It is #."};
  char r[16], w[16];
  snprintf(r, sizeof r, "%d", right);
  snprintf(w, sizeof w, "%d", wrong);
  item->kind = "wrong_number";
  lrl_synth_reply(d, item, forms, 3, r, w);
}

/* a + b or a - b of a number of two digits and one of one digit, without a carry: digits seen apart
 * in training come together in new problems of the validation split. The wrong number is right for
 * the problem with another a. */
static void ask_result(struct lrl_synth_draw *d, struct lrl_synth_item *item, int sign) {
  int n[2], room;
  do {
    lrl_synth_two_numbers(d, LEAST, MOST, 1, 9, n);
    int u = n[0] % 10, v = n[1] % 10, low = u < v ? u : v, high = u < v ? v : u;
    room = sign > 0 ? low : 9 - high;
  } while (room == 0);
  int b = lrl_synth_int(d, 1, room < STEP ? room : STEP), a = n[0] - sign * b;
  item->question = sign > 0 ? "sum" : "difference";
  item->scene = problem(sign > 0, a, b);
  item->twin = problem(sign > 0, n[1] - sign * b, b);
  lrl_synth_print(item->prompt, "What is %d %c %d?", a, sign > 0 ? '+' : '-', b);
  reply(d, item, n[0], n[1]);
  lrl_synth_gold_number(item, n[0], a, b);
}

static void ask_larger(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  int n[2], larger = lrl_synth_int(d, 0, 1);
  lrl_synth_two_numbers(d, LEAST, MOST, d->easy ? 10 : 1, 40, n);
  int right = (n[0] > n[1]) == larger ? n[0] : n[1], wrong = n[0] + n[1] - right;
  item->question = larger ? "larger" : "smaller";
  item->scene = item->twin = problem(2, n[0], n[1]);
  lrl_synth_print(item->prompt, "Which is %s, %d or %d?", item->question, n[0], n[1]);
  reply(d, item, right, wrong);
  lrl_synth_gold_number(item, right, -1, -1);
}

lrl_status lrl_synth_arithmetic(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  int kind = d->easy ? 6 : lrl_synth_int(d, 0, 9);
  if (kind <= 5)
    ask_result(d, item, kind <= 2 ? 1 : -1);
  else
    ask_larger(d, item);
  return LRL_OK;
}
