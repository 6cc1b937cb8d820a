/* Small encoded images of every kind the decoders know, made with the libraries' own encoders, and
 * the folder of real ones. */
#ifndef IMAGE_FIXTURE_H
#define IMAGE_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/image.h"
#include "kernels/philox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

#ifndef IX_W /* pixels of the made images; a test may want others */
#define IX_W 45
#define IX_H 34
#endif

struct ix_file {
  uint8_t *bytes;
  size_t n;
};

/* Smooth colours with a little noise, so that lossy coding stays close. */
static inline void ix_pixels(uint8_t *rgb) {
  for (int i = 0; i < IX_W * IX_H; i++) {
    int x = i % IX_W, y = i / IX_W;
    rgb[3 * i] = (uint8_t)(5 * x + y % 3);
    rgb[3 * i + 1] = (uint8_t)(255 - 6 * y);
    rgb[3 * i + 2] = (uint8_t)(2 * x + 3 * y + x % 2);
  }
}

/* samples: 1 gray, 3 RGB, 4 CMYK as Adobe stores it. */
static inline struct ix_file ix_jpeg(const uint8_t *in, int samples, int quality,
                                     bool progressive) {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr e;
  struct ix_file f = {NULL, 0};
  unsigned long n = 0;
  c.err = jpeg_std_error(&e);
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, &f.bytes, &n);
  c.image_width = IX_W;
  c.image_height = IX_H;
  c.input_components = samples;
  c.in_color_space = samples == 1 ? JCS_GRAYSCALE : samples == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, quality, TRUE);
  if (progressive)
    jpeg_simple_progression(&c);
  for (int i = 0; i < samples; i++) /* no subsampling */
    c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
  jpeg_start_compress(&c, TRUE);
  for (int y = 0; y < IX_H; y++) {
    uint8_t row[IX_W * 4];
    memcpy(row, in + y * IX_W * samples, (size_t)(IX_W * samples));
    JSAMPROW p = row;
    jpeg_write_scanlines(&c, &p, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  f.n = n;
  return f;
}

static inline void ix_append(png_structp png, png_bytep data, png_size_t n) {
  struct ix_file *f = png_get_io_ptr(png);
  f->bytes = realloc(f->bytes, f->n + n);
  memcpy(f->bytes + f->n, data, n);
  f->n += n;
}
static inline void ix_flush(png_structp png) { (void)png; }

/* rows [IX_H][row_bytes] in PNG's own sample order; palette of n_colors or NULL. */
static inline struct ix_file ix_png(const uint8_t *rows, size_t row_bytes, int depth, int color,
                                    bool interlaced, png_color *palette, int n_colors) {
  struct ix_file f = {NULL, 0};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &f, ix_append, ix_flush);
  png_set_check_for_invalid_index(png, -1); /* colours past the palette are wanted */
  png_set_IHDR(png, info, IX_W, IX_H, depth, color,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
               PNG_FILTER_TYPE_BASE);
  if (palette != NULL)
    png_set_PLTE(png, info, palette, n_colors);
  png_bytep row[IX_H];
  for (int y = 0; y < IX_H; y++)
    row[y] = (png_bytep)(uintptr_t)(rows + (size_t)y * row_bytes);
  png_set_rows(png, info, row);
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
  png_destroy_write_struct(&png, &info);
  return f;
}

/* with_alpha: every alpha is 128, the colours below stay. */
static inline struct ix_file ix_webp(const uint8_t *rgb, bool lossless, bool with_alpha) {
  uint8_t *rgba = malloc((size_t)IX_W * IX_H * 4), *out = NULL;
  for (int i = 0; i < IX_W * IX_H; i++) {
    memcpy(rgba + 4 * i, rgb + 3 * i, 3);
    rgba[4 * i + 3] = with_alpha ? 128 : 255;
  }
  struct ix_file f;
  size_t n = with_alpha ? WebPEncodeLosslessRGBA(rgba, IX_W, IX_H, 4 * IX_W, &out)
             : lossless ? WebPEncodeLosslessRGB(rgb, IX_W, IX_H, 3 * IX_W, &out)
                        : WebPEncodeRGB(rgb, IX_W, IX_H, 3 * IX_W, 90, &out);
  f = (struct ix_file){malloc(n), n}; /* so that all are freed alike */
  memcpy(f.bytes, out, n);
  WebPFree(out);
  free(rgba);
  return f;
}

/* One of each, for damaging. Returns how many. */
static inline int ix_all(struct ix_file *out) {
  uint8_t rgb[IX_W * IX_H * 3], wide[IX_W * IX_H * 8];
  ix_pixels(rgb);
  for (size_t i = 0; i < sizeof wide; i++)
    wide[i] = rgb[i % sizeof rgb];
  png_color palette[16];
  memcpy(palette, rgb, sizeof palette);
  int n = 0;
  out[n++] = ix_jpeg(rgb, 3, 90, false);
  out[n++] = ix_jpeg(rgb, 3, 80, true);
  out[n++] = ix_jpeg(rgb, 1, 80, false);
  out[n++] = ix_jpeg(wide, 4, 80, false);
  out[n++] = ix_png(rgb, IX_W * 3, 8, PNG_COLOR_TYPE_RGB, false, NULL, 0);
  out[n++] = ix_png(wide, IX_W * 8, 16, PNG_COLOR_TYPE_RGB_ALPHA, true, NULL, 0);
  out[n++] = ix_png(wide, (IX_W + 1) / 2, 4, PNG_COLOR_TYPE_PALETTE, true, palette, 9);
  out[n++] = ix_png(wide, IX_W * 2, 16, PNG_COLOR_TYPE_GRAY, false, NULL, 0);
  out[n++] = ix_webp(rgb, false, false);
  out[n++] = ix_webp(rgb, true, false);
  out[n++] = ix_webp(rgb, true, true);
  return n;
}

/* "$LAUREL_ASSETS/name" or ../shared/assets beside the source tree; NULL after a SKIP line when it
 * is not there. */
static inline const char *ix_asset(const char *name) {
  static char path[4][700];
  static int turn;
  const char *root = getenv("LAUREL_ASSETS"), *tree = getenv("LAUREL_SOURCE");
  turn = (turn + 1) % 4;
  if (root != NULL)
    snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
  else
    snprintf(path[turn], sizeof path[turn], "%s/../shared/assets/%s", tree == NULL ? "." : tree,
             name);
  if (access(path[turn], R_OK) == 0)
    return path[turn];
  print_message("SKIP: %s is missing\n", path[turn]);
  return NULL;
}
#endif
