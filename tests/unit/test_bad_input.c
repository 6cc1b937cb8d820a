/* Whatever a user's files hold, each row is kept or set aside with a sentence, each file is read or
 * refused with one, and nothing crashes (run under the sanitizers by ./check). Seeds and single
 * cases: test_corpus.c, test_config.c, test_tokenizer.c, test_checkpoint.c. */
#include "corpus_fixture.h"

#include "launch/config.h"
#include "train/reward_config.h"

#include <jansson.h>
#include <sys/stat.h>

/* A user's sentence: there, one line, no trailing stop or blank. */
static void expect_sentence(const char *text) {
  size_t n = strlen(text);
  if (n < 8 || n > 1500 || strchr(text, '\n') != NULL || text[n - 1] == ' ' || text[n - 1] == '.')
    fail_msg("not one sentence: '%s'", text);
}

/* ---- preference rows ---- */

struct outcome {
  lrl_status status;
  int64_t n_rows, n_kept;
  enum lrl_aside aside; /* of the first row set aside */
};
/* Builds a corpus from the bytes and checks that no row is lost. */
static struct outcome build(const char *name, const void *bytes, size_t n) {
  struct lrl_corpus_options o = fx_options();
  struct lrl_corpus_source s = {.path = fx_write_bytes(name, bytes, n)};
  struct lrl_corpus *c;
  struct outcome out = {.status = lrl_corpus_build(&s, 1, &o, &c)};
  if (out.status != LRL_OK) {
    expect_sentence(lrl_last_error());
    assert_non_null(strstr(lrl_last_error(), name));
    assert_null(c);
    lrl_error_clear();
    return out;
  }
  struct lrl_corpus_source_info info;
  lrl_corpus_get_source(c, 0, &info);
  assert_int_equal(info.n_rows, info.n_kept + lrl_corpus_n_asides(c));
  for (int64_t i = lrl_corpus_n_asides(c) - 1; i >= 0; i--) {
    struct lrl_corpus_aside a;
    lrl_corpus_get_aside(c, i, &a);
    expect_sentence(a.detail);
    out.aside = a.reason;
  }
  out.n_rows = info.n_rows;
  out.n_kept = info.n_kept;
  assert_string_equal(lrl_last_error(), "");
  lrl_corpus_free(c);
  return out;
}

static void expect_row(const char *bytes, size_t n, enum lrl_aside aside) {
  struct outcome r = build("row.jsonl", bytes, n);
  assert_int_equal(r.status, LRL_OK);
  if (r.n_rows != 1 || r.aside != aside)
    fail_msg("%.200s: %d rows, %s instead of %s", bytes, (int)r.n_rows, lrl_aside_name(r.aside),
             lrl_aside_name(aside));
}
#define EXPECT(literal, aside) expect_row(literal, sizeof literal - 1, aside)
#define PAIR(extra) "{" extra "\"prompt\":\"q\",\"chosen\":\"Yes\",\"rejected\":\"No\"}"

static void test_encodings(void **state) {
  (void)state;
  EXPECT("\xef\xbb\xbf" PAIR("") "\r\n", LRL_ASIDE_NONE);
  EXPECT(PAIR("\"id\":\"\xff\","), LRL_ASIDE_JSON);
  EXPECT(PAIR("\"id\":\"\xc0\xaf\","), LRL_ASIDE_JSON); /* overlong */
  EXPECT(PAIR("\"id\":\"\xed\xa0\x80\","), LRL_ASIDE_JSON);
  EXPECT("{\"prompt\":\"q\",\"chosen\":\"\\ud800\",\"rejected\":\"No\"}", LRL_ASIDE_JSON);
  EXPECT("{\"prompt\":\"q\",\"chosen\":\"\\ud83d\\ude00\",\"rejected\":\"No\"}", LRL_ASIDE_NONE);
  EXPECT(PAIR("\"id\":\"a\0b\","), LRL_ASIDE_JSON);
  EXPECT(PAIR("\"image\":\"a\\u0000b\","), LRL_ASIDE_TYPE);
  EXPECT("{\"chosen\":[{\"role\":\"us\\u0000er\",\"content\":\"q\"}],\"rejected\":[]}",
         LRL_ASIDE_TYPE);
  EXPECT("\xff\xfe{\0\"\0", LRL_ASIDE_JSON); /* UTF-16 */
  EXPECT("\0\0\0\0", LRL_ASIDE_JSON);
  struct outcome r = build("list.json", "\xef\xbb\xbf[]\r\n", 7);
  assert_int_equal(r.status, LRL_OK);
  assert_int_equal(r.n_rows, 0);
  assert_int_equal(build("empty.json", "", 0).status, LRL_ERR_FORMAT);
  r = build("blank.jsonl", "\r\n \n\t\n", 6);
  assert_true(r.status == LRL_OK && r.n_rows == 0);
}

