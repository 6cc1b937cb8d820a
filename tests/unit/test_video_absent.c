/* A laurel built without FFmpeg: data/video_absent.c takes the place of the decoder here. */
#include "image_fixture.h"

#include "data/image_ops.h"
#include "data/video_decode.h"

static void test_sentence(void **state) {
  (void)state;
  static const char mp4[64] = "\0\0\0\30ftypisom\0\0\2\0isomiso2\0\0\0\10free";
  struct lrl_image_ops ops;
  struct lrl_image_grid g;
  float tiles[1];
  const struct lrl_image_ops_options o = {.tile = 28, .patch = 14, .hd_num = 1};
  assert_null(lrl_video_library());
  assert_int_equal(lrl_image_ops_init(&ops, &o), LRL_OK);
  assert_int_equal(ops.grid(ops.user, mp4, sizeof mp4, 1, &g), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "is a video, and this laurel was built without FFmpeg"));
  lrl_error_clear();
  assert_int_equal(ops.tiles(ops.user, mp4, sizeof mp4, 1, tiles), LRL_ERR_FORMAT);
  lrl_error_clear();
  lrl_image_ops_free(&ops);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sentence)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
