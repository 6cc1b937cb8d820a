/* C4, C5: sizes and frame indices. C1: real image files, found under $LAUREL_ASSETS/images by their
 * checksums. */
#include "data/image_transform.h"
#include "data/video.h"
#include "tests/golden/golden.h"
#include "tests/golden/sha256.h"

#include <ftw.h>
#include <math.h>
#include <stdlib.h>

static json_t *open_json(struct golden *g, const char *path, const char *name) {
  json_error_t error;
  json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
  if (root == NULL)
    golden_fail(g, name, "", error.text);
  return root;
}
static int64_t int_at(const json_t *array, size_t i) {
  return json_integer_value(json_array_get(array, i));
}
static const char *text_of(const json_t *object, const char *key) {
  const char *s = json_string_value(json_object_get(object, key));
  return s != NULL ? s : "";
}

/* ---- C4 ---- */

/* [w, h, hd_num, width, height, top] of Image_transform and the same three of the training one. */
static bool sizes_agree(const json_t *row) {
  bool high = int_at(row, 0) < int_at(row, 1), same = true;
  for (int mode = 0; mode < 2; mode++) {
    struct lrl_image_geometry g = lrl_image_geometry_of(
        mode == 0 ? LRL_IMAGE_INFERENCE : LRL_IMAGE_TRAINING, (int32_t)int_at(row, 0),
        (int32_t)int_at(row, 1), 560, (int32_t)int_at(row, 2));
    size_t at = 3 + 3 * (size_t)mode;
    same = same && g.width == int_at(row, at) && g.height == int_at(row, at + 1) &&
           (high ? g.left : g.top) == int_at(row, at + 2);
  }
  return same;
}

static void run_sizes(struct golden *g, const char *path, const char *name) {
  json_t *root = open_json(g, path, name), *row;
  size_t i;
  double wrong = 0, wrong_video = 0;
  json_array_foreach(json_object_get(root, "rows"), i, row) wrong += !sizes_agree(row);
  json_array_foreach(json_object_get(root, "video"), i, row) {
    struct lrl_image_geometry v = lrl_image_geometry_of(LRL_IMAGE_VIDEO, (int32_t)int_at(row, 0),
                                                        (int32_t)int_at(row, 1), 560, 1);
    wrong_video += v.width != int_at(row, 2) || v.height != int_at(row, 3);
  }
  if (json_array_size(json_object_get(root, "rows")) > 0)
    golden_check(g, name, "images", wrong, 0);
  if (json_array_size(json_object_get(root, "video")) > 0)
    golden_check(g, name, "video", wrong_video, 0);
  json_decref(root);
}
GOLDEN_FAMILY("C4_", run_sizes)

/* ---- C5 ---- */

static bool frames_agree(const json_t *row) {
  const json_t *want = json_object_get(row, "indices");
  const json_t *start = json_object_get(row, "start"), *end = json_object_get(row, "end");
  int64_t max = json_integer_value(json_object_get(row, "num_frm"));
  int64_t *got = malloc((size_t)(max < 1 ? 1 : max) * sizeof *got);
  if (got == NULL || max < 1)
    return free(got), false;
  int64_t n = lrl_video_frames(
      json_is_integer(start) ? json_integer_value(start) : 0,
      json_integer_value(json_is_integer(end) ? end : json_object_get(row, "n_frames")),
      json_number_value(json_object_get(row, "fps")), max, got);
  bool same = (size_t)n == json_array_size(want);
  for (int64_t i = 0; i < n && same; i++)
    same = got[i] == int_at(want, (size_t)i);
  free(got);
  return same;
}

static void run_frames(struct golden *g, const char *path, const char *name) {
  json_t *root = open_json(g, path, name), *rows = json_object_get(root, "rows"), *row;
  size_t i;
  double wrong = 0;
  json_array_foreach(rows, i, row) wrong += !frames_agree(row);
  if (json_array_size(rows) > 0)
    golden_check(g, name, "", wrong, 0);
  json_decref(root);
}
GOLDEN_FAMILY("C5_", run_frames)

/* ---- C1 ---- */

struct real_case {
  struct golden *g;
  const char *name;
  const json_t *images;
  struct lrl_image_work w;
};

/* Walk of the image folder; nftw has no user pointer. */
static struct {
  const char *sha256;
  struct lrl_buffer bytes;
  size_t n;
  bool found;
} search;

static int visit(const char *path, const struct stat *s, int kind, struct FTW *f) {
  (void)f;
  char *bytes = NULL, hex[65];
  size_t n;
  if (kind != FTW_F || s->st_size > 64 << 20 || lrl_file_read_raw(path, &bytes, &n) != LRL_OK)
    return 0;
  sha256_hex((const uint8_t *)bytes, n, hex);
  search.found = strcmp(hex, search.sha256) == 0;
  if (search.found) {
    lrl_buffer_free(&search.bytes);
    search.bytes.data = bytes;
    search.n = n;
    return 1;
  }
  free(bytes);
  return 0;
}

