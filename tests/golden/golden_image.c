/* B3: float bicubic. C2, C3, C6: decoded, resized, tiled and normalised pixels, stored in HDF5. */
#include "data/image_transform.h"
#include "tests/golden/golden.h"
#include "tests/golden/sha256.h"

#include <math.h>
#include <stdlib.h>

struct image_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_image_work w;
  struct lrl_image image;
};

static bool begin(struct image_case *c, struct golden *g, const char *path, const char *name) {
  *c = (struct image_case){.g = g, .name = name};
  if (g5_open(&c->file, path))
    return true;
  golden_fail(g, name, "", "cannot be opened as HDF5");
  return false;
}
static void end(struct image_case *c) {
  lrl_image_work_free(&c->w);
  lrl_image_free(&c->image);
  g5_close(&c->file);
}

/* Loads an [h, w, 3] data set as an image. */
static bool load(struct image_case *c, const char *dataset, struct lrl_image *out) {
  struct g5_array a;
  if (!g5_read_u8(&c->file, dataset, &a))
    return false;
  bool ok = a.ndim == 3 && a.dim[2] == 3 &&
            golden_ok(c->g, c->name, dataset,
                      lrl_image_resize_buffer(out, (int32_t)a.dim[1], (int32_t)a.dim[0]));
  if (ok)
    memcpy(out->rgb.data, a.u8, (size_t)a.n);
  g5_free(&a);
  return ok;
}

/* Checks pixels against an [h, w, 3] data set; false when the file has none of that name. */
static bool check_pixels(struct image_case *c, const char *dataset, const struct lrl_image *got) {
  struct g5_array a;
  if (!g5_read_u8(&c->file, dataset, &a))
    return false;
  double wrong = INFINITY;
  if (a.ndim == 3 && a.dim[0] == got->height && a.dim[1] == got->width) {
    wrong = 0;
    for (int64_t i = 0; i < a.n; i++)
      wrong += a.u8[i] != ((const uint8_t *)got->rgb.data)[i];
  }
  golden_check(c->g, c->name, dataset + strlen("/outputs/"), wrong, 0);
  g5_free(&a);
  return true;
}

/* Checks size and checksum against the attributes KEYsize_wh and KEYsha256 before/after `index`. */
static void check_sha(struct image_case *c, const char *size_key, const char *sha_key,
                      const struct lrl_image *got) {
  char want[80], hex[65];
  double size[2];
  if (!g5_str(&c->file, sha_key, want, sizeof want))
    return;
  bool same =
      g5_list(&c->file, size_key, size, 2) == 2 && size[0] == got->width && size[1] == got->height;
  sha256_hex(got->rgb.data, 3 * (size_t)got->width * (size_t)got->height, hex);
  golden_check(c->g, c->name, sha_key, !same || strcmp(hex, want) != 0, 0);
}

static const struct lrl_image *transformed(struct image_case *c, enum lrl_image_mode mode,
                                           const struct lrl_image *in, int tile, int hd) {
  const struct lrl_image *out = NULL;
  struct lrl_image_geometry g = lrl_image_geometry_of(mode, in->width, in->height, tile, hd);
  return golden_ok(c->g, c->name, "", lrl_image_transform(in, &g, &c->w, &out)) ? out : NULL;
}

/* Smallest error of a [3, h, w] crop over its places in [3, side, side]: the files do not say where
 * the crop was taken. */
static double crop_error(const float *in, int64_t side, const struct g5_array *crop) {
  double best = INFINITY;
  int64_t h = crop->dim[1], w = crop->dim[2];
  for (int64_t y0 = 0; y0 + h <= side; y0++)
    for (int64_t x0 = 0; x0 + w <= side; x0++) {
      double worst = 0;
      for (int64_t k = 0; k < crop->n && worst < best; k++) {
        int64_t x = k % w, y = k / w % h, ch = k / w / h;
        worst = fmax(worst,
                     fabs((double)in[(ch * side + y0 + y) * side + x0 + x] - (double)crop->f32[k]));
      }
      best = worst < best ? worst : best;
    }
  return best;
}

