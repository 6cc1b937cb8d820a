#include "data/image_ops.h"

#include "data/image_transform.h"
#include "data/video.h"
#include "data/video_decode.h"

#include <pthread.h>
#include <stdlib.h>

enum {
  KEPT_BYTES = 128 << 20, /* a huge image's buffers are not kept */
  MAX_TILES = 1024,       /* videos have no other limit */
  VIDEO_FRAMES = 32,      /* the official numbers */
  VIDEO_FPS = 1,
};

struct work {
  struct work *next;
  struct lrl_image_work image;
  struct lrl_video_canvas canvas;
  struct lrl_buffer frames; /* numbers of those on the canvas */
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

static void work_free(struct work *w) {
  lrl_image_work_free(&w->image);
  lrl_video_canvas_free(&w->canvas);
  lrl_buffer_free(&w->frames);
}

static void give_back(struct state *s, struct work *w) {
  if (w->image.decoded.rgb.cap + w->canvas.image.rgb.cap > KEPT_BYTES)
    work_free(w);
  pthread_mutex_lock(&s->lock);
  w->next = s->idle;
  s->idle = w;
  pthread_mutex_unlock(&s->lock);
}

static struct lrl_image_geometry geometry(const struct state *s, enum lrl_image_mode mode,
                                          int32_t width, int32_t height, int64_t n_images) {
  return lrl_image_geometry_of(mode, width, height, s->opt.tile,
                               lrl_image_hd_num(mode, s->opt.hd_num, n_images));
}

/* Which frames of the video go on the canvas: w->frames and the n sizes in w->canvas.sizes. */
static lrl_status choose_frames(const struct state *s, struct work *w, const struct lrl_video *v,
                                int64_t *n) {
  struct lrl_video_info info;
  const size_t most = (size_t)s->opt.video_frames;
  lrl_video_get_info(v, &info);
  LRL_TRY(lrl_buffer_reserve(&w->frames, most * sizeof(int64_t)));
  LRL_TRY(lrl_buffer_reserve(&w->canvas.sizes, most * sizeof(struct lrl_video_size)));
  *n = lrl_video_frames(0, info.n_frames, info.fps / s->opt.video_fps, s->opt.video_frames,
                        w->frames.data);
  for (int64_t i = 0; i < *n; i++)
    ((struct lrl_video_size *)w->canvas.sizes.data)[i] =
        (struct lrl_video_size){info.width, info.height};
  return LRL_OK;
}

static lrl_status video_size(const struct state *s, struct work *w, const struct lrl_video *v,
                             struct lrl_video_size *frame, struct lrl_video_size *canvas) {
  int64_t n;
  LRL_TRY(choose_frames(s, w, v, &n));
  *frame = *(const struct lrl_video_size *)w->canvas.sizes.data;
  return lrl_video_canvas_size(w->canvas.sizes.data, n, s->opt.tile, s->opt.max_pixels, canvas);
}

/* Sizes of the image that tiles are made of, and of the file's pictures. */
static lrl_status sizes(struct state *s, const void *bytes, size_t n_bytes,
                        struct lrl_video_size *file, struct lrl_video_size *image) {
  if (lrl_video_container(bytes, n_bytes) == NULL) {
    LRL_TRY(lrl_image_size(bytes, n_bytes, s->opt.max_pixels, &file->width, &file->height));
    *image = *file;
    return LRL_OK;
  }
  struct work *w;
  struct lrl_video *v;
  LRL_TRY(lrl_video_open(bytes, n_bytes, s->opt.max_pixels, &v));
  lrl_status status = borrow(s, &w);
  if (status == LRL_OK) {
    status = video_size(s, w, v, file, image);
    give_back(s, w);
  }
  lrl_video_close(v);
  return status;
}

static enum lrl_image_mode mode_of(const struct state *s, const void *bytes, size_t n_bytes) {
  return lrl_video_container(bytes, n_bytes) != NULL ? LRL_IMAGE_VIDEO : s->opt.mode;
}

static lrl_status grid(void *user, const void *bytes, size_t n_bytes, int64_t n_images,
                       struct lrl_image_grid *out) {
  struct state *s = user;
  struct lrl_video_size file, image;
  LRL_TRY(sizes(s, bytes, n_bytes, &file, &image));
  struct lrl_image_geometry g =
      geometry(s, mode_of(s, bytes, n_bytes), image.width, image.height, n_images);
  if ((int64_t)g.rows * g.cols > MAX_TILES)
    return LRL_FAIL(LRL_ERR_SHAPE, "%d x %d pixels would take %lld tiles, more than the limit %d",
                    (int)image.width, (int)image.height, (long long)g.rows * g.cols, MAX_TILES);
  *out = (struct lrl_image_grid){g.rows, g.cols, file.width, file.height};
  return LRL_OK;
}

static lrl_status put_frame(void *user, const struct lrl_image *frame) {
  return lrl_video_canvas_add(user, frame);
}

static lrl_status draw_video(const struct state *s, struct work *w, const void *bytes,
                             size_t n_bytes) {
  struct lrl_video *v;
  int64_t n;
  LRL_TRY(lrl_video_open(bytes, n_bytes, s->opt.max_pixels, &v));
  lrl_status status = choose_frames(s, w, v, &n);
  if (status == LRL_OK)
    status = lrl_video_canvas_begin(&w->canvas, w->canvas.sizes.data, n, s->opt.tile,
                                    s->opt.max_pixels, true);
  if (status == LRL_OK)
    status = lrl_video_read(v, w->frames.data, n, put_frame, &w->canvas);
  lrl_video_close(v);
  return status;
}

static lrl_status make_tiles(const struct state *s, struct work *w, const void *bytes,
                             size_t n_bytes, int64_t n_images, float *out) {
  const enum lrl_image_mode mode = mode_of(s, bytes, n_bytes);
  const struct lrl_image *from = mode == LRL_IMAGE_VIDEO ? &w->canvas.image : &w->image.decoded;
  const struct lrl_image *image;
  LRL_TRY(mode == LRL_IMAGE_VIDEO
              ? draw_video(s, w, bytes, n_bytes)
              : lrl_image_decode(bytes, n_bytes, s->opt.max_pixels, &w->image.decoded));
  struct lrl_image_geometry g = geometry(s, mode, from->width, from->height, n_images);
  LRL_TRY(lrl_image_transform(from, &g, &w->image, &image));
  return lrl_image_tiles(image, s->opt.tile, out, &w->image.scratch);
}

static lrl_status tiles(void *user, const void *bytes, size_t n_bytes, int64_t n_images,
                        float *out) {
  struct state *s = user;
  struct work *w;
  LRL_TRY(borrow(s, &w));
  lrl_status status = make_tiles(s, w, bytes, n_bytes, n_images, out);
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
  if (options->video_frames < 0 || options->video_frames > LRL_VIDEO_MAX_FRAMES ||
      !(options->video_fps >= 0))
    return LRL_FAIL(LRL_ERR_ARG, "of a video 1 to %d frames can be taken, not %lld at %g a second",
                    LRL_VIDEO_MAX_FRAMES, (long long)options->video_frames, options->video_fps);
  struct state *s = calloc(1, sizeof *s);
  if (s == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for image decoding");
  s->opt = *options;
  if (s->opt.max_pixels <= 0)
    s->opt.max_pixels = LRL_IMAGE_MAX_PIXELS;
  if (s->opt.video_frames == 0)
    s->opt.video_frames = VIDEO_FRAMES;
  if (!(s->opt.video_fps > 0))
    s->opt.video_fps = VIDEO_FPS;
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
    work_free(w);
  }
  pthread_mutex_destroy(&s->lock);
  free(s);
  *ops = (struct lrl_image_ops){0};
}