static void test_numbers(void **state) {
  (void)state;
  EXPECT(PAIR("\"id\":12345678901234567890,"), LRL_ASIDE_JSON);
  EXPECT(PAIR("\"id\":1e400,"), LRL_ASIDE_JSON);
  EXPECT(PAIR("\"id\":1e308,"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"margin\":1e39,"), LRL_ASIDE_TYPE);
  EXPECT(PAIR("\"margin\":\"big\","), LRL_ASIDE_TYPE);
  EXPECT(PAIR("\"margin\":-0.25,"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"margin\":null,"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"margin\":NaN,"), LRL_ASIDE_JSON);
}

/* Deep nesting, as a line and as a whole file. */
static void test_nesting(void **state) {
  (void)state;
  enum { DEPTH = 200000 };
  char *text = malloc(DEPTH * 6);
  for (int kind = 0; kind < 2; kind++) {
    const char *open = kind == 0 ? "[" : "{\"a\":";
    size_t n = 0;
    for (int i = 0; i < DEPTH; i++, n += strlen(open))
      memcpy(text + n, open, strlen(open));
    expect_row(text, n, LRL_ASIDE_JSON);
    assert_int_equal(build("nest.json", text, n).status, LRL_ERR_FORMAT);
  }
  free(text);
}

static void test_sizes(void **state) {
  (void)state;
  enum { N = 300000 };
  char *text = malloc(N + 200);
  int n = sprintf(text, "{\"prompt\":\"q\",\"rejected\":\"No\",\"chosen\":\"");
  memset(text + n, 'x', N); /* one reply without a blank: check_data refuses it */
  memcpy(text + n + N, "\"}", 2);
  expect_row(text, (size_t)n + N + 2, LRL_ASIDE_CHECK);
  for (int i = 5; i < N; i += 6)
    text[n + i] = ' ';
  expect_row(text, (size_t)n + N + 2, LRL_ASIDE_NONE);
  n = sprintf(text, "{\"rejected\":\"No\",\"chosen\":\"Yes\",\"prompt\":[");
  static const char turn[] = "{\"role\":\"user\",\"content\":\"q\"},";
  for (; n < N; n += (int)sizeof turn - 1) /* ten thousand turns: cut to the same tokens */
    memcpy(text + n, turn, sizeof turn - 1);
  text[n - 1] = ']';
  text[n++] = '}';
  expect_row(text, (size_t)n, LRL_ASIDE_SAME);
  free(text);
}

