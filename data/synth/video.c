/* Short videos as strips of four numbered frames: what happens, which way, what appears. */
#include "data/synth/item.h"

enum { FRAMES = 4, FRAME = 28, TOP = 9, BOTTOM = 55 }; /* points; FRAME is its width */

enum event { MOVES_LEFT, MOVES_RIGHT, MOVES_UP, MOVES_DOWN, GROWS, SHRINKS, STAYS, N_EVENTS };
static const char *const event_names[N_EVENTS] = {
    "moves left", "moves right", "moves up", "moves down", "grows", "shrinks", "stays still"};

struct actor {
  enum lrl_shape shape;
  int colour, x, y, r; /* centre within the frame at the first one */
  enum event event;
  int from; /* first frame it is in */
};

static lrl_status background(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  struct lrl_canvas *c = &item->image[0];
  item->n_images = 1;
  LRL_TRY(lrl_canvas_init(c, d->unit, 4, 2, lrl_synth_paper(d)));
  for (int k = 0; k < FRAMES; k++) {
    lrl_canvas_text(c, k * FRAME + 11, 0, 6, (char[]){(char)('1' + k), '\0'}, lrl_synth_ink);
    if (k > 0)
      lrl_canvas_rect(c, k * FRAME, 0, 1, LRL_CANVAS_POINTS, lrl_synth_ink);
  }
  return LRL_OK;
}

static void act(struct lrl_synth_item *item, const struct actor *a) {
  static const int step[N_EVENTS][3] = {{-5, 0, 0}, {5, 0, 0},  {0, -10, 0}, {0, 10, 0},
                                        {0, 0, 3},  {0, 0, -3}, {0, 0, 0}};
  for (int k = a->from; k < FRAMES; k++) {
    const int *s = step[a->event];
    lrl_canvas_shape(&item->image[0], a->shape, k * FRAME + a->x + k * s[0], a->y + k * s[1],
                     a->r + k * s[2], lrl_synth_colours[a->colour]);
  }
}

/* A start from which the event stays within the frame. */
static struct actor draw_actor(struct lrl_synth_draw *d, enum event event) {
  struct actor a = {.shape = (enum lrl_shape)lrl_synth_int(d, 0, LRL_SHAPE_COUNT - 1),
                    .colour = lrl_synth_int(d, 0, LRL_SYNTH_COLOURS - 1),
                    .x = lrl_synth_int(d, 13, 15),
                    .y = lrl_synth_int(d, TOP + 14, BOTTOM - 14),
                    .r = 5,
                    .event = event};
  if (event == MOVES_LEFT)
    a.x = lrl_synth_int(d, 21, 22);
  else if (event == MOVES_RIGHT)
    a.x = lrl_synth_int(d, 6, 7);
  else if (event == MOVES_UP)
    a.y = lrl_synth_int(d, BOTTOM - 8, BOTTOM - 6);
  else if (event == MOVES_DOWN)
    a.y = lrl_synth_int(d, TOP + 6, TOP + 8);
  else if (event == GROWS)
    a.r = 3;
  else if (event == SHRINKS)
    a.r = 12;
  return a;
}

static lrl_status ask_event(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"It #.", "The object #.", "In the video, it #."};
  int event[2], direction = d->easy || lrl_synth_chance(d, 50);
  lrl_synth_choose(d, direction ? 4 : N_EVENTS, 2, event);
  item->question = direction ? "direction" : "event";
  item->kind = direction ? "wrong_motion" : "mismatch";
  lrl_synth_print(item->prompt,
                  direction ? "Which way does the object move?" : "What happens in the video?");
  lrl_synth_reply(d, item, forms, 3, event_names[event[0]], event_names[event[1]]);
  lrl_synth_gold_choice(item, event_names[event[0]], event_names, N_EVENTS);
  struct actor a = draw_actor(d, (enum event)event[0]);
  LRL_TRY(background(d, item));
  act(item, &a);
  return LRL_OK;
}

/* Two colours, one moving and one still object above or below it. */
static lrl_status ask_colour(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "It is #.", "The answer is #."};
  int colour[2], top = lrl_synth_int(d, 0, 1);
  lrl_synth_choose(d, LRL_SYNTH_COLOURS, 2, colour);
  const char *right = lrl_synth_colour_names[colour[0]], *wrong = lrl_synth_colour_names[colour[1]];
  item->question = "colour";
  item->kind = "wrong_colour";
  lrl_synth_print(item->prompt, "What colour is the moving object?");
  lrl_synth_reply(d, item, forms, 3, right, wrong);
  lrl_synth_gold_choice(item, right, lrl_synth_colour_names, LRL_SYNTH_COLOURS);
  struct actor mover = draw_actor(d, lrl_synth_chance(d, 50) ? MOVES_LEFT : MOVES_RIGHT);
  struct actor other = draw_actor(d, STAYS);
  mover.colour = colour[0];
  other.colour = colour[1];
  mover.y = top ? TOP + 11 : BOTTOM - 11;
  other.y = top ? BOTTOM - 11 : TOP + 11;
  LRL_TRY(background(d, item));
  act(item, &mover);
  act(item, &other);
  return LRL_OK;
}

/* One object is there from the start, another comes in the third frame. */
static lrl_status ask_new(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const forms[] = {"#", "It is #.", "I see #."};
  char name[3][LRL_SYNTH_TEXT];
  int shape[3], colour[3], top = lrl_synth_int(d, 0, 1);
  lrl_synth_choose(d, LRL_SHAPE_COUNT, 3, shape);
  lrl_synth_choose(d, LRL_SYNTH_COLOURS, 3, colour);
  for (int i = 0; i < 3; i++)
    lrl_synth_print(name[i], "%s %s %s", lrl_synth_colour_names[colour[i]][0] == 'o' ? "an" : "a",
                    lrl_synth_colour_names[colour[i]], lrl_synth_shape_names[shape[i]]);
  item->question = "new";
  item->kind = "hallucinated_object";
  lrl_synth_print(item->prompt, "What appears at the end?");
  lrl_synth_reply(d, item, forms, 3, name[0], name[1]);
  item->gold = json_pack(
      "{ss s[o] si}", "check", "objects", "present",
      json_sprintf("%s %s", lrl_synth_colour_names[colour[0]], lrl_synth_shape_names[shape[0]]),
      "need", 1);
  LRL_TRY(background(d, item));
  for (int i = 0; i < 3; i += 2) {
    struct actor a = draw_actor(d, STAYS);
    a.shape = (enum lrl_shape)shape[i];
    a.colour = colour[i];
    a.y = (i == 0) == top ? TOP + 11 : BOTTOM - 11;
    a.from = i == 0 ? 2 : 0;
    act(item, &a);
  }
  return LRL_OK;
}

lrl_status lrl_synth_video(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  int kind = d->easy ? 0 : lrl_synth_int(d, 0, 9);
  return kind <= 5 ? ask_event(d, item) : kind <= 7 ? ask_colour(d, item) : ask_new(d, item);
}
