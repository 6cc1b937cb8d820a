/* Resampling. Pixel centres are at half integers: x_in = (x_out + 1/2) in/out. */
#ifndef LRL_DATA_IMAGE_RESIZE_H
#define LRL_DATA_IMAGE_RESIZE_H
#include "data/image.h"

enum lrl_image_filter {
  LRL_IMAGE_BILINEAR, /* triangle, support 1 */
  LRL_IMAGE_BICUBIC,  /* Keys, a = -0.5, support 2 */
};

/* Pillow's Image.resize of 8-bit RGB, bit for bit: the filter is widened by in/out when shrinking,
 * weights are rounded to 22 bits, columns first with an 8-bit result, then rows; an axis whose
 * length stays is left alone. With rows_first the passes change places, which is what resizing the
 * transposed image and transposing back gives. out starts from {0}, is reused, and may not be `in`;
 * scratch as any buffer. in and out have at least one pixel. Cost: 3 W_out H_in taps_x + 3 W_out
 * H_out taps_y multiplications. LRL_ERR_MEMORY. Source: SPEC 3.5, Pillow's Resample.c. */
lrl_status lrl_image_resize(const struct lrl_image *in, int32_t width, int32_t height,
                            enum lrl_image_filter filter, bool rows_first, struct lrl_image *out,
                            struct lrl_buffer *scratch);

/* torch.nn.functional.interpolate(mode="bicubic", align_corners=False, no antialias) of one plane:
 * Keys with a = -0.75, 4 taps an axis, indices clamped at the border; source positions in float32
 * as in torch. The input is asked for row by row: row(user, y, to) writes in_w values. out
 * [out_h][out_w], dense. LRL_ERR_MEMORY. Source: SPEC 2.2 item 2. */
typedef void lrl_plane_row(const void *user, int32_t y, float *to);
lrl_status lrl_plane_bicubic(lrl_plane_row *row, const void *user, int32_t in_w, int32_t in_h,
                             float *out, int32_t out_w, int32_t out_h, struct lrl_buffer *scratch);
#endif
