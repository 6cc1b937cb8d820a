/* A few coloured shapes: which colour, which shape, where, what is there, what is not. */
#include "data/synth/item.h"

enum { CELL = 28 }; /* points; the picture has 2 x 2 cells with at most one object each */

struct object {
  enum lrl_shape shape;
  int colour, cell;
};

/* n objects (n <= 4) with distinct shapes, colours and cells. */
static void draw_objects(struct lrl_synth_draw *d, struct object *o, int n) {
  int shapes[4], colours[4], cells[4];
  lrl_synth_choose(d, LRL_SHAPE_COUNT, n, shapes);
  lrl_synth_choose(d, LRL_SYNTH_COLOURS, n, colours);
  lrl_synth_choose(d, 4, n, cells);
  for (int i = 0; i < n; i++)
    o[i] = (struct object){(enum lrl_shape)shapes[i], colours[i], cells[i]};
}

static lrl_status render(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                         const struct object *o, int n) {
  struct lrl_canvas *c = &item->image[0];
  item->n_images = 1;
  LRL_TRY(lrl_canvas_init(c, d->unit, 2, 2, lrl_synth_paper(d)));
  for (int i = 0; i < n; i++) {
    int r = lrl_synth_int(d, 8, 10), slack = CELL / 2 - r - 1;
    int x = o[i].cell % 2 * CELL + CELL / 2 + lrl_synth_int(d, -slack, slack);
    int y = o[i].cell / 2 * CELL + CELL / 2 + lrl_synth_int(d, -slack, slack);
    lrl_canvas_shape(c, o[i].shape, x, y, r, lrl_synth_colours[o[i].colour]);
  }
  return LRL_OK;
}

static const char *colour_of(const struct object *o) { return lrl_synth_colour_names[o->colour]; }
static const char *shape_of(const struct object *o) { return lrl_synth_shape_names[o->shape]; }

/* "a red circle"; "an orange star". */
static void name_object(char *out, const struct object *o) {
  lrl_synth_print(out, "%s %s %s", colour_of(o)[0] == 'o' ? "an" : "a", colour_of(o), shape_of(o));
}

/* The wrong attribute is half the time that of another object in the picture. */
static lrl_status ask_attribute(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  struct object o[3];
  draw_objects(d, o, 3);
  if (lrl_synth_chance(d, 50)) {
    item->question = "colour";
    item->kind = "wrong_colour";
    lrl_synth_print(item->prompt, "What colour is the %s?", shape_of(&o[0]));
    lrl_synth_reply(d, item, forms, 3, colour_of(&o[0]), colour_of(&o[1]));
    lrl_synth_gold_choice(item, colour_of(&o[0]), lrl_synth_colour_names, LRL_SYNTH_COLOURS);
  } else {
    item->question = "shape";
    item->kind = "wrong_shape";
    lrl_synth_print(item->prompt, "What shape is %s?", colour_of(&o[0]));
    lrl_synth_reply(d, item, forms, 3, shape_of(&o[0]), shape_of(&o[1]));
    lrl_synth_gold_choice(item, shape_of(&o[0]), lrl_synth_shape_names, LRL_SHAPE_COUNT);
  }
  if (lrl_synth_chance(d, 50))
    o[1] = o[2];
  return render(d, item, o, 2);
}

static lrl_status ask_place(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  static const char *const words[2][2] = {{"left", "right"}, {"above", "below"}};
  struct object o[2];
  draw_objects(d, o, 2);
  int vertical = lrl_synth_int(d, 0, 1), second = lrl_synth_int(d, 0, 1);
  int across[2] = {lrl_synth_int(d, 0, 1), lrl_synth_int(d, 0, 1)};
  for (int i = 0; i < 2; i++) {
    int along = i == 0 ? second : 1 - second;
    o[i].cell = vertical ? 2 * along + across[i] : 2 * across[i] + along;
  }
  item->question = "place";
  item->kind = "wrong_place";
  lrl_synth_print(item->prompt,
                  vertical ? "Is the %s above or below the %s?"
                           : "Is the %s left or right of the %s?",
                  shape_of(&o[0]), shape_of(&o[1]));
  const char *right = words[vertical][second], *wrong = words[vertical][1 - second];
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_choice(item, right, words[vertical], 2);
  return render(d, item, o, 2);
}

