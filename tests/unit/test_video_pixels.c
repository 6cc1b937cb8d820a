/* Sizes, rates, frames and pixels of videos against other programs' and the textbook. */
#include "video_fixture.h"

#include <jansson.h>
#include <libavutil/md5.h>
#include <math.h>

static struct ix_file load(const char *folder, const char *name) {
  char path[1400], *bytes;
  struct ix_file f;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(lrl_file_read_raw(path, &bytes, &f.n), LRL_OK);
  f.bytes = (uint8_t *)bytes;
  return f;
}

/* Sizes, frames and rates as ffprobe saw them. */
static void test_ffprobe(void **state) {
  (void)state;
  const char *folder = ix_asset("video"), *table = ix_asset("video/expected_ffprobe.jsonl");
  if (folder == NULL || table == NULL)
    skip();
  FILE *in = fopen(table, "r");
  char line[2000];
  int n_good = 0, n_refused = 0;
  while (fgets(line, sizeof line, in) != NULL) {
    json_t *want = json_loads(line, 0, NULL);
    const char *frames = json_string_value(json_object_get(want, "nb_read_frames"));
    const char *rate = json_string_value(json_object_get(want, "avg_frame_rate"));
    struct ix_file f = load(folder, json_string_value(json_object_get(want, "file")));
    struct lrl_video_info info;
    if (frames == NULL) {
      struct lrl_video *v;
      assert_int_equal(lrl_video_open(f.bytes, f.n, VX_LIMIT, &v), LRL_ERR_FORMAT);
      lrl_error_clear();
      n_refused++;
    } else {
      struct lrl_video *v = vx_open(f, &info);
      char *end;
      const double above = strtod(rate, &end), below = strtod(end + 1, NULL);
      assert_int_equal(info.width, json_integer_value(json_object_get(want, "width")));
      assert_int_equal(info.height, json_integer_value(json_object_get(want, "height")));
      assert_int_equal(info.n_frames, strtol(frames, NULL, 10));
      assert_true(below == 0 ? info.fps == 1 : fabs(info.fps - above / below) < 1e-9);
      lrl_video_close(v);
      n_good++;
    }
    free(f.bytes);
    json_decref(want);
  }
  fclose(in);
  assert_true(n_good == 9 && n_refused == 3);
}

/* The textbook formula of BT.601 against which swscale's tables are off by up to 3 (measured: 3 on
 * all files here); the worst so far. */
static int off_from(const double yuv[3], const uint8_t *got, int worst) {
  const double l = 255.0 / 219 * (yuv[0] - 16), u = yuv[1] - 128, v = yuv[2] - 128;
  const double rgb[3] = {l + 1.596027 * v, l - 0.391762 * u - 0.812968 * v, l + 2.017232 * u};
  for (int k = 0; k < 3; k++) {
    const int off = abs(got[k] - (int)lround(fmin(fmax(rgb[k], 0), 255)));
    worst = off > worst ? off : worst;
  }
  return worst;
}

/* ---- how chroma of half the size is brought to the size of luma ---- */

static struct ix_file make_yuv(int w, int h, enum AVPixelFormat pixels) {
  const struct vx_video made = {
      .format = "matroska", .codec = "ffv1", .pixels = pixels, .width = w, .height = h, .n = 2};
  return vx_make(&made);
}

static struct vx_frames_read second_frame(struct ix_file f) {
  struct lrl_video_info info;
  struct vx_frames_read got = {0};
  struct lrl_video *v = vx_open(f, &info);
  assert_int_equal(lrl_video_read(v, (int64_t[]){1}, 1, vx_collect, &got), LRL_OK);
  lrl_video_close(v);
  free(f.bytes);
  return got;
}

/* 8 bits and an even height: the nearest sample, also in odd widths. */
static void test_nearest(void **state) {
  (void)state;
  static const int widths[] = {36, 37, 21, 1};
  for (int i = 0; i < 4; i++) {
    const int w = widths[i], h = 24;
    struct vx_frames_read got = second_frame(make_yuv(w, h, AV_PIX_FMT_YUV420P));
    int worst = 0;
    for (int y = 0; y < h; y++)
      for (int x = 0; x < w; x++) {
        const double yuv[3] = {vx_sample(1, x, y, 0, 0), vx_sample(1, x / 2, y / 2, 1, 0),
                               vx_sample(1, x / 2, y / 2, 2, 0)};
        worst = off_from(yuv, (const uint8_t *)got.pixels.data + 3 * (y * w + x), worst);
      }
    if (worst > 3)
      fail_msg("%d x %d: off by %d", w, h, worst);
    lrl_buffer_free(&got.pixels);
  }
}

