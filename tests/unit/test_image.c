/* Decoding: exact pixels, refusals, damaged files. */
#include "image_fixture.h"

#include "tests/golden/sha256.h"

#include <jansson.h>
#include <zlib.h>

static struct lrl_image got;

static const uint8_t *decoded(struct ix_file f) {
  lrl_status s = lrl_image_decode(f.bytes, f.n, LRL_IMAGE_MAX_PIXELS, &got);
  if (s != LRL_OK)
    print_error("%s\n", lrl_last_error());
  assert_int_equal(s, LRL_OK);
  assert_int_equal(got.width, IX_W);
  assert_int_equal(got.height, IX_H);
  free(f.bytes);
  return got.rgb.data;
}

static void test_png(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3], wide[IX_W * IX_H * 8], want[IX_W * IX_H * 3];
  ix_pixels(rgb);
  for (int interlaced = 0; interlaced < 2; interlaced++) {
    struct ix_file f = ix_png(rgb, IX_W * 3, 8, PNG_COLOR_TYPE_RGB, interlaced, NULL, 0);
    assert_memory_equal(decoded(f), rgb, sizeof rgb);
    for (int i = 0; i < IX_W * IX_H; i++) /* alpha of any value is dropped */
      for (int c = 0; c < 4; c++)
        wide[4 * i + c] = c < 3 ? rgb[3 * i + c] : (uint8_t)(7 * i);
    f = ix_png(wide, IX_W * 4, 8, PNG_COLOR_TYPE_RGB_ALPHA, interlaced, NULL, 0);
    assert_memory_equal(decoded(f), rgb, sizeof rgb);
    for (int i = 0; i < IX_W * IX_H * 3; i++) { /* the high byte of 16 bits */
      wide[2 * i] = rgb[i];
      wide[2 * i + 1] = (uint8_t)(31 * i);
    }
    f = ix_png(wide, IX_W * 6, 16, PNG_COLOR_TYPE_RGB, interlaced, NULL, 0);
    assert_memory_equal(decoded(f), rgb, sizeof rgb);
    for (int i = 0; i < IX_W * IX_H; i++) { /* Pillow clips 16-bit gray */
      int v = i * 3;
      wide[2 * i] = (uint8_t)(v >> 8);
      wide[2 * i + 1] = (uint8_t)v;
      memset(want + 3 * i, v > 255 ? 255 : v, 3);
    }
    f = ix_png(wide, IX_W * 2, 16, PNG_COLOR_TYPE_GRAY, interlaced, NULL, 0);
    assert_memory_equal(decoded(f), want, sizeof want);
    png_color palette[16];
    memcpy(palette, rgb + 30, sizeof palette);
    for (int i = 0; i < IX_W * IX_H; i++) /* colours past the palette's end are gray */
      for (int c = 0; c < 3; c++)
        want[3 * i + c] = (uint8_t)(i % 23 < 16 ? rgb[30 + 3 * (i % 23) + c] : i % 23);
    for (int i = 0; i < IX_W * IX_H; i++)
      wide[i] = (uint8_t)(i % 23);
    f = ix_png(wide, IX_W, 8, PNG_COLOR_TYPE_PALETTE, interlaced, palette, 16);
    assert_memory_equal(decoded(f), want, sizeof want);
  }
}

static void assert_close(const uint8_t *a, const uint8_t *b, int n, int within) {
  for (int i = 0; i < n; i++)
    if (abs(a[i] - b[i]) > within)
      fail_msg("sample %d is %d instead of about %d", i, a[i], b[i]);
}

/* The end marker may be missing, the end of the pixel stream not. */
static void test_png_tail(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3];
  ix_pixels(rgb);
  for (size_t cut = 0; cut < 20; cut++) { /* IEND takes 12 bytes */
    struct ix_file f = ix_png(rgb, IX_W * 3, 8, PNG_COLOR_TYPE_RGB, false, NULL, 0);
    f.n -= cut;
    if (cut <= 12)
      assert_memory_equal(decoded(f), rgb, sizeof rgb);
    else {
      assert_int_equal(lrl_image_decode(f.bytes, f.n, LRL_IMAGE_MAX_PIXELS, &got), LRL_ERR_FORMAT);
      assert_non_null(strstr(lrl_last_error(), "truncated"));
      lrl_error_clear();
      free(f.bytes);
    }
  }
}