static void test_images(void **state) {
  (void)state;
  char row[9000], path[8300];
  fx_write("ok.img", "IMG 1 2 3");
  fx_write("huge.img", "IMG 60000 60000 1");
  fx_write("none.img", "IMG 0 1 1");
  fx_write("less.img", "IMG -1 -1 1");
  fx_write("text.img", "this is no image");
  fx_write("zero.img", "");
  assert_int_equal(mkdir(fx_path("folder.img"), 0700), 0);
  assert_int_equal(mkfifo(fx_path("pipe.img"), 0600), 0);
  fx_write("sparse.img", "IMG 1 1 1");
  assert_int_equal(truncate(fx_path("sparse.img"), (off_t)3 << 30), 0);
  EXPECT(PAIR("\"image\":\"ok.img\","), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"image\":[\"ok.img\"],"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"image\":[],"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"image\":null,"), LRL_ASIDE_NONE);
  EXPECT(PAIR("\"image\":\"\","), LRL_ASIDE_TYPE);
  static const char *const bad[] = {"absent.img", "huge.img", "none.img",   "less.img",
                                    "text.img",   "zero.img", "folder.img", "pipe.img",
                                    "sparse.img", "../../..", "a\\nb"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    int n = snprintf(row, sizeof row, PAIR("\"image\":\"%s\","), bad[i]);
    expect_row(row, (size_t)n, LRL_ASIDE_IMAGE);
  }
  memset(path, 'p', sizeof path);
  path[sizeof path - 1] = '\0';
  int n = snprintf(row, sizeof row, PAIR("\"image\":\"%s\","), path);
  expect_row(row, (size_t)n, LRL_ASIDE_IMAGE);
  /* Images and places in the text that do not match. */
  EXPECT(PAIR("\"image\":[\"ok.img\",\"ok.img\"],"), LRL_ASIDE_IMAGE);
  EXPECT("{\"image\":[\"ok.img\",\"ok.img\"],\"prompt\":\"<ImageHere>\",\"chosen\":\"Yes\","
         "\"rejected\":\"No\"}",
         LRL_ASIDE_IMAGE);
  EXPECT("{\"image\":\"ok.img\",\"prompt\":\"<ImageHere><ImageHere>\",\"chosen\":\"Yes\","
         "\"rejected\":\"No\"}",
         LRL_ASIDE_IMAGE);
  EXPECT("{\"image\":[\"ok.img\",\"ok.img\"],\"prompt\":\"<ImageHere><ImageHere>\",\"chosen\":"
         "\"Yes\",\"rejected\":\"No\"}",
         LRL_ASIDE_NONE);
}

/* Every value of a good row replaced by every kind of junk, and every key left out. */
struct junk {
  json_t *row;
  bool list;
  int64_t n;
};
static void try_row(struct junk *j) {
  char *text = json_dumps(j->row, JSON_COMPACT | JSON_ENCODE_ANY), *bytes = NULL;
  assert_int_not_equal(asprintf(&bytes, j->list ? "[%s]" : "%s\n", text), -1);
  struct outcome r = build(j->list ? "junk.json" : "junk.jsonl", bytes, strlen(bytes));
  assert_int_equal(r.status, LRL_OK);
  assert_int_equal(r.n_rows, 1);
  j->n++;
  free(bytes);
  free(text);
}
static void spoil(struct junk *j, json_t *parent) {
  static const char *const values[] = {"null",  "true", "-7",   "1.5e300", "\"\"",
                                       "\"x\"", "[]",   "[[]]", "{}",      "[{\"from\":{}}]"};
  size_t i, n = json_is_object(parent) ? json_object_size(parent) : json_array_size(parent);
  for (size_t at = 0; at < n; at++) {
    void *iter = json_is_object(parent) ? json_object_iter(parent) : NULL;
    for (i = 0; i < at && iter != NULL; i++)
      iter = json_object_iter_next(parent, iter);
    char key[64];
    snprintf(key, sizeof key, "%s", iter == NULL ? "" : json_object_iter_key(iter));
    json_t *old =
        json_incref(iter == NULL ? json_array_get(parent, at) : json_object_iter_value(iter));
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
      json_t *value = json_loads(values[k], JSON_DECODE_ANY, NULL);
      assert_int_equal(iter == NULL ? json_array_set_new(parent, at, value)
                                    : json_object_set_new(parent, key, value),
                       0);
      try_row(j);
    }
    if (iter == NULL)
      json_array_set(parent, at, old);
    else {
      json_object_del(parent, key);
      try_row(j);
      json_object_set(parent, key, old);
    }
    if (json_is_object(old) || json_is_array(old))
      spoil(j, old);
    json_decref(old);
  }
}
static void test_wrong_types(void **state) {
  (void)state;
  static const char *const rows[] = {
      "{\"id\":1,\"image\":[\"ok.img\"],\"margin\":0.5,"
      "\"conversations_a\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"bot\",\"value\":"
      "\"Yes\"}],\"conversations_b\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"bot\","
      "\"value\":\"No\"}]}",
      "{\"images\":[],\"conversations\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":"
      "{\"role\":\"assistant\",\"content\":\"Yes\"},\"rejected\":\"No\"}"};
  for (int list = 0; list < 2; list++)
    for (int i = 0; i < 2; i++) {
      struct junk j = {.row = json_loads(rows[i], 0, NULL), .list = list == 1};
      assert_non_null(j.row);
      try_row(&j);
      spoil(&j, j.row);
      assert_true(j.n > 60);
      json_decref(j.row);
    }
}

