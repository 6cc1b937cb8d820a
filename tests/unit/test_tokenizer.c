#include "data/tokenizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *asset(const char *file, char path[4096]) {
  const char *assets = getenv("LAUREL_ASSETS"), *source = getenv("LAUREL_SOURCE");
  if (assets != NULL)
    snprintf(path, 4096, "%s/tokenizer/%s", assets, file);
  else
    snprintf(path, 4096, "%s/../shared/assets/tokenizer/%s", source != NULL ? source : ".", file);
  if (access(path, R_OK) != 0) {
    printf("SKIP: %s is not there\n", path);
    skip();
  }
  return path;
}

/* A text with letters, digits, markup, newlines; the same for the same seed. */
static char *make_text(uint64_t seed, int64_t len) {
  static const char *const word[] = {"the ",  "cat",    "s ", "red ", "1234",    "\n",
                                     "image", " shows", ", ", ". ",   "é",       "图",
                                     "😀",     "  ",     "<",  "user", "{\"a\":", "}"};
  char *text = malloc((size_t)len + 16);
  int64_t n = 0;
  for (uint64_t x = seed * 2654435761u + 1; n < len;) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    const char *w = word[(x >> 33) % (sizeof word / sizeof word[0])];
    memcpy(text + n, w, strlen(w) + 1);
    n += (int64_t)strlen(w);
  }
  return text;
}

static void trained_path(char path[64], char tag) {
  snprintf(path, 64, "/tmp/laurel-spm-%d-%c.model", (int)getpid(), tag);
}

/* Trains on generated texts and leaves the model at `path`. */
static void train_small(const char *path, int32_t n_vocab) {
  char *texts[40];
  for (int i = 0; i < 40; i++)
    texts[i] = make_text((uint64_t)i, 500);
  lrl_status status = lrl_tokenizer_train((const char *const *)texts, 40, n_vocab, path);
  for (int i = 0; i < 40; i++)
    free(texts[i]);
  if (status != LRL_OK)
    fail_msg("%s", lrl_last_error());
}

static struct lrl_tokenizer *open_small(struct lrl_tokenizer_options options) {
  char path[64];
  struct lrl_tokenizer *t;
  trained_path(path, 's');
  train_small(path, 512);
  assert_int_equal(lrl_tokenizer_open_with(path, &options, &t), LRL_OK);
  unlink(path);
  return t;
}

static void test_spec_example(void **state) {
  (void)state;
  static const char text[] = "[UNUSED_TOKEN_146]user\nHello world![UNUSED_TOKEN_145]\n"
                             "[UNUSED_TOKEN_146]assistant\nHi  there\n\n[UNUSED_TOKEN_145]\n";
  static const int32_t want[] = {92543, 1008,  364, 9843,  2028, 346,   92542, 364,   92543,
                                 525,   11353, 364, 13195, 387,  18679, 402,   92542, 364};
  char path[4096];
  struct lrl_tokenizer *t;
  struct lrl_ids ids = {0};
  assert_int_equal(lrl_tokenizer_open(asset("internlm_xcomposer2d5/tokenizer.model", path), &t),
                   LRL_OK);
  assert_int_equal(lrl_tokenizer_encode(t, text, (int64_t)sizeof text - 1, false, &ids), LRL_OK);
  assert_int_equal(ids.n, sizeof want / sizeof want[0]);
  assert_memory_equal(ids.data, want, sizeof want);
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  assert_int_equal(info->n_vocab, 92544);
  assert_int_equal(info->im_start, 92543);
  assert_int_equal(info->im_end, 92542);
  assert_int_equal(info->reward, 92527);
  assert_int_equal(info->pad, 2);
  lrl_ids_free(&ids);
  lrl_tokenizer_close(t);
}

