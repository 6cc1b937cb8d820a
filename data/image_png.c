#include "data/image.h"
#include "data/image_codec.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { IDAT = 0x49444154 };

struct reader {
  png_structp png;
  png_infop info;
  const uint8_t *bytes;
  size_t left;
  jmp_buf out;
  bool has_rows; /* all of them are decoded and only png_read_end is left */
  bool truncated;
  char message[120];
};

static void on_error(png_structp png, png_const_charp text) {
  struct reader *r = png_get_error_ptr(png);
  snprintf(r->message, sizeof r->message, "%s", text);
  longjmp(r->out, 1);
}
static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void read_bytes(png_structp png, png_bytep out, png_size_t n) {
  struct reader *r = png_get_io_ptr(png);
  if (n > r->left) {
    r->truncated = true;
    png_error(png, "truncated");
  }
  memcpy(out, r->bytes, n);
  r->bytes += n;
  r->left -= n;
}

static lrl_status damaged(const struct reader *r) {
  if (r->truncated)
    return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is truncated");
  return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is damaged: %s", r->message);
}

/* As in Pillow, a damaged chunk behind the pixel stream does no harm unless it claims to be more of
 * the stream. libpng ends the stream, checks included, with the last row. */
static bool only_the_tail_is_damaged(const struct reader *r) {
  return r->has_rows && png_get_io_chunk_type(r->png) != IDAT;
}

static uint32_t be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* As Pillow, insists on the checksums of the chunks in front of the pixels and on no others (the
 * pixel stream has its own), and stops there. */
static lrl_status size(const uint8_t *bytes, size_t n, int64_t *width, int64_t *height) {
  for (size_t at = 8;;) {
    if (n - at < 12)
      return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is truncated");
    const uint8_t *chunk = bytes + at;
    uint32_t length = be32(chunk);
    if (at == 8 && (length != 13 || memcmp(chunk + 4, "IHDR", 4) != 0))
      return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is damaged: it does not begin with IHDR");
    if (memcmp(chunk + 4, "IDAT", 4) == 0)
      return LRL_OK;
    if (n - at - 12 < length)
      return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is truncated");
    if (be32(chunk + 8 + length) != crc32(0, chunk + 4, length + 4))
      return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is damaged: a chunk's checksum is wrong");
    if (memcmp(chunk + 4, "IEND", 4) == 0)
      return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image is damaged: it has no pixel data");
    if (at == 8) {
      *width = be32(chunk + 8);
      *height = be32(chunk + 12);
    }
    at += 12 + (size_t)length;
  }
}

/* Rows as libpng gives them after this: palette 1 byte a pixel, 16-bit gray 2, all else RGB. */
static void set_transforms(struct reader *r, int color, int depth) {
  if (color == PNG_COLOR_TYPE_PALETTE)
    png_set_packing(r->png);
  else if (color != PNG_COLOR_TYPE_GRAY || depth < 16) {
    png_set_strip_16(r->png);
    png_set_strip_alpha(r->png);
    png_set_expand_gray_1_2_4_to_8(r->png);
    png_set_gray_to_rgb(r->png);
  }
}

/* Both widen a row in place, from its end. */
static void widen_palette(const struct reader *r, int32_t width, uint8_t *row) {
  png_colorp colors = NULL;
  int n = 0;
  png_get_PLTE(r->png, r->info, &colors, &n);
  for (int64_t x = width - 1; x >= 0; x--) {
    uint8_t i = row[x];
    const png_color gray = {i, i, i}, *p = i < n ? &colors[i] : &gray; /* Pillow beyond the end */
    row[3 * x] = p->red;
    row[3 * x + 1] = p->green;
    row[3 * x + 2] = p->blue;
  }
}
static void widen_gray16(int32_t width, uint8_t *row) {
  for (int64_t x = width - 1; x >= 0; x--)
    memset(row + 3 * x, row[2 * x] != 0 ? 255 : row[2 * x + 1], 3);
}

static lrl_status read_pixels(struct reader *r, int32_t width, int32_t height, uint8_t *rgb) {
  png_read_info(r->png, r->info);
  int color = png_get_color_type(r->png, r->info), depth = png_get_bit_depth(r->png, r->info);
  if (png_get_image_width(r->png, r->info) != (png_uint_32)width ||
      png_get_image_height(r->png, r->info) != (png_uint_32)height)
    return LRL_FAIL(LRL_ERR_FORMAT, "the PNG image has two sizes");
  set_transforms(r, color, depth);
  int passes = png_set_interlace_handling(r->png);
  png_read_update_info(r->png, r->info);
  LRL_ASSERT(png_get_rowbytes(r->png, r->info) <= 3 * (size_t)width);
  int64_t row_bytes = 3 * (int64_t)width;
  for (int p = 0; p < passes; p++)
    for (int64_t y = 0; y < height; y++)
      png_read_row(r->png, rgb + y * row_bytes, NULL);
  for (int64_t y = 0; y < height; y++)
    if (color == PNG_COLOR_TYPE_PALETTE)
      widen_palette(r, width, rgb + y * row_bytes);
    else if (color == PNG_COLOR_TYPE_GRAY && depth == 16)
      widen_gray16(width, rgb + y * row_bytes);
  r->has_rows = true;
  if (r->left >= 8) /* room for a chunk's head */
    png_read_end(r->png, NULL);
  return LRL_OK;
}

/* Must be called below a setjmp(r->out). */
static lrl_status begin(struct reader *r) {
  r->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_error, on_warning);
  r->info = r->png == NULL ? NULL : png_create_info_struct(r->png);
  if (r->info == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to decode a PNG image");
  png_set_read_fn(r->png, r, read_bytes);
  png_set_user_limits(r->png, LRL_IMAGE_MAX_SIDE, LRL_IMAGE_MAX_SIDE);
  png_set_crc_action(r->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  /* No metadata: it changes no pixel and could unpack to gigabytes. */
  png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_set_option(r->png, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);
  return LRL_OK;
}

/* libpng's errors come back to the setjmp, so nothing of this frame may change after it. */
static lrl_status guarded(struct reader *r, int32_t width, int32_t height, uint8_t *rgb) {
  if (setjmp(r->out) != 0)
    return only_the_tail_is_damaged(r) ? LRL_OK : damaged(r);
  LRL_TRY(begin(r));
  return read_pixels(r, width, height, rgb);
}

static lrl_status decode(const uint8_t *bytes, size_t n, int32_t width, int32_t height,
                         uint8_t *rgb) {
  struct reader r = {.bytes = bytes, .left = n};
  lrl_status status = guarded(&r, width, height, rgb);
  png_destroy_read_struct(&r.png, &r.info, NULL);
  return status;
}

const struct lrl_image_codec lrl_image_png = {"PNG", size, decode};
