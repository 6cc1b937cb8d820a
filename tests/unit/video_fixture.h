/* Small videos made with FFmpeg's own encoders and muxers, whose pixels and times are known. */
#ifndef VIDEO_FIXTURE_H
#define VIDEO_FIXTURE_H
#include "image_fixture.h"

#include "data/video.h"
#include "data/video_decode.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>

struct vx_video {
  const char *format, *codec; /* of FFmpeg: "matroska", "png"; codec "none": no video, sound */
  enum AVPixelFormat pixels;
  int width, height, n, gop, b_frames;
  int light;            /* added to the luma of YUV, at most 100 */
  const int64_t *times; /* [n] in 1/25 s, or NULL: 0, 1, 2, ... */
  double rotation;      /* degrees clockwise; 0: none */
};

/* Value of frame k at (x, y): smooth, and different in every frame. */
static inline uint8_t vx_pixel(int k, int x, int y, int c) {
  return (uint8_t)(20 + 9 * k + (c == 0 ? 3 * x : c == 1 ? 2 * y : x + y));
}

/* Sample of planar YUV with half chroma, in its plane. */
static inline int vx_sample(int k, int x, int y, int c, int light) {
  return c == 0 ? 20 + light + (5 * k + 2 * x + y) % 100
                : 64 + (5 * k + 4 * x + 2 * (c + 1) * y) % 100;
}

/* RGB24 holds vx_pixel; planar YUV vx_sample, of 10 bits 4 times that. */
static inline void vx_fill(AVFrame *f, int k, int light) {
  for (int c = 0; c < 3; c++) {
    const int half = f->format != AV_PIX_FMT_RGB24 && c > 0;
    for (int y = 0; y < (half ? (f->height + 1) / 2 : f->height); y++)
      for (int x = 0; x < (half ? (f->width + 1) / 2 : f->width); x++) {
        uint8_t *row = f->data[f->format == AV_PIX_FMT_RGB24 ? 0 : c] +
                       (ptrdiff_t)y * f->linesize[f->format == AV_PIX_FMT_RGB24 ? 0 : c];
        if (f->format == AV_PIX_FMT_RGB24)
          row[3 * x + c] = vx_pixel(k, x, y, c);
        else if (f->format == AV_PIX_FMT_YUV420P10LE)
          ((uint16_t *)(void *)row)[x] = (uint16_t)(4 * vx_sample(k, x, y, c, light));
        else
          row[x] = (uint8_t)vx_sample(k, x, y, c, light);
      }
  }
}

#define VX_OK(call) assert_true((call) >= 0)

static inline void vx_write(AVFormatContext *f, AVCodecContext *c, AVStream *s, AVFrame *frame,
                            AVPacket *p) {
  VX_OK(avcodec_send_frame(c, frame));
  while (avcodec_receive_packet(c, p) >= 0) {
    p->duration = 1; /* else the last frame is cut off */
    av_packet_rescale_ts(p, c->time_base, s->time_base);
    p->stream_index = s->index;
    VX_OK(av_interleaved_write_frame(f, p));
  }
}

static inline AVCodecContext *vx_codec(const struct vx_video *v, const AVFormatContext *f) {
  const AVCodec *codec = avcodec_find_encoder_by_name(v->codec);
  assert_non_null(codec);
  AVCodecContext *c = avcodec_alloc_context3(codec);
  c->width = v->width;
  c->height = v->height;
  c->pix_fmt = v->pixels;
  c->time_base = (AVRational){1, 25};
  c->framerate = (AVRational){25, 1};
  c->gop_size = v->gop > 0 ? v->gop : 12;
  c->max_b_frames = v->b_frames;
  c->thread_count = 1;
  c->flags |= AV_CODEC_FLAG_BITEXACT;
  if ((f->oformat->flags & AVFMT_GLOBALHEADER) != 0)
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  VX_OK(avcodec_open2(c, codec, NULL));
  return c;
}

