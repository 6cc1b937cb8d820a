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
  bool high = width < height; /* transposed officially: from here on w >= h */
  int32_t w = high ? height : width, h = high ? width : height, pad = 0;
  double ratio = (double)w / h;
  int32_t inner_w, inner_h;
  if (mode == LRL_IMAGE_VIDEO) {
    inner_w = at_least_1(tile * ratio);
    inner_h = tile;
  } else {
    double wish = ceil(w * (mode == LRL_IMAGE_TRAINING ? 1.5 : 1.0) / tile);
    int32_t most = max_columns(ratio, hd_num);
    inner_w = tile * (wish < most ? (int32_t)wish : most);
    inner_h = at_least_1(inner_w / ratio);
    pad = mode == LRL_IMAGE_TRAINING ? (up(inner_h, tile) - inner_h) / 2 : 0;
  }
  struct lrl_image_geometry g = {.rows_first = high,
                                 .inner_width = high ? inner_h : inner_w,
                                 .inner_height = high ? inner_w : inner_h,
                                 .left = high ? pad : 0,
                                 .top = high ? 0 : pad};
  g.width = up(g.inner_width, tile);
  g.height = up(g.inner_height, tile);
  g.rows = g.height / tile;
  g.cols = g.width / tile;
  return g;
}
