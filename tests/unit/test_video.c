/* Videos: which frames, where they go on the canvas, and files of every kind down to their pixels.
 */
#include "video_fixture.h"

#include "data/image_ops.h"
#include "data/image_transform.h"
#include "data/video.h"
#include "data/video_decode.h"
#include "launch/html.h"

#include <jansson.h>
#include <libavutil/md5.h>
#include <libavutil/pixdesc.h>
#include <math.h>

enum { LIMIT = 1 << 21 }; /* pixels; keeps a lying header from taking seconds */

/* ---- sampling and canvas (SPEC 3.6) ---- */

static void test_frames(void **state) {
  (void)state;
  int64_t at[64];
  static const int64_t spec[] = {0, 1, 3, 5, 7, 9}; /* n = 64 (SPEC 3.6) */
  assert_int_equal(lrl_video_frames(0, 64, 1, 32, at), 32);
  assert_memory_equal(at, spec, sizeof spec);
  assert_int_equal(at[31], 60);
  assert_int_equal(lrl_video_frames(0, 100, 12.5, 32, at), 9); /* 12.5 rounds to 12 */
  assert_int_equal(at[8], 96);
  assert_int_equal(lrl_video_frames(0, 3, 0.1, 32, at), 3);
  assert_int_equal(lrl_video_frames(7, 7, 25, 32, at), 0);
}

static void fill(struct lrl_image *im, int32_t w, int32_t h, int k) {
  assert_int_equal(lrl_image_resize_buffer(im, w, h), LRL_OK);
  for (int i = 0; i < 3 * w * h; i++)
    ((uint8_t *)im->rgb.data)[i] = vx_pixel(k, i / 3 % w, i / 3 / w, i % 3);
}

static const uint8_t *at_pixel(const struct lrl_image *im, int x, int y) {
  return (const uint8_t *)im->rgb.data + 3 * ((ptrdiff_t)y * im->width + x);
}

static int64_t black_pixels(const struct lrl_image *im, int x0, int y0, int w, int h) {
  int64_t n = 0;
  for (int y = y0; y < y0 + h; y++)
    for (int x = x0; x < x0 + w; x++)
      n += memcmp(at_pixel(im, x, y), "\0\0\0", 3) == 0;
  return n;
}

static void test_canvas(void **state) {
  (void)state;
  struct lrl_image frame = {0};
  struct lrl_video_canvas c = {0};
  for (int high = 0; high < 2; high++)
    for (int labels = 0; labels < 2; labels++) {
      const struct lrl_video_size one = {high ? 200 : 400, high ? 400 : 200}, size[2] = {one, one};
      assert_int_equal(lrl_video_canvas_begin(&c, size, 2, 200, 1 << 20, labels), LRL_OK);
      for (int k = 0; k < 2; k++) {
        fill(&frame, one.width, one.height, k);
        assert_int_equal(lrl_video_canvas_add(&c, &frame), LRL_OK);
      }
      assert_int_equal(c.image.width, high ? 2 * (200 + 10) : 400);
      assert_int_equal(c.image.height, high ? 400 + 40 : 2 * (200 + 50));
      for (int k = 0; k < 2; k++) {
        const int x = high ? 210 * k : 0, y = high ? 0 : 250 * k;
        fill(&frame, one.width, one.height, k);
        for (int row = 0; row < one.height; row += 39)
          assert_memory_equal(at_pixel(&c.image, x, y + 40 + row), at_pixel(&frame, 0, row),
                              3 * (size_t)one.width);
        /* Of "<IMAGE k>" only the digit differs: cell 7 of 9. */
        const int64_t ink = black_pixels(&c.image, x, y, 180, 40);
        assert_true(labels ? ink > 1000 && ink < 3000 : ink == 0);
        assert_true(labels == 0 ||
                    black_pixels(&c.image, x + 140, y, 20, 40) == (k == 0 ? 19 : 10) * 3 * 4);
        assert_int_equal(black_pixels(&c.image, x, y, 20, 40), labels ? 7 * 3 * 4 : 0);
      }
      /* The black line, 5 pixels behind the first frame. */
      assert_memory_equal(high ? at_pixel(&c.image, 205, 20) : at_pixel(&c.image, 390, 245),
                          "\0\0\0", 3);
      assert_memory_equal(high ? at_pixel(&c.image, 204, 20) : at_pixel(&c.image, 390, 244),
                          "\377\377\377", 3);
      assert_int_equal(lrl_video_canvas_begin(&c, size, 2, 200, 1000, labels), LRL_ERR_SHAPE);
      lrl_error_clear();
    }
  lrl_image_free(&frame);
  lrl_video_canvas_free(&c);
}

