/* From decoded pixels to the tiles the vision tower takes (SPEC 2.2, 2.4, 3). */
#ifndef LRL_DATA_IMAGE_TRANSFORM_H
#define LRL_DATA_IMAGE_TRANSFORM_H
#include "data/image_geometry.h"
#include "data/image_resize.h"

/* Memory of one image on its way; starts from {0}, is reused, and is freed by its free. */
struct lrl_image_work {
  struct lrl_image decoded, resized, padded;
  struct lrl_buffer scratch;
};
void lrl_image_work_free(struct lrl_image_work *w);

/* Bilinear resize and white padding, as `g` (of in's size) says. *out lies
 * in w or is `in` itself. Pixels exactly as the official functions'. LRL_ERR_MEMORY. */
lrl_status lrl_image_transform(const struct lrl_image *in, const struct lrl_image_geometry *g,
                               struct lrl_image_work *w, const struct lrl_image **out);

/* x = (v/255 - mean_c)/std_c of CLIP, in float32. table[c][v]. */
void lrl_image_normalisation(float table[3][256]);

/* Normalised planes of an image of rows*tile x cols*tile pixels:
 * out [1 + rows*cols][3][tile][tile] = bicubic global view, then tiles in raster order.
 * LRL_ERR_MEMORY. */
lrl_status lrl_image_tiles(const struct lrl_image *in, int32_t tile, float *out,
                           struct lrl_buffer *scratch);
#endif
