/* Videos made here: their frames alone and all together, what is refused, damaged files. */
#include "video_fixture.h"

#include <math.h>

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
    struct lrl_video *v = vx_open(f, &info);
    assert_true(info.width == W && info.height == H && info.n_frames == N);
    assert_true(i == 0 ? info.fps > 3.9 && info.fps < 4.7 : fabs(info.fps - 25) < 1e-9);
    static const int64_t want[] = {0, 2, 3, 8};
    struct vx_frames_read got = {0};
    assert_int_equal(lrl_video_read(v, want, 4, vx_collect, &got), LRL_OK);
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
    struct lrl_video *v = vx_open(f, &info);
    assert_int_equal(info.width, t % 2 == 0 ? W : H);
    assert_int_equal(info.height, t % 2 == 0 ? H : W);
    struct vx_frames_read got = {0};
    assert_int_equal(lrl_video_read(v, (int64_t[]){1}, 1, vx_collect, &got), LRL_OK);
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

/* What cannot be told in quarter turns is left as it is; every transport stream is one, also with a
 * time in front of each packet. */
static void test_oddities(void **state) {
  (void)state;
  struct vx_video made = {.format = "mov",
                          .codec = "png",
                          .pixels = AV_PIX_FMT_RGB24,
                          .width = 20,
                          .height = 12,
                          .n = 1,
                          .rotation = 45};
  struct lrl_video_info info;
  struct ix_file f = vx_make(&made);
  struct lrl_video *v = vx_open(f, &info);
  assert_true(info.width == 20 && info.height == 12 && info.n_frames == 1);
  lrl_video_close(v);
  free(f.bytes);
  made = (struct vx_video){.format = "mpegts",
                           .codec = "mpeg2video",
                           .pixels = AV_PIX_FMT_YUV420P,
                           .width = 64,
                           .height = 48,
                           .n = 8};
  f = vx_make(&made);
  assert_int_equal(f.n % 188, 0);
  struct ix_file stamped = {calloc(f.n / 188, 192), f.n / 188 * 192};
  for (size_t i = 0; i < f.n / 188; i++)
    memcpy(stamped.bytes + 192 * i + 4, f.bytes + 188 * i, 188);
  assert_string_equal(lrl_video_container(stamped.bytes, stamped.n), "mpegts");
  v = vx_open(stamped, &info);
  assert_int_equal(info.n_frames, 8);
  lrl_video_close(v);
  free(f.bytes);
  free(stamped.bytes);
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
    struct lrl_video *v = vx_open(f, &info);
    if (info.n_frames != N)
      fail_msg("%s: %d frames", formats[i], (int)info.n_frames);
    int64_t every[N];
    for (int k = 0; k < N; k++)
      every[k] = k;
    struct vx_frames_read all = {0}, some = {0};
    const size_t frame = 3 * 64 * 48;
    assert_int_equal(lrl_video_read(v, every, N, vx_collect, &all), LRL_OK);
    static const int64_t want[] = {3, 17, 18, 26, 41, 49};
    assert_int_equal(lrl_video_read(v, want, 6, vx_collect, &some), LRL_OK);
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
  refused(f, VX_LIMIT, LRL_ERR_FORMAT, "truncated or damaged");
  free(f.bytes);
  f = make_small("avi", "mpeg4");
  f.n = f.n * 3 / 4;
  refused(f, VX_LIMIT, LRL_ERR_FORMAT, "truncated or damaged");
  free(f.bytes);
  f = make_small("matroska", "none");
  refused(f, VX_LIMIT, LRL_ERR_FORMAT, "no video in the file");
  free(f.bytes);
  f = make_small("matroska", "mpeg4");
  for (size_t i = 0; i + 14 < f.n; i++)
    if (memcmp(f.bytes + i, "V_MPEG4/ISO/AS", 14) == 0)
      memcpy(f.bytes + i, "V_UNKNOWN/CODE", 14);
  refused(f, VX_LIMIT, LRL_ERR_FORMAT, "does not decode the video's codec");
  free(f.bytes);
}

static int64_t n_errors, n_decoded;

static void survive(const uint8_t *bytes, size_t n) {
  uint8_t *copy = malloc(n + 1); /* its own block, so that ASan sees reads past the end */
  struct lrl_video *v = NULL;
  struct lrl_video_info info;
  struct vx_frames_read got = {0};
  memcpy(copy, bytes, n);
  lrl_status s = LRL_ERR_FORMAT;
  if (lrl_video_container(copy, n) != NULL)
    s = lrl_video_open(copy, n, VX_LIMIT / 8, &v);
  else
    (void)LRL_FAIL(s, "the file is no video");
  if (s == LRL_OK) {
    int64_t at[4];
    lrl_video_get_info(v, &info);
    assert_true(info.width > 0 && info.height > 0 && info.n_frames > 0 && info.fps > 0);
    const int64_t k = lrl_video_frames(0, info.n_frames, info.fps / 3, 4, at);
    s = lrl_video_read(v, at, k, vx_collect, &got);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact),    cmocka_unit_test(test_rotation),
      cmocka_unit_test(test_oddities), cmocka_unit_test(test_skipping),
      cmocka_unit_test(test_refused),  cmocka_unit_test(test_damaged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
