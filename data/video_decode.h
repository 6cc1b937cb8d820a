/* Video files to 8-bit RGB frames, through FFmpeg's libraries. The container is told by the first
 * bytes, never by the file's name: MP4 and QuickTime, Matroska and WebM, AVI, ASF (WMV), FLV, Ogg,
 * MPEG programme and transport streams. Codecs: whatever the installed FFmpeg decodes. A file is
 * read from memory; nothing that it may refer to, on disk or network, is opened.
 *
 * Frame i is the i-th that is shown, in the order of showing; frames that an edit list cuts off and
 * ones that are never shown (VP8) do not count. A file is asked twice: once for the times of its
 * frames, without decoding, and once for the pictures, of which only the stretches from the last
 * key frame on are decoded; a frame is the same as when all is decoded. Where times are missing or
 * repeated, frames are counted by decoding all.
 *
 * The official code reads videos with decord 0.6, which lets FFmpeg's scale filter convert to RGB.
 * The same holds here: the video's own matrix where it names one, else that of ITU-R BT.601; its
 * range; a rotation in quarter turns is applied, any other and the aspect ratio of pixels are not.
 * Chroma: planar 4:2:0 and 4:2:2 of 8 bits and an even height takes the nearest sample, anything
 * else swscale's bilinear filter, where the pixels are those of decord to the bit. Nearest, they
 * are off by up to 3 of 255 steps: swscale's exact, machine-independent arithmetic is asked for
 * instead of its fast one. Other than here, decord counts packets that show nothing, may give a
 * wrong frame after a seek in AVI, WMV and MPEG files, and gives damaged frames as they are, which
 * are an error here.
 *
 * Errors: LRL_ERR_FORMAT (damaged, truncated, no video in it, an unknown codec, or FFmpeg was not
 * there when this program was built), LRL_ERR_SHAPE (more than max_pixels), LRL_ERR_MEMORY; one
 * sentence each, without a file name. Thread safe; one thread a video. */
#ifndef LRL_DATA_VIDEO_DECODE_H
#define LRL_DATA_VIDEO_DECODE_H
#include "data/image.h"

/* Name of the container that begins like this ("mov", "avi", ...), or NULL: no video. Works without
 * FFmpeg, too. */
const char *lrl_video_container(const void *bytes, size_t n_bytes);
/* "FFmpeg's libavformat 59.27.100", or NULL in a program built without. */
const char *lrl_video_library(void);

struct lrl_video_info {
  int32_t width, height; /* pixels of a frame, after rotation */
  int64_t n_frames;      /* >= 1 */
  double fps;            /* average rate, > 0: the container's; if it has none, from the times */
};
struct lrl_video;
/* Opens a file in memory, which must outlive the video; close it with lrl_video_close. */
lrl_status lrl_video_open(const void *bytes, size_t n_bytes, int64_t max_pixels,
                          struct lrl_video **out);
void lrl_video_close(struct lrl_video *v); /* NULL is fine */
void lrl_video_get_info(const struct lrl_video *v, struct lrl_video_info *out);
/* Decodes frames[0 .. n), ascending and without repeats, and calls fn with each in order; the
 * image lives until fn returns. A failure of fn ends the reading and is returned. One decoded frame
 * is held at a time, besides those that the codec refers to. */
lrl_status lrl_video_read(struct lrl_video *v, const int64_t *frames, int64_t n,
                          lrl_status (*fn)(void *user, const struct lrl_image *frame), void *user);
#endif
