/* What a corpus needs from images and videos, as functions: the tile grid, and the normalised
 * tiles. lrl_image_ops_init gives the real ones (SPEC 2.2, 3); tests put simple ones in their
 * place. */
#ifndef LRL_DATA_IMAGE_OPS_H
#define LRL_DATA_IMAGE_OPS_H
#include "data/image_geometry.h"
#include "kernels/status.h"

struct lrl_image_grid {
  int32_t rows, cols;    /* sub tiles */
  int32_t width, height; /* of the file; of a frame of a video */
};

struct lrl_image_ops {
  void *user;
  int32_t tile;        /* side of a tile in pixels */
  int32_t merged_side; /* side of the token grid of one tile after the 2x2 merge: tile/patch/2 */
  /* Grid of an image that is one of n_images in its conversation; reads headers only. Of a video it
   * reads the times of all frames. */
  lrl_status (*grid)(void *user, const void *bytes, size_t n_bytes, int64_t n_images,
                     struct lrl_image_grid *out);
  /* out [1 + rows*cols][3][tile][tile]: global view, then tiles in raster order. */
  lrl_status (*tiles)(void *user, const void *bytes, size_t n_bytes, int64_t n_images, float *out);
};

/* Tokens of an image, T = (rows*cols + 1)*side^2 + 1 + (rows + 1)*side. Source: SPEC 2.2. */
static inline int64_t lrl_image_ops_tokens(const struct lrl_image_ops *ops,
                                           const struct lrl_image_grid *g) {
  int64_t side = ops->merged_side;
  return ((int64_t)g->rows * g->cols + 1) * side * side + 1 + ((int64_t)g->rows + 1) * side;
}

struct lrl_image_ops_options {
  int32_t tile, patch; /* pixels; tile is a multiple of 2*patch. Officially 560 and 14 */
  int32_t hd_num;      /* at most so many tiles; two or more images in scoring: 6 */
  enum lrl_image_mode mode;
  int64_t max_pixels; /* larger images are an error; 0 = LRL_IMAGE_MAX_PIXELS */
  /* Videos (data/video.h): frames at most, and taken a second; 0 = the official 32 and 1. */
  int64_t video_frames;
  double video_fps;
};

/* Both functions of *ops may then be called by any number of threads; each call borrows buffers
 * that are kept for the next. grid fails as lrl_image_size or, where the bytes begin as a
 * video does (lrl_video_container), as lrl_video_open and lrl_video_canvas_size; tiles as
 * lrl_image_decode or lrl_video_read. Free with lrl_image_ops_free. LRL_ERR_ARG, LRL_ERR_MEMORY. */
lrl_status lrl_image_ops_init(struct lrl_image_ops *ops,
                              const struct lrl_image_ops_options *options);
void lrl_image_ops_free(struct lrl_image_ops *ops);
#endif
