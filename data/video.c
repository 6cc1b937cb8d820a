#include "data/video.h"

#include "data/font.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 40, GAP = 10, LINE_AT = 5, LINE = 2 };
/* A label's cell, and its glyph of 15 x 28 pixels within: about what SimHei fills of 20 x 40. */
enum { CELL = 20, DOT_X = 3, DOT_Y = 4, GLYPH_X = 2, GLYPH_Y = 6 };

int64_t lrl_video_frames(int64_t start, int64_t end, double fps, int64_t max_frames,
                         int64_t *indices) {
  int64_t stride = (int64_t)fmin(fmax(rint(fps), 1), 1e9);
  int64_t n = end > start ? (end - start + stride - 1) / stride : 0;
  double step = n > max_frames ? (double)n / (double)(max_frames + 1) : 1;
  n = n < max_frames ? n : max_frames;
  for (int64_t i = 0; i < n; i++)
    indices[i] = start + (int64_t)((double)i * step) * stride;
  return n;
}

static struct lrl_video_size resized_size(struct lrl_video_size f, int32_t side) {
  double scale = (double)f.width / f.height;
  double w = f.width > f.height ? side : side * scale;
  double h = f.width > f.height ? side / scale : side;
  return (struct lrl_video_size){w < 1 ? 1 : (int32_t)w, h < 1 ? 1 : (int32_t)h};
}

/* Copies `in`, or black where it is NULL, to the w x h pixels at (x, y), cut at the edges. */
static void paint(struct lrl_image *out, const struct lrl_image *in, int64_t x, int64_t y,
                  int64_t w, int64_t h) {
  int64_t cols = x + w > out->width ? out->width - x : w;
  int64_t rows = y + h > out->height ? out->height - y : h;
  for (int64_t r = 0; r < rows && cols > 0; r++) {
    uint8_t *to = (uint8_t *)out->rgb.data + 3 * ((y + r) * out->width + x);
    if (in == NULL)
      memset(to, 0, 3 * (size_t)cols);
    else
      memcpy(to, (const uint8_t *)in->rgb.data + 3 * r * in->width, 3 * (size_t)cols);
  }
}

/* "<IMAGE k>" in the cells from (x, y) on. */
static void write_label(struct lrl_image *out, int64_t k, int64_t x, int64_t y) {
  char text[32];
  snprintf(text, sizeof text, "<IMAGE %lld>", (long long)k);
  for (const char *c = text; *c != '\0'; c++, x += CELL) {
    const uint8_t *rows = lrl_font_glyph(*c);
    for (int j = 0; rows != NULL && j < LRL_GLYPH_HEIGHT; j++)
      for (int i = 0; i < LRL_GLYPH_WIDTH; i++)
        if (rows[j] >> (LRL_GLYPH_WIDTH - 1 - i) & 1)
          paint(out, NULL, x + GLYPH_X + i * DOT_X, y + GLYPH_Y + j * DOT_Y, DOT_X, DOT_Y);
  }
}

static bool stacked(const struct lrl_video_size *frames, int64_t n) {
  return frames[n - 1].width > frames[n - 1].height;
}

lrl_status lrl_video_canvas_size(const struct lrl_video_size *frames, int64_t n, int32_t tile,
                                 int64_t max_pixels, struct lrl_video_size *out) {
  int64_t width = 0, height = 0;
  const bool down = stacked(frames, n);
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_video_size f = resized_size(frames[i], 2 * tile);
    int64_t across = down ? f.width : f.height,
            along = down ? f.height + GAP + LABEL : f.width + GAP;
    int64_t *longest = down ? &width : &height, *sum = down ? &height : &width;
    *longest = across > *longest ? across : *longest;
    *sum += along;
  }
  height += down ? 0 : LABEL;
  if (width > LRL_IMAGE_MAX_SIDE || height > LRL_IMAGE_MAX_SIDE || width * height > max_pixels)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "%lld video frames would make an image of %lld x %lld pixels, more than the "
                    "limit %lld",
                    (long long)n, (long long)width, (long long)height, (long long)max_pixels);
  *out = (struct lrl_video_size){(int32_t)width, (int32_t)height};
  return LRL_OK;
}

lrl_status lrl_video_canvas_begin(struct lrl_video_canvas *c, const struct lrl_video_size *frames,
                                  int64_t n, int32_t tile, int64_t max_pixels, bool labels) {
  struct lrl_video_size size;
  LRL_TRY(lrl_video_canvas_size(frames, n, tile, max_pixels, &size));
  LRL_TRY(lrl_image_resize_buffer(&c->image, size.width, size.height));
  memset(c->image.rgb.data, 255, 3 * (size_t)size.width * (size_t)size.height);
  c->n = n;
  c->k = c->at = 0;
  c->side = 2 * tile;
  c->down = stacked(frames, n);
  c->labels = labels;
  return LRL_OK;
}

lrl_status lrl_video_canvas_add(struct lrl_video_canvas *c, const struct lrl_image *frame) {
  const struct lrl_video_size f =
      resized_size((struct lrl_video_size){frame->width, frame->height}, c->side);
  const int64_t x = c->down ? 0 : c->at, y = c->down ? c->at : 0;
  LRL_TRY(lrl_image_resize(frame, f.width, f.height, LRL_IMAGE_BILINEAR, false, &c->resized,
                           &c->scratch));
  if (c->labels)
    write_label(&c->image, c->k, x, y);
  paint(&c->image, &c->resized, x, y + LABEL, f.width, f.height);
  if (++c->k < c->n && c->down)
    paint(&c->image, NULL, 0, y + LABEL + f.height + LINE_AT, c->image.width, LINE);
  else if (c->k < c->n)
    paint(&c->image, NULL, x + f.width + LINE_AT, 0, LINE, c->image.height);
  c->at += c->down ? f.height + GAP + LABEL : f.width + GAP;
  return LRL_OK;
}

void lrl_video_canvas_free(struct lrl_video_canvas *c) {
  lrl_image_free(&c->image);
  lrl_image_free(&c->resized);
  lrl_buffer_free(&c->scratch);
  lrl_buffer_free(&c->sizes);
}