/* ---- made files ---- */

static struct lrl_video *open_video(struct ix_file f, struct lrl_video_info *info) {
  struct lrl_video *v;
  if (lrl_video_open(f.bytes, f.n, LIMIT, &v) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  lrl_video_get_info(v, info);
  return v;
}

/* Collects frames one below the other. */
struct frames {
  struct lrl_buffer pixels;
  size_t n_bytes;
  int64_t n;
};
static lrl_status collect(void *user, const struct lrl_image *frame) {
  struct frames *f = user;
  const size_t n = 3 * (size_t)frame->width * (size_t)frame->height;
  LRL_TRY(lrl_buffer_reserve(&f->pixels, f->n_bytes + n));
  memcpy((char *)f->pixels.data + f->n_bytes, frame->rgb.data, n);
  f->n_bytes += n;
  f->n++;
  return LRL_OK;
}

static void expect_pixels(const uint8_t *got, int k, int w, int h) {
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < 3; c++, got++)
        if (*got != vx_pixel(k, x, y, c))
          fail_msg("frame %d at (%d, %d): %d, not %d", k, x, y, *got, vx_pixel(k, x, y, c));
}

/* Lossless files of uneven times: exactly these frames, at the mean rate. */
static void test_exact(void **state) {
  (void)state;
  enum { W = 38, H = 24, N = 9 };
  static const int64_t uneven[N] = {0, 1, 5, 6, 7, 20, 21, 40, 48};
  static const char *const formats[] = {"matroska", "mov"};
  for (int i = 0; i < 2; i++) {
    const struct vx_video made = {.format = formats[i],
                                  .codec = "png",
                                  .pixels = AV_PIX_FMT_RGB24,
                                  .width = W,
                                  .height = H,
                                  .n = N,
                                  .times = i == 0 ? uneven : NULL};
    struct ix_file f = vx_make(&made);
    struct lrl_video_info info;
    struct lrl_video *v = open_video(f, &info);
    assert_true(info.width == W && info.height == H && info.n_frames == N);
    assert_true(i == 0 ? info.fps > 3.9 && info.fps < 4.7 : fabs(info.fps - 25) < 1e-9);
    static const int64_t want[] = {0, 2, 3, 8};
    struct frames got = {0};
    assert_int_equal(lrl_video_read(v, want, 4, collect, &got), LRL_OK);
    assert_int_equal(got.n, 4);
    for (int k = 0; k < 4; k++)
      expect_pixels((uint8_t *)got.pixels.data + (size_t)(k * W * H * 3), (int)want[k], W, H);
    lrl_buffer_free(&got.pixels);
    lrl_video_close(v);
    free(f.bytes);
  }
}

