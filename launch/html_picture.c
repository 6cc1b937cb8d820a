/* Thumbnails of pictures and videos for pages. */
#include "data/image_resize.h"
#include "data/image_write.h"
#include "data/video.h"
#include "data/video_decode.h"
#include "launch/html.h"

#include <stdlib.h>
#include <string.h>

enum { FRAMES = 3, QUALITY = 85 };

static void put_base64(FILE *f, const unsigned char *p, size_t n) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3) {
    const unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                       (i + 2 < n ? (unsigned)p[i + 2] : 0);
    const char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                          i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '='};
    fwrite(four, 1, 4, f);
  }
}

/* Only smaller: a picture of 56 pixels is shown as it is. */
static lrl_status shrink(const struct lrl_image *in, int32_t side, struct lrl_image *out) {
  const int32_t longer = in->width > in->height ? in->width : in->height;
  const double r = longer > side ? (double)side / longer : 1;
  const int32_t w = (int32_t)(in->width * r), h = (int32_t)(in->height * r);
  struct lrl_buffer scratch = {0};
  const lrl_status s =
      lrl_image_resize(in, w > 0 ? w : 1, h > 0 ? h : 1, LRL_IMAGE_BILINEAR, false, out, &scratch);
  lrl_buffer_free(&scratch);
  return s;
}

/* Frames side by side, which are all of the first one's size. */
struct strip {
  struct lrl_image *out, small;
  int32_t side;
  int64_t n, k;
};

static lrl_status add_frame(void *user, const struct lrl_image *frame) {
  struct strip *s = user;
  LRL_TRY(shrink(frame, s->side, &s->small));
  const int32_t w = s->small.width, h = s->small.height;
  if (s->k == 0)
    LRL_TRY(lrl_image_resize_buffer(s->out, w * (int32_t)s->n, h));
  if (h != s->out->height || w * (int32_t)s->n != s->out->width)
    return LRL_FAIL(LRL_ERR_FORMAT, "the frames of the video differ in size");
  for (int32_t y = 0; y < h; y++)
    memcpy((char *)s->out->rgb.data + ((size_t)y * (size_t)s->n + (size_t)s->k) * (size_t)w * 3,
           (const char *)s->small.rgb.data + (size_t)y * (size_t)w * 3, (size_t)w * 3);
  s->k++;
  return LRL_OK;
}

/* The first frame, one from the middle and the last that is seen. */
static lrl_status video_strip(const char *bytes, size_t n, int32_t side, struct lrl_image *out) {
  struct lrl_video *v;
  struct lrl_video_info info;
  struct strip s = {.out = out, .side = side};
  int64_t frames[FRAMES];
  LRL_TRY(lrl_video_open(bytes, n, LRL_IMAGE_MAX_PIXELS, &v));
  lrl_video_get_info(v, &info);
  for (int64_t i = 0; i < FRAMES; i++) {
    const int64_t at = i * (info.n_frames - 1) / (FRAMES - 1);
    if (s.n == 0 || frames[s.n - 1] != at)
      frames[s.n++] = at;
  }
  const lrl_status status = lrl_video_read(v, frames, s.n, add_frame, &s);
  lrl_video_close(v);
  lrl_image_free(&s.small);
  return status;
}

/* *jpeg is malloc'ed. */
static lrl_status thumbnail(const char *path, int32_t side, struct lrl_image *small, char **jpeg,
                            size_t *n_jpeg) {
  struct lrl_image full = {0};
  char *bytes = NULL;
  size_t n;
  FILE *to = NULL;
  lrl_status status;
  LRL_TRY_GOTO(lrl_file_read_raw(path, &bytes, &n));
  if (lrl_video_container(bytes, n) != NULL) {
    LRL_TRY_GOTO(video_strip(bytes, n, side, small));
  } else {
    LRL_TRY_GOTO(lrl_image_decode(bytes, n, LRL_IMAGE_MAX_PIXELS, &full));
    LRL_TRY_GOTO(shrink(&full, side, small));
  }
  to = open_memstream(jpeg, n_jpeg);
  if (to == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for a picture"));
  status = lrl_jpeg_put(to, path, small->rgb.data, small->width, small->height, QUALITY);
done:
  if (to != NULL && fclose(to) != 0 && status == LRL_OK)
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for a picture");
  lrl_image_free(&full);
  free(bytes);
  return status;
}

void lrl_html_thumbnail(FILE *f, const char *path, int32_t side, const char *alt) {
  struct lrl_image small = {0};
  char *jpeg = NULL;
  size_t n = 0;
  if (thumbnail(path, side, &small, &jpeg, &n) == LRL_OK) {
    fprintf(f, "<img width=\"%d\" height=\"%d\" alt=\"", small.width, small.height);
    lrl_html_text(f, alt);
    fputs("\" src=\"data:image/jpeg;base64,", f);
    put_base64(f, (const unsigned char *)jpeg, n);
    fputs("\">", f);
  } else {
    fputs("<span class=\"none\">no picture: ", f);
    lrl_html_text(f, lrl_last_error());
    fputs("</span>", f);
    lrl_error_clear();
  }
  lrl_image_free(&small);
  free(jpeg);
}
