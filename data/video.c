#include "data/video.h"

#include <math.h>
#include <string.h>

enum { LABEL = 40, GAP = 10, LINE_AT = 5, LINE = 2 };

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

static void frame_size(const struct lrl_image *f, int32_t side, int32_t *w, int32_t *h) {
  double scale = (double)f->width / f->height;
  double ww = f->width > f->height ? side : side * scale;
  double hh = f->width > f->height ? side / scale : side;
  *w = ww < 1 ? 1 : (int32_t)ww;
  *h = hh < 1 ? 1 : (int32_t)hh;
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

static lrl_status new_canvas(const struct lrl_image *frames, int64_t n, int32_t side, bool down,
                             int64_t max_pixels, struct lrl_image *out) {
  int64_t width = 0, height = 0;
  for (int64_t i = 0; i < n; i++) {
    int32_t w, h;
    frame_size(&frames[i], side, &w, &h);
    int64_t across = down ? w : h, along = down ? h + GAP + LABEL : w + GAP;
    int64_t *longest = down ? &width : &height, *sum = down ? &height : &width;
    *longest = across > *longest ? across : *longest;
    *sum += along;
  }
  height += down ? 0 : LABEL;
  if (width > LRL_IMAGE_MAX_SIDE || height > LRL_IMAGE_MAX_SIDE || width * height > max_pixels)
    return LRL_FAIL(LRL_ERR_SHAPE, "%lld video frames would make an image of %lld x %lld pixels",
                    (long long)n, (long long)width, (long long)height);
  LRL_TRY(lrl_image_resize_buffer(out, (int32_t)width, (int32_t)height));
  memset(out->rgb.data, 255, 3 * (size_t)(width * height));
  return LRL_OK;
}

lrl_status lrl_video_canvas(const struct lrl_image *frames, int64_t n, int32_t tile,
                            int64_t max_pixels, struct lrl_image *out, int32_t *label_x,
                            int32_t *label_y, struct lrl_image *resized,
                            struct lrl_buffer *scratch) {
  bool down = frames[n - 1].width > frames[n - 1].height;
  int32_t side = 2 * tile, at = 0;
  LRL_TRY(new_canvas(frames, n, side, down, max_pixels, out));
  for (int64_t i = 0; i < n; i++) {
    int32_t w, h;
    frame_size(&frames[i], side, &w, &h);
    LRL_TRY(lrl_image_resize(&frames[i], w, h, LRL_IMAGE_BILINEAR, false, resized, scratch));
    paint(out, resized, down ? 0 : at, down ? at + LABEL : LABEL, w, h);
    if (label_x != NULL)
      label_x[i] = down ? 0 : at;
    if (label_y != NULL)
      label_y[i] = down ? at : 0;
    if (i + 1 < n && down)
      paint(out, NULL, 0, at + LABEL + h + LINE_AT, out->width, LINE);
    else if (i + 1 < n)
      paint(out, NULL, at + w + LINE_AT, 0, LINE, out->height);
    at += down ? h + GAP + LABEL : w + GAP;
  }
  return LRL_OK;
}
