/* Videos: which frames, where they go on the canvas, and how they become tiles and thumbnails. */
#include "video_fixture.h"

#include "data/image_ops.h"
#include "data/image_transform.h"
#include "launch/html.h"

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

static int64_t black_pixels(const struct lrl_image *im, int x0, int y0, int w, int h) {
  int64_t n = 0;
  for (int y = y0; y < y0 + h; y++)
    for (int x = x0; x < x0 + w; x++)
      n += memcmp(vx_at(im, x, y), "\0\0\0", 3) == 0;
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
          assert_memory_equal(vx_at(&c.image, x, y + 40 + row), vx_at(&frame, 0, row),
                              3 * (size_t)one.width);
        /* Of "<IMAGE k>" only the digit differs: cell 7 of 9. */
        const int64_t ink = black_pixels(&c.image, x, y, 180, 40);
        assert_true(labels ? ink > 1000 && ink < 3000 : ink == 0);
        assert_true(labels == 0 ||
                    black_pixels(&c.image, x + 140, y, 20, 40) == (k == 0 ? 19 : 10) * 3 * 4);
        assert_int_equal(black_pixels(&c.image, x, y, 20, 40), labels ? 7 * 3 * 4 : 0);
      }
      /* The black line, 5 pixels behind the first frame. */
      assert_memory_equal(high ? vx_at(&c.image, 205, 20) : vx_at(&c.image, 390, 245), "\0\0\0", 3);
      assert_memory_equal(high ? vx_at(&c.image, 204, 20) : vx_at(&c.image, 390, 244),
                          "\377\377\377", 3);
      assert_int_equal(lrl_video_canvas_begin(&c, size, 2, 200, 1000, labels), LRL_ERR_SHAPE);
      lrl_error_clear();
    }
  lrl_image_free(&frame);
  lrl_video_canvas_free(&c);
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
  assert_int_equal(lrl_video_canvas_begin(&c, sizes, 9, TILE, VX_LIMIT, true), LRL_OK);
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
      cmocka_unit_test(test_frames),
      cmocka_unit_test(test_canvas),
      cmocka_unit_test(test_ops),
      cmocka_unit_test(test_thumbnail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