static void check_golden(const char *model) {
  char path[4096], golden[4200];
  struct lrl_tokenizer *t;
  snprintf(golden, sizeof golden, "%s.golden.json", asset(model, path));
  json_t *root = json_load_file(golden, JSON_ALLOW_NUL, NULL);
  assert_non_null(root);
  if (lrl_tokenizer_open(path, &t) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  assert_int_equal(lrl_tokenizer_info(t)->n_vocab,
                   json_integer_value(json_object_get(root, "vocab")));
  json_t *item;
  size_t i;
  json_array_foreach(json_object_get(root, "cases"), i, item) {
    const json_t *text = json_object_get(item, "text"), *want = json_object_get(item, "ids");
    const json_t *decoded = json_object_get(item, "decoded");
    struct lrl_ids ids = {0};
    char *out;
    assert_int_equal(lrl_tokenizer_encode_plain(t, json_string_value(text),
                                                (int64_t)json_string_length(text), &ids),
                     LRL_OK);
    assert_int_equal(ids.n, json_array_size(want));
    bool special = false;
    for (int64_t k = 0; k < ids.n; k++) {
      assert_int_equal(ids.data[k], json_integer_value(json_array_get(want, (size_t)k)));
      special = special || ids.data[k] == lrl_tokenizer_info(t)->unk;
    }
    assert_int_equal(lrl_tokenizer_decode(t, ids.data, ids.n, &out), LRL_OK);
    if (!special) /* the library prints <unk> as a sign of its own */
      assert_string_equal(out, json_string_value(decoded));
    free(out);
    lrl_ids_free(&ids);
  }
  lrl_tokenizer_close(t);
  json_decref(root);
}

static void test_other_models(void **state) {
  (void)state;
  check_golden("internlm_xcomposer2d5/tokenizer.model");
  check_golden("llama2/tokenizer.model");
  check_golden("sentencepiece_tests/test_model.model");
  check_golden("transformers_fixtures/test_sentencepiece_bpe.model");
  check_golden("transformers_fixtures/test_sentencepiece_bpe_char.model");
  check_golden("transformers_fixtures/test_sentencepiece_no_bos.model");
  check_golden("transformers_fixtures/test_sentencepiece_with_bytefallback.model");
}

static void test_training_is_deterministic(void **state) {
  (void)state;
  char a[64], b[64];
  struct lrl_tokenizer *ta, *tb;
  size_t na, nb;
  trained_path(a, 'a');
  trained_path(b, 'b');
  train_small(a, 512);
  train_small(b, 512);
  assert_int_equal(lrl_tokenizer_open(a, &ta), LRL_OK);
  assert_int_equal(lrl_tokenizer_open(b, &tb), LRL_OK);
  const void *ba = lrl_tokenizer_model_bytes(ta, &na), *bb = lrl_tokenizer_model_bytes(tb, &nb);
  assert_int_equal(na, nb);
  assert_memory_equal(ba, bb, na);
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(ta);
  assert_int_equal(info->bos, 1);
  assert_int_equal(info->eos, 2);
  assert_true(info->im_start > 0 && info->im_end > 0 && info->reward > 0);
  assert_true(info->n_vocab > 300 && info->n_vocab <= 512);
  lrl_tokenizer_close(ta);
  lrl_tokenizer_close(tb);
  unlink(a);
  unlink(b);
  const char *one = "a";
  assert_int_equal(lrl_tokenizer_train(&one, 1, 100, a), LRL_ERR_ARG);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_train(&one, 0, 512, a), LRL_ERR_ARG);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_train(&one, 1, 300, "/nowhere/x.model"), LRL_ERR_IO);
  lrl_error_clear();
}

static void test_special_splitting(void **state) {
  (void)state;
  struct lrl_tokenizer *keep = open_small((struct lrl_tokenizer_options){.aliases = true});
  struct lrl_tokenizer *strip =
      open_small((struct lrl_tokenizer_options){.strip_around_special = true});
  static const char text[] = "a\u3000\n</s>\u00a0 b<|im_end|>";
  struct lrl_ids a = {0}, b = {0}, c = {0};
  assert_int_equal(lrl_tokenizer_encode(keep, text, (int64_t)sizeof text - 1, true, &a), LRL_OK);
  assert_int_equal(a.data[0], lrl_tokenizer_info(keep)->bos);
  assert_int_equal(a.data[a.n - 1], lrl_tokenizer_info(keep)->im_end);
  /* Stripped: the same as the text without that whitespace. */
  assert_int_equal(lrl_tokenizer_encode(strip, text, (int64_t)sizeof text - 1, true, &b), LRL_OK);
  assert_int_equal(lrl_tokenizer_encode(strip, "a</s>b<|im_end|>", 16, true, &c), LRL_OK);
  assert_int_equal(b.n, c.n);
  assert_memory_equal(b.data, c.data, (size_t)b.n * sizeof *b.data);
  assert_true(b.data[b.n - 1] != lrl_tokenizer_info(strip)->im_end);
  lrl_ids_free(&a);
  lrl_ids_free(&b);
  lrl_ids_free(&c);
  lrl_tokenizer_close(keep);
  lrl_tokenizer_close(strip);
}

/* Any Unicode character but the surrogates and U+2581, which is SentencePiece's own sign for a
 * blank. */
static int64_t put_random_char(char *p, uint32_t r) {
  uint32_t c = r % 4 == 0 ? (r >> 2) % 128 : r % 4 == 1 ? (r >> 2) % 0x800 : (r >> 2) % 0x110000;
  if ((c >= 0xd800 && c < 0xe000) || c == 0x2581)
    c = ' ';
  if (c < 0x80) {
    p[0] = (char)c;
    return 1;
  }
  int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (int i = n - 1; i > 0; i--, c >>= 6)
    p[i] = (char)(0x80 | (c & 0x3f));
  p[0] = (char)(lead[n] | c);
  return n;
}