static void test_jpeg(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3], other[IX_W * IX_H * 4], want[IX_W * IX_H * 3];
  ix_pixels(rgb);
  assert_close(decoded(ix_jpeg(rgb, 3, 100, false)), rgb, sizeof rgb, 4);
  assert_close(decoded(ix_jpeg(rgb, 3, 100, true)), rgb, sizeof rgb, 4);
  for (int i = 0; i < IX_W * IX_H; i++) {
    other[i] = rgb[3 * i];
    memset(want + 3 * i, rgb[3 * i], 3);
  }
  assert_close(decoded(ix_jpeg(other, 1, 100, false)), want, sizeof want, 3);
  for (int i = 0; i < IX_W * IX_H; i++) { /* stored inverted: white x colour of the black plate */
    int light = 255 - i % 64;
    for (int c = 0; c < 3; c++) {
      other[4 * i + c] = rgb[3 * i + c];
      want[3 * i + c] = (uint8_t)(rgb[3 * i + c] * light / 255);
    }
    other[4 * i + 3] = (uint8_t)light;
  }
  assert_close(decoded(ix_jpeg(other, 4, 100, false)), want, sizeof want, 8);
}

static void test_webp(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3];
  ix_pixels(rgb);
  assert_memory_equal(decoded(ix_webp(rgb, true, false)), rgb, sizeof rgb);
  assert_memory_equal(decoded(ix_webp(rgb, true, true)), rgb, sizeof rgb);
  assert_close(decoded(ix_webp(rgb, false, false)), rgb, sizeof rgb, 40);
}

/* Decodes what must fail and returns the sentence, valid until the next failure. */
static const char *refusal(const void *bytes, size_t n, lrl_status want) {
  static char text[400];
  int32_t w, h;
  lrl_error_clear();
  assert_int_equal(lrl_image_decode(bytes, n, LRL_IMAGE_MAX_PIXELS, &got), want);
  snprintf(text, sizeof text, "%s", lrl_last_error());
  lrl_error_clear();
  if (lrl_image_size(bytes, n, LRL_IMAGE_MAX_PIXELS, &w, &h) != LRL_OK)
    lrl_error_clear();
  assert_true(strlen(text) > 10 && strchr(text, '\n') == NULL);
  return text;
}
static void refused(const void *bytes, size_t n, lrl_status want, const char *word) {
  const char *text = refusal(bytes, n, want);
  if (strstr(text, word) == NULL)
    fail_msg("'%s' does not say '%s'", text, word);
}

static void test_other_files(void **state) {
  (void)state;
  static const char tiff[] = "II*\0\10\0\0\0", icon[] = "\0\0\1\0\1\0";
  refused("", 0, LRL_ERR_FORMAT, "empty");
  refused("GIF89a\1\0\1\0", 10, LRL_ERR_FORMAT, "GIF");
  refused("BM......", 8, LRL_ERR_FORMAT, "BMP");
  refused(tiff, sizeof tiff, LRL_ERR_FORMAT, "TIFF");
  refused(icon, sizeof icon, LRL_ERR_FORMAT, "icon");
  refused("P6\n3 3 255\n", 11, LRL_ERR_FORMAT, "PNM");
  refused("\0\0\0 ftypavif", 12, LRL_ERR_FORMAT, "AVIF");
  refused("<!DOCTYPE html>", 15, LRL_ERR_FORMAT, "HTML");
  refused("version https://git-lfs.github.com/spec/v1", 42, LRL_ERR_FORMAT, "LFS");
  refused("hello", 5, LRL_ERR_FORMAT, "no JPEG, PNG or WebP");
  refused("\xff\xd8\xff", 3, LRL_ERR_FORMAT, "JPEG image is truncated");
  refused("\x89PNG\r\n\x1a\n", 8, LRL_ERR_FORMAT, "PNG image is truncated");
  refused("RIFF\4\0\0\0WEBP", 12, LRL_ERR_FORMAT, "WebP");
}

