/* A 5x7 bitmap font, drawn for this program: capitals, digits and some signs. */
#ifndef LRL_DATA_FONT_H
#define LRL_DATA_FONT_H
#include <stdint.h>

enum { LRL_GLYPH_WIDTH = 5, LRL_GLYPH_HEIGHT = 7 };
/* The rows of a glyph, bit LRL_GLYPH_WIDTH - 1 leftmost; NULL without one. */
const uint8_t *lrl_font_glyph(char ch);
#endif