static inline void vx_frames(const struct vx_video *v, AVFormatContext *f, AVCodecContext *c,
                             AVStream *s) {
  AVFrame *frame = av_frame_alloc();
  AVPacket *p = av_packet_alloc();
  frame->format = v->pixels;
  frame->width = v->width;
  frame->height = v->height;
  VX_OK(av_frame_get_buffer(frame, 0));
  for (int k = 0; k < v->n; k++) {
    VX_OK(av_frame_make_writable(frame));
    vx_fill(frame, k, v->light);
    frame->pts = v->times != NULL ? v->times[k] : k;
    vx_write(f, c, s, frame, p);
  }
  vx_write(f, c, s, NULL, p);
  av_frame_free(&frame);
  av_packet_free(&p);
}

/* The file's bytes; free() them. */
static inline struct ix_file vx_make(const struct vx_video *v) {
  AVFormatContext *f = NULL;
  AVCodecContext *c = NULL;
  struct ix_file out = {0};
  char *bytes = NULL;
  av_log_set_level(AV_LOG_QUIET);
  VX_OK(avformat_alloc_output_context2(&f, NULL, v->format, NULL));
  f->flags |= AVFMT_FLAG_BITEXACT;
  char path[] = "/tmp/laurel_video_XXXXXX"; /* muxers seek, and not all in memory do it right */
  const int handle = mkstemp(path);
  VX_OK(handle);
  close(handle);
  VX_OK(avio_open(&f->pb, path, AVIO_FLAG_WRITE));
  AVStream *s = avformat_new_stream(f, NULL);
  s->time_base = (AVRational){1, 25};
  if (strcmp(v->codec, "none") != 0) {
    c = vx_codec(v, f);
    VX_OK(avcodec_parameters_from_context(s->codecpar, c));
    if (v->rotation != 0)
      av_display_rotation_set((int32_t *)(void *)av_stream_new_side_data(
                                  s, AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof(int32_t)),
                              v->rotation);
  } else {
    s->codecpar->codec_type = AVMEDIA_TYPE_AUDIO;
    s->codecpar->codec_id = AV_CODEC_ID_PCM_S16LE;
    s->codecpar->sample_rate = 8000;
    s->codecpar->bits_per_coded_sample = 16;
    av_channel_layout_default(&s->codecpar->ch_layout, 1);
  }
  VX_OK(avformat_write_header(f, NULL));
  if (c != NULL) {
    vx_frames(v, f, c, s);
  } else {
    AVPacket *p = av_packet_alloc();
    VX_OK(av_new_packet(p, 1600));
    memset(p->data, 0, 1600);
    p->pts = p->dts = 0;
    VX_OK(av_interleaved_write_frame(f, p));
    av_packet_free(&p);
  }
  VX_OK(av_write_trailer(f));
  VX_OK(avio_closep(&f->pb));
  assert_int_equal(lrl_file_read_raw(path, &bytes, &out.n), LRL_OK);
  out.bytes = (uint8_t *)bytes;
  unlink(path);
  avcodec_free_context(&c);
  avformat_free_context(f);
  return out;
}

enum { VX_LIMIT = 1 << 21 }; /* pixels; keeps a lying header from taking seconds */

static inline struct lrl_video *vx_open(struct ix_file f, struct lrl_video_info *info) {
  struct lrl_video *v;
  if (lrl_video_open(f.bytes, f.n, VX_LIMIT, &v) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  lrl_video_get_info(v, info);
  return v;
}

/* Collects frames one below the other. */
struct vx_frames_read {
  struct lrl_buffer pixels;
  size_t n_bytes;
  int64_t n;
};
static inline lrl_status vx_collect(void *user, const struct lrl_image *frame) {
  struct vx_frames_read *f = user;
  const size_t n = 3 * (size_t)frame->width * (size_t)frame->height;
  LRL_TRY(lrl_buffer_reserve(&f->pixels, f->n_bytes + n));
  memcpy((char *)f->pixels.data + f->n_bytes, frame->rgb.data, n);
  f->n_bytes += n;
  f->n++;
  return LRL_OK;
}

static inline const uint8_t *vx_at(const struct lrl_image *im, int x, int y) {
  return (const uint8_t *)im->rgb.data + 3 * ((ptrdiff_t)y * im->width + x);
}
#endif
