/* Drawing for the synthetic world: an RGB picture, filled shapes and a 5x7 font. Integer arithmetic
 * and no antialiasing, so that a picture has the same bytes everywhere. Everything outside the
 * picture is clipped. */
#ifndef LRL_SYNTH_CANVAS_H
#define LRL_SYNTH_CANVAS_H
#include "kernels/status.h"

struct lrl_colour {
  uint8_t r, g, b;
};

/* `unit` is the side in pixels of the square that pictures are laid out in; all coordinates of the
 * drawing functions are in 1/56 of it ("points"), so that a larger unit gives the same picture in
 * more pixels. */
struct lrl_canvas {
  int32_t width, height, unit; /* pixels */
  uint8_t *rgb;                /* [height][width][3] */
};
enum { LRL_CANVAS_POINTS = 56 };

/* A picture of units_x/2 by units_y/2 units filled with one colour. Storage of an earlier picture
 * in *c (start from {0}) is reused. LRL_ERR_MEMORY. Free with lrl_canvas_free. */
lrl_status lrl_canvas_init(struct lrl_canvas *c, int32_t unit, int32_t half_units_x,
                           int32_t half_units_y, struct lrl_colour background);
void lrl_canvas_free(struct lrl_canvas *c);

void lrl_canvas_rect(struct lrl_canvas *c, int x, int y, int width, int height,
                     struct lrl_colour colour);

enum lrl_shape {
  LRL_SHAPE_CIRCLE,
  LRL_SHAPE_SQUARE,
  LRL_SHAPE_TRIANGLE,
  LRL_SHAPE_STAR,
  LRL_SHAPE_COUNT
};
/* A filled shape of radius r around (x, y). */
void lrl_canvas_shape(struct lrl_canvas *c, enum lrl_shape shape, int x, int y, int r,
                      struct lrl_colour colour);

/* Text in capitals from the top-left corner; a glyph is 5 x 7 points, the next one starts `advance`
 * points further. Characters without a glyph are left blank. */
void lrl_canvas_text(struct lrl_canvas *c, int x, int y, int advance, const char *text,
                     struct lrl_colour colour);
#endif
