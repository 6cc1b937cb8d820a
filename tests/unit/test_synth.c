/* The synthetic world: same bytes for the same seed, no shortcut from text to verdict, replies that
 * the verifier agrees with, gold that nobody else reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/bytes.h"
#include "data/corpus.h"
#include "data/image.h"
#include "data/synth/synth.h"
#include "data/synth/verify.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { SEED = 11, UNIT = 56, N_ITEMS = 1500 };
static struct lrl_synth_world world = {SEED, UNIT, LRL_SYNTH_FULL, 0};
static char dir[64];

static int setup(void **state) {
  (void)state;
  strcpy(dir, "/tmp/laurel-synth-XXXXXX");
  return mkdtemp(dir) == NULL;
}

static int teardown(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", dir);
  return system(command);
}

static const char *in_dir(const char *name) {
  static char path[4][256];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
  return path[turn];
}

static void ok(lrl_status s) {
  if (s != LRL_OK)
    print_error("%s\n", lrl_last_error());
  assert_int_equal(s, LRL_OK);
}

static void draw(enum lrl_synth_domain domain, enum lrl_synth_split split, int64_t i,
                 struct lrl_synth_item *item) {
  ok(lrl_synth_item_draw(&world, domain, split, i, item));
}

/* ---- files ---- */

static uint32_t tree_sum; /* of paths and contents; a sum, since the walk has no fixed order */
static int tree_files;
static size_t tree_root;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st;
  (void)ftw;
  char *bytes;
  size_t n;
  if (type != FTW_F)
    return 0;
  ok(lrl_file_read_raw(path, &bytes, &n));
  uint32_t crc = (uint32_t)crc32_z(0, (const Bytef *)path + tree_root, strlen(path) - tree_root);
  tree_sum += (uint32_t)crc32_z(crc, (const Bytef *)bytes, n);
  tree_files++;
  free(bytes);
  return 0;
}

static uint32_t hash_tree(const char *root) {
  tree_sum = 0;
  tree_files = 0;
  tree_root = strlen(root);
  assert_int_equal(nftw(root, add_file, 16, FTW_PHYS), 0);
  return tree_sum;
}

static void write_world(const char *name, uint64_t seed, int64_t n, uint32_t domains) {
  const struct lrl_synth_options o = {
      {seed, UNIT, world.level, world.verbose_bias}, n, (n + 4) / 5, domains, 0};
  ok(lrl_synth_write(in_dir(name), &o));
}

static void same_start(const char *small, const char *large, bool whole) {
  char *a, *b;
  size_t na, nb;
  ok(lrl_file_read_raw(in_dir(small), &a, &na));
  ok(lrl_file_read_raw(in_dir(large), &b, &nb));
  na -= whole ? 0 : strlen("\n]\n");
  assert_true(whole ? na == nb : na < nb);
  assert_memory_equal(a, b, na);
  free(a);
  free(b);
}

static void test_same_bytes(void **state) {
  (void)state;
  uint32_t all = (1U << LRL_SYNTH_DOMAINS) - 1;
  write_world("a", SEED, 20, all);
  write_world("b", SEED, 20, all);
  write_world("c", SEED + 1, 20, all);
  uint32_t a = hash_tree(in_dir("a"));
  assert_true(tree_files > 5 * 24 + 14);
  assert_int_equal(a, hash_tree(in_dir("b")));
  assert_int_not_equal(a, hash_tree(in_dir("c")));
  world.level = LRL_SYNTH_EASY;
  write_world("d", SEED, 20, all);
  write_world("e", SEED, 20, all);
  world.level = LRL_SYNTH_FULL;
  assert_int_not_equal(a, hash_tree(in_dir("d")));
  assert_int_equal(hash_tree(in_dir("d")), hash_tree(in_dir("e")));
  same_start("a/tokenizer.model", "d/tokenizer.model", true);
}

/* A larger corpus begins with the smaller one, and any two of one seed share the tokenizer. */
static void test_prefix(void **state) {
  (void)state;
  write_world("small", SEED, 10, 1U << LRL_SYNTH_RECEIPT);
  write_world("large", SEED, 20, 1U << LRL_SYNTH_RECEIPT | 1U << LRL_SYNTH_VIDEO);
  same_start("small/receipt_train.json", "large/receipt_train.json", false);
  same_start("small/receipt_validation.json", "large/receipt_validation.json", false);
  same_start("small/images/receipt/train-000008.png", "large/images/receipt/train-000008.png",
             true);
  same_start("small/images/receipt/train-000009.jpg", "large/images/receipt/train-000009.jpg",
             true);
  same_start("small/tokenizer.model", "large/tokenizer.model", true);
}

