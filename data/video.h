/* Videos as the model sees them: about one frame a second, all frames on one white canvas, which
 * then goes the way of an image in mode LRL_IMAGE_VIDEO (SPEC 3.6). Reading video files is not
 * here. */
#ifndef LRL_DATA_VIDEO_H
#define LRL_DATA_VIDEO_H
#include "data/image_resize.h"

/* Frames that the official load_video takes from [start, end) of a video (0 and n_frames for all of
 * it): every round(fps)-th, and of more than max_frames of these the i-th max_frames are i*n/(max +
 * 1), so the tail is never reached. indices [max_frames]; returns how many. fps > 0, max_frames >=
 * 1. Python rounds halves to even; a rate below 1/2, where it fails, takes every frame. */
int64_t lrl_video_frames(int64_t start, int64_t end, double fps, int64_t max_frames,
                         int64_t *indices);

/* The official frame2img without its labels: every frame is resized so that its longer side is
 * 2*tile; then, if the last frame is wider than high, they are stacked downwards with 40 white rows
 * above and 10 below each, else side by side with 40 white rows above all and 10 white columns
 * after each. A black line of 2 pixels lies 5 pixels behind every frame but the last. The label of
 * frame k has its top left corner at label_x[k], label_y[k] ([n], may be NULL). out, resized and
 * scratch start from {0} and are reused. n >= 1. LRL_ERR_SHAPE (larger than max_pixels),
 * LRL_ERR_MEMORY. */
lrl_status lrl_video_canvas(const struct lrl_image *frames, int64_t n, int32_t tile,
                            int64_t max_pixels, struct lrl_image *out, int32_t *label_x,
                            int32_t *label_y, struct lrl_image *resized,
                            struct lrl_buffer *scratch);
#endif
