#include "data/synth/canvas.h"

#include "data/font.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static int pixels(const struct lrl_canvas *c, int points) {
  return points * c->unit / LRL_CANVAS_POINTS;
}

static void fill(struct lrl_canvas *c, int x0, int y0, int x1, int y1, struct lrl_colour colour) {
  x0 = x0 < 0 ? 0 : x0;
  y0 = y0 < 0 ? 0 : y0;
  x1 = x1 > c->width ? c->width : x1;
  y1 = y1 > c->height ? c->height : y1;
  for (int y = y0; y < y1; y++)
    for (int x = x0; x < x1; x++)
      memcpy(c->rgb + ((int64_t)y * c->width + x) * 3, &colour, 3);
}

lrl_status lrl_canvas_init(struct lrl_canvas *c, int32_t unit, int32_t half_units_x,
                           int32_t half_units_y, struct lrl_colour background) {
  c->unit = unit;
  c->width = unit * half_units_x / 2;
  c->height = unit * half_units_y / 2;
  void *p = realloc(c->rgb, (size_t)c->width * (size_t)c->height * 3);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a picture of %d x %d", (int)c->width,
                    (int)c->height);
  c->rgb = p;
  fill(c, 0, 0, c->width, c->height, background);
  return LRL_OK;
}

void lrl_canvas_free(struct lrl_canvas *c) {
  free(c->rgb);
  *c = (struct lrl_canvas){0};
}

void lrl_canvas_rect(struct lrl_canvas *c, int x, int y, int width, int height,
                     struct lrl_colour colour) {
  fill(c, pixels(c, x), pixels(c, y), pixels(c, x + width), pixels(c, y + height), colour);
}

/* Corners of a polygon in thousandths of the radius, clockwise from the top. */
struct polygon {
  int n;
  int corner[10][2];
};
static const struct polygon triangle = {3, {{0, -1000}, {1000, 850}, {-1000, 850}}};
static const struct polygon star = {10,
                                    {{0, -1000},
                                     {240, -330},
                                     {951, -309},
                                     {388, 126},
                                     {588, 809},
                                     {0, 408},
                                     {-588, 809},
                                     {-388, 126},
                                     {-951, -309},
                                     {-240, -330}}};

/* Even-odd rule: how often a ray to the right of (x, y) crosses the border. */
static bool in_polygon(const struct polygon *p, int64_t x, int64_t y) {
  bool in = false;
  for (int i = 0, j = p->n - 1; i < p->n; j = i++) {
    int64_t xi = p->corner[i][0], yi = p->corner[i][1], xj = p->corner[j][0], yj = p->corner[j][1];
    if ((yi > y) == (yj > y))
      continue;
    int64_t left = (x - xi) * (yj - yi), right = (xj - xi) * (y - yi);
    if (yj > yi ? left < right : left > right)
      in = !in;
  }
  return in;
}

/* Whether (dx, dy), in thousandths of the radius, lies in the shape. */
static bool in_shape(enum lrl_shape shape, int64_t dx, int64_t dy) {
  if (shape == LRL_SHAPE_CIRCLE)
    return dx * dx + dy * dy <= 1000 * 1000;
  if (shape == LRL_SHAPE_SQUARE)
    return llabs(dx) <= 860 && llabs(dy) <= 860;
  return in_polygon(shape == LRL_SHAPE_TRIANGLE ? &triangle : &star, dx, dy);
}

void lrl_canvas_shape(struct lrl_canvas *c, enum lrl_shape shape, int x, int y, int r,
                      struct lrl_colour colour) {
  int cx = pixels(c, x), cy = pixels(c, y), pr = pixels(c, r);
  for (int py = -pr; py <= pr && pr > 0; py++)
    for (int px = -pr; px <= pr; px++)
      if (in_shape(shape, px * 2000 / (2 * pr + 1), py * 2000 / (2 * pr + 1)))
        fill(c, cx + px, cy + py, cx + px + 1, cy + py + 1, colour);
}

void lrl_canvas_text(struct lrl_canvas *c, int x, int y, int advance, const char *text,
                     struct lrl_colour colour) {
  for (; *text != '\0'; text++, x += advance) {
    const uint8_t *rows = lrl_font_glyph((char)toupper((unsigned char)*text));
    for (int j = 0; rows != NULL && j < LRL_GLYPH_HEIGHT; j++)
      for (int i = 0; i < LRL_GLYPH_WIDTH; i++)
        if (rows[j] >> (LRL_GLYPH_WIDTH - 1 - i) & 1)
          lrl_canvas_rect(c, x + i, y + j, 1, 1, colour);
  }
}