static void read_back(const char *name, struct lrl_image *out) {
  char *bytes;
  size_t n;
  ok(lrl_file_read_raw(in_dir(name), &bytes, &n));
  ok(lrl_image_decode(bytes, n, 1 << 20, out));
  free(bytes);
}

/* A PNG holds the drawn pixels; a JPEG's differ by 4 of 255 in the mean at most. */
static void test_pictures(void **state) {
  (void)state;
  struct lrl_synth_item item = {0};
  struct lrl_image image = {0};
  write_world("pictures", SEED, 8, 1U << LRL_SYNTH_CHART);
  for (int i = 0; i < 8; i++) {
    char name[128];
    snprintf(name, sizeof name, "pictures/images/chart/train-%06d.%s", i, i % 2 ? "jpg" : "png");
    read_back(name, &image);
    draw(LRL_SYNTH_CHART, LRL_SYNTH_TRAIN, i, &item);
    const struct lrl_canvas *c = &item.image[0];
    assert_int_equal(image.width, c->width);
    assert_int_equal(image.height, c->height);
    int64_t n = (int64_t)c->width * c->height * 3, off = 0;
    for (int64_t k = 0; k < n; k++)
      off += llabs((long long)c->rgb[k] - ((const uint8_t *)image.rgb.data)[k]);
    assert_true(i % 2 ? off < 4 * n : off == 0);
  }
  lrl_image_free(&image);
  lrl_synth_item_free(&item);
}

/* ---- truth ---- */

static double verify(const struct lrl_synth_item *item, const char *reply) {
  char *gold = json_dumps(item->gold, 0);
  double reward = -1;
  ok(lrl_synth_verify(gold, reply, true, &reward));
  free(gold);
  return reward;
}

static void test_verdicts(void **state) {
  (void)state;
  static const char *const kinds[] = {"wrong_count", "wrong_colour", "hallucinated_object",
                                      "mismatch",    "verbose",      "wrong_format",
                                      "wrong_number"};
  int seen[7] = {0};
  struct lrl_synth_item item = {0};
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++)
    for (int64_t i = 0; i < 600; i++) {
      draw((enum lrl_synth_domain)k, i % 2 ? LRL_SYNTH_TRAIN : LRL_SYNTH_VALIDATION, i, &item);
      double a = verify(&item, item.chosen), b = verify(&item, item.rejected);
      if (a != 1 || b < 0 || b >= 1)
        fail_msg("%s %lld: \"%s\" \"%s\" %g, \"%s\" %g",
                 lrl_synth_domain_name((enum lrl_synth_domain)k), (long long)i, item.prompt,
                 item.chosen, a, item.rejected, b);
      assert_true(strlen(item.prompt) + 1 < LRL_SYNTH_TEXT);
      for (int j = 0; j < 7; j++)
        seen[j] += strcmp(item.kind, kinds[j]) == 0;
    }
  for (int j = 0; j < 7; j++) /* the easy level has no mismatches */
    assert_true(seen[j] > 10 || (world.level == LRL_SYNTH_EASY && j == 3));
  lrl_synth_item_free(&item);
}

static void expect(const char *gold, const char *reply, double want) {
  double reward = -1;
  ok(lrl_synth_verify(gold, reply, true, &reward));
  if (fabs(reward - want) > 1e-12)
    fail_msg("%s for \"%s\": %g, not %g", gold, reply, reward, want);
}

