#include "data/image_codec.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */

#include <jerror.h>
#include <jpeglib.h>

/* A progressive file of some kilobytes can ask for thousands of passes over a huge image; real
 * encoders write a dozen. */
enum { MAX_SCANS = 100 };

struct reader {
  struct jpeg_decompress_struct cinfo;
  struct jpeg_error_mgr err;
  struct jpeg_source_mgr src;
  struct jpeg_progress_mgr progress;
  jmp_buf out;
  char message[JMSG_LENGTH_MAX];
};

static void on_error(j_common_ptr c) {
  struct reader *r = c->client_data;
  r->err.format_message(c, r->message);
  longjmp(r->out, 1);
}
/* Damaged entropy-coded data only warns, and Pillow keeps such images; so do we. */
static void on_message(j_common_ptr c, int level) { (void)c, (void)level; }
static void on_progress(j_common_ptr c) {
  struct reader *r = c->client_data;
  if (r->cinfo.input_scan_number > MAX_SCANS) {
    snprintf(r->message, sizeof r->message, "more than %d scans", MAX_SCANS);
    longjmp(r->out, 1);
  }
}

static void no_op(j_decompress_ptr c) { (void)c; }
/* The whole file is in memory: asking for more means that it ends early, and libjpeg suspends. */
static boolean at_end(j_decompress_ptr c) {
  (void)c;
  return FALSE;
}
static void skip(j_decompress_ptr c, long n) {
  size_t left = c->src->bytes_in_buffer, step = n < 0 ? 0 : (size_t)n < left ? (size_t)n : left;
  c->src->next_input_byte += step;
  c->src->bytes_in_buffer = left - step;
}

static lrl_status truncated(void) {
  return LRL_FAIL(LRL_ERR_FORMAT, "the JPEG image is truncated");
}

/* Must be called below a setjmp(r->out). */
static void begin(struct reader *r, const uint8_t *bytes, size_t n) {
  jpeg_create_decompress(&r->cinfo);
  r->src = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                    .bytes_in_buffer = n,
                                    .init_source = no_op,
                                    .fill_input_buffer = at_end,
                                    .skip_input_data = skip,
                                    .resync_to_restart = jpeg_resync_to_restart,
                                    .term_source = no_op};
  r->progress = (struct jpeg_progress_mgr){.progress_monitor = on_progress};
  r->cinfo.src = &r->src;
  r->cinfo.progress = &r->progress;
}

static lrl_status read_header(struct reader *r) {
  int got;
  do
    got = jpeg_read_header(&r->cinfo, FALSE);
  while (got == JPEG_HEADER_TABLES_ONLY);
  if (got == JPEG_SUSPENDED)
    return truncated();
  if (r->cinfo.data_precision != 8)
    return LRL_FAIL(LRL_ERR_FORMAT, "the JPEG image has %d bits a sample; only 8 are supported",
                    r->cinfo.data_precision);
  int n = r->cinfo.num_components;
  if (n != 1 && n != 3 && n != 4)
    return LRL_FAIL(LRL_ERR_FORMAT, "the JPEG image has %d components instead of 1, 3 or 4", n);
  return LRL_OK;
}

/* Pillow's cmyk2rgb after its inversion "CMYK;I": stored values are 255 - ink. */
static void from_cmyk(const JSAMPLE *in, int64_t width, uint8_t *out) {
  for (int64_t x = 0; x < width; x++, in += 4, out += 3)
    for (int c = 0; c < 3; c++) {
      int k = in[3], t = (255 - in[c]) * k + 128;
      out[c] = (uint8_t)(k - (((t >> 8) + t) >> 8));
    }
}

static lrl_status read_pixels(struct reader *r, int64_t width, int64_t height, uint8_t *rgb) {
  j_decompress_ptr c = &r->cinfo;
  if (c->image_width != (JDIMENSION)width || c->image_height != (JDIMENSION)height)
    return LRL_FAIL(LRL_ERR_FORMAT, "the JPEG image has two sizes");
  bool cmyk = c->num_components == 4;
  c->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  c->dct_method = JDCT_ISLOW;
  c->do_fancy_upsampling = TRUE;
  if (!jpeg_start_decompress(c))
    return truncated();
  JSAMPARRAY ink =
      cmyk ? c->mem->alloc_sarray((j_common_ptr)c, JPOOL_IMAGE, 4 * (JDIMENSION)width, 1) : NULL;
  for (int64_t y = 0; y < height; y++) {
    JSAMPROW row = cmyk ? ink[0] : rgb + y * width * 3;
    if (jpeg_read_scanlines(c, &row, 1) != 1)
      return truncated();
    if (cmyk)
      from_cmyk(row, width, rgb + y * width * 3);
  }
  jpeg_finish_decompress(c); /* suspends when only the end marker is missing: no harm */
  return LRL_OK;
}

/* The size into *width, *height when rgb is NULL, else the pixels. libjpeg's errors come back to
 * the setjmp, so nothing of this frame may change after it. */
static lrl_status guarded(struct reader *r, const uint8_t *bytes, size_t n, int64_t *width,
                          int64_t *height, uint8_t *rgb) {
  if (setjmp(r->out) != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the JPEG image is damaged: %s", r->message);
  begin(r, bytes, n);
  LRL_TRY(read_header(r));
  if (rgb != NULL)
    return read_pixels(r, *width, *height, rgb);
  *width = r->cinfo.image_width;
  *height = r->cinfo.image_height;
  return LRL_OK;
}

static lrl_status run(const uint8_t *bytes, size_t n, int64_t *width, int64_t *height,
                      uint8_t *rgb) {
  struct reader r = {0};
  r.cinfo.err = jpeg_std_error(&r.err);
  r.err.error_exit = on_error;
  r.err.emit_message = on_message;
  r.cinfo.client_data = &r;
  lrl_status status = guarded(&r, bytes, n, width, height, rgb);
  jpeg_destroy_decompress(&r.cinfo);
  return status;
}

static lrl_status size(const uint8_t *bytes, size_t n, int64_t *width, int64_t *height) {
  return run(bytes, n, width, height, NULL);
}

static lrl_status decode(const uint8_t *bytes, size_t n, int32_t width, int32_t height,
                         uint8_t *rgb) {
  int64_t w = width, h = height;
  return run(bytes, n, &w, &h, rgb);
}

const struct lrl_image_codec lrl_image_jpeg = {"JPEG", size, decode};
