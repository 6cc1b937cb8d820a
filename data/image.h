/* Image files to 8-bit RGB: JPEG (libjpeg-turbo, islow DCT, fancy upsampling), PNG (libpng), WebP
 * (libwebp; the first frame of an animation). The format is told by the first bytes, never by the
 * file's name; GIF, TIFF, BMP and the like are refused by name.
 *
 * The pixels are those of Pillow 9.4's open + convert("RGB"), which the official code uses:
 *   - alpha and transparent colours are dropped, what is stored below them shows;
 *   - 16-bit RGB keeps the high byte, 16-bit gray is clipped at 255 (Pillow's mode "I");
 *   - CMYK JPEGs are taken as Adobe's (inverted), colour profiles and gamma are ignored;
 *   - the EXIF orientation is NOT applied, because the official code does not apply it either.
 * A JPEG that libjpeg decodes with warnings is accepted, as Pillow does. A file that ends before
 * its last pixel is an error in every format; what stands behind the pixels of a PNG is not looked
 * at.
 *
 * Errors of every function: LRL_ERR_FORMAT (damaged, truncated or refused), LRL_ERR_SHAPE (more
 * than max_pixels), LRL_ERR_MEMORY; one sentence each, without a file name. Thread safe. */
#ifndef LRL_DATA_IMAGE_H
#define LRL_DATA_IMAGE_H
#include "data/bytes.h"

/* Where Pillow refuses a "decompression bomb". */
#define LRL_IMAGE_MAX_PIXELS 178956970
/* Longest side, in pixels. */
#define LRL_IMAGE_MAX_SIDE 1000000

struct lrl_image {
  int32_t width, height;
  struct lrl_buffer rgb; /* [height][width][3] */
};

/* Width and height from the file's header; the pixels may still turn out to be damaged. */
lrl_status lrl_image_size(const void *bytes, size_t n_bytes, int64_t max_pixels, int32_t *width,
                          int32_t *height);
/* Decodes into `out`, which starts from {0}, is reused and is freed with lrl_image_free. */
lrl_status lrl_image_decode(const void *bytes, size_t n_bytes, int64_t max_pixels,
                            struct lrl_image *out);
void lrl_image_free(struct lrl_image *image);
/* Sets the size and makes room; the pixels are undefined. */
lrl_status lrl_image_resize_buffer(struct lrl_image *image, int32_t width, int32_t height);

#endif