static void gold_objects(struct lrl_synth_item *item, const struct object *o, int need) {
  item->gold = json_pack("{ss s[] si}", "check", "objects", "present", "need", need);
  for (int i = 0; i < 2; i++)
    json_array_append_new(json_object_get(item->gold, "present"),
                          json_sprintf("%s %s", colour_of(&o[i]), shape_of(&o[i])));
}

static lrl_status ask_object(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "There is #.", "I see #."};
  char right[LRL_SYNTH_TEXT], wrong[LRL_SYNTH_TEXT];
  struct object o[3];
  draw_objects(d, o, 3);
  name_object(right, &o[0]);
  name_object(wrong, &o[2]);
  item->question = "object";
  item->kind = "hallucinated_object";
  lrl_synth_print(item->prompt, "Name an object in the picture.");
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  gold_objects(item, o, 1);
  return render(d, item, o, 2);
}

static void caption(struct lrl_synth_draw *d, char *out, const struct object *a,
                    const struct object *b) {
  char first[LRL_SYNTH_TEXT], second[LRL_SYNTH_TEXT];
  bool swap = lrl_synth_chance(d, 50);
  name_object(first, swap ? b : a);
  name_object(second, swap ? a : b);
  lrl_synth_print(out, "%.100s and %.100s", first, second);
}

static bool in(const struct object *o, const struct object pair[2]) {
  return (o->shape == pair[0].shape && o->colour == pair[0].colour) ||
         (o->shape == pair[1].shape && o->colour == pair[1].colour);
}

/* The wrong caption is that of another picture, or has one object that is not there. */
static lrl_status ask_caption(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "There is #.", "I see #."};
  char right[LRL_SYNTH_TEXT], wrong[LRL_SYNTH_TEXT];
  struct object o[3], other[2];
  draw_objects(d, o, 3);
  item->question = "caption";
  lrl_synth_print(item->prompt, "What is in the picture?");
  caption(d, right, &o[0], &o[1]);
  if (lrl_synth_chance(d, 50)) {
    item->kind = "hallucinated_object";
    caption(d, wrong, &o[0], &o[2]);
  } else {
    item->kind = "mismatch";
    do
      draw_objects(d, other, 2);
    while (in(&other[0], o) && in(&other[1], o));
    caption(d, wrong, &other[0], &other[1]);
  }
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  gold_objects(item, o, 2);
  return render(d, item, o, 2);
}

/* Easy: one object; which colour, which half of the picture. */
static lrl_status ask_single(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#"};
  static const char *const sides[2] = {"left", "right"};
  struct object o[2];
  draw_objects(d, o, 2);
  if (lrl_synth_chance(d, 50)) {
    item->question = "colour";
    item->kind = "wrong_colour";
    lrl_synth_print(item->prompt, "What colour is the object?");
    lrl_synth_reply(d, item, forms, 1, colour_of(&o[0]), colour_of(&o[1]));
    lrl_synth_gold_choice(item, colour_of(&o[0]), lrl_synth_colour_names, LRL_SYNTH_COLOURS);
  } else {
    int side = o[0].cell % 2;
    item->question = "place";
    item->kind = "wrong_place";
    lrl_synth_print(item->prompt, "Is the object left or right?");
    lrl_synth_reply(d, item, forms, 1, sides[side], sides[1 - side]);
    lrl_synth_gold_choice(item, sides[side], sides, 2);
  }
  return render(d, item, o, 1);
}

lrl_status lrl_synth_relation(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  if (d->easy)
    return ask_single(d, item);
  switch (lrl_synth_int(d, 0, 9)) {
  case 0:
  case 1:
    return ask_place(d, item);
  case 2:
  case 3:
    return ask_object(d, item);
  case 4:
  case 5:
    return ask_caption(d, item);
  default:
    return ask_attribute(d, item);
  }
}
