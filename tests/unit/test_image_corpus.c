/* Corpora and micro-batches with real image decoding: generated files, and those of
 * $LAUREL_ASSETS/mm_pref. */
#include "corpus_fixture.h"
#include "image_fixture.h"

#include "data/image_ops.h"
#include "data/image_transform.h"

#define PAIR(image, text)                                                                          \
  "{\"image\": " image ", \"conversations_a\": [{\"from\": \"human\", \"value\": \"" text          \
  "\"}, {\"from\": \"bot\", \"value\": \"Yes\"}], \"conversations_b\": [{\"from\": \"human\", "    \
  "\"value\": \"" text "\"}, {\"from\": \"bot\", \"value\": \"No\"}]}\n"

static struct lrl_image_ops ops;

static void open_ops(int32_t tile, int32_t patch, enum lrl_image_mode mode) {
  const struct lrl_image_ops_options o = {.tile = tile, .patch = patch, .hd_num = 9, .mode = mode};
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
}

/* Tokens, rows and tiles of a finished batch fit together; returns the number of image tokens. */
static int64_t check_batch(const struct lrl_batch *t) {
  int64_t n_image_tokens = 0, n_listed = 0;
  for (int64_t i = 0; i < t->n_tokens; i++) {
    assert_int_equal(t->im_mask[i], t->ids[i] == -1);
    n_image_tokens += t->im_mask[i];
  }
  for (int64_t i = 0; i < t->n_images; i++) {
    const struct lrl_batch_image *im = &t->images[i];
    assert_int_equal(im->n_tiles, 1 + (int64_t)im->rows * im->cols);
    assert_true(im->first_tile >= 0 && im->first_tile + im->n_tiles <= t->n_tiles);
    for (int64_t k = 0; k < im->n_rows; k++)
      assert_int_equal(t->ids[im->first_row + k], -1);
    n_listed += im->n_rows;
  }
  assert_int_equal(n_image_tokens, n_listed);
  return n_image_tokens;
}

/* One good image, one that is only a good header, one that is none, and two in one chat. */
static void test_generated(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3];
  ix_pixels(rgb);
  struct ix_file png = ix_png(rgb, IX_W * 3, 8, PNG_COLOR_TYPE_RGB, false, NULL, 0);
  struct ix_file jpeg = ix_jpeg(rgb, 3, 90, false);
  fx_write_bytes("good.dat", png.bytes, png.n); /* the suffix does not matter */
  fx_write_bytes("cut.jpg", jpeg.bytes, jpeg.n - 40);
  fx_write("page.png", "<html>not found</html>");
  open_ops(16, 4, LRL_IMAGE_INFERENCE);
  struct lrl_corpus_options o = fx_options();
  o.images = &ops;
  struct lrl_corpus *c =
      fx_build(fx_write("rows.jsonl",
                        PAIR("\"good.dat\"", "How many?") PAIR("\"cut.jpg\"", "How many?")
                            PAIR("\"page.png\"", "How many?")
                                PAIR("[\"good.dat\", \"good.dat\"]", "<ImageHere> or <ImageHere>?")
                                    PAIR("\"absent.png\"", "How many?")),
               &o);
  assert_int_equal(lrl_corpus_n_pairs(c), 3);
  assert_int_equal(lrl_corpus_n_asides(c), 2);
  for (int64_t i = 0; i < 2; i++) {
    struct lrl_corpus_aside a;
    lrl_corpus_get_aside(c, i, &a);
    assert_int_equal(a.reason, LRL_ASIDE_IMAGE);
    assert_non_null(strstr(a.detail, i == 0 ? "HTML" : "absent.png"));
  }
  struct lrl_batch_builder b;
  lrl_batch_builder_init(&b, &ops);
  for (int64_t i = 0; i < 3; i++)
    assert_int_equal(lrl_batch_builder_add_pair(&b, c, i), LRL_OK);
  lrl_batch_builder_finish(&b);
  assert_int_equal(b.batch.n_pairs, 2); /* the cut image is found when it is decoded */
  assert_int_equal(b.batch.n_set_aside, 1);
  assert_non_null(strstr(b.batch.set_aside_reason, "truncated"));
  /* 45x34: alone 3x3 tiles of 16 (hd_num 9); of two images 2x2 each (hd_num 6) and stored once */
  int64_t alone = (9 + 1) * 4 + 1 + 4 * 2, of_two = (4 + 1) * 4 + 1 + 3 * 2;
  assert_int_equal(check_batch(&b.batch), alone + 2 * of_two);
  assert_int_equal(b.batch.n_tiles, 10 + 5);
  struct lrl_image_work w = {0};
  const struct lrl_image *im;
  float *want = malloc((size_t)(10 * 3 * 16 * 16) * sizeof *want);
  assert_int_equal(lrl_image_decode(png.bytes, png.n, LRL_IMAGE_MAX_PIXELS, &w.decoded), LRL_OK);
  struct lrl_image_geometry g = lrl_image_geometry_of(LRL_IMAGE_INFERENCE, IX_W, IX_H, 16, 9);
  assert_int_equal(lrl_image_transform(&w.decoded, &g, &w, &im), LRL_OK);
  assert_int_equal(lrl_image_tiles(im, 16, want, &w.scratch), LRL_OK);
  assert_memory_equal(b.batch.tiles, want, (size_t)(10 * 3 * 16 * 16) * sizeof *want);
  free(want);
  lrl_image_work_free(&w);
  lrl_batch_builder_free(&b);
  lrl_corpus_free(c);
  lrl_image_ops_free(&ops);
  free(png.bytes);
  free(jpeg.bytes);
}