/* Everything else goes through swscale's bilinear filter: the MD5s of decord 0.6.0's pixels. */
static void test_bilinear(void **state) {
  (void)state;
  static const struct {
    int w, h;
    enum AVPixelFormat pixels;
    const char *md5;
  } cases[] = {
      {36, 23, AV_PIX_FMT_YUV420P, "5cd0588f56bf115d956b43cc12b4a013"},
      {37, 23, AV_PIX_FMT_YUV420P, "73702f13e78437137414997ef83e0bbd"},
      {36, 24, AV_PIX_FMT_YUV420P10LE, "c561c72e81b8370fefd07f20bbb52b5f"},
      {37, 24, AV_PIX_FMT_YUV420P10LE, "5238eac2c2802c782ab52e4c6c3ea2b6"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct vx_frames_read got = second_frame(make_yuv(cases[i].w, cases[i].h, cases[i].pixels));
    uint8_t sum[16];
    char hex[33];
    av_md5_sum(sum, got.pixels.data, got.n_bytes);
    for (int k = 0; k < 16; k++)
      snprintf(hex + 2 * k, 3, "%02x", sum[k]);
    assert_string_equal(hex, cases[i].md5);
    lrl_buffer_free(&got.pixels);
  }
}

/* ---- real files ---- */

/* Our pixels of a file beside those of a plain loop over FFmpeg's decoder, whose raw frames have
 * the checksums that the ffmpeg command gave; all of an even height and 8 bits. */
struct check {
  const AVFrame *frame;
  int worst;
};
static lrl_status compare(void *user, const struct lrl_image *got) {
  struct check *c = user;
  const AVFrame *f = c->frame;
  for (int y = 0; y < got->height; y++)
    for (int x = 0; x < got->width; x++) {
      const int row = y / 2, column = x / 2; /* of chroma */
      const double yuv[3] = {f->data[0][y * f->linesize[0] + x],
                             f->data[1][row * f->linesize[1] + column],
                             f->data[2][row * f->linesize[2] + column]};
      c->worst = off_from(yuv, vx_at(got, x, y), c->worst);
    }
  return LRL_OK;
}

static void md5_of(const AVFrame *f, char out[33]) {
  struct AVMD5 *m = av_md5_alloc();
  uint8_t sum[16];
  av_md5_init(m);
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < (c == 0 ? f->height : f->height / 2); y++)
      av_md5_update(m, f->data[c] + (ptrdiff_t)y * f->linesize[c],
                    (size_t)(c == 0 ? f->width : f->width / 2));
  av_md5_final(m, sum);
  av_free(m);
  for (int i = 0; i < 16; i++)
    snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

/* The checksum of the next frame in the list; false at its end. */
static bool next_md5(FILE *list, char out[33]) {
  char line[300];
  while (fgets(line, sizeof line, list) != NULL)
    if (line[0] != '#')
      return sscanf(line, "%*d, %*d, %*d, %*d, %*d, %32s", out) == 1;
  return false;
}

static void check_md5(const char *folder, const char *name, const char *list_name) {
  enum { EVERY = 25 }; /* whose pixels are compared, too */
  char path[1400], want[33], have[33];
  snprintf(path, sizeof path, "%s/%s", folder, list_name);
  FILE *list = fopen(path, "r");
  assert_non_null(list);
  struct ix_file f = load(folder, name);
  struct lrl_video_info info;
  struct lrl_video *v = vx_open(f, &info);
  AVFormatContext *format = NULL;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  VX_OK(avformat_open_input(&format, path, NULL, NULL));
  VX_OK(avformat_find_stream_info(format, NULL));
  const AVCodec *kind;
  const int stream = av_find_best_stream(format, AVMEDIA_TYPE_VIDEO, -1, -1, &kind, 0);
  AVCodecContext *codec = avcodec_alloc_context3(kind);
  VX_OK(avcodec_parameters_to_context(codec, format->streams[stream]->codecpar));
  codec->thread_count = 1;
  VX_OK(avcodec_open2(codec, kind, NULL));
  AVPacket *p = av_packet_alloc();
  AVFrame *frame = av_frame_alloc();
  int64_t n = 0;
  for (bool more = true; more;) {
    more = av_read_frame(format, p) >= 0;
    if (!more || p->stream_index == stream)
      (void)avcodec_send_packet(codec, more ? p : NULL);
    for (; avcodec_receive_frame(codec, frame) >= 0; n++) {
      assert_true(next_md5(list, want));
      md5_of(frame, have);
      assert_string_equal(have, want);
      struct check c = {frame, 0};
      if (n % EVERY == 10) {
        assert_int_equal(lrl_video_read(v, &n, 1, compare, &c), LRL_OK);
        if (c.worst > 3)
          fail_msg("%s, frame %d: off by %d", name, (int)n, c.worst);
      }
    }
    av_packet_unref(p);
  }
  assert_int_equal(n, info.n_frames);
  assert_false(next_md5(list, want));
  av_frame_free(&frame);
  av_packet_free(&p);
  avcodec_free_context(&codec);
  avformat_close_input(&format);
  lrl_video_close(v);
  free(f.bytes);
  fclose(list);
}

static void test_framemd5(void **state) {
  (void)state;
  const char *folder = ix_asset("video");
  if (folder == NULL)
    skip();
  check_md5(folder, "g1_mpeg4_400x300_16f.avi", "g1_mpeg4_400x300_16f.framemd5");
  check_md5(folder, "lego_vp8_560x320_166f.webm", "lego_vp8_560x320_166f.framemd5");
  check_md5(folder, "lf_4_h264_224x224_150f.mp4", "lf_4_h264_224x224_150f.framemd5");
  check_md5(folder, "realshort_h264_vfr_320x240_36f.mp4",
            "realshort_h264_vfr_320x240_36f.framemd5");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ffprobe),
      cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_bilinear),
      cmocka_unit_test(test_framemd5),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