/* A line cut anywhere is one row. */
static void test_cut_lines(void **state) {
  (void)state;
  static const char row[] = "{\"image\":\"ok.img\",\"id\":\"\\u00e9\",\"prompt\":\"q\",\"chosen\":"
                            "\"Yes\",\"rejected\":\"No\"}";
  for (size_t n = 1; n < sizeof row - 1; n++)
    expect_row(row, n, LRL_ASIDE_JSON);
}

/* ---- mixtures ---- */

static void expect_mixture_error(const char *bytes, size_t n) {
  struct lrl_mixture m;
  assert_int_equal(lrl_mixture_read(fx_write_bytes("mix.txt", bytes, n), true, &m), LRL_ERR_FORMAT);
  expect_sentence(lrl_last_error());
  assert_non_null(strstr(lrl_last_error(), "mix.txt"));
  lrl_error_clear();
}

static void test_mixtures(void **state) {
  (void)state;
  static const char *const bad[] = {"a.json 1e10\n", "a.json inf\n", "a.json 1e400\n",
                                    "a.json 1 x\n",  "a.json\t1\n",  "\n\n",
                                    "a.json 0\n",    "{}\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    expect_mixture_error(bad[i], strlen(bad[i]));
  expect_mixture_error("a.json 1\0\nb.json 2\n", 20);
  struct lrl_mixture m;
  assert_int_equal(lrl_mixture_read(fx_write("mix.txt", "\xef\xbb\xbf"
                                                        "a.json 2\r\n"),
                                    true, &m),
                   LRL_OK);
  assert_int_equal(m.n, 1);
  assert_non_null(strstr(m.sources[0].path, "/a.json"));
  lrl_mixture_free(&m);
  /* What a mixture names need not be there, need not be a file, need not be data. */
  static const char *const named[] = {"absent.json 1\n", "folder.img 1\n", "mix.txt 1\n"};
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
    struct lrl_corpus_options o = fx_options();
    struct lrl_corpus *c;
    assert_int_not_equal(lrl_corpus_read(fx_write("mix.txt", named[i]), true, &o, &c), LRL_OK);
    assert_null(c);
    expect_sentence(lrl_last_error());
    lrl_error_clear();
  }
}

/* ---- configs, against the real table of `laurel reward` ---- */

static lrl_status load(const void *bytes, size_t n) {
  struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  struct lrl_reward_config *cfg = malloc(sizeof *cfg);
  lrl_config_defaults(&t, cfg);
  lrl_status s = lrl_config_load(&t, cfg, fx_write_bytes("run.yaml", bytes, n));
  free(cfg);
  if (s != LRL_OK) {
    expect_sentence(lrl_last_error());
    assert_non_null(strstr(lrl_last_error(), "run.yaml"));
  }
  lrl_error_clear();
  return s;
}
#define YAML(literal) load(literal, sizeof literal - 1)

