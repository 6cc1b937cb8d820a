/* Geometry, resampling, tiles; tiles through lrl_image_ops from several threads. */
#include "image_fixture.h"

#include "data/image_ops.h"
#include "data/image_transform.h"

#include <math.h>
#include <pthread.h>

/* ---- SPEC 3.4 ---- */

struct vector {
  int width, height; /* of the image */
  enum lrl_image_mode mode;
  int hd_num, rows, cols, inner_width, inner_height, left, top;
  int64_t tokens;
};

static void test_spec_table(void **state) {
  (void)state;
#define I LRL_IMAGE_INFERENCE
#define T LRL_IMAGE_TRAINING
  static const struct vector table[] = {
      {560, 560, I, 9, 1, 1, 560, 560, 0, 0, 841},
      {560, 560, T, 9, 2, 2, 1120, 1120, 0, 0, 2061},
      {560, 560, I, 24, 1, 1, 560, 560, 0, 0, 841},
      {560, 560, T, 18, 2, 2, 1120, 1120, 0, 0, 2061},
      {1000, 750, I, 9, 2, 2, 1120, 840, 0, 0, 2061},
      {1000, 750, T, 9, 3, 3, 1680, 1260, 0, 210, 4081},
      {1000, 750, I, 24, 2, 2, 1120, 840, 0, 0, 2061},
      {1000, 750, T, 18, 3, 3, 1680, 1260, 0, 210, 4081},
      {750, 1000, I, 9, 2, 2, 840, 1120, 0, 0, 2061},
      {750, 1000, T, 9, 3, 3, 1260, 1680, 210, 0, 4081},
      {1920, 1080, I, 9, 2, 3, 1680, 945, 0, 0, 2861},
      {1920, 1080, T, 9, 2, 3, 1680, 945, 0, 87, 2861},
      {1920, 1080, I, 24, 3, 4, 2240, 1260, 0, 0, 5281},
      {1920, 1080, T, 18, 3, 5, 2800, 1575, 0, 52, 6481},
      {3000, 500, I, 9, 1, 6, 3360, 560, 0, 0, 2841},
      {3000, 500, T, 9, 1, 6, 3360, 560, 0, 0, 2841},
      {3000, 500, I, 24, 1, 6, 3360, 560, 0, 0, 2841},
      {3000, 500, T, 18, 2, 9, 5040, 840, 0, 140, 7661},
      {4000, 3000, I, 9, 3, 3, 1680, 1260, 0, 0, 4081},
      {4000, 3000, T, 9, 3, 3, 1680, 1260, 0, 210, 4081},
      {4000, 3000, I, 24, 4, 5, 2800, 2100, 0, 0, 8501},
      {4000, 3000, T, 18, 3, 4, 2240, 1680, 0, 0, 5281},
      /* extreme shapes: the official code would ask for a height of 0 */
      {1000, 1, I, 9, 1, 2, 1120, 1, 0, 0, 0},
      {100000, 1, I, 9, 1, 9, 5040, 1, 0, 0, 0},
      {1, 100000, T, 9, 9, 1, 1, 5040, 279, 0, 0},
      {1, 1, I, 1, 1, 1, 560, 560, 0, 0, 841},
      /* SPEC 3.6: canvases of 32 and 16 frames */
      {1120, 21760, LRL_IMAGE_VIDEO, 0, 20, 1, 560, 10880, 0, 0, 8821},
      {16 * 1130, 1160, LRL_IMAGE_VIDEO, 0, 1, 16, 8728, 560, 0, 0, 6841},
  };
#undef I
#undef T
  const struct lrl_image_ops ops = {.tile = 560, .merged_side = 20};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    const struct vector *v = &table[i];
    struct lrl_image_geometry g =
        lrl_image_geometry_of(v->mode, v->width, v->height, 560, v->hd_num);
    if (g.rows != v->rows || g.cols != v->cols || g.inner_width != v->inner_width ||
        g.inner_height != v->inner_height || g.left != v->left || g.top != v->top)
      fail_msg("%dx%d mode %d hd_num %d: %dx%d tiles, %dx%d pixels at (%d, %d)", v->width,
               v->height, (int)v->mode, v->hd_num, g.rows, g.cols, g.inner_width, g.inner_height,
               g.left, g.top);
    assert_true(g.width == 560 * g.cols && g.height == 560 * g.rows);
    if (v->tokens > 0)
      assert_int_equal(lrl_image_ops_tokens(&ops, &(struct lrl_image_grid){g.rows, g.cols, 0, 0}),
                       v->tokens);
  }
}