/* Crops of the global view and of the first tile. */
static void check_crops(struct image_case *c, const struct lrl_image *image, int32_t tile,
                        const char *global, const char *first) {
  int64_t n = 1 + (int64_t)(image->width / tile) * (image->height / tile), plane = tile * tile;
  float *tiles = malloc((size_t)(n * 3 * plane) * sizeof *tiles);
  if (tiles != NULL &&
      golden_ok(c->g, c->name, global, lrl_image_tiles(image, tile, tiles, &c->w.scratch)))
    for (int k = 0; k < 2; k++) {
      struct g5_array a;
      const char *dataset = k == 0 ? global : first;
      if (!g5_read_f32(&c->file, dataset, &a))
        continue;
      double worst = a.ndim == 3 ? crop_error(tiles + k * 3 * plane, tile, &a) : INFINITY;
      golden_check(c->g, c->name, dataset + strlen("/outputs/"), worst, 1e-5);
      g5_free(&a);
    }
  free(tiles);
}

/* ---- C2: whole files ---- */

static void decode_file(const char *name, void *user) {
  struct image_case *c = user;
  struct g5_array a;
  char dataset[256];
  if (strncmp(name, "file.", 5) != 0)
    return;
  snprintf(dataset, sizeof dataset, "/inputs/%s", name);
  if (!g5_read_u8(&c->file, dataset, &a))
    return;
  snprintf(dataset, sizeof dataset, "/outputs/decoded_rgb.%s", name + 5);
  if (golden_ok(c->g, c->name, name,
                lrl_image_decode(a.u8, (size_t)a.n, LRL_IMAGE_MAX_PIXELS, &c->image)))
    check_pixels(c, dataset, &c->image); /* some are left out of the file to save space */
  g5_free(&a);
}

/* Decodes file.I.png, which the transforms of the file were applied to. */
static bool decode_png(struct image_case *c, int i) {
  struct g5_array a;
  char dataset[80];
  snprintf(dataset, sizeof dataset, "/inputs/file.%d.png", i);
  if (!g5_read_u8(&c->file, dataset, &a))
    return false;
  bool ok = golden_ok(c->g, c->name, dataset,
                      lrl_image_decode(a.u8, (size_t)a.n, LRL_IMAGE_MAX_PIXELS, &c->image));
  g5_free(&a);
  return ok;
}

static void transform_output(const char *name, void *user) {
  struct image_case *c = user;
  int i, tile, hd;
  char dataset[256];
  if (sscanf(name, "R560.%d.res%d.hd%d", &i, &tile, &hd) != 3)
    return;
  if (!decode_png(c, i))
    return;
  const struct lrl_image *out = transformed(c, LRL_IMAGE_TRAINING, &c->image, tile, hd);
  snprintf(dataset, sizeof dataset, "/outputs/%s", name);
  if (out != NULL)
    check_pixels(c, dataset, out);
}

static void inference_560(struct image_case *c, int i, int hd) {
  char size[80], sha[80], dataset[256], crops[2][80];
  snprintf(size, sizeof size, "Image_transform.%d.hd%d.size_wh", i, hd);
  snprintf(sha, sizeof sha, "Image_transform.%d.hd%d.sha256", i, hd);
  double unused[2];
  if (g5_list(&c->file, size, unused, 2) != 2 || !decode_png(c, i))
    return;
  const struct lrl_image *out = transformed(c, LRL_IMAGE_INFERENCE, &c->image, 560, hd);
  if (out == NULL)
    return;
  check_sha(c, size, sha, out);
  snprintf(dataset, sizeof dataset, "/outputs/Image_transform.%d.hd%d", i, hd);
  check_pixels(c, dataset, out);
  snprintf(crops[0], sizeof crops[0], "/outputs/glb_view_crop.%d", i);
  snprintf(crops[1], sizeof crops[1], "/outputs/vis_processor_crop.%d", i);
  if (g5_has(&c->file, crops[0]) || g5_has(&c->file, crops[1]))
    check_crops(c, out, 560, crops[0], crops[1]);
}

