/* How many shapes of a colour, of a form or in all; which of two pictures has more. */
#include "data/synth/item.h"

#include <stdio.h>

enum { CELL = 14, RADIUS = 5, MOST = 6 }; /* points; one shape in a cell */

struct thing {
  enum lrl_shape shape;
  int colour;
};

static struct thing any_thing(struct lrl_synth_draw *d) {
  int shape = lrl_synth_int(d, 0, LRL_SHAPE_COUNT - 1);
  return (struct thing){(enum lrl_shape)shape, lrl_synth_int(d, 0, LRL_SYNTH_COLOURS - 1)};
}

/* One in six pictures is twice as wide as high. */
static lrl_status scatter(struct lrl_synth_draw *d, struct lrl_canvas *c,
                          const struct thing *things, int n) {
  int wide = !d->easy && lrl_synth_int(d, 1, 6) == 1,
      columns = (1 + wide) * LRL_CANVAS_POINTS / CELL, cells[16];
  LRL_TRY(lrl_canvas_init(c, d->unit, 2 + 2 * wide, 2, lrl_synth_paper(d)));
  lrl_synth_choose(d, columns * LRL_CANVAS_POINTS / CELL, n, cells);
  for (int i = 0; i < n; i++) {
    int x = cells[i] % columns * CELL + CELL / 2 + lrl_synth_int(d, -2, 2);
    int y = cells[i] / columns * CELL + CELL / 2 + lrl_synth_int(d, -2, 2);
    lrl_canvas_shape(c, things[i].shape, x, y, RADIUS, lrl_synth_colours[things[i].colour]);
  }
  return LRL_OK;
}

static lrl_status which_picture(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "It is #.", "# has more."};
  static const char *const names[2] = {"image 1", "image 2"};
  struct thing things[MOST];
  int n[2];
  lrl_synth_two_numbers(d, 1, MOST, 1, 4, n);
  lrl_synth_print(item->prompt,
                  "Image1 <ImageHere>; Image2 <ImageHere>; Which image has more shapes?");
  item->question = "compare";
  item->kind = "wrong_count";
  for (int i = 0; i < MOST; i++)
    things[i] = any_thing(d);
  for (item->n_images = 0; item->n_images < 2; item->n_images++)
    LRL_TRY(scatter(d, &item->image[item->n_images], things, n[item->n_images]));
  int more = n[1] > n[0];
  lrl_synth_reply(d, item, forms, 3, names[more], names[1 - more]);
  lrl_synth_gold_choice(item, names[more], names, 2);
  return LRL_OK;
}

lrl_status lrl_synth_counting(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "I count #.", "The answer is #."};
  struct thing things[2 * MOST];
  int n[2], kind = d->easy ? 1 : lrl_synth_int(d, 0, 9), n_others = lrl_synth_int(d, 0, 3);
  if (kind == 0)
    return which_picture(d, item);
  if (d->easy)
    lrl_synth_two_numbers(d, 1, 4, 2, 3, n);
  else
    lrl_synth_two_numbers(d, 1, MOST, 1, 3, n);
  struct thing asked = any_thing(d);
  for (int i = 0; i < 2 * MOST; i++)
    things[i] = d->easy ? (struct thing){LRL_SHAPE_CIRCLE, asked.colour} : any_thing(d);
  if (kind <= 4) {
    item->question = "total";
    n_others = 0;
    lrl_synth_print(item->prompt, "How many shapes are there?");
  } else if (kind <= 7) {
    item->question = "by_colour";
    lrl_synth_print(item->prompt, "How many %s shapes are there?",
                    lrl_synth_colour_names[asked.colour]);
    for (int i = 0; i < n[0] + n_others; i++)
      if (i < n[0])
        things[i].colour = asked.colour;
      else if (things[i].colour == asked.colour)
        things[i].colour = (asked.colour + 1) % LRL_SYNTH_COLOURS;
  } else {
    item->question = "by_shape";
    lrl_synth_print(item->prompt, "How many %ss are there?", lrl_synth_shape_names[asked.shape]);
    for (int i = 0; i < n[0] + n_others; i++)
      if (i < n[0])
        things[i].shape = asked.shape;
      else if (things[i].shape == asked.shape)
        things[i].shape = (enum lrl_shape)(((int)asked.shape + 1) % LRL_SHAPE_COUNT);
  }
  char right[16], wrong[16];
  snprintf(right, sizeof right, "%d", n[0]);
  snprintf(wrong, sizeof wrong, "%d", n[1]);
  item->kind = "wrong_count";
  item->n_images = 1;
  LRL_TRY(scatter(d, &item->image[0], things, n[0] + n_others));
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_number(item, n[0], -1, -1);
  return LRL_OK;
}