static void test_verify_rules(void **state) {
  (void)state;
  const char *number = "{\"check\": \"number\", \"answer\": 7, \"given\": [3, 4]}";
  expect(number, "3 + 4 = 7", 1);
  expect(number, "7.", 1);
  expect(number, "17", 0);
  expect(number, "3 or 4", 0);
  expect(number, "6 or 7", 0);
  expect(number, "", 0);
  const char *choice = "{\"check\": \"choice\", \"answer\": \"red\", \"others\": [\"blue\"]}";
  expect(choice, "It is RED!", 1);
  expect(choice, "red or blue", 0);
  expect(choice, "It is hundred.", 0);
  char many[512] = "red";
  for (int i = 0; i < 45; i++)
    strcat(many, " and so");
  expect(choice, many, 0.5);
  double cut_off = -1;
  ok(lrl_synth_verify(choice, "red", false, &cut_off));
  assert_true(cut_off == 0.5);
  ok(lrl_synth_verify(choice, "blue", false, &cut_off));
  assert_true(cut_off == 0);
  const char *objects =
      "{\"check\": \"objects\", \"present\": [\"red circle\", \"blue star\"], \"need\": 2}";
  expect(objects, "a red circle and a blue star", 1);
  expect(objects, "a red circle", 0.5);
  expect(objects, "a red circle, a blue star and a green star", 0.5);
  expect(objects, "a red star and a blue circle", 0);
  const char *format = "{\"check\": \"format\", \"topic\": \"cat\", \"rule\": \"%s\", "
                       "\"argument\": \"%s\"}";
  static const struct {
    const char *rule, *argument, *good, *bad;
  } rules[] = {
      {"max_words", "3", "the cat sleeps", "the cat sleeps all day"},
      {"min_words", "4", "the cat sleeps all day", "the cat sleeps"},
      {"upper", "", "THE CAT.", "The CAT"},
      {"lower", "", "The cat.", "The Cat."},
      {"ends_with", "!", "the cat! \n", "the cat!?"},
      {"starts_with", "Well", " well, the cat", "Wellington had a cat"},
      {"list", "", "cat: old, new", "the cat, old"},
      {"sentence", "", "the cat is old", "cat: old, new"},
  };
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    char gold[256];
    snprintf(gold, sizeof gold, format, rules[i].rule, rules[i].argument);
    expect(gold, rules[i].good, 1);
    expect(gold, rules[i].bad, 0.5);
  }
  double reward;
  assert_int_equal(lrl_synth_verify("{\"check\": \"taste\"}", "x", true, &reward), LRL_ERR_FORMAT);
  lrl_error_clear();
  assert_int_equal(lrl_synth_verify("{", "x", true, &reward), LRL_ERR_FORMAT);
  lrl_error_clear();
  assert_int_equal(lrl_synth_verify("[]", "x", true, &reward), LRL_ERR_FORMAT);
  lrl_error_clear();
}

/* ---- no shortcut ---- */

/* Hashed features of one reply: words, pairs of words, the length, and (with_prompt) each word
 * together with the whole prompt. */
enum { N_FEATURES = 1 << 16 };
static int features(const char *prompt, const char *reply, bool with_prompt, uint32_t *out) {
  char text[LRL_SYNTH_TEXT], *save = NULL;
  uint32_t last = 0, whole = (uint32_t)crc32_z(0, (const Bytef *)prompt, strlen(prompt));
  int n = 0;
  snprintf(text, sizeof text, "%s", reply);
  for (char *w = strtok_r(text, " ,.:!?", &save); w != NULL; w = strtok_r(NULL, " ,.:!?", &save)) {
    uint32_t word = (uint32_t)crc32_z(1, (const Bytef *)w, strlen(w));
    out[n++] = word % N_FEATURES;
    out[n++] = (word ^ (last * 31 + 7)) % N_FEATURES;
    if (with_prompt)
      out[n++] = (word ^ whole) % N_FEATURES;
    last = word;
  }
  out[n++] = (uint32_t)(strlen(reply) * 977) % N_FEATURES;
  return n;
}

static double margin(float *w, const struct lrl_synth_item *it, bool with_prompt, float update) {
  uint32_t f[3 * LRL_SYNTH_TEXT];
  double m = 0;
  for (int side = 0; side < 2; side++) {
    int n = features(it->prompt, side ? it->rejected : it->chosen, with_prompt, f);
    for (int k = 0; k < n; k++) {
      m += side ? -w[f[k]] : w[f[k]];
      w[f[k]] += side ? -update : update;
    }
  }
  return m;
}

static void swap_replies(struct lrl_synth_item *item) {
  char t[LRL_SYNTH_TEXT];
  memcpy(t, item->chosen, sizeof t);
  memcpy(item->chosen, item->rejected, sizeof t);
  memcpy(item->rejected, t, sizeof t);
}

/* Held-out accuracy of a logistic regression on the text alone. With prefer_longer the longer reply
 * is made the chosen one: what a corpus with a shortcut looks like. */
