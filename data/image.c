#include "data/image.h"

#include "data/image_codec.h"

#include <string.h>

/* First bytes of what people put where an image should be. */
static const struct {
  const char *magic;
  size_t at, n;
  const char *what;
} refused[] = {
    {"GIF8", 0, 4, "a GIF image"},
    {"BM", 0, 2, "a BMP image"},
    {"II*\0", 0, 4, "a TIFF image"},
    {"MM\0*", 0, 4, "a TIFF image"},
    {"8BPS", 0, 4, "a Photoshop file"},
    {"\0\0\1\0", 0, 4, "a Windows icon"},
    {"\0\0\0\14jP  ", 0, 8, "a JPEG 2000 image"},
    {"\xff\x4f\xff\x51", 0, 4, "a JPEG 2000 image"},
    {"\xff\x0a", 0, 2, "a JPEG XL image"},
    {"\0\0\0\14JXL ", 0, 8, "a JPEG XL image"},
    {"ftypavif", 4, 8, "an AVIF image"},
    {"ftypavis", 4, 8, "an AVIF image"},
    {"ftyphe", 4, 6, "a HEIF image"},
    {"ftypmif1", 4, 8, "a HEIF image"},
    {"ftyp", 4, 4, "an MP4 or QuickTime file"},
    {"\x1a\x45\xdf\xa3", 0, 4, "a Matroska or WebM video"},
    {"AVI ", 8, 4, "an AVI video"},
    {"%PDF", 0, 4, "a PDF document"},
    {"PK\3\4", 0, 4, "a ZIP archive"},
    {"\x1f\x8b", 0, 2, "a gzip file"},
    {"<svg", 0, 4, "an SVG drawing"},
    {"<?xml", 0, 5, "an XML file"},
    {"<!DOCTYPE", 0, 9, "an HTML page"},
    {"<!doctype", 0, 9, "an HTML page"},
    {"<html", 0, 5, "an HTML page"},
    {"version https://git-lfs", 0, 23, "a Git LFS pointer, whose content was not fetched"},
};

static const char *what_it_is(const uint8_t *b, size_t n) {
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
    if (n >= refused[i].at + refused[i].n &&
        memcmp(b + refused[i].at, refused[i].magic, refused[i].n) == 0)
      return refused[i].what;
  if (n >= 3 && b[0] == 'P' && b[1] >= '1' && b[1] <= '7' && (b[2] == '\n' || b[2] == ' '))
    return "a PNM image";
  return NULL;
}

static lrl_status sniff(const uint8_t *b, size_t n, const struct lrl_image_codec **out) {
  if (n == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the image file is empty");
  *out = NULL;
  if (n >= 3 && memcmp(b, "\xff\xd8\xff", 3) == 0)
    *out = &lrl_image_jpeg;
  else if (n >= 8 && memcmp(b, "\x89PNG\r\n\x1a\n", 8) == 0)
    *out = &lrl_image_png;
  else if (n >= 12 && memcmp(b, "RIFF", 4) == 0 && memcmp(b + 8, "WEBP", 4) == 0)
    *out = &lrl_image_webp;
  if (*out != NULL)
    return LRL_OK;
  const char *what = what_it_is(b, n);
  if (what != NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "the file is %s; convert it to JPEG, PNG or WebP", what);
  return LRL_FAIL(LRL_ERR_FORMAT, "the file is no JPEG, PNG or WebP image");
}

static lrl_status sized(const uint8_t *b, size_t n, int64_t max_pixels,
                        const struct lrl_image_codec **codec, int32_t *width, int32_t *height) {
  int64_t w = 0, h = 0;
  LRL_TRY(sniff(b, n, codec));
  LRL_TRY((*codec)->size(b, n, &w, &h));
  if (w < 1 || h < 1)
    return LRL_FAIL(LRL_ERR_FORMAT, "the %s image has no pixels", (*codec)->name);
  if (w > LRL_IMAGE_MAX_SIDE || h > LRL_IMAGE_MAX_SIDE || w > max_pixels / h)
    return LRL_FAIL(LRL_ERR_SHAPE, "the image claims %lld x %lld pixels, more than the limit %lld",
                    (long long)w, (long long)h, (long long)max_pixels);
  *width = (int32_t)w;
  *height = (int32_t)h;
  return LRL_OK;
}

lrl_status lrl_image_size(const void *bytes, size_t n_bytes, int64_t max_pixels, int32_t *width,
                          int32_t *height) {
  const struct lrl_image_codec *codec;
  return sized(bytes, n_bytes, max_pixels, &codec, width, height);
}

lrl_status lrl_image_resize_buffer(struct lrl_image *image, int32_t width, int32_t height) {
  LRL_TRY(lrl_buffer_reserve(&image->rgb, (size_t)width * (size_t)height * 3));
  image->width = width;
  image->height = height;
  return LRL_OK;
}

lrl_status lrl_image_decode(const void *bytes, size_t n_bytes, int64_t max_pixels,
                            struct lrl_image *out) {
  const struct lrl_image_codec *codec;
  int32_t w, h;
  LRL_TRY(sized(bytes, n_bytes, max_pixels, &codec, &w, &h));
  LRL_TRY(lrl_image_resize_buffer(out, w, h));
  return codec->decode(bytes, n_bytes, w, h, out->rgb.data);
}

void lrl_image_free(struct lrl_image *image) {
  lrl_buffer_free(&image->rgb);
  image->width = image->height = 0;
}
