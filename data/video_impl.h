/* Between data/video_source.c (container), data/video_decode.c (codec) and data/video_pixels.c. */
#ifndef LRL_DATA_VIDEO_IMPL_H
#define LRL_DATA_VIDEO_IMPL_H
#include "data/video_decode.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* A file in memory, being taken apart from its first packet on. */
struct lrl_video_source {
  const uint8_t *bytes;
  int64_t n_bytes, at;
  AVFormatContext *format;
  AVIOContext *io;
  AVPacket *packet;
  int stream; /* the video's */
};
/* Also on failure, lrl_video_source_close is to be called. */
lrl_status lrl_video_source_open(struct lrl_video_source *s, const void *bytes, size_t n_bytes);
void lrl_video_source_close(struct lrl_video_source *s);
/* The next packet of the video into s->packet, which is valid until the next call; false in *more
 * at the end. LRL_ERR_FORMAT: damaged or truncated. */
lrl_status lrl_video_source_next(struct lrl_video_source *s, bool *more);

/* A decoded frame as RGB. */
struct SwsContext;
struct lrl_video_picture {
  int width, height, turns; /* as the codec has them; then so many quarter turns clockwise */
  struct SwsContext *sws;
  AVFrame *rgb;
  struct lrl_image image; /* turned */
};
/* Quarter turns that the container asks for. */
int lrl_video_turns(const AVStream *s);
/* `frame` into p->image. LRL_ERR_FORMAT, LRL_ERR_MEMORY. */
lrl_status lrl_video_picture_take(struct lrl_video_picture *p, const AVFrame *frame);
void lrl_video_picture_free(struct lrl_video_picture *p);

/* LRL_ERR_FORMAT with FFmpeg's own words. Its failures to allocate are damage, too: what a broken
 * file asks for. */
lrl_status lrl_video_fail(const char *what, int code);
#endif
