/* Writes pictures as files. */
#ifndef LRL_DATA_IMAGE_WRITE_H
#define LRL_DATA_IMAGE_WRITE_H
#include "kernels/status.h"

#include <stdio.h>

/* rgb [height][width][3]. The same pixels give the same bytes (with the same libpng, libjpeg and
 * zlib). LRL_ERR_IO names the file; LRL_ERR_LIB repeats the library's complaint. */
lrl_status lrl_png_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height);
/* quality 1..100; colour is not subsampled. */
lrl_status lrl_jpeg_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height,
                          int quality);
/* The same into a stream; `name` is for messages. */
lrl_status lrl_jpeg_put(FILE *f, const char *name, const uint8_t *rgb, int32_t width,
                        int32_t height, int quality);
#endif
