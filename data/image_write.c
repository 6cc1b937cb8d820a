#include "data/image_write.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

static lrl_status close_file(FILE *f, const char *path, lrl_status status) {
  if (fclose(f) != 0 && status == LRL_OK)
    status = LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  return status;
}

lrl_status lrl_png_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height) {
  png_image image = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_RGB,
                     .flags = PNG_IMAGE_FLAG_FAST};
  FILE *f = fopen(path, "wb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  lrl_status status = LRL_OK;
  if (!png_image_write_to_stdio(&image, f, 0, rgb, 0, NULL))
    status = LRL_FAIL(LRL_ERR_LIB, "cannot write %s: %s", path, image.message);
  png_image_free(&image);
  return close_file(f, path, status);
}

/* libjpeg leaves through longjmp; its default would end the program. */
struct jpeg_failure {
  struct jpeg_error_mgr mgr;
  jmp_buf jump;
  char text[JMSG_LENGTH_MAX];
};

static void jpeg_failed(j_common_ptr info) {
  struct jpeg_failure *e = (struct jpeg_failure *)(void *)info->err;
  e->mgr.format_message(info, e->text);
  longjmp(e->jump, 1);
}

lrl_status lrl_jpeg_put(FILE *f, const char *path, const uint8_t *rgb, int32_t width,
                        int32_t height, int quality) {
  struct jpeg_compress_struct c;
  struct jpeg_failure e;
  c.err = jpeg_std_error(&e.mgr);
  e.mgr.error_exit = jpeg_failed;
  if (setjmp(e.jump) != 0) {
    jpeg_destroy_compress(&c);
    return LRL_FAIL(LRL_ERR_LIB, "cannot write %s: %s", path, e.text);
  }
  jpeg_create_compress(&c);
  jpeg_stdio_dest(&c, f);
  c.image_width = (JDIMENSION)width;
  c.image_height = (JDIMENSION)height;
  c.input_components = 3;
  c.in_color_space = JCS_RGB;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, quality, TRUE);
  c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(&c, TRUE);
  while (c.next_scanline < c.image_height) {
    union {
      const uint8_t *in;
      JSAMPROW out;
    } row = {.in = rgb + (size_t)c.next_scanline * (size_t)width * 3}; /* libjpeg only reads it */
    jpeg_write_scanlines(&c, &row.out, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  return LRL_OK;
}

lrl_status lrl_jpeg_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height,
                          int quality) {
  FILE *f = fopen(path, "wb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  return close_file(f, path, lrl_jpeg_put(f, path, rgb, width, height, quality));
}