/* One row; returns the columns of its images in order, "" when it is set aside. */
static const char *grids(const char *row, enum lrl_aside aside) {
  static char text[32];
  struct lrl_corpus_options o = fx_options();
  struct lrl_corpus *c = fx_build(fx_write("marks.jsonl", row), &o);
  struct lrl_corpus_pair p;
  char *to = text;
  *to = '\0';
  if (aside != LRL_ASIDE_NONE) {
    struct lrl_corpus_aside a;
    assert_int_equal(lrl_corpus_n_asides(c), 1);
    lrl_corpus_get_aside(c, 0, &a);
    assert_int_equal(a.reason, aside);
  } else {
    assert_int_equal(lrl_corpus_n_pairs(c), 1);
    lrl_corpus_get(c, 0, &p);
    for (int64_t k = 0; k < p.n_spans; k++)
      to += sprintf(to, "%d", p.spans[k].cols);
  }
  lrl_corpus_free(c);
  return text;
}

/* The marks of LLaVA and LLaMA-Factory; what is no place stays text. */
static void test_marks(void **state) {
  (void)state;
  fx_write("1.img", "IMG 1 1 1");
  fx_write("2.img", "IMG 1 2 1");
  fx_write("3.img", "IMG 1 3 1");
#define ROW(media, prompt)                                                                         \
  "{" media ", \"prompt\": \"" prompt "\", \"chosen\": \"Yes\", \"rejected\": \"No\"}"
#define IMAGES "\"images\": [\"1.img\", \"2.img\"]"
#define VIDEOS "\"videos\": [\"3.img\"]"
  assert_string_equal(grids(ROW(IMAGES, "<image> or <image>?"), LRL_ASIDE_NONE), "12");
  assert_string_equal(grids(ROW(IMAGES ", " VIDEOS, "<image> <video><image>"), LRL_ASIDE_NONE),
                      "132");
  assert_string_equal(grids(ROW(VIDEOS ", " IMAGES, "<video> <image><image>"), LRL_ASIDE_NONE),
                      "312");
  assert_string_equal(
      grids(ROW(IMAGES ", " VIDEOS, "<ImageHere> <ImageHere> <ImageHere>"), LRL_ASIDE_NONE), "123");
  assert_string_equal(grids(ROW("\"video\": \"3.img\"", "What?"), LRL_ASIDE_NONE), "3");
  assert_string_equal(grids(ROW(VIDEOS, "<image> is a tag"), LRL_ASIDE_NONE), "3");
  assert_string_equal(grids(ROW(IMAGES, "<image> alone"), LRL_ASIDE_IMAGE), "");
  assert_string_equal(grids(ROW(IMAGES ", \"video\": 7", "What?"), LRL_ASIDE_TYPE), "");
#define SIDES(a, b)                                                                                \
  "{" IMAGES ", " VIDEOS ", \"conversations_a\": [{\"from\": \"human\", \"value\": \"" a           \
  "\"}, {\"from\": \"bot\", \"value\": \"Yes\"}], \"conversations_b\": [{\"from\": \"human\", "    \
  "\"value\": \"" b "\"}, {\"from\": \"bot\", \"value\": \"No\"}]}"
  assert_string_equal(
      grids(SIDES("<image><video><image>", "<video><image><image>"), LRL_ASIDE_TYPE), "");
  assert_string_equal(grids(SIDES("<image><video><image>", "none"), LRL_ASIDE_TYPE), "");
  assert_string_equal(
      grids(SIDES("<image><video><image>", "<image><video><image>"), LRL_ASIDE_NONE), "132");
}