static void test_hd_num(void **state) {
  (void)state;
  assert_int_equal(lrl_image_hd_num(LRL_IMAGE_INFERENCE, 24, 1), 24);
  assert_int_equal(lrl_image_hd_num(LRL_IMAGE_INFERENCE, 24, 2), 6);
  assert_int_equal(lrl_image_hd_num(LRL_IMAGE_INFERENCE, 4, 3), 6);
  assert_int_equal(lrl_image_hd_num(LRL_IMAGE_TRAINING, 9, 5), 9);
}

/* The geometry never uses more tiles than allowed, at any tile side. */
static void test_geometry_bounds(void **state) {
  (void)state;
  for (int tile = 4; tile <= 560; tile += 139)
    for (int hd = 1; hd < 30; hd += 4)
      for (int w = 1; w < 3000; w += 1 + w)
        for (int h = 1; h < 3000; h += 1 + h)
          for (int mode = 0; mode < 2; mode++) {
            struct lrl_image_geometry g =
                lrl_image_geometry_of((enum lrl_image_mode)mode, w, h, tile, hd);
            assert_true(g.rows >= 1 && g.cols >= 1 && g.rows * g.cols <= hd);
            assert_true(g.left >= 0 && g.left + g.inner_width <= g.width);
            assert_true(g.top >= 0 && g.top + g.inner_height <= g.height);
          }
}

/* ---- resampling ---- */

static void fill(struct lrl_image *im, int32_t w, int32_t h, uint64_t seed) {
  struct lrl_rng r = lrl_rng_make(seed, LRL_RNG_TEST, 0);
  assert_int_equal(lrl_image_resize_buffer(im, w, h), LRL_OK);
  for (int64_t i = 0; i < 3 * (int64_t)w * h; i++)
    ((uint8_t *)im->rgb.data)[i] = (uint8_t)lrl_rng_u32(&r);
}
static void swapped(const struct lrl_image *in, struct lrl_image *out) {
  assert_int_equal(lrl_image_resize_buffer(out, in->height, in->width), LRL_OK);
  for (int64_t y = 0; y < in->height; y++)
    for (int64_t x = 0; x < in->width; x++)
      memcpy((uint8_t *)out->rgb.data + 3 * (x * in->height + y),
             (uint8_t *)in->rgb.data + 3 * (y * in->width + x), 3);
}

/* rows_first is the transpose of the plain order; a constant stays constant. */
static void test_resize(void **state) {
  (void)state;
  static const int sizes[][4] = {{23, 40, 7, 61}, {40, 23, 40, 9},  {5, 1, 3, 4},
                                 {31, 17, 8, 17}, {64, 64, 64, 64}, {2, 90, 300, 3}};
  struct lrl_image in = {0}, turned = {0}, a = {0}, b = {0}, c = {0};
  struct lrl_buffer scratch = {0};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int f = 0; f < 2; f++) {
      int w = sizes[i][2], h = sizes[i][3];
      enum lrl_image_filter filter = (enum lrl_image_filter)f;
      fill(&in, sizes[i][0], sizes[i][1], i);
      swapped(&in, &turned);
      assert_int_equal(lrl_image_resize(&in, w, h, filter, true, &a, &scratch), LRL_OK);
      assert_int_equal(lrl_image_resize(&turned, h, w, filter, false, &b, &scratch), LRL_OK);
      swapped(&b, &c);
      assert_memory_equal(a.rgb.data, c.rgb.data, 3 * (size_t)(w * h));
      memset(in.rgb.data, 201, 3 * (size_t)(in.width * in.height));
      assert_int_equal(lrl_image_resize(&in, w, h, filter, false, &a, &scratch), LRL_OK);
      for (int k = 0; k < 3 * w * h; k++)
        assert_int_equal(((uint8_t *)a.rgb.data)[k], 201);
    }
  lrl_image_free(&in);
  lrl_image_free(&turned);
  lrl_image_free(&a);
  lrl_image_free(&b);
  lrl_image_free(&c);
  lrl_buffer_free(&scratch);
}

/* A tile is the normalised piece of the image; the global view of one tile is that tile. */
static void test_tiles(void **state) {
  (void)state;
  enum { TILE = 8 };
  struct lrl_image im = {0};
  struct lrl_buffer scratch = {0};
  float out[(1 + 6) * 3 * TILE * TILE], table[3][256];
  lrl_image_normalisation(table);
  assert_true(fabsf(table[0][255] - (1 - 0.48145466F) / 0.26862954F) < 1e-6F);
  fill(&im, 3 * TILE, 2 * TILE, 5);
  assert_int_equal(lrl_image_tiles(&im, TILE, out, &scratch), LRL_OK);
  for (int t = 0; t < 6; t++)
    for (int k = 0; k < 3 * TILE * TILE; k++) {
      int c = k / (TILE * TILE), y = k / TILE % TILE + t / 3 * TILE, x = k % TILE + t % 3 * TILE;
      float want = table[c][((uint8_t *)im.rgb.data)[3 * (y * 3 * TILE + x) + c]];
      assert_true(out[(1 + t) * 3 * TILE * TILE + k] == want);
    }
  fill(&im, TILE, TILE, 6);
  assert_int_equal(lrl_image_tiles(&im, TILE, out, &scratch), LRL_OK);
  assert_memory_equal(out, out + 3 * TILE * TILE, 3 * TILE * TILE * sizeof *out);
  lrl_image_free(&im);
  lrl_buffer_free(&scratch);
}