static void put32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(v >> (24 - 8 * i));
}
static void fix_crc(uint8_t *ihdr) { put32(ihdr + 17, (uint32_t)crc32(0, ihdr, 17)); }

static void test_absurd_sizes(void **state) {
  (void)state;
  uint8_t rgb[IX_W * IX_H * 3];
  ix_pixels(rgb);
  struct ix_file png = ix_png(rgb, IX_W * 3, 8, PNG_COLOR_TYPE_RGB, false, NULL, 0);
  static const uint32_t sides[][2] = {
      {0x7fffffff, 0x7fffffff}, {0xffffffff, 1}, {20000, 20000}, {1000001, 1}, {1, 0x80000000}};
  for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
    put32(png.bytes + 16, sides[i][0]);
    put32(png.bytes + 20, sides[i][1]);
    fix_crc(png.bytes + 12);
    refused(png.bytes, png.n, LRL_ERR_SHAPE, "more than the limit");
  }
  put32(png.bytes + 16, 0);
  fix_crc(png.bytes + 12);
  refused(png.bytes, png.n, LRL_ERR_FORMAT, "no pixels");
  put32(png.bytes + 16, IX_W); /* claims more rows than there are */
  put32(png.bytes + 20, IX_H + 1000);
  fix_crc(png.bytes + 12);
  refused(png.bytes, png.n, LRL_ERR_FORMAT, "PNG image is damaged");
  put32(png.bytes + 20, IX_H);
  refused(png.bytes, png.n, LRL_ERR_FORMAT, "checksum");
  fix_crc(png.bytes + 12);
  int32_t w, h;
  assert_int_equal(lrl_image_size(png.bytes, png.n, IX_W * IX_H, &w, &h), LRL_OK);
  assert_int_equal(lrl_image_size(png.bytes, png.n, IX_W * IX_H - 1, &w, &h), LRL_ERR_SHAPE);
  lrl_error_clear();
  free(png.bytes);
  struct ix_file jpeg = ix_jpeg(rgb, 3, 80, true);
  for (size_t i = 0; i + 9 < jpeg.n; i++)
    if (jpeg.bytes[i] == 0xff && jpeg.bytes[i + 1] == 0xc2)
      memset(jpeg.bytes + i + 5, 0xfd, 4); /* 65021 x 65021 */
  refused(jpeg.bytes, jpeg.n, LRL_ERR_SHAPE, "more than the limit");
  free(jpeg.bytes);
}

/* ---- damaged files: an error with a sentence, or an image of the size the header says ---- */

static uint64_t n_errors, n_images;

static void survive(const uint8_t *bytes, size_t n) {
  enum { LIMIT = 1 << 21 }; /* pixels; keeps a lying header from taking seconds */
  int32_t w = 0, h = 0;
  uint8_t *copy = malloc(n + 1); /* its own block, so that ASan sees reads past the end */
  memcpy(copy, bytes, n);
  lrl_status size = lrl_image_size(copy, n, LIMIT, &w, &h);
  lrl_error_clear();
  lrl_status s = lrl_image_decode(copy, n, LIMIT, &got);
  if (s == LRL_OK) {
    assert_int_equal(size, LRL_OK);
    assert_true(w == got.width && h == got.height);
    n_images++;
  } else {
    assert_true(s == LRL_ERR_FORMAT || s == LRL_ERR_SHAPE);
    assert_true(strlen(lrl_last_error()) > 10);
    n_errors++;
  }
  lrl_error_clear();
  free(copy);
}

/* `rounds` truncations and byte changes; seed and round name each of them. */
static void damage(const uint8_t *bytes, size_t n, int rounds, uint64_t seed) {
  uint8_t *copy = malloc(n);
  for (int k = 0; k < rounds; k++) {
    struct lrl_rng r = lrl_rng_make(seed, LRL_RNG_TEST, (uint64_t)k);
    survive(bytes, lrl_rng_below(&r, n));
    memcpy(copy, bytes, n);
    for (uint64_t left = 1 + lrl_rng_below(&r, 4); left > 0; left--) {
      uint64_t where =
          lrl_rng_below(&r, 2) == 0 && n > 64 ? 64 : n; /* headers are hit more often */
      copy[lrl_rng_below(&r, where)] = (uint8_t)lrl_rng_u32(&r);
    }
    survive(copy, n);
  }
  free(copy);
}

