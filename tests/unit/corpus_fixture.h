/* A small tokenizer, simple images and scratch files for the corpus and loader tests. An image file
 * is the text "IMG rows cols value"; "LATE rows cols" has a good header but cannot be decoded. */
#ifndef CORPUS_FIXTURE_H
#define CORPUS_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/batch_build.h"
#include "data/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fx_dir[64];
static struct lrl_tokenizer *fx_tokenizer;

static const char *fx_path(const char *name) {
  static char path[4][256];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", fx_dir, name);
  return path[turn];
}

static const char *fx_write_bytes(const char *name, const void *bytes, size_t n) {
  const char *path = fx_path(name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
  return path;
}

static const char *fx_write(const char *name, const char *text) {
  return fx_write_bytes(name, text, strlen(text));
}

static lrl_status fx_grid(void *user, const void *bytes, size_t n, int64_t n_images,
                          struct lrl_image_grid *out) {
  (void)user;
  (void)n;
  char word[8];
  int rows, cols;
  if (sscanf(bytes, "%7s %d %d", word, &rows, &cols) != 3)
    return LRL_FAIL(LRL_ERR_FORMAT, "not an image");
  *out = (struct lrl_image_grid){n_images > 1 ? 1 : rows, cols, cols * 4, rows * 4};
  return LRL_OK;
}

static lrl_status fx_tiles(void *user, const void *bytes, size_t n, int64_t n_images, float *out) {
  struct lrl_image_grid g = {0};
  int value = 0;
  LRL_TRY(fx_grid(user, bytes, n, n_images, &g));
  if (sscanf(bytes, "IMG %*d %*d %d", &value) != 1)
    return LRL_FAIL(LRL_ERR_FORMAT, "the image is cut off");
  for (int i = 0; i < (1 + g.rows * g.cols) * 3 * 16; i++)
    out[i] = (float)value;
  return LRL_OK;
}

static const struct lrl_image_ops fx_images = {NULL, 4, 2, fx_grid, fx_tiles};

static int fx_setup(void **state) {
  (void)state;
  static const char *const texts[] = {"the quick brown fox jumps over the lazy dog user assistant",
                                      "How many blocks are there? There are 12 blocks. Yes. No."};
  strcpy(fx_dir, "/tmp/laurel-corpus-XXXXXX");
  assert_non_null(mkdtemp(fx_dir));
  char model[256];
  snprintf(model, sizeof model, "%s", fx_path("tokenizer.model"));
  assert_int_equal(lrl_tokenizer_train(texts, 2, 320, model), LRL_OK);
  assert_int_equal(lrl_tokenizer_open(model, &fx_tokenizer), LRL_OK);
  return 0;
}

static int fx_teardown(void **state) {
  (void)state;
  char command[128];
  lrl_tokenizer_close(fx_tokenizer);
  snprintf(command, sizeof command, "rm -r %s", fx_dir);
  return system(command);
}

static struct lrl_corpus_options fx_options(void) {
  return (struct lrl_corpus_options){.tokenizer = fx_tokenizer,
                                     .chat = {.mode = LRL_CHAT_TRAINING,
                                              .suffix = LRL_CHAT_REWARD,
                                              .pack = LRL_PACK_REWARD,
                                              .max_length = 8192},
                                     .images = &fx_images,
                                     .check_data = true};
}

static inline struct lrl_corpus *fx_build(const char *path, const struct lrl_corpus_options *o) {
  struct lrl_corpus_source s = {.path = path};
  struct lrl_corpus *c;
  lrl_status status = lrl_corpus_build(&s, 1, o, &c);
  if (status != LRL_OK)
    print_error("%s\n", lrl_last_error());
  assert_int_equal(status, LRL_OK);
  return c;
}

/* Source file with n pairs; pair i has an image when with_images. */
static inline const char *fx_pairs_file(const char *name, int n, bool with_images) {
  static char text[1 << 17];
  size_t at = 0;
  if (with_images)
    fx_write("a.img", "IMG 2 3 7");
  for (int i = 0; i < n; i++)
    at += (size_t)snprintf(
        text + at, sizeof text - at,
        "{\"id\": %d, %s\"conversations_a\": [{\"from\": \"human\", \"value\": \"the question "
        "%d\"}, "
        "{\"from\": \"bot\", \"value\": \"Yes %d\"}], \"conversations_b\": [{\"from\": \"human\", "
        "\"value\": \"the question %d\"}, {\"from\": \"bot\", \"value\": \"No dog %d\"}]}\n",
        i, with_images ? "\"image\": \"a.img\", " : "", i, i, i, i);
  return fx_write(name, text);
}
#endif