/* Decodes the file with this checksum into `out`; false when it is not there or is refused. */
static bool find_image(struct real_case *c, const char *path, const char *sha256,
                       struct lrl_image *out) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s/images", c->g->assets);
  search.sha256 = sha256;
  search.found = false;
  nftw(folder, visit, 16, FTW_PHYS);
  if (!search.found) {
    golden_skip(c->g, c->name, path, "no file of this checksum under $LAUREL_ASSETS/images");
    return false;
  }
  return golden_ok(c->g, c->name, path,
                   lrl_image_decode(search.bytes.data, search.n, LRL_IMAGE_MAX_PIXELS, out));
}

static bool pixels_are(const struct lrl_image *im, const json_t *size, const char *sha256) {
  char hex[65];
  sha256_hex(im->rgb.data, 3 * (size_t)im->width * (size_t)im->height, hex);
  return im->width == int_at(size, 0) && im->height == int_at(size, 1) && strcmp(hex, sha256) == 0;
}

static bool transform_agrees(struct real_case *c, const struct lrl_image *im, const char *fn,
                             int32_t hd_num, const json_t *size, const char *sha256) {
  enum lrl_image_mode mode = strcmp(fn, "Image_transform") == 0   ? LRL_IMAGE_INFERENCE
                             : strcmp(fn, "Video_transform") == 0 ? LRL_IMAGE_VIDEO
                                                                  : LRL_IMAGE_TRAINING;
  struct lrl_image_geometry g = lrl_image_geometry_of(mode, im->width, im->height, 560, hd_num);
  const struct lrl_image *out;
  return lrl_image_transform(im, &g, &c->w, &out) == LRL_OK && pixels_are(out, size, sha256);
}

static void real_image(struct real_case *c, const json_t *entry) {
  const char *path = text_of(entry, "path");
  struct lrl_image im = {0};
  if (find_image(c, path, text_of(entry, "file_sha256"), &im)) {
    double wrong =
        !pixels_are(&im, json_object_get(entry, "size"), text_of(entry, "decoded_rgb_sha256"));
    json_t *out;
    size_t i;
    json_array_foreach(json_object_get(entry, "out"), i, out) wrong += !transform_agrees(
        c, &im, text_of(out, "fn"), (int32_t)json_integer_value(json_object_get(out, "hd_num")),
        json_object_get(out, "size"), text_of(out, "sha256"));
    golden_check(c->g, c->name, path, wrong, 0);
  }
  lrl_image_free(&im);
}

static const char *sha_of_path(const json_t *images, const char *path) {
  json_t *entry;
  size_t i;
  json_array_foreach(images, i, entry) if (strcmp(text_of(entry, "path"), path) ==
                                           0) return text_of(entry, "file_sha256");
  return "";
}

static void canvas(struct real_case *c, const json_t *entry, const char *what) {
  enum { MAX_FRAMES = 256 };
  static struct lrl_image frames[MAX_FRAMES];
  struct lrl_video_size sizes[MAX_FRAMES];
  struct lrl_video_canvas out = {0};
  const json_t *paths = json_object_get(entry, "frames");
  size_t n = json_array_size(paths), read = 0;
  for (; read < n && n <= MAX_FRAMES; read++) {
    const char *path = json_string_value(json_array_get(paths, read));
    if (path == NULL || !find_image(c, path, sha_of_path(c->images, path), &frames[read]))
      break;
    sizes[read] = (struct lrl_video_size){frames[read].width, frames[read].height};
  }
  if (read == n && n > 0 &&
      golden_ok(
          c->g, c->name, what,
          lrl_video_canvas_begin(&out, sizes, (int64_t)n, 560, LRL_IMAGE_MAX_PIXELS, false))) {
    double wrong = 0;
    for (size_t i = 0; i < n; i++)
      wrong += lrl_video_canvas_add(&out, &frames[i]) != LRL_OK;
    wrong += !pixels_are(&out.image, json_object_get(entry, "frame2img_size"),
                         text_of(entry, "frame2img_sha256"));
    wrong += !transform_agrees(c, &out.image, "Video_transform", 1,
                               json_object_get(entry, "video_transform_size"),
                               text_of(entry, "video_transform_sha256"));
    golden_check(c->g, c->name, what, wrong, 0);
  }
  for (size_t i = 0; i < n && i < MAX_FRAMES; i++)
    lrl_image_free(&frames[i]);
  lrl_video_canvas_free(&out);
}

static void run_real(struct golden *g, const char *path, const char *name) {
  json_t *root = open_json(g, path, name), *entry;
  struct real_case c = {.g = g, .name = name, .images = json_object_get(root, "images")};
  size_t i;
  json_array_foreach(c.images, i, entry) real_image(&c, entry);
  json_array_foreach(json_object_get(root, "frame2img"), i, entry) {
    char what[40];
    snprintf(what, sizeof what, "frame2img.%zu", i);
    canvas(&c, entry, what);
  }
  lrl_image_work_free(&c.w);
  lrl_buffer_free(&search.bytes);
  json_decref(root);
}
GOLDEN_FAMILY("C1_", run_real)
