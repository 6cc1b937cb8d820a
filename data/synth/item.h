/* One question about one scene, with a right and a wrong reply. What the domains share.
 *
 * No shortcut: a question and its two candidate replies are drawn first, with either order equally
 * likely; which of the two is right is decided by that order, and only then a scene is drawn that
 * makes it so. So every reply is chosen as often as it is rejected for the same question, and
 * neither words nor length nor place tell the right one without the picture. */
#ifndef LRL_SYNTH_ITEM_H
#define LRL_SYNTH_ITEM_H
#include "data/synth/canvas.h"
#include "kernels/philox.h"

#include <jansson.h>

enum { LRL_SYNTH_TEXT = 256, LRL_SYNTH_COLOURS = 6 };

struct lrl_synth_item {
  struct lrl_canvas image[2];
  int n_images;
  char prompt[LRL_SYNTH_TEXT], chosen[LRL_SYNTH_TEXT], rejected[LRL_SYNTH_TEXT];
  const char *question; /* which template of the domain, for tables */
  const char *kind;     /* what is wrong with the rejected reply */
  json_t *gold;         /* what verify.h needs; NULL means that memory ran out */
  /* Without a picture: a number equal for equal scenes, and that of the item with the two replies
   * swapped. Both must be of the same split, or a reply would be right more often in one of them.
   */
  uint64_t scene, twin;
};

/* Source of an item's draws; unit as in canvas.h; easy: enum lrl_synth_level of synth.h. padded:
 * which of the right and the wrong reply get words that say nothing (verbose_bias of synth.h);
 * domains whose questions are about form heed it themselves, the others' replies are padded for
 * them. */
struct lrl_synth_draw {
  struct lrl_rng rng;
  int32_t unit;
  bool easy, padded[2];
};

typedef lrl_status lrl_synth_fn(struct lrl_synth_draw *d, struct lrl_synth_item *item);
lrl_synth_fn lrl_synth_counting, lrl_synth_relation, lrl_synth_chart, lrl_synth_receipt,
    lrl_synth_arithmetic, lrl_synth_instruct, lrl_synth_video;

/* Uniform in [lo, hi]. */
int lrl_synth_int(struct lrl_synth_draw *d, int lo, int hi);
/* True p times in a hundred. */
bool lrl_synth_chance(struct lrl_synth_draw *d, int p);
/* The first m of a random order of 0 .. n-1 (n <= 64). */
void lrl_synth_choose(struct lrl_synth_draw *d, int n, int m, int *out);
/* Two numbers of [lo, hi] in random order that differ by min_gap .. max_gap. */
void lrl_synth_two_numbers(struct lrl_synth_draw *d, int lo, int hi, int min_gap, int max_gap,
                           int out[2]);

extern const char *const lrl_synth_colour_names[LRL_SYNTH_COLOURS];
extern const struct lrl_colour lrl_synth_colours[LRL_SYNTH_COLOURS];
extern const char *const lrl_synth_shape_names[LRL_SHAPE_COUNT];
extern const struct lrl_colour lrl_synth_ink;
/* One of a few pale paper colours. */
struct lrl_colour lrl_synth_paper(struct lrl_synth_draw *d);

/* out[LRL_SYNTH_TEXT] = the formatted text. */
void lrl_synth_print(char *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Both replies: a form is a sentence with '#' where the answer goes. Both replies mostly have the
 * same form; where not, either form is as likely for either reply. Easy: the first form only. */
void lrl_synth_reply(struct lrl_synth_draw *d, struct lrl_synth_item *item,
                     const char *const *forms, int n_forms, const char *right, const char *wrong);

/* Gold of an answer that is one of n texts, or a number (given: numbers of the prompt that a reply
 * may repeat, -1 where there are fewer). */
void lrl_synth_gold_choice(struct lrl_synth_item *item, const char *right,
                           const char *const *answers, int n);
void lrl_synth_gold_number(struct lrl_synth_item *item, int right, int given_a, int given_b);
#endif