static void test_configs(void **state) {
  (void)state;
  assert_int_equal(YAML("\xef\xbb\xbftrain: {seed: 3}\r\noptim:\r\n  lr: 1e-3\r\n"), LRL_OK);
  assert_int_equal(YAML("# nothing\n"), LRL_OK);
  assert_int_equal(YAML("\xff\xfet\0r\0a\0i\0n\0:\0 \0{\0}\0"), LRL_OK); /* UTF-16 is YAML */
  static const char *const bad[] = {
      "train: {seed: 99999999999999999999}",
      "train: {seed: 1e3}",
      "train: {seed: 0x10}",
      "train: {seed: ' 5'}",
      "train: {seed: -1}",
      "train: {seed: }",
      "train: {seed: ~}",
      "train: {seed: 5 6}",
      "optim: {lr: .inf}",
      "optim: {lr: 1e999}",
      "optim: {lr: 1,5}",
      "train:\n\tseed: 3",
      "train: seed: 3",
      "train: [seed, 3]",
      "train:\n  seed: 3\n seed: 4",
      "train: &a {seed: 3}\nmodel: *a",
      "<<: {train: {seed: 3}}",
      "? {a: b}\n: c",
      "[train: 3]",
      "train: {seed: \xff}",
      "train: {seed: 'x",
      "%YAML 9.9\n---\na: b",
      "model: {dtype: BF16}",
      "train",
      "\"train\\0x\": {seed: 3}",
      "train: {output_dir: {a: b}}",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (load(bad[i], strlen(bad[i])) == LRL_OK)
      fail_msg("accepted: %s", bad[i]);
  assert_int_not_equal(YAML("train: {seed: 3\0}"), LRL_OK);
  assert_int_not_equal(YAML("\x7f"
                            "ELF\2\1\1\0\0\0\0"),
                       LRL_OK);
  enum { N = 100000 };
  char *text = malloc(N * 4 + 100);
  for (int i = 0; i < N; i++)
    memcpy(text + (size_t)i * 4, "{a: ", 4);
  assert_int_not_equal(load(text, (size_t)N * 4), LRL_OK);
  memset(text, '[', N);
  assert_int_not_equal(load(text, N), LRL_OK);
  int n = sprintf(text, "train.output_dir: ");
  memset(text + n, 'x', N);
  assert_int_not_equal(load(text, (size_t)n + N), LRL_OK);
  memset(text, 'k', N); /* a key of 100,000 letters */
  memcpy(text + N, ": 1\n", 4);
  assert_int_not_equal(load(text, N + 4), LRL_OK);
  free(text);
}

static void test_config_files(void **state) {
  (void)state;
  struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  struct lrl_reward_config *cfg = malloc(sizeof *cfg);
  lrl_config_defaults(&t, cfg);
  static const char *const paths[] = {"", ".", "absent.yaml"};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(lrl_config_load(&t, cfg, fx_path(paths[i])), LRL_ERR_IO);
    expect_sentence(lrl_last_error());
    lrl_error_clear();
  }
  static const char *const overrides[] = {
      "", "=", "=1", "train.seed", "a=b", "train.seed=", "train.seed=1 ", "optim.lr=1e-3x"};
  for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
    assert_int_equal(lrl_config_override(&t, cfg, overrides[i]), LRL_ERR_ARG);
    expect_sentence(lrl_last_error());
    lrl_error_clear();
  }
  char longest[3000];
  memset(longest, 'k', sizeof longest);
  longest[sizeof longest - 1] = '\0';
  longest[2000] = '=';
  assert_int_equal(lrl_config_override(&t, cfg, longest), LRL_ERR_ARG);
  expect_sentence(lrl_last_error());
  lrl_error_clear();
  free(cfg);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_encodings), cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_nesting),   cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_images),    cmocka_unit_test(test_wrong_types),
      cmocka_unit_test(test_cut_lines), cmocka_unit_test(test_mixtures),
      cmocka_unit_test(test_configs),   cmocka_unit_test(test_config_files),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
