/* In place of video_decode.c where FFmpeg's libraries were not found (CMakeLists.txt). */
#include "data/video_decode.h"

const char *lrl_video_library(void) { return NULL; }

lrl_status lrl_video_open(const void *bytes, size_t n_bytes, int64_t max_pixels,
                          struct lrl_video **out) {
  (void)bytes, (void)n_bytes, (void)max_pixels;
  *out = NULL;
  return LRL_FAIL(LRL_ERR_FORMAT, "the file is a video, and this laurel was built without FFmpeg's "
                                  "libraries; tools/install-deps.sh names the packages");
}

void lrl_video_close(struct lrl_video *v) { (void)v; }

void lrl_video_get_info(const struct lrl_video *v, struct lrl_video_info *out) {
  (void)v;
  *out = (struct lrl_video_info){0};
}

lrl_status lrl_video_read(struct lrl_video *v, const int64_t *frames, int64_t n,
                          lrl_status (*fn)(void *user, const struct lrl_image *frame), void *user) {
  (void)v, (void)frames, (void)n, (void)fn, (void)user;
  return LRL_FAIL(LRL_ERR_FORMAT, "this laurel was built without FFmpeg's libraries");
}