/* A quarter turn clockwise puts the pixel (x, y) of a frame at (height - 1 - y, x). */
static void test_rotation(void **state) {
  (void)state;
  enum { W = 20, H = 12 };
  static const int turns[] = {0, 1, 2, 3};
  for (int t = 0; t < 4; t++) {
    const struct vx_video made = {.format = "mov",
                                  .codec = "png",
                                  .pixels = AV_PIX_FMT_RGB24,
                                  .width = W,
                                  .height = H,
                                  .n = 2,
                                  .rotation = 90.0 * turns[t]};
    struct ix_file f = vx_make(&made);
    struct lrl_video_info info;
    struct lrl_video *v = open_video(f, &info);
    assert_int_equal(info.width, t % 2 == 0 ? W : H);
    assert_int_equal(info.height, t % 2 == 0 ? H : W);
    struct frames got = {0};
    assert_int_equal(lrl_video_read(v, (int64_t[]){1}, 1, collect, &got), LRL_OK);
    for (int y = 0; y < H; y++)
      for (int x = 0; x < W; x++) {
        const int at[4][2] = {{x, y}, {H - 1 - y, x}, {W - 1 - x, H - 1 - y}, {y, W - 1 - x}};
        const uint8_t *p =
            (uint8_t *)got.pixels.data + 3 * ((ptrdiff_t)at[t][1] * info.width + at[t][0]);
        assert_true(p[0] == vx_pixel(1, x, y, 0) && p[2] == vx_pixel(1, x, y, 2));
      }
    lrl_buffer_free(&got.pixels);
    lrl_video_close(v);
    free(f.bytes);
  }
}

/* Frames decoded alone are those of decoding everything, with references in both directions. */
static void test_skipping(void **state) {
  (void)state;
  static const char *const formats[] = {"mp4", "avi", "mpegts", "matroska", "mpegts", "mpeg"};
  enum { N = 50 };
  for (int i = 0; i < 6; i++) {
    const struct vx_video made = {.format = formats[i],
                                  .codec = i < 4 ? "mpeg4" : "mpeg2video",
                                  .pixels = AV_PIX_FMT_YUV420P,
                                  .width = 64,
                                  .height = 48,
                                  .n = N,
                                  .gop = 9,
                                  .b_frames = i == 1 ? 0 : 2};
    struct ix_file f = vx_make(&made);
    struct lrl_video_info info;
    struct lrl_video *v = open_video(f, &info);
    if (info.n_frames != N)
      fail_msg("%s: %d frames", formats[i], (int)info.n_frames);
    int64_t every[N];
    for (int k = 0; k < N; k++)
      every[k] = k;
    struct frames all = {0}, some = {0};
    const size_t frame = 3 * 64 * 48;
    assert_int_equal(lrl_video_read(v, every, N, collect, &all), LRL_OK);
    static const int64_t want[] = {3, 17, 18, 26, 41, 49};
    assert_int_equal(lrl_video_read(v, want, 6, collect, &some), LRL_OK);
    assert_int_equal(some.n, 6);
    for (int k = 0; k < 6; k++) {
      assert_memory_equal((char *)some.pixels.data + (size_t)k * frame,
                          (char *)all.pixels.data + (size_t)want[k] * frame, frame);
      assert_memory_not_equal((char *)all.pixels.data + (size_t)want[k] * frame,
                              (char *)all.pixels.data + (size_t)(want[k] - 1) * frame, frame);
    }
    lrl_buffer_free(&all.pixels);
    lrl_buffer_free(&some.pixels);
    lrl_video_close(v);
    free(f.bytes);
  }
}

/* ---- files that cannot be used ---- */

static void refused(struct ix_file f, int64_t max_pixels, lrl_status want, const char *sentence) {
  struct lrl_video *v;
  assert_int_equal(lrl_video_open(f.bytes, f.n, max_pixels, &v), want);
  assert_null(v);
  if (strstr(lrl_last_error(), sentence) == NULL)
    fail_msg("'%s' does not say '%s'", lrl_last_error(), sentence);
  lrl_error_clear();
}

static struct ix_file make_small(const char *format, const char *codec) {
  const struct vx_video made = {.format = format,
                                .codec = codec,
                                .pixels = AV_PIX_FMT_YUV420P,
                                .width = 64,
                                .height = 48,
                                .n = 30,
                                .gop = 10};
  return vx_make(&made);
}

