#include "data/video_impl.h"

#include <libavutil/display.h>
#include <libswscale/swscale.h>
#include <math.h>

int lrl_video_turns(const AVStream *s) {
  size_t n = 0;
  const uint8_t *matrix = av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &n);
  if (matrix == NULL || n < 9 * sizeof(int32_t))
    return 0;
  const double quarters = -av_display_rotation_get((const int32_t *)(const void *)matrix) / 90;
  if (!isfinite(quarters) || fabs(quarters - round(quarters)) > 0.01)
    return 0; /* as decord, whose filters turn by quarters only */
  return (int)((lround(quarters) % 4 + 4) % 4);
}

void lrl_video_picture_free(struct lrl_video_picture *p) {
  sws_freeContext(p->sws);
  av_frame_free(&p->rgb);
  lrl_image_free(&p->image);
  p->sws = NULL;
}

/* swscale's assembler writes whole vectors: it needs the padded rows of a frame of its own. */
static lrl_status make_room(struct lrl_video_picture *p) {
  if (p->rgb != NULL)
    return LRL_OK;
  p->rgb = av_frame_alloc();
  if (p->rgb != NULL) {
    p->rgb->format = AV_PIX_FMT_RGB24;
    p->rgb->width = p->width + 1; /* convert says what for */
    p->rgb->height = p->height;
  }
  return p->rgb != NULL && av_frame_get_buffer(p->rgb, 0) >= 0
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_MEMORY, "no memory for a video frame of %d x %d pixels", p->width,
                        p->height);
}

/* Planar YUV of 8 bits and half chroma goes another way through swscale than everything else, when
 * the height is even: chroma of the nearest sample instead of the bilinear filter that decord's
 * FFmpeg has for a default. */
static bool takes_nearest(const struct lrl_video_picture *p, const AVFrame *f) {
  static const enum AVPixelFormat formats[] = {AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUVJ420P,
                                               AV_PIX_FMT_YUVA420P, AV_PIX_FMT_YUV422P,
                                               AV_PIX_FMT_YUVJ422P};
  if (f->width != p->width || f->height != p->height || p->height % 2 != 0 ||
      (f->width % 2 != 0 && f->linesize[0] <= f->width))
    return false;
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (f->format == (int)formats[i])
      return true;
  return false;
}

/* Frames of another size than the first are brought to it, as decord does. */
static lrl_status convert(struct lrl_video_picture *p, const AVFrame *f) {
  const bool nearest = takes_nearest(p, f);
  /* An odd width with nearest chroma: swscale would spread the samples over it, and not give two
   * columns to each. So it gets the column behind the last, too, which is not looked at afterwards.
   */
  const int more = nearest ? f->width % 2 : 0, filter = nearest ? SWS_POINT : SWS_BILINEAR;
  LRL_TRY(make_room(p));
  p->sws = sws_getCachedContext(p->sws, f->width + more, f->height, f->format, p->width + more,
                                p->height, AV_PIX_FMT_RGB24,
                                filter | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
  if (p->sws == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "the video's pixels (format %d, %d x %d) cannot be converted",
                    f->format, f->width, f->height);
  enum { ONE = 1 << 16 }; /* contrast and saturation, 16.16 */
  sws_setColorspaceDetails(p->sws, sws_getCoefficients((int)f->colorspace),
                           f->color_range == AVCOL_RANGE_JPEG, sws_getCoefficients(SWS_CS_DEFAULT),
                           1, 0, ONE, ONE);
  const int rows = sws_scale(p->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height,
                             p->rgb->data, p->rgb->linesize);
  return rows == p->height ? LRL_OK
                           : LRL_FAIL(LRL_ERR_FORMAT, "a frame of the video cannot be converted");
}

lrl_status lrl_video_picture_take(struct lrl_video_picture *p, const AVFrame *frame) {
  LRL_TRY(convert(p, frame));
  const bool upright = p->turns % 2 == 0;
  const int w = upright ? p->width : p->height, h = upright ? p->height : p->width;
  LRL_TRY(lrl_image_resize_buffer(&p->image, w, h));
  uint8_t *to = p->image.rgb.data;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++, to += 3) {
      const int from_x[4] = {x, y, p->width - 1 - x, p->width - 1 - y},
                from_y[4] = {y, p->height - 1 - x, p->height - 1 - y, x};
      const uint8_t *from = p->rgb->data[0] + (ptrdiff_t)from_y[p->turns] * p->rgb->linesize[0] +
                            3 * (ptrdiff_t)from_x[p->turns];
      to[0] = from[0], to[1] = from[1], to[2] = from[2];
    }
  return LRL_OK;
}
