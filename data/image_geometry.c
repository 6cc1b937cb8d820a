#include "data/image_geometry.h"

#include <math.h>

enum { HD_NUM_OF_MANY = 6 };

int32_t lrl_image_hd_num(enum lrl_image_mode mode, int32_t hd_num, int64_t n_images) {
  return mode == LRL_IMAGE_INFERENCE && n_images > 1 ? HD_NUM_OF_MANY : hd_num;
}

/* Largest number of tile columns s with s*ceil(s/ratio) <= hd_num. */
static int32_t max_columns(double ratio, int32_t hd_num) {
  int32_t s = 1;
  while (s * ceil(s / ratio) <= hd_num)
    s++;
  return s > 1 ? s - 1 : 1;
}

static int32_t up(int32_t n, int32_t tile) { return (n + tile - 1) / tile * tile; }
static int32_t at_least_1(double x) { return x < 1 ? 1 : (int32_t)x; }

struct lrl_image_geometry lrl_image_geometry_of(enum lrl_image_mode mode, int32_t width,
                                                int32_t height, int32_t tile, int32_t hd_num) {
  bool transpose = width < height;
  int32_t w = transpose ? height : width, h = transpose ? width : height;
  double ratio = (double)w / h;
  struct lrl_image_geometry g = {.transpose = transpose};
  int32_t out_w, out_h;
  if (mode == LRL_IMAGE_VIDEO) {
    g.inner_height = tile;
    g.inner_width = at_least_1(tile * ratio);
    out_w = up(g.inner_width, tile);
    out_h = tile;
  } else {
    double wish = ceil(w * (mode == LRL_IMAGE_TRAINING ? 1.5 : 1.0) / tile);
    int32_t most = max_columns(ratio, hd_num);
    g.inner_width = tile * (wish < most ? (int32_t)wish : most);
    g.inner_height = at_least_1(g.inner_width / ratio);
    out_w = g.inner_width;
    out_h = up(g.inner_height, tile);
    g.pad_top = mode == LRL_IMAGE_TRAINING ? (out_h - g.inner_height) / 2 : 0;
    g.pad_bottom = out_h - g.inner_height - g.pad_top;
  }
  g.width = transpose ? out_h : out_w;
  g.height = transpose ? out_w : out_h;
  g.rows = g.height / tile;
  g.cols = g.width / tile;
  return g;
}