static void test_refused(void **state) {
  (void)state;
  struct ix_file f = make_small("mp4", "mpeg4");
  refused(f, 64 * 48 - 1, LRL_ERR_SHAPE, "claims 64 x 48 pixels, more than the limit");
  f.n /= 2; /* its table stands at the end */
  refused(f, LIMIT, LRL_ERR_FORMAT, "truncated or damaged");
  free(f.bytes);
  f = make_small("avi", "mpeg4");
  f.n = f.n * 3 / 4;
  refused(f, LIMIT, LRL_ERR_FORMAT, "truncated or damaged");
  free(f.bytes);
  f = make_small("matroska", "none");
  refused(f, LIMIT, LRL_ERR_FORMAT, "no video in the file");
  free(f.bytes);
  f = make_small("matroska", "mpeg4");
  for (size_t i = 0; i + 14 < f.n; i++)
    if (memcmp(f.bytes + i, "V_MPEG4/ISO/AS", 14) == 0)
      memcpy(f.bytes + i, "V_UNKNOWN/CODE", 14);
  refused(f, LIMIT, LRL_ERR_FORMAT, "does not decode the video's codec");
  free(f.bytes);
}

static int64_t n_errors, n_decoded;

static void survive(const uint8_t *bytes, size_t n) {
  uint8_t *copy = malloc(n + 1); /* its own block, so that ASan sees reads past the end */
  struct lrl_video *v = NULL;
  struct lrl_video_info info;
  struct frames got = {0};
  memcpy(copy, bytes, n);
  lrl_status s = LRL_ERR_FORMAT;
  if (lrl_video_container(copy, n) != NULL)
    s = lrl_video_open(copy, n, LIMIT / 8, &v);
  else
    (void)LRL_FAIL(s, "the file is no video");
  if (s == LRL_OK) {
    int64_t at[4];
    lrl_video_get_info(v, &info);
    assert_true(info.width > 0 && info.height > 0 && info.n_frames > 0 && info.fps > 0);
    const int64_t k = lrl_video_frames(0, info.n_frames, info.fps / 3, 4, at);
    s = lrl_video_read(v, at, k, collect, &got);
    assert_true(s != LRL_OK || got.n == k);
  }
  if (s == LRL_OK) {
    n_decoded++;
  } else {
    assert_true(s == LRL_ERR_FORMAT || s == LRL_ERR_SHAPE);
    assert_true(strlen(lrl_last_error()) > 10 && strchr(lrl_last_error(), '\n') == NULL);
    n_errors++;
  }
  lrl_error_clear();
  lrl_video_close(v);
  lrl_buffer_free(&got.pixels);
  free(copy);
}

static void damage(struct ix_file f, int rounds, uint64_t seed) {
  uint8_t *copy = malloc(f.n);
  for (int k = 0; k < rounds; k++) {
    struct lrl_rng r = lrl_rng_make(seed, LRL_RNG_TEST, (uint64_t)k);
    survive(f.bytes, lrl_rng_below(&r, f.n));
    memcpy(copy, f.bytes, f.n);
    for (uint64_t left = 1 + lrl_rng_below(&r, 6); left > 0; left--) {
      /* What describes the video stands at the beginning or the end. */
      const uint64_t edge = f.n > 1200 ? 1200 : f.n, side = lrl_rng_below(&r, 3),
                     i = lrl_rng_below(&r, side == 2 ? f.n : edge);
      copy[side == 1 ? f.n - 1 - i : i] = (uint8_t)lrl_rng_u32(&r);
    }
    survive(copy, f.n);
  }
  free(copy);
}

