#include "data/image_transform.h"

#include <string.h>

void lrl_image_work_free(struct lrl_image_work *w) {
  lrl_image_free(&w->decoded);
  lrl_image_free(&w->resized);
  lrl_image_free(&w->padded);
  lrl_buffer_free(&w->scratch);
}

static uint8_t *at(const struct lrl_image *im, int64_t x, int64_t y) {
  return (uint8_t *)im->rgb.data + 3 * (y * im->width + x);
}

lrl_status lrl_image_transform(const struct lrl_image *in, const struct lrl_image_geometry *g,
                               struct lrl_image_work *w, const struct lrl_image **out) {
  const struct lrl_image *from = in;
  if (in->width != g->inner_width || in->height != g->inner_height) {
    LRL_TRY(lrl_image_resize(in, g->inner_width, g->inner_height, LRL_IMAGE_BILINEAR, g->rows_first,
                             &w->resized, &w->scratch));
    from = &w->resized;
  }
  *out = from;
  if (from->width == g->width && from->height == g->height)
    return LRL_OK;
  LRL_TRY(lrl_image_resize_buffer(&w->padded, g->width, g->height));
  memset(w->padded.rgb.data, 255, 3 * (size_t)g->width * (size_t)g->height);
  for (int64_t y = 0; y < from->height; y++)
    memcpy(at(&w->padded, g->left, g->top + y), at(from, 0, y), 3 * (size_t)from->width);
  *out = &w->padded;
  return LRL_OK;
}

void lrl_image_normalisation(float table[3][256]) {
  static const float mean[3] = {0.48145466F, 0.4578275F, 0.40821073F};
  static const float std[3] = {0.26862954F, 0.26130258F, 0.27577711F};
  for (int c = 0; c < 3; c++)
    for (int v = 0; v < 256; v++)
      table[c][v] = ((float)v / 255.0F - mean[c]) / std[c];
}

struct channel {
  const struct lrl_image *in;
  const float *table;
  int c;
};

static void normalised_row(const void *user, int32_t y, float *to) {
  const struct channel *k = user;
  const uint8_t *p = at(k->in, 0, y) + k->c;
  for (int64_t x = 0; x < k->in->width; x++)
    to[x] = k->table[p[3 * x]];
}

lrl_status lrl_image_tiles(const struct lrl_image *in, int32_t tile, float *out,
                           struct lrl_buffer *scratch) {
  float table[3][256];
  lrl_image_normalisation(table);
  int64_t plane = (int64_t)tile * tile;
  for (int c = 0; c < 3; c++) {
    const struct channel k = {in, table[c], c};
    LRL_TRY(lrl_plane_bicubic(normalised_row, &k, in->width, in->height, out + c * plane, tile,
                              tile, scratch));
  }
  out += 3 * plane;
  for (int64_t y0 = 0; y0 < in->height; y0 += tile)
    for (int64_t x0 = 0; x0 < in->width; x0 += tile, out += 3 * plane)
      for (int64_t y = 0; y < tile; y++) {
        const uint8_t *p = at(in, x0, y0 + y);
        float *to = out + y * tile;
        for (int64_t x = 0; x < tile; x++)
          for (int c = 0; c < 3; c++)
            to[c * plane + x] = table[c][p[3 * x + c]];
      }
  return LRL_OK;
}
