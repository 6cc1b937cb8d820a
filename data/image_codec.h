/* One decoder per format behind data/image.h. `size` reads the header only; `decode` fills
 * rgb [height][width][3] of the size that `size` gave. Failures carry the format's name. */
#ifndef LRL_DATA_IMAGE_CODEC_H
#define LRL_DATA_IMAGE_CODEC_H
#include "kernels/status.h"

struct lrl_image_codec {
  const char *name;
  lrl_status (*size)(const uint8_t *bytes, size_t n, int64_t *width, int64_t *height);
  lrl_status (*decode)(const uint8_t *bytes, size_t n, int32_t width, int32_t height, uint8_t *rgb);
};
extern const struct lrl_image_codec lrl_image_jpeg, lrl_image_png, lrl_image_webp;
#endif