static double text_only(enum lrl_synth_domain domain, bool with_prompt, bool prefer_longer) {
  static float w[N_FEATURES];
  struct lrl_synth_item *items = calloc(2 * N_ITEMS, sizeof *items);
  assert_non_null(items);
  memset(w, 0, sizeof w);
  for (int i = 0; i < 2 * N_ITEMS; i++) {
    draw(domain, i < N_ITEMS ? LRL_SYNTH_TRAIN : LRL_SYNTH_VALIDATION, i, &items[i]);
    if (prefer_longer && strlen(items[i].rejected) > strlen(items[i].chosen))
      swap_replies(&items[i]);
    for (int k = 0; k < 2; k++)
      lrl_canvas_free(&items[i].image[k]);
  }
  for (int epoch = 0; epoch < 5; epoch++)
    for (int i = 0; i < N_ITEMS; i++) {
      double m = margin(w, &items[i], with_prompt, 0);
      margin(w, &items[i], with_prompt, (float)(0.1 / (1 + exp(m))));
    }
  double right = 0;
  for (int i = N_ITEMS; i < 2 * N_ITEMS; i++) {
    double m = margin(w, &items[i], with_prompt, 0);
    right += m > 0 ? 1 : m < 0 ? 0 : 0.5;
  }
  for (int i = 0; i < 2 * N_ITEMS; i++)
    lrl_synth_item_free(&items[i]);
  free(items);
  return right / N_ITEMS;
}

static bool is_visual(int domain) {
  return domain != LRL_SYNTH_ARITHMETIC && domain != LRL_SYNTH_INSTRUCT;
}

/* 1500 held-out pairs: chance has a standard deviation of 1.3 %. */
static void test_no_shortcut(void **state) {
  (void)state;
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++) {
    double a = text_only((enum lrl_synth_domain)k, is_visual(k), false);
    print_message("%-10s text only: %.3f\n", lrl_synth_domain_name((enum lrl_synth_domain)k), a);
    if (fabs(a - 0.5) > 0.05)
      fail_msg("the text alone tells %s: %.3f", lrl_synth_domain_name((enum lrl_synth_domain)k), a);
  }
}

/* The regression does find a shortcut where there is one. */
static void test_shortcut_is_detected(void **state) {
  (void)state;
  double a = text_only(LRL_SYNTH_INSTRUCT, false, true);
  if (a < 0.8)
    fail_msg("the regression does not see which reply is longer: %.3f", a);
}

static void test_length(void **state) {
  (void)state;
  struct lrl_synth_item item = {0};
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++)
    for (int split = 0; split < 2; split++) {
      double longer = 0, differ = 0;
      for (int64_t i = 0; i < N_ITEMS; i++) {
        draw((enum lrl_synth_domain)k, (enum lrl_synth_split)split, i, &item);
        size_t a = strlen(item.chosen), b = strlen(item.rejected);
        longer += a > b;
        differ += a != b;
      }
      /* Five standard deviations. */
      if (fabs(longer - differ / 2) > 2.5 * sqrt(differ))
        fail_msg("%s: chosen longer in %g of %g", lrl_synth_domain_name((enum lrl_synth_domain)k),
                 longer, differ);
    }
  lrl_synth_item_free(&item);
}

/* Padding makes the right reply the longer one as often as asked, and changes neither what is right
 * nor anything else of a pair. */
static void test_verbose_bias(void **state) {
  (void)state;
  struct lrl_synth_item item = {0}, plain = {0};
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++) {
    double alone = 0, wrong_alone = 0, n = 0;
    for (int64_t i = 0; i < 1000; i++) {
      world.verbose_bias = 0;
      draw((enum lrl_synth_domain)k, LRL_SYNTH_TRAIN, i, &plain);
      world.verbose_bias = 0.7;
      draw((enum lrl_synth_domain)k, LRL_SYNTH_TRAIN, i, &item);
      world.verbose_bias = 0;
      assert_string_equal(item.prompt, plain.prompt);
      assert_true(item.n_images == 0 || memcmp(item.image[0].rgb, plain.image[0].rgb, 300) == 0);
      bool asked = strcmp(item.question, "length") == 0;
      const bool a = strlen(item.chosen) > strlen(plain.chosen);
      const bool b = strlen(item.rejected) > strlen(plain.rejected);
      if (verify(&item, item.chosen) != 1 ||
          verify(&item, item.rejected) != verify(&plain, plain.rejected))
        fail_msg("%s %lld: \"%s\" \"%s\" \"%s\"", lrl_synth_domain_name((enum lrl_synth_domain)k),
                 (long long)i, item.prompt, item.chosen, item.rejected);
      assert_false(asked && (a || b));
      n += !asked;
      alone += a && !b;
      wrong_alone += b && !a;
    }
    assert_true(fabs(alone / n - 0.7) < 5 * sqrt(0.21 / n));
    assert_true(wrong_alone == 0);
  }
  lrl_synth_item_free(&item);
  lrl_synth_item_free(&plain);
}