/* ---- lrl_image_ops ---- */

struct job {
  const struct lrl_image_ops *ops;
  struct ix_file *files;
  int n, first;
  float *want; /* tiles of all files one after the other */
  int n_wrong;
};

static int64_t tile_floats(const struct lrl_image_ops *ops, struct ix_file f) {
  struct lrl_image_grid g;
  if (ops->grid(ops->user, f.bytes, f.n, 1, &g) != LRL_OK)
    return -1;
  return (1 + (int64_t)g.rows * g.cols) * 3 * ops->tile * ops->tile;
}

static void *decode_all(void *user) {
  struct job *j = user;
  for (int round = 0; round < 4; round++) {
    const float *want = j->want;
    for (int i = 0; i < j->n; i++) {
      int64_t n = tile_floats(j->ops, j->files[i]);
      float *got = malloc((size_t)n * sizeof *got);
      if (j->ops->tiles(j->ops->user, j->files[i].bytes, j->files[i].n, 1, got) != LRL_OK ||
          memcmp(got, want, (size_t)n * sizeof *got) != 0)
        j->n_wrong++;
      want += n;
      free(got);
    }
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  struct ix_file files[16];
  int n = ix_all(files);
  struct lrl_image_ops ops;
  const struct lrl_image_ops_options o = {
      .tile = 16, .patch = 4, .hd_num = 9, .mode = LRL_IMAGE_TRAINING};
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.merged_side, 2);
  int64_t total = 0, at = 0;
  for (int i = 0; i < n; i++)
    total += tile_floats(&ops, files[i]);
  float *want = malloc((size_t)total * sizeof *want);
  for (int i = 0; i < n; i++) {
    assert_int_equal(ops.tiles(ops.user, files[i].bytes, files[i].n, 1, want + at), LRL_OK);
    at += tile_floats(&ops, files[i]);
  }
  pthread_t thread[4];
  struct job job[4];
  for (int i = 0; i < 4; i++) {
    job[i] = (struct job){&ops, files, n, i, want, 0};
    assert_int_equal(pthread_create(&thread[i], NULL, decode_all, &job[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    pthread_join(thread[i], NULL);
    assert_int_equal(job[i].n_wrong, 0);
  }
  free(want);
  for (int i = 0; i < n; i++)
    free(files[i].bytes);
  lrl_image_ops_free(&ops);
  lrl_image_ops_free(&ops); /* twice is fine */
}

static void test_ops_limits(void **state) {
  (void)state;
  struct lrl_image_ops ops;
  struct lrl_image_grid g;
  struct ix_file files[16];
  int n = ix_all(files);
  struct lrl_image_ops_options o = {.tile = 30, .patch = 14, .hd_num = 9};
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_ERR_ARG);
  lrl_error_clear();
  o = (struct lrl_image_ops_options){.tile = 28, .patch = 14, .hd_num = 0};
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_ERR_ARG);
  lrl_error_clear();
  o.hd_num = 4;
  o.max_pixels = IX_W * IX_H - 1;
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, files[0].bytes, files[0].n, 1, &g), LRL_ERR_SHAPE);
  lrl_error_clear();
  lrl_image_ops_free(&ops);
  o.max_pixels = 0;
  o.tile = 4; /* 45 x 34 pixels of 4-pixel tiles: as many as allowed, 6 of two images */
  o.patch = 2;
  o.hd_num = 30;
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, files[0].bytes, files[0].n, 1, &g), LRL_OK);
  assert_int_equal(g.rows * g.cols, 30);
  assert_int_equal(ops.grid(ops.user, files[0].bytes, files[0].n, 2, &g), LRL_OK);
  assert_int_equal(g.rows * g.cols, 4);
  assert_true(g.width == IX_W && g.height == IX_H);
  lrl_image_ops_free(&ops);
  for (int i = 0; i < n; i++)
    free(files[i].bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_spec_table),      cmocka_unit_test(test_hd_num),
      cmocka_unit_test(test_geometry_bounds), cmocka_unit_test(test_resize),
      cmocka_unit_test(test_tiles),           cmocka_unit_test(test_threads),
      cmocka_unit_test(test_ops_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