static void test_round_trip(void **state) {
  (void)state;
  struct lrl_tokenizer *t = open_small((struct lrl_tokenizer_options){0});
  uint64_t x = 7;
  for (int k = 0; k < 300; k++) {
    char text[400];
    int64_t n = 0, len;
    while (n < 200 + k % 100) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      n += put_random_char(text + n, (uint32_t)(x >> 32));
      if (x % 50 == 0) {
        memcpy(text + n, "</s>", 4);
        n += 4;
      }
    }
    struct lrl_ids ids = {0};
    char *out;
    assert_int_equal(lrl_tokenizer_encode(t, text, n, false, &ids), LRL_OK);
    assert_int_equal(lrl_tokenizer_decode_as(t, ids.data, ids.n, LRL_DECODE_EXACT, &out, &len),
                     LRL_OK);
    assert_int_equal(len, n);
    assert_memory_equal(out, text, (size_t)n);
    free(out);
    lrl_ids_free(&ids);
  }
  int32_t outside = lrl_tokenizer_info(t)->n_vocab;
  char *out;
  assert_int_equal(lrl_tokenizer_decode(t, &outside, 1, &out), LRL_ERR_ARG);
  assert_null(out);
  lrl_error_clear();
  outside = -1;
  assert_int_equal(lrl_tokenizer_decode(t, &outside, 1, &out), LRL_ERR_ARG);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_decode(t, NULL, 0, &out), LRL_OK);
  assert_string_equal(out, "");
  free(out);
  lrl_tokenizer_close(t);
}

/* Opens damaged bytes; when they still open, the model must work without a crash. */
static void try_damaged(const char *bytes, size_t size) {
  struct lrl_tokenizer *t;
  struct lrl_ids ids = {0};
  static const char text[] = "The ｆｕｌｌ café shows 12 cats.\n</s> 図";
  if (lrl_tokenizer_open_bytes(bytes, size, "damaged", NULL, &t) == LRL_OK) {
    char *out = NULL;
    if (lrl_tokenizer_encode(t, text, (int64_t)sizeof text - 1, false, &ids) == LRL_OK &&
        lrl_tokenizer_decode(t, ids.data, ids.n, &out) == LRL_OK)
      free(out);
    lrl_ids_free(&ids);
    lrl_tokenizer_close(t);
  } else {
    assert_true(strlen(lrl_last_error()) > 0);
  }
  lrl_error_clear();
}

static void damage_model(const char *path, int rounds) {
  struct lrl_tokenizer *t;
  size_t size;
  assert_int_equal(lrl_tokenizer_open(path, &t), LRL_OK);
  const char *bytes = lrl_tokenizer_model_bytes(t, &size);
  char *copy = malloc(size);
  uint64_t x = 3;
  for (int k = 0; k < rounds; k++) {
    memcpy(copy, bytes, size);
    for (int j = 0; j <= k % 4; j++) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      /* half of the damage goes to the end, where the trainer and normaliser sections are */
      size_t range = k % 2 == 0 && size > 2000 ? 2000 : size;
      copy[size - 1 - (x >> 33) % range] = (char)(x >> 20);
    }
    try_damaged(copy, size);
    try_damaged(bytes, (x >> 30) % size);
  }
  free(copy);
  lrl_tokenizer_close(t);
}

static void test_damaged_models(void **state) {
  (void)state;
  char path[4096], small[64];
  struct lrl_tokenizer *t;
  assert_int_equal(lrl_tokenizer_open("/nowhere/x.model", &t), LRL_ERR_IO);
  assert_non_null(strstr(lrl_last_error(), "/nowhere/x.model"));
  assert_null(t);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_open("/tmp", &t), LRL_ERR_IO);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_open_bytes("", 0, "empty", NULL, &t), LRL_ERR_FORMAT);
  lrl_error_clear();
  assert_int_equal(lrl_tokenizer_open_bytes("hello world", 11, "text", NULL, &t), LRL_ERR_FORMAT);
  lrl_error_clear();
  trained_path(small, 'd');
  train_small(small, 400);
  damage_model(small, 300);
  unlink(small);
  /* This one has a normaliser with a character map. */
  damage_model(asset("sentencepiece_tests/test_model.model", path), 60);
}

static void test_speed(void **state) {
  (void)state;
  char path[4096];
  struct lrl_tokenizer *t;
  struct lrl_ids ids = {0};
  char *text = make_text(5, 1 << 20);
  struct timespec a, b;
  assert_int_equal(lrl_tokenizer_open(asset("internlm_xcomposer2d5/tokenizer.model", path), &t),
                   LRL_OK);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
  assert_int_equal(lrl_tokenizer_encode(t, text, (int64_t)strlen(text), false, &ids), LRL_OK);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
  printf("1 MiB of text encoded to %lld ids in %.3f s\n", (long long)ids.n,
         (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec));
  lrl_ids_free(&ids);
  free(text);
  lrl_tokenizer_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_spec_example),
      cmocka_unit_test(test_other_models),
      cmocka_unit_test(test_training_is_deterministic),
      cmocka_unit_test(test_special_splitting),
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_damaged_models),
      cmocka_unit_test(test_speed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