/* ---- splits ---- */

static uint64_t scene_of(const struct lrl_synth_item *item) {
  uint64_t key = item->scene;
  for (int i = 0; i < item->n_images; i++) {
    const struct lrl_canvas *c = &item->image[i];
    size_t n = (size_t)c->width * (size_t)c->height * 3;
    key = key << 32 ^ crc32_z(key & 0xffffffff, c->rgb, n);
  }
  return key;
}

static int by_value(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static void test_disjoint_splits(void **state) {
  (void)state;
  static uint64_t train[N_ITEMS];
  struct lrl_synth_item item = {0};
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++) {
    for (int64_t i = 0; i < N_ITEMS; i++) {
      draw((enum lrl_synth_domain)k, LRL_SYNTH_TRAIN, i, &item);
      train[i] = scene_of(&item);
    }
    qsort(train, N_ITEMS, sizeof *train, by_value);
    for (int64_t i = 0; i < N_ITEMS / 3; i++) {
      draw((enum lrl_synth_domain)k, LRL_SYNTH_VALIDATION, i, &item);
      uint64_t key = scene_of(&item);
      assert_null(bsearch(&key, train, N_ITEMS, sizeof *train, by_value));
    }
  }
  lrl_synth_item_free(&item);
}

/* ---- gold ---- */

static struct lrl_corpus *read_text_pairs(const char *path, const struct lrl_tokenizer *t) {
  const struct lrl_corpus_source source = {.path = path};
  const struct lrl_corpus_options o = {.tokenizer = t,
                                       .chat = {.mode = LRL_CHAT_TRAINING,
                                                .suffix = LRL_CHAT_REWARD,
                                                .pack = LRL_PACK_REWARD,
                                                .max_length = 1024},
                                       .check_data = true};
  struct lrl_corpus *c;
  ok(lrl_corpus_build(&source, 1, &o, &c));
  return c;
}

/* Training reads the same corpus when every gold record is replaced by its opposite. */
static void test_gold_is_not_read(void **state) {
  (void)state;
  struct lrl_tokenizer *t;
  json_error_t e;
  write_world("gold", SEED, 50, 1U << LRL_SYNTH_ARITHMETIC);
  ok(lrl_tokenizer_open(in_dir("gold/tokenizer.model"), &t));
  json_t *rows = json_load_file(in_dir("gold/arithmetic_train.json"), 0, &e);
  assert_int_equal(json_array_size(rows), 50);
  for (size_t i = 0; i < 50; i++) {
    json_t *row = json_array_get(rows, i);
    assert_string_equal(json_string_value(json_object_get(json_object_get(row, "gold"), "verdict")),
                        "conversations_a");
    json_object_set_new(row, "gold", json_pack("{ss}", "verdict", "conversations_b"));
  }
  assert_int_equal(json_dump_file(rows, in_dir("gold/swapped.json"), 0), 0);
  json_decref(rows);
  struct lrl_corpus *a = read_text_pairs(in_dir("gold/arithmetic_train.json"), t);
  struct lrl_corpus *b = read_text_pairs(in_dir("gold/swapped.json"), t);
  assert_int_equal(lrl_corpus_n_pairs(a), 50);
  assert_int_equal(lrl_corpus_n_pairs(b), 50);
  for (int64_t i = 0; i < 50; i++) {
    struct lrl_corpus_pair p, q;
    lrl_corpus_get(a, i, &p);
    lrl_corpus_get(b, i, &q);
    assert_int_equal(p.n_prompt, q.n_prompt);
    assert_int_equal(p.n_chosen, q.n_chosen);
    assert_int_equal(p.n_rejected, q.n_rejected);
    assert_memory_equal(p.prompt, q.prompt, (size_t)(p.n_prompt + p.n_chosen) * sizeof(int32_t));
    assert_memory_equal(p.rejected, q.rejected, (size_t)p.n_rejected * sizeof(int32_t));
    assert_true(isnan(p.margin) && isnan(q.margin));
  }
  lrl_corpus_free(a);
  lrl_corpus_free(b);
  lrl_tokenizer_close(t);
}