static void test_damaged(void **state) {
  (void)state;
  static const char *const made[][2] = {{"mp4", "mpeg4"},     {"avi", "mpeg4"},
                                        {"matroska", "ffv1"}, {"mpegts", "mpeg2video"},
                                        {"flv", "flv"},       {"mov", "mjpeg"}};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
    const struct vx_video video = {.format = made[i][0],
                                   .codec = made[i][1],
                                   .pixels = strcmp(made[i][1], "mjpeg") == 0 ? AV_PIX_FMT_YUVJ420P
                                                                              : AV_PIX_FMT_YUV420P,
                                   .width = 48,
                                   .height = 32,
                                   .n = 12,
                                   .gop = 5};
    struct ix_file f = vx_make(&video);
    damage(f, 40, 100 + i);
    free(f.bytes);
  }
  print_message("%lld errors, %lld videos\n", (long long)n_errors, (long long)n_decoded);
  assert_true(n_errors > 150 && n_decoded > 50);
}

/* ---- real files ---- */

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
      assert_int_equal(lrl_video_open(f.bytes, f.n, LIMIT, &v), LRL_ERR_FORMAT);
      lrl_error_clear();
      n_refused++;
    } else {
      struct lrl_video *v = open_video(f, &info);
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

/* Our pixels of a file beside those of a plain loop over FFmpeg's decoder, whose raw frames have
 * the checksums that the ffmpeg command gave, by the textbook formula of BT.601 with the nearest
 * chroma. swscale's tables are off from it by up to 3 (measured: 3 on all of these files). */
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
      const double l = 255.0 / 219 * (f->data[0][y * f->linesize[0] + x] - 16),
                   u = f->data[1][row * f->linesize[1] + column] - 128.0,
                   v = f->data[2][row * f->linesize[2] + column] - 128.0;
      const double rgb[3] = {l + 1.596027 * v, l - 0.391762 * u - 0.812968 * v, l + 2.017232 * u};
      for (int k = 0; k < 3; k++) {
        const int off = abs(at_pixel(got, x, y)[k] - (int)lround(fmin(fmax(rgb[k], 0), 255)));
        c->worst = off > c->worst ? off : c->worst;
      }
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
  struct lrl_video *v = open_video(f, &info);
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

/* ---- through lrl_image_ops ---- */

static void test_ops(void **state) {
  (void)state;
  enum { TILE = 56, W = 64, H = 48, N = 100 };
  const struct vx_video made = {.format = "matroska",
                                .codec = "png",
                                .pixels = AV_PIX_FMT_RGB24,
                                .width = W,
                                .height = H,
                                .n = N};
  struct ix_file f = vx_make(&made);
  struct lrl_image_ops ops;
  struct lrl_image_grid g;
  struct lrl_image_ops_options o = {
      .tile = TILE, .patch = 14, .hd_num = 2, .mode = LRL_IMAGE_INFERENCE, .video_fps = 2};
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, f.bytes, f.n, 3, &g), LRL_OK);
  /* Frames 0, 12, ..., 96 of 112 x 84 pixels: 9 x 134 rows, brought to 56 x 603. hd_num is ignored.
   */
  assert_true(g.rows == 11 && g.cols == 1 && g.width == W && g.height == H);
  float *got = malloc(12 * 3 * TILE * TILE * sizeof *got), *want = malloc(12 * 3 * TILE * TILE * 4);
  assert_int_equal(ops.tiles(ops.user, f.bytes, f.n, 3, got), LRL_OK);

  struct lrl_video_size sizes[9];
  struct lrl_video_canvas c = {0};
  struct lrl_image frame = {0};
  struct lrl_image_work w = {0};
  const struct lrl_image *image;
  for (int k = 0; k < 9; k++)
    sizes[k] = (struct lrl_video_size){W, H};
  assert_int_equal(lrl_video_canvas_begin(&c, sizes, 9, TILE, LIMIT, true), LRL_OK);
  for (int k = 0; k < 9; k++) {
    fill(&frame, W, H, 12 * k);
    assert_int_equal(lrl_video_canvas_add(&c, &frame), LRL_OK);
  }
  const struct lrl_image_geometry geometry =
      lrl_image_geometry_of(LRL_IMAGE_VIDEO, c.image.width, c.image.height, TILE, 1);
  assert_int_equal(lrl_image_transform(&c.image, &geometry, &w, &image), LRL_OK);
  assert_int_equal(lrl_image_tiles(image, TILE, want, &w.scratch), LRL_OK);
  assert_memory_equal(got, want, 12 * 3 * TILE * TILE * sizeof *got);
  lrl_image_ops_free(&ops);

  o.max_pixels = 112 * 9 * 134 - 1;
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, f.bytes, f.n, 1, &g), LRL_ERR_SHAPE);
  assert_non_null(strstr(lrl_last_error(), "9 video frames would make an image of 112 x 1206"));
  lrl_error_clear();
  lrl_image_ops_free(&ops);
  o.video_frames = 4;
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, f.bytes, f.n, 1, &g), LRL_OK);
  assert_int_equal(g.rows, 5);
  lrl_image_ops_free(&ops);
  lrl_video_canvas_free(&c);
  lrl_image_free(&frame);
  lrl_image_work_free(&w);
  free(got);
  free(want);
  free(f.bytes);
}