static void run_synth(struct golden *g, const char *path, const char *name) {
  struct image_case c;
  if (!begin(&c, g, path, name))
    return;
  g5_each(&c.file, "/inputs", decode_file, &c);
  g5_each(&c.file, "/outputs", transform_output, &c);
  for (int i = 0; i < 100; i++)
    for (int hd = 1; hd <= 60; hd++)
      inference_560(&c, i, hd);
  end(&c);
}
GOLDEN_FAMILY("C2_", run_synth)

/* ---- C3: resizing alone ---- */

static void resize_one(const char *name, void *user) {
  struct image_case *c = user;
  struct g5_array want;
  char dataset[256];
  const char *index = strrchr(name, '.');
  enum lrl_image_filter f =
      strncmp(name, "bicubic.", 8) == 0 ? LRL_IMAGE_BICUBIC : LRL_IMAGE_BILINEAR;
  if (index == NULL)
    return;
  snprintf(dataset, sizeof dataset, "/inputs/src%s", index);
  if (!load(c, dataset, &c->image))
    return;
  snprintf(dataset, sizeof dataset, "/outputs/%s", name);
  if (!g5_read_u8(&c->file, dataset, &want))
    return;
  int32_t w = (int32_t)want.dim[1], h = (int32_t)want.dim[0];
  g5_free(&want);
  if (golden_ok(c->g, c->name, name,
                lrl_image_resize(&c->image, w, h, f, false, &c->w.resized, &c->w.scratch)))
    check_pixels(c, dataset, &c->w.resized);
}

static void run_resize(struct golden *g, const char *path, const char *name) {
  struct image_case c;
  if (!begin(&c, g, path, name))
    return;
  g5_each(&c.file, "/outputs", resize_one, &c);
  end(&c);
}
GOLDEN_FAMILY("C3_", run_resize)

/* ---- C6: photographs, as decoded pixels; made with hd_num 9 ---- */

static void training_crop(const char *name, void *user) {
  struct image_case *c = user;
  int i, tile, hd;
  char dataset[256], key[80];
  double size[2];
  bool small = sscanf(name, "R560_res%d_hd%d.%d", &tile, &hd, &i) == 3;
  if (!small) {
    tile = 560;
    if (sscanf(name, "R560_hd%d_glb_view_crop.%d", &hd, &i) != 2)
      return;
  }
  snprintf(dataset, sizeof dataset, "/inputs/decoded_rgb.%d", i);
  if (!load(c, dataset, &c->image))
    return;
  const struct lrl_image *out = transformed(c, LRL_IMAGE_TRAINING, &c->image, tile, hd);
  if (out == NULL)
    return;
  snprintf(dataset, sizeof dataset, "/outputs/%s", name);
  if (small) {
    check_pixels(c, dataset, out);
    return;
  }
  check_crops(c, out, tile, dataset, "/outputs/none");
  snprintf(key, sizeof key, "R560_hd%d_size_wh.%d", hd, i);
  if (g5_list(&c->file, key, size, 2) == 2)
    golden_check(c->g, c->name, key, size[0] != out->width || size[1] != out->height, 0);
}

/* Copies a resized image, transposed when the official code would have transposed its original. */
static lrl_status official_frame(const struct lrl_image *original, const struct lrl_image *in,
                                 struct lrl_image *out) {
  bool swap = original->width < original->height;
  LRL_TRY(
      lrl_image_resize_buffer(out, swap ? in->height : in->width, swap ? in->width : in->height));
  for (int64_t y = 0; y < in->height; y++)
    for (int64_t x = 0; x < in->width; x++)
      memcpy((uint8_t *)out->rgb.data + 3 * (swap ? x * out->width + y : y * out->width + x),
             (const uint8_t *)in->rgb.data + 3 * (y * in->width + x), 3);
  return LRL_OK;
}

