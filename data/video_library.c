/* FFmpeg's libraries bring a hundred and forty others with them, and loading those takes longer
 * than all the rest of the program's start. So the decoder is a library of its own, which is loaded
 * when the first video is opened; where it is missing, videos are refused. */
#include "data/video_plugin.h"
#include "kernels/plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* What the decoder takes from the program, which would otherwise not always have it. */
typedef void function(void);
__attribute__((used)) static function *const taken[] = {
    (function *)lrl_buffer_reserve, (function *)lrl_buffer_free,
    (function *)lrl_image_resize_buffer, (function *)lrl_image_free,
    (function *)lrl_video_container};

static const struct lrl_video_decoder *decoder;
static char missing[400] = "this laurel was built without FFmpeg's libraries";

static void load(void) {
  char path[640];
  void *library = lrl_library_open(NULL, "video", path, sizeof path);
  const struct lrl_video_decoder *d = library != NULL ? dlsym(library, "lrl_video_decoder") : NULL;
  if (d != NULL && d->abi == LRL_VIDEO_ABI)
    decoder = d;
  else if (path[0] != '\0')
    snprintf(missing, sizeof missing, "liblaurel_video.so cannot be used: %.300s",
             library == NULL ? dlerror() : "it is of another version of laurel");
}
static const struct lrl_video_decoder *loaded(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, load);
  return decoder;
}

const char *lrl_video_library(void) { return loaded() != NULL ? decoder->library() : NULL; }

lrl_status lrl_video_open(const void *bytes, size_t n_bytes, int64_t max_pixels,
                          struct lrl_video **out) {
  *out = NULL;
  if (loaded() == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "the file is a video, and %s; tools/install-deps.sh names the packages",
                    missing);
  return decoder->open(bytes, n_bytes, max_pixels, out);
}
void lrl_video_close(struct lrl_video *v) {
  if (v != NULL)
    decoder->close(v);
}
void lrl_video_get_info(const struct lrl_video *v, struct lrl_video_info *out) {
  decoder->get_info(v, out);
}
lrl_status lrl_video_read(struct lrl_video *v, const int64_t *frames, int64_t n,
                          lrl_status (*fn)(void *user, const struct lrl_image *frame), void *user) {
  return decoder->read(v, frames, n, fn, user);
}