/* Value of a base64 digit; -1: none. */
static int digit(char c) {
  static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c == '\0' ? NULL : strchr(all, c);
  return at == NULL ? -1 : (int)(at - all);
}

/* On pages a video is its first, middle and last frame side by side. */
static void test_thumbnail(void **state) {
  (void)state;
  const struct vx_video v = {.format = "matroska",
                             .codec = "png",
                             .pixels = AV_PIX_FMT_RGB24,
                             .width = 40,
                             .height = 24,
                             .n = 5,
                             .gop = 1};
  struct ix_file video = vx_make(&v);
  char path[] = "/tmp/laurel_thumbnail_XXXXXX", *html = NULL;
  size_t n_html, n = 0;
  FILE *f = fdopen(mkstemp(path), "wb"), *page = open_memstream(&html, &n_html);
  assert_int_equal(fwrite(video.bytes, 1, video.n, f), video.n);
  fclose(f);
  lrl_html_thumbnail(page, path, 100, "a \"clip\"");
  fclose(page);
  static const char begin[] = "<img width=\"120\" height=\"24\" alt=\"a &quot;clip&quot;\" "
                              "src=\"data:image/jpeg;base64,";
  assert_int_equal(strncmp(html, begin, sizeof begin - 1), 0);
  uint8_t *jpeg = malloc(n_html);
  for (const char *p = html + sizeof begin - 1; digit(p[0]) >= 0; p += 4) {
    const unsigned u = (unsigned)digit(p[0]) << 18 | (unsigned)digit(p[1]) << 12 |
                       (unsigned)(digit(p[2]) & 63) << 6 | (unsigned)(digit(p[3]) & 63);
    jpeg[n++] = (uint8_t)(u >> 16);
    jpeg[n++] = (uint8_t)(u >> 8);
    jpeg[n++] = (uint8_t)u;
  }
  struct lrl_image image = {0};
  assert_int_equal(lrl_image_decode(jpeg, n, LRL_IMAGE_MAX_PIXELS, &image), LRL_OK);
  for (int k = 0; k < 3; k++)
    for (int c = 0; c < 3; c++) {
      const uint8_t *rgb = image.rgb.data;
      assert_in_range(rgb[3 * (12 * 120 + 40 * k + 20) + c], vx_pixel(2 * k, 20, 12, c) - 4,
                      vx_pixel(2 * k, 20, 12, c) + 4);
    }
  lrl_image_free(&image);
  free(jpeg);
  free(html);
  free(video.bytes);
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_frames),   cmocka_unit_test(test_thumbnail),
      cmocka_unit_test(test_canvas),   cmocka_unit_test(test_exact),
      cmocka_unit_test(test_rotation), cmocka_unit_test(test_skipping),
      cmocka_unit_test(test_refused),  cmocka_unit_test(test_damaged),
      cmocka_unit_test(test_ffprobe),  cmocka_unit_test(test_framemd5),
      cmocka_unit_test(test_ops),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