static void test_damaged(void **state) {
  (void)state;
  struct ix_file all[16];
  int n = ix_all(all);
  for (int i = 0; i < n; i++) {
    for (size_t cut = 0; cut < all[i].n; cut += 1 + all[i].n / 97)
      survive(all[i].bytes, cut);
    damage(all[i].bytes, all[i].n, 120, 1000 + (uint64_t)i);
    free(all[i].bytes);
  }
  print_message("%llu errors, %llu images\n", (unsigned long long)n_errors,
                (unsigned long long)n_images);
  assert_true(n_errors > 500 && n_images > 50);
}

/* ---- the folder of real files and what Pillow made of them ---- */

/* Pillow refuses these for what stands beside the pixels, which is not read here. */
static bool metadata_only(const char *error) {
  return strstr(error, "Decompressed Data Too Large") != NULL || strstr(error, "APNG") != NULL;
}

static void check_file(const char *name, const uint8_t *bytes, size_t n, const json_t *want) {
  const json_t *size = json_object_get(want, "size");
  const char *format = json_string_value(json_object_get(want, "format"));
  const char *sha = json_string_value(json_object_get(want, "rgb_sha256"));
  const char *error = json_string_value(json_object_get(want, "error"));
  bool known = format == NULL || strcmp(format, "JPEG") == 0 || strcmp(format, "PNG") == 0 ||
               strcmp(format, "WEBP") == 0;
  if (error != NULL && metadata_only(error))
    return;
  lrl_status s = lrl_image_decode(bytes, n, LRL_IMAGE_MAX_PIXELS, &got);
  if (error != NULL || !known) {
    if (s == LRL_OK)
      fail_msg("%s was decoded, but must not be: %s", name, error != NULL ? error : format);
    lrl_error_clear();
    return;
  }
  if (s != LRL_OK)
    fail_msg("%s: %s", name, lrl_last_error());
  char hex[65];
  sha256_hex(got.rgb.data, 3 * (size_t)got.width * (size_t)got.height, hex);
  if (got.width != json_integer_value(json_array_get(size, 0)) ||
      got.height != json_integer_value(json_array_get(size, 1)) ||
      strncmp(hex, sha, strlen(sha)) != 0)
    fail_msg("%s: %dx%d pixels with checksum %s, Pillow has %s", name, got.width, got.height, hex,
             sha);
}

static void test_pillow(void **state) {
  (void)state;
  const char *folder = ix_asset("images"), *table = ix_asset("images/expected_pillow.json");
  if (folder == NULL || table == NULL)
    skip();
  json_t *root = json_load_file(table, 0, NULL), *want;
  const char *name;
  int n_files = 0, n_absent = 0;
  assert_non_null(root);
  json_object_foreach(json_object_get(root, "files"), name, want) {
    char path[1500], *bytes;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (access(path, R_OK) != 0) {
      n_absent++;
      continue;
    }
    assert_int_equal(lrl_file_read_raw(path, &bytes, &n), LRL_OK);
    check_file(name, (const uint8_t *)bytes, n, want);
    if (n < 6000)
      damage((const uint8_t *)bytes, n, 3, (uint64_t)n_files);
    free(bytes);
    n_files++;
  }
  print_message("%d files, %d absent\n", n_files, n_absent);
  assert_true(n_files > 0);
  json_decref(root);
}

static int free_all(void **state) {
  (void)state;
  lrl_image_free(&got);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_png),         cmocka_unit_test(test_png_tail),
      cmocka_unit_test(test_jpeg),        cmocka_unit_test(test_webp),
      cmocka_unit_test(test_other_files), cmocka_unit_test(test_absurd_sizes),
      cmocka_unit_test(test_damaged),     cmocka_unit_test(test_pillow),
  };
  return cmocka_run_group_tests(tests, NULL, free_all);
}
