/* Where the pixels of an image or a video canvas go, as pure functions of sizes (SPEC 3.1 to 3.4,
 * 3.6). All sizes are computed in double, as the official Python does. `tile` is the side of a tile
 * in pixels: 560 officially. */
#ifndef LRL_DATA_IMAGE_GEOMETRY_H
#define LRL_DATA_IMAGE_GEOMETRY_H
#include <stdbool.h>
#include <stdint.h>

enum lrl_image_mode {
  LRL_IMAGE_INFERENCE, /* Image_transform: white below */
  LRL_IMAGE_TRAINING,  /* R560_HD18_Identity_transform: up to 1.5 times wider, white above and below
                        */
  LRL_IMAGE_VIDEO,     /* Video_transform: one row or column of tiles, hd_num is ignored */
};

/* Resize to inner size, placed at (left, top) of a white canvas of whole tiles. The official code
 * transposes images that are higher than wide (x <-> y), works on them and transposes back; all
 * that remains of this is the order of the passes of the resize. */
struct lrl_image_geometry {
  bool rows_first;                   /* see lrl_image_resize */
  int32_t inner_width, inner_height; /* after the resize */
  int32_t left, top;
  int32_t width, height; /* of the canvas */
  int32_t rows, cols;    /* height/tile, width/tile */
};

/* Sizes >= 1; hd_num >= 1: at most so many tiles (not for video). The officially possible height 0
 * of extreme aspect ratios becomes 1. */
struct lrl_image_geometry lrl_image_geometry_of(enum lrl_image_mode mode, int32_t width,
                                                int32_t height, int32_t tile, int32_t hd_num);

/* hd_num of one of n_images in a conversation: scoring forces 6 when there are two or more (SPEC
 * 3.2), training does not. */
int32_t lrl_image_hd_num(enum lrl_image_mode mode, int32_t hd_num, int64_t n_images);
#endif
