/* Videos as the model sees them: about one frame a second, all frames on one white canvas, which
 * then goes the way of an image in mode LRL_IMAGE_VIDEO (SPEC 3.6). data/video_decode.h reads the
 * files. */
#ifndef LRL_DATA_VIDEO_H
#define LRL_DATA_VIDEO_H
#include "data/image_resize.h"

/* Far above any setting. */
#define LRL_VIDEO_MAX_FRAMES 1000

/* Frames that the official load_video takes from [start, end) of a video (0 and n_frames for all of
 * it): every round(fps)-th, and of more than max_frames of these the i-th max_frames are i*n/(max +
 * 1), so the tail is never reached. indices [max_frames]; returns how many. fps > 0, max_frames >=
 * 1. Python rounds halves to even; a rate below 1/2, where it fails, takes every frame. */
int64_t lrl_video_frames(int64_t start, int64_t end, double fps, int64_t max_frames,
                         int64_t *indices);

/* The official frame2img: every frame is resized so that its longer side is 2*tile; then, if the
 * last frame is wider than high, they are stacked downwards with 40 white rows above and 10 below
 * each, else side by side with 40 white rows above all and 10 white columns after each. A black
 * line of 2 pixels lies 5 pixels behind every frame but the last. In the white above frame k stands
 * "<IMAGE k>" in black: officially SimHei of 40 pixels, here our own bitmap font (data/font.h) in
 * cells of the same 20 x 40, which is all that differs from the official pixels. */
struct lrl_video_size {
  int32_t width, height; /* of a frame, >= 1 */
};
struct lrl_video_canvas {
  struct lrl_image image;           /* the canvas */
  struct lrl_image resized;         /* scratch, as the next */
  struct lrl_buffer scratch, sizes; /* sizes: for callers that list those of the frames */
  int64_t n, k, at;                 /* frames in all, frames put, where the next begins */
  int32_t side;
  bool down, labels;
};
/* Width and height of the canvas of n >= 1 frames. LRL_ERR_SHAPE: over max_pixels. */
lrl_status lrl_video_canvas_size(const struct lrl_video_size *frames, int64_t n, int32_t tile,
                                 int64_t max_pixels, struct lrl_video_size *out);
/* A white canvas for these frames; *c starts from {0} and is reused. Then n frames of these sizes
 * follow in order, one at a time, so that no more than one is ever held. labels: write "<IMAGE k>".
 * Also LRL_ERR_MEMORY. Free with lrl_video_canvas_free. */
lrl_status lrl_video_canvas_begin(struct lrl_video_canvas *c, const struct lrl_video_size *frames,
                                  int64_t n, int32_t tile, int64_t max_pixels, bool labels);
lrl_status lrl_video_canvas_add(struct lrl_video_canvas *c, const struct lrl_image *frame);
void lrl_video_canvas_free(struct lrl_video_canvas *c);
#endif