/* Real files: every row is kept, and a sample of them becomes micro-batches. */
static void test_real(void **state) {
  (void)state;
  static const struct {
    const char *path;
    int64_t n_rows, step; /* every step-th pair is decoded */
  } files[] = {{"mm_pref/ixc_example/example.json", 1, 1},
               {"mm_pref/nlvr1/attr_pairs_test.ixc.jsonl.gz", 4126, 83},
               {"mm_pref/nlvr1/pairs_test.ixc.jsonl.gz", 990, 41},
               {"mm_pref/tabmwp/pairs.ixc.jsonl.gz", 2453, 61}};
  open_ops(28, 7, LRL_IMAGE_TRAINING);
  struct lrl_corpus_options o = fx_options();
  o.images = &ops;
  for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
    const char *path = ix_asset(files[f].path);
    if (path == NULL)
      continue;
    struct lrl_corpus *c = fx_build(path, &o);
    struct lrl_corpus_source_info s;
    lrl_corpus_get_source(c, 0, &s);
    assert_int_equal(s.n_rows, files[f].n_rows);
    assert_int_equal(s.n_rows, s.n_kept + lrl_corpus_n_asides(c));
    struct lrl_batch_builder b;
    lrl_batch_builder_init(&b, &ops);
    int64_t n_decoded = 0;
    for (int64_t i = 0; i < lrl_corpus_n_pairs(c); i += files[f].step, n_decoded++) {
      lrl_batch_builder_reset(&b);
      assert_int_equal(lrl_batch_builder_add_pair(&b, c, i), LRL_OK);
      lrl_batch_builder_finish(&b);
      assert_int_equal(b.batch.n_pairs, 1);
      assert_true(check_batch(&b.batch) > 0);
    }
    print_message("%s: %lld rows, %lld kept, %lld images, %lld pairs decoded\n", files[f].path,
                  (long long)s.n_rows, (long long)s.n_kept, (long long)lrl_corpus_n_images(c),
                  (long long)n_decoded);
    for (int64_t i = 0; i < lrl_corpus_n_asides(c); i++) {
      struct lrl_corpus_aside a;
      lrl_corpus_get_aside(c, i, &a);
      if (a.reason == LRL_ASIDE_IMAGE)
        fail_msg("line %lld: %s", (long long)a.line, a.detail);
    }
    lrl_batch_builder_free(&b);
    lrl_corpus_free(c);
  }
  lrl_image_ops_free(&ops);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_generated),
      cmocka_unit_test(test_marks),
      cmocka_unit_test(test_real),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
