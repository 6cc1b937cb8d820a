#include "data/image_ops.h"

#include "data/image_transform.h"

#include <pthread.h>
#include <stdlib.h>

enum {
  KEPT_BYTES = 128 << 20, /* a huge image's buffers are not kept */
  MAX_TILES = 1024,       /* video mode has no other limit */
};

struct work {
  struct work *next;
  struct lrl_image_work image;
};
struct state {
  struct lrl_image_ops_options opt;
  pthread_mutex_t lock;
  struct work *idle;
};

static lrl_status borrow(struct state *s, struct work **out) {
  pthread_mutex_lock(&s->lock);
  *out = s->idle;
  if (*out != NULL)
    s->idle = (*out)->next;
  pthread_mutex_unlock(&s->lock);
  if (*out == NULL)
    *out = calloc(1, sizeof **out);
  return *out != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory to decode an image");
}

static void give_back(struct state *s, struct work *w) {
  if (w->image.decoded.rgb.cap > KEPT_BYTES)
    lrl_image_work_free(&w->image);
  pthread_mutex_lock(&s->lock);
  w->next = s->idle;
  s->idle = w;
  pthread_mutex_unlock(&s->lock);
}

static struct lrl_image_geometry geometry(const struct state *s, int32_t width, int32_t height,
                                          int64_t n_images) {
  const struct lrl_image_ops_options *o = &s->opt;
  return lrl_image_geometry_of(o->mode, width, height, o->tile,
                               lrl_image_hd_num(o->mode, o->hd_num, n_images));
}

static lrl_status grid(void *user, const void *bytes, size_t n_bytes, int64_t n_images,
                       struct lrl_image_grid *out) {
  const struct state *s = user;
  int32_t w, h;
  LRL_TRY(lrl_image_size(bytes, n_bytes, s->opt.max_pixels, &w, &h));
  struct lrl_image_geometry g = geometry(s, w, h, n_images);
  if ((int64_t)g.rows * g.cols > MAX_TILES)
    return LRL_FAIL(LRL_ERR_SHAPE, "%d x %d pixels would take %lld tiles, more than the limit %d",
                    (int)w, (int)h, (long long)g.rows * g.cols, MAX_TILES);
  *out = (struct lrl_image_grid){g.rows, g.cols, w, h};
  return LRL_OK;
}

static lrl_status make_tiles(const struct state *s, struct lrl_image_work *w, const void *bytes,
                             size_t n_bytes, int64_t n_images, float *out) {
  const struct lrl_image *image;
  LRL_TRY(lrl_image_decode(bytes, n_bytes, s->opt.max_pixels, &w->decoded));
  struct lrl_image_geometry g = geometry(s, w->decoded.width, w->decoded.height, n_images);
  LRL_TRY(lrl_image_transform(&w->decoded, &g, w, &image));
  return lrl_image_tiles(image, s->opt.tile, out, &w->scratch);
}

static lrl_status tiles(void *user, const void *bytes, size_t n_bytes, int64_t n_images,
                        float *out) {
  struct state *s = user;
  struct work *w;
  LRL_TRY(borrow(s, &w));
  lrl_status status = make_tiles(s, &w->image, bytes, n_bytes, n_images, out);
  give_back(s, w);
  return status;
}

lrl_status lrl_image_ops_init(struct lrl_image_ops *ops,
                              const struct lrl_image_ops_options *options) {
  *ops = (struct lrl_image_ops){0};
  if (options->patch < 1 || options->tile < 1 || options->tile > 4096 ||
      options->tile % (2 * (int64_t)options->patch) != 0)
    return LRL_FAIL(LRL_ERR_ARG, "a tile of %d pixels is no multiple of two patches of %d",
                    (int)options->tile, (int)options->patch);
  if (options->hd_num < 1 || options->hd_num > MAX_TILES)
    return LRL_FAIL(LRL_ERR_ARG, "hd_num is %d; it must be 1 to %d", (int)options->hd_num,
                    MAX_TILES);
  struct state *s = calloc(1, sizeof *s);
  if (s == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for image decoding");
  s->opt = *options;
  if (s->opt.max_pixels <= 0)
    s->opt.max_pixels = LRL_IMAGE_MAX_PIXELS;
  pthread_mutex_init(&s->lock, NULL);
  *ops = (struct lrl_image_ops){.user = s,
                                .tile = options->tile,
                                .merged_side = options->tile / options->patch / 2,
                                .grid = grid,
                                .tiles = tiles};
  return LRL_OK;
}

void lrl_image_ops_free(struct lrl_image_ops *ops) {
  struct state *s = ops->user;
  if (s == NULL)
    return;
  for (struct work *w; (w = s->idle) != NULL; free(w)) {
    s->idle = w->next;
    lrl_image_work_free(&w->image);
  }
  pthread_mutex_destroy(&s->lock);
  free(s);
  *ops = (struct lrl_image_ops){0};
}
