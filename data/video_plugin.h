/* The decoder of videos as a library of its own (data/video_library.c says why): what
 * liblaurel_video.so exports as lrl_video_decoder. The functions are those of data/video_decode.h.
 */
#ifndef LRL_DATA_VIDEO_PLUGIN_H
#define LRL_DATA_VIDEO_PLUGIN_H
#include "data/video_decode.h"

#define LRL_VIDEO_ABI 1
struct lrl_video_decoder {
  int abi; /* LRL_VIDEO_ABI */
  const char *(*library)(void);
  lrl_status (*open)(const void *bytes, size_t n_bytes, int64_t max_pixels, struct lrl_video **out);
  void (*close)(struct lrl_video *v);
  void (*get_info)(const struct lrl_video *v, struct lrl_video_info *out);
  lrl_status (*read)(struct lrl_video *v, const int64_t *frames, int64_t n,
                     lrl_status (*fn)(void *user, const struct lrl_image *frame), void *user);
};
#endif