/* One chat of sft_train.json against the items it was made of; gives which fault it is of. */
static int check_chat(const json_t *row, enum lrl_synth_domain domain, int64_t i) {
  static const char *const kinds[] = {"none", "wrong_image", "empty_answer", "hallucination"};
  static struct lrl_synth_item own, other;
  const char *fault = json_string_value(json_object_get(row, "fault")), *image;
  const json_t *chat = json_object_get(row, "conversations");
  const char *answer = json_string_value(json_object_get(json_array_get(chat, 1), "value"));
  int kind = 0;
  while (strcmp(fault, kinds[kind]) != 0)
    kind++;
  draw(domain, LRL_SYNTH_TRAIN, i, &own);
  assert_string_equal(json_string_value(json_object_get(json_array_get(chat, 0), "value")),
                      own.prompt);
  assert_string_equal(answer, kind == 2 ? "" : kind == 3 ? own.rejected : own.chosen);
  image = json_string_value(json_object_get(row, "image"));
  assert_int_equal(image != NULL, own.n_images == 1);
  const int64_t at = image == NULL ? i : strtoll(strrchr(image, '-') + 1, NULL, 10);
  assert_int_equal(at == i, kind != 1);
  if (kind == 1) { /* the answer is wrong for the picture */
    double reward;
    draw(domain, LRL_SYNTH_TRAIN, at, &other);
    assert_string_equal(other.prompt, own.prompt);
    char *gold = json_dumps(other.gold, 0);
    ok(lrl_synth_verify(gold, answer, true, &reward));
    assert_true(reward < 1);
    free(gold);
  }
  lrl_synth_item_free(&own);
  lrl_synth_item_free(&other);
  memset(&own, 0, sizeof own);
  memset(&other, 0, sizeof other);
  return kind;
}

/* Chats have the faults they are said to have, as often as asked for; the pairs stay as they are.
 */
static void test_faults(void **state) {
  (void)state;
  const enum lrl_synth_domain of[2] = {LRL_SYNTH_RELATION, LRL_SYNTH_ARITHMETIC};
  struct lrl_synth_options o = {
      {SEED, UNIT, world.level, 0}, 200, 1, 1U << of[0] | 1U << of[1], 0.5};
  ok(lrl_synth_write(in_dir("faulty"), &o));
  o.faults = 0;
  ok(lrl_synth_write(in_dir("sound"), &o));
  same_start("sound/relation_train.json", "faulty/relation_train.json", true);
  assert_int_not_equal(access(in_dir("sound/sft_train.json"), F_OK), 0);
  json_t *rows = json_load_file(in_dir("faulty/sft_train.json"), 0, NULL);
  assert_int_equal(json_array_size(rows), 400);
  int count[4] = {0};
  for (size_t i = 0; i < 400; i++)
    count[check_chat(json_array_get(rows, i), of[i / 200], (int64_t)i % 200)]++;
  assert_true(count[0] > 160 && count[0] < 240); /* 200 +- 4 standard deviations */
  for (int k = 1; k < 4; k++)
    assert_true(count[k] > 15);
  json_decref(rows);
}

static int easy(void **state) {
  (void)state;
  world.level = LRL_SYNTH_EASY;
  return 0;
}

static int full(void **state) {
  (void)state;
  world.level = LRL_SYNTH_FULL;
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_bytes),
      cmocka_unit_test(test_prefix),
      cmocka_unit_test(test_pictures),
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test_setup_teardown(test_verdicts, easy, full),
      cmocka_unit_test(test_verify_rules),
      cmocka_unit_test(test_no_shortcut),
      cmocka_unit_test_setup_teardown(test_no_shortcut, easy, full),
      cmocka_unit_test(test_shortcut_is_detected),
      cmocka_unit_test(test_length),
      cmocka_unit_test_setup_teardown(test_length, easy, full),
      cmocka_unit_test(test_verbose_bias),
      cmocka_unit_test(test_disjoint_splits),
      cmocka_unit_test_setup_teardown(test_disjoint_splits, easy, full),
      cmocka_unit_test(test_gold_is_not_read),
      cmocka_unit_test(test_faults),
      cmocka_unit_test_setup_teardown(test_faults, easy, full)};
  print_message("seed %d\n", SEED);
  return cmocka_run_group_tests(tests, setup, teardown);
}