static void photo(struct image_case *c, int i) {
  char key[4][80], dataset[256];
  static const char *const format[4] = {"final_size_wh.%d", "final_sha256.%d",
                                        "resized_before_pad_wh.%d", "resized_before_pad_sha256.%d"};
  for (int k = 0; k < 4; k++)
    snprintf(key[k], sizeof key[k], format[k], i);
  snprintf(dataset, sizeof dataset, "/inputs/decoded_rgb.%d", i);
  if (!load(c, dataset, &c->image))
    return;
  const struct lrl_image *out = transformed(c, LRL_IMAGE_INFERENCE, &c->image, 560, 9);
  if (out == NULL)
    return;
  check_sha(c, key[0], key[1], out);
  snprintf(dataset, sizeof dataset, "/outputs/resized_before_pad.%d", i);
  struct lrl_image before = {0};
  if (golden_ok(c->g, c->name, dataset, official_frame(&c->image, &c->w.resized, &before))) {
    check_sha(c, key[2], key[3], &before);
    check_pixels(c, dataset, &before);
  }
  lrl_image_free(&before);
  snprintf(dataset, sizeof dataset, "/outputs/glb_view_crop.%d", i);
  if (g5_has(&c->file, dataset))
    check_crops(c, out, 560, dataset, "/outputs/none");
}

static void run_photos(struct golden *g, const char *path, const char *name) {
  struct image_case c;
  if (!begin(&c, g, path, name))
    return;
  for (int i = 0; i < 100; i++)
    photo(&c, i);
  g5_each(&c.file, "/outputs", training_crop, &c);
  end(&c);
}
GOLDEN_FAMILY("C6_", run_photos)

/* ---- B3: torch's float bicubic ---- */

struct plane {
  const float *data;
  int64_t width;
};
static void plane_row(const void *user, int32_t y, float *to) {
  const struct plane *p = user;
  memcpy(to, p->data + y * p->width, (size_t)p->width * sizeof *to);
}

static void bicubic_one(const char *name, void *user) {
  struct image_case *c = user;
  struct g5_array x, y;
  char dataset[256];
  const char *index = strrchr(name, '.');
  if (index == NULL || name[0] != 'y')
    return;
  snprintf(dataset, sizeof dataset, "/inputs/x%s", index);
  if (!g5_read_f32(&c->file, dataset, &x))
    return;
  snprintf(dataset, sizeof dataset, "/outputs/%s", name);
  if (g5_read_f32(&c->file, dataset, &y)) {
    int32_t in_w = (int32_t)x.dim[3], in_h = (int32_t)x.dim[2];
    int32_t out_w = (int32_t)y.dim[3], out_h = (int32_t)y.dim[2];
    float *out = malloc((size_t)y.n * sizeof *out);
    double worst = 0;
    for (int64_t p = 0; p < y.dim[0] * y.dim[1] && out != NULL; p++) {
      const struct plane in = {x.f32 + p * in_w * in_h, in_w};
      int64_t n = (int64_t)out_w * out_h;
      if (golden_ok(
              c->g, c->name, name,
              lrl_plane_bicubic(plane_row, &in, in_w, in_h, out, out_w, out_h, &c->w.scratch)))
        worst = fmax(worst, golden_max_abs(out, y.f32 + p * n, n));
    }
    golden_check(c->g, c->name, name, worst, 1e-5);
    free(out);
    g5_free(&y);
  }
  g5_free(&x);
}

static void run_bicubic(struct golden *g, const char *path, const char *name) {
  struct image_case c;
  if (!begin(&c, g, path, name))
    return;
  g5_each(&c.file, "/outputs", bicubic_one, &c);
  end(&c);
}
GOLDEN_FAMILY("B3_", run_bicubic)
