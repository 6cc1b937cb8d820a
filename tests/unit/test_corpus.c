/* Readers, filters, shared-prefix form, saving and opening. */
#include "corpus_fixture.h"

#include <math.h>
#include <zlib.h>

#define TURN(q, a)                                                                                 \
  "[{\"from\":\"human\",\"value\":\"" q "\"},{\"from\":\"bot\",\"value\":\"" a "\"}]"
#define ROW(q, a, b) "{\"conversations_a\":" TURN(q, a) ",\"conversations_b\":" TURN(q, b) "}"

static int64_t count_asides(const struct lrl_corpus *c, enum lrl_aside reason) {
  int64_t n = 0;
  for (int64_t i = 0; i < lrl_corpus_n_asides(c); i++) {
    struct lrl_corpus_aside a;
    lrl_corpus_get_aside(c, i, &a);
    assert_true(strlen(a.detail) > 0);
    n += a.reason == reason;
  }
  return n;
}

static void expect_one(const char *row, enum lrl_aside reason) {
  struct lrl_corpus_options o = fx_options();
  struct lrl_corpus *c = fx_build(fx_write("one.jsonl", row), &o);
  struct lrl_corpus_source_info s;
  lrl_corpus_get_source(c, 0, &s);
  assert_int_equal(s.n_rows, 1);
  assert_int_equal(s.n_kept, reason == LRL_ASIDE_NONE);
  if (reason != LRL_ASIDE_NONE && count_asides(c, reason) != 1)
    fail_msg("%s was not set aside as %s", row, lrl_aside_name(reason));
  lrl_corpus_free(c);
}

static void test_odd_rows(void **state) {
  (void)state;
  expect_one(ROW("q", "Yes", "No"), LRL_ASIDE_NONE);
  expect_one("{\"prompt\":\"q\",\"chosen\":\"Yes\",\"rejected\":\"No\"}", LRL_ASIDE_NONE);
  expect_one(
      "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"gpt\","
      "\"value\":\"Yes\"},\"rejected\":{\"from\":\"gpt\",\"value\":\"No\"}}",
      LRL_ASIDE_NONE);
  expect_one("{\"chosen\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
             "\"content\":\"Yes\"}],\"rejected\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
             "\"assistant\",\"content\":\"No\"}],\"images\":[]}",
             LRL_ASIDE_NONE);
  expect_one("{\"conversations_a\": [", LRL_ASIDE_JSON);
  expect_one("[1, 2]", LRL_ASIDE_TYPE);
  expect_one("null", LRL_ASIDE_TYPE);
  expect_one("{}", LRL_ASIDE_TYPE);
  expect_one("{\"chosen\":\"Yes\",\"rejected\":\"No\"}", LRL_ASIDE_TYPE);
  expect_one("{\"conversations_a\":7,\"conversations_b\":" TURN("q", "No") "}", LRL_ASIDE_TYPE);
  expect_one("{\"conversations_a\":[true],\"conversations_b\":" TURN("q", "No") "}",
             LRL_ASIDE_TYPE);
  expect_one("{\"conversations_a\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"bot\","
             "\"value\":true}],\"conversations_b\":" TURN("q", "No") "}",
             LRL_ASIDE_TYPE);
  expect_one("{\"conversations_a\":[{\"from\":null,\"value\":\"q\"}],\"conversations_b\":" TURN(
                 "q", "No") "}",
             LRL_ASIDE_TYPE);
  expect_one(ROW("q", "Y\\u0000es", "No"), LRL_ASIDE_TYPE);
  expect_one("{\"image\":[3],\"conversations_a\":" TURN("q", "Y") ",\"conversations_b\":" TURN(
                 "q", "N") "}",
             LRL_ASIDE_TYPE);
  expect_one("{\"conversations_a\":[],\"conversations_b\":" TURN("q", "No") "}", LRL_ASIDE_EMPTY);
  expect_one(ROW("q", " \\n ", "No"), LRL_ASIDE_EMPTY);
  expect_one(
      "{\"conversations_a\":[{\"from\":\"human\",\"value\":\"q\"}],\"conversations_b\":" TURN(
          "q", "No") "}",
      LRL_ASIDE_EMPTY);
  expect_one("{\"conversations_a\":" TURN("q", "Yes") ",\"conversations_b\":" TURN("r", "No") "}",
             LRL_ASIDE_CONTEXT);
  expect_one("{\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: Yes\",\"rejected\":"
             "\"\\n\\nHuman: q\\n\\nAssistant:\"}",
             LRL_ASIDE_EMPTY);
  expect_one("{\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: Yes\",\"rejected\":"
             "\"\\n\\nHuman: r\\n\\nAssistant: No\"}",
             LRL_ASIDE_CONTEXT);
  expect_one("{\"chosen\":\"\\n\\nHuman: q\",\"rejected\":\"\\n\\nHuman: q\"}", LRL_ASIDE_EMPTY);
  expect_one("{\"chosen\":\"Human: q\\n\\nAssistant: Yes\",\"rejected\":\"No\"}", LRL_ASIDE_TYPE);
  expect_one(ROW("q", "a <|im_end|>", "No"), LRL_ASIDE_CHECK);
  expect_one(ROW("q", "same", "same"), LRL_ASIDE_SAME);
  expect_one(ROW("q <ImageHere>", "Yes", "No"), LRL_ASIDE_IMAGE);
  expect_one("{\"image\":\"absent.img\",\"conversations_a\":" TURN(
                 "q", "Y") ",\"conversations_b\":" TURN("q", "N") "}",
             LRL_ASIDE_IMAGE);
}

/* A transcript gives the tokens of the same turns as messages; blank lines within a turn stay. */
static void test_transcript(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  const char *rows =
      "{\"chosen\":\"\\n\\nHuman: q\\n\\nmore\\n\\nAssistant: a\\n\\nHuman: r\\n\\nAssistant: "
      "Yes\","
      "\"rejected\":\"\\n\\nHuman: q\\n\\nmore\\n\\nAssistant: a\\n\\nHuman: r\\n\\nAssistant: "
      "No\"}\n"
      "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\\n\\nmore\"},"
      "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"r\"}],"
      "\"chosen\":\"Yes\",\"rejected\":\"No\"}\n";
  struct lrl_corpus *c = fx_build(fx_write("transcript.jsonl", rows), &o);
  struct lrl_corpus_pair p, q;
  assert_int_equal(lrl_corpus_n_pairs(c), 2);
  lrl_corpus_get(c, 0, &p);
  lrl_corpus_get(c, 1, &q);
  assert_int_equal(p.n_prompt, q.n_prompt);
  assert_int_equal(p.n_chosen, q.n_chosen);
  assert_int_equal(p.n_rejected, q.n_rejected);
  assert_memory_equal(p.prompt, q.prompt, (size_t)(p.n_prompt + p.n_chosen) * sizeof(int32_t));
  assert_memory_equal(p.rejected, q.rejected, (size_t)p.n_rejected * sizeof(int32_t));
  lrl_corpus_free(c);
}

static void test_check_data_counts_code_points(void **state) {
  (void)state;
  char word[400], reply[2000], row[6000];
  const struct {
    int n_word, n_rest;
    enum lrl_aside reason;
  } cases[] = {{100, 500, LRL_ASIDE_NONE},
               {101, 399, LRL_ASIDE_NONE}, /* exactly 500 characters */
               {101, 400, LRL_ASIDE_CHECK}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    word[0] = '\0';
    for (int i = 0; i < cases[k].n_word; i++)
      strcat(word, "\xc3\xa9"); /* two bytes, one character */
    snprintf(reply, sizeof reply, "%s", word);
    for (int i = 0; i < cases[k].n_rest; i++)
      strcat(reply, i % 2 == 0 ? " " : "x");
    snprintf(row, sizeof row, "{\"prompt\":\"q\",\"chosen\":\"%s\",\"rejected\":\"No\"}", reply);
    expect_one(row, cases[k].reason);
  }
}

static void test_whole_file_errors(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  struct lrl_corpus *c;
  struct lrl_corpus_source s = {.path = fx_write("broken.json", "[\n {\"id\": 1},\n {]\n")};
  assert_int_equal(lrl_corpus_build(&s, 1, &o, &c), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "broken.json, line 3, column"));
  assert_null(c);
  lrl_error_clear();
  s.path = fx_write("object.json", "{\"id\": 1}");
  assert_int_equal(lrl_corpus_build(&s, 1, &o, &c), LRL_ERR_FORMAT);
  lrl_error_clear();
  s.path = "/nowhere/x.json";
  assert_int_equal(lrl_corpus_build(&s, 1, &o, &c), LRL_ERR_IO);
  assert_non_null(strstr(lrl_last_error(), "/nowhere/x.json"));
  lrl_error_clear();
}

static void test_gzip(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  const char *text = "[" ROW("q", "Yes", "No") "," ROW("q", "Yes", "12") "]";
  const char *path = fx_path("list.json.gz");
  gzFile f = gzopen(path, "wb");
  assert_true(gzwrite(f, text, (unsigned)strlen(text)) > 0);
  gzclose(f);
  struct lrl_corpus *c = fx_build(path, &o);
  assert_int_equal(lrl_corpus_n_pairs(c), 2);
  lrl_corpus_free(c);
  assert_int_equal(truncate(path, 40), 0);
  struct lrl_corpus_source s = {.path = path};
  assert_int_equal(lrl_corpus_build(&s, 1, &o, &c), LRL_ERR_FORMAT);
  lrl_error_clear();
}

static void test_options(void **state) {
  (void)state;
  const char *rows =
      ROW("q", "one two three four five six", "No") "\n" ROW("q", "Yes", "No") "\n" ROW(
          "q", "Yes", "No") "\n" ROW("a much longer question than the other ones", "Yes",
                                     "No") "\n";
  char path[256];
  snprintf(path, sizeof path, "%s", fx_write("opt.jsonl", rows));
  struct lrl_corpus_options o = fx_options();
  o.length_ratio = 2;
  o.length_unit = LRL_LENGTH_CHARS;
  o.drop_duplicates = true;
  o.chat.max_length = 30;
  o.filter_overlong = true;
  struct lrl_corpus *c = fx_build(path, &o);
  assert_int_equal(lrl_corpus_n_pairs(c), 1);
  assert_int_equal(count_asides(c, LRL_ASIDE_RATIO), 1);
  assert_int_equal(count_asides(c, LRL_ASIDE_DUPLICATE), 1);
  assert_int_equal(count_asides(c, LRL_ASIDE_LONG), 1);
  lrl_corpus_free(c);
  o = fx_options();
  c = fx_build(path, &o);
  assert_int_equal(lrl_corpus_n_pairs(c), 4);
  lrl_corpus_free(c);
}

/* prompt + answer is what lrl_chat_encode gives for the whole conversation. */
static void test_shared_prefix(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  fx_write("i.img", "IMG 1 2 5");
  struct lrl_corpus *c = fx_build(
      fx_write("prefix.jsonl", "{\"image\":\"i.img\",\"margin\":0.5,\"conversations_a\":" TURN(
                                   "q", "Yes") ",\"conversations_b\":" TURN("q", "Yesterday") "}"),
      &o);
  struct lrl_corpus_pair p;
  assert_int_equal(lrl_corpus_n_pairs(c), 1);
  lrl_corpus_get(c, 0, &p);
  const int64_t n_image = 3 * 4 + 1 + 2 * 2;
  const char *replies[2] = {"Yes", "Yesterday"};
  for (int k = 0; k < 2; k++) {
    struct lrl_message m[2] = {{"human", "q"}, {"bot", replies[k]}};
    struct lrl_chat_ids ids;
    assert_int_equal(lrl_chat_encode(fx_tokenizer, m, 2, &n_image, 1, &o.chat, &ids), LRL_OK);
    const int32_t *tail = k == 0 ? p.chosen : p.rejected;
    int64_t n_tail = k == 0 ? p.n_chosen : p.n_rejected;
    assert_int_equal(ids.ids.n, p.n_prompt + n_tail);
    assert_memory_equal(ids.ids.data, p.prompt, (size_t)p.n_prompt * 4);
    assert_memory_equal(ids.ids.data + p.n_prompt, tail, (size_t)n_tail * 4);
    lrl_chat_ids_free(&ids);
  }
  assert_int_not_equal(p.chosen[0], p.rejected[0]);
  assert_int_equal(p.n_spans, 1);
  assert_int_equal(p.spans[0].seq, 0);
  assert_int_equal(p.spans[0].start, 1);
  assert_int_equal(p.spans[0].count, n_image);
  assert_float_equal(p.margin, 0.5, 0);
  lrl_corpus_free(c);
}

/* The image stands after the first difference: both answers carry it. */
static void test_image_outside_prefix(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  fx_write("i.img", "IMG 1 1 5");
  struct lrl_corpus *c = fx_build(
      fx_write("out.jsonl",
               "{\"image\":\"i.img\",\"conversations_a\":" TURN(
                   "q", "Yes <ImageHere>") ",\"conversations_b\":" TURN("q", "No <ImageHere>") "}"),
      &o);
  struct lrl_corpus_pair p;
  lrl_corpus_get(c, 0, &p);
  assert_int_equal(p.n_spans, 2);
  assert_int_equal(p.spans[0].seq, 1);
  assert_int_equal(p.spans[1].seq, 2);
  assert_int_equal(lrl_corpus_n_images(c), 1);
  struct lrl_batch_builder b;
  lrl_batch_builder_init(&b, &fx_images);
  assert_int_equal(lrl_batch_builder_add_pair(&b, c, 0), LRL_OK);
  lrl_batch_builder_finish(&b);
  assert_int_equal(b.batch.n_images, 2);
  assert_int_equal(b.batch.n_tiles, 2);
  assert_int_equal(b.batch.images[0].first_tile, b.batch.images[1].first_tile);
  for (int k = 0; k < 2; k++)
    for (int64_t r = 0; r < b.batch.images[k].n_rows; r++)
      assert_int_equal(b.batch.ids[b.batch.images[k].first_row + r], -1);
  lrl_batch_builder_free(&b);
  lrl_corpus_free(c);
}

static void assert_same_corpus(const struct lrl_corpus *a, const struct lrl_corpus *b) {
  assert_int_equal(lrl_corpus_n_pairs(a), lrl_corpus_n_pairs(b));
  assert_int_equal(lrl_corpus_n_images(a), lrl_corpus_n_images(b));
  assert_int_equal(lrl_corpus_n_asides(a), lrl_corpus_n_asides(b));
  for (int64_t i = 0; i < lrl_corpus_n_pairs(a); i++) {
    struct lrl_corpus_pair p, q;
    lrl_corpus_get(a, i, &p);
    lrl_corpus_get(b, i, &q);
    assert_int_equal(p.n_prompt, q.n_prompt);
    assert_memory_equal(p.prompt, q.prompt, (size_t)(p.n_prompt + p.n_chosen + p.n_rejected) * 4);
    assert_string_equal(p.id, q.id);
    assert_int_equal(p.n_spans, q.n_spans);
  }
}

static void test_save_open(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  char path[256], data[256];
  snprintf(path, sizeof path, "%s", fx_path("c.h5"));
  snprintf(data, sizeof data, "%s", fx_pairs_file("save.jsonl", 5, true));
  FILE *f = fopen(data, "a");
  fputs("not json\n", f);
  fclose(f);
  struct lrl_corpus *c = fx_build(data, &o), *d;
  assert_int_equal(lrl_corpus_n_images(c), 1); /* stored once */
  assert_int_equal(lrl_corpus_save(c, path), LRL_OK);
  assert_int_equal(lrl_corpus_open(path, &d), LRL_OK);
  assert_same_corpus(c, d);
  assert_int_equal(lrl_corpus_check_tokenizer(d, fx_tokenizer), LRL_OK);
  FILE *out = fopen(fx_path("inspect.txt"), "w+");
  assert_int_equal(lrl_corpus_inspect(d, fx_tokenizer, out), LRL_OK);
  char text[8192];
  rewind(out);
  text[fread(text, 1, sizeof text - 1, out)] = '\0';
  fclose(out);
  assert_non_null(strstr(text, "<image 2x3 tiles"));
  assert_non_null(strstr(text, "the question 0"));
  assert_non_null(strstr(text, "line 6: not JSON"));
  lrl_corpus_free(d);
  lrl_corpus_free(c);
  assert_int_equal(lrl_corpus_open(fx_path("absent.h5"), &d), LRL_ERR_IO);
  lrl_error_clear();
}

/* Every changed byte and every cut is noticed. */
static void test_damaged_file(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  char path[256];
  snprintf(path, sizeof path, "%s", fx_path("d.h5"));
  struct lrl_corpus *c = fx_build(fx_pairs_file("dam.jsonl", 4, true), &o), *d;
  assert_int_equal(lrl_corpus_save(c, path), LRL_OK);
  char *bytes;
  size_t n;
  assert_int_equal(lrl_file_read_raw(path, &bytes, &n), LRL_OK);
  for (size_t at = 0; at < n; at += 97) {
    bytes[at] = (char)(bytes[at] ^ 0x5a);
    fx_write_bytes("e.h5", bytes, n);
    assert_int_equal(lrl_corpus_open(fx_path("e.h5"), &d), LRL_ERR_FORMAT);
    assert_non_null(strstr(lrl_last_error(), "e.h5"));
    lrl_error_clear();
    bytes[at] = (char)(bytes[at] ^ 0x5a);
  }
  fx_write_bytes("e.h5", bytes, n / 2);
  assert_int_not_equal(lrl_corpus_open(fx_path("e.h5"), &d), LRL_OK);
  lrl_error_clear();
  free(bytes);
  lrl_corpus_free(c);
}

/* Mutated bytes never crash; each row read is kept or set aside. */
static void test_mutated_json(void **state) {
  (void)state;
  struct lrl_corpus_options o = fx_options();
  const char *text =
      ROW("q", "Yes", "No") "\n{\"prompt\":\"q\",\"chosen\":\"Y\",\"rejected\":\"N\","
                            "\"images\":[]}\n" ROW("r", "12", "blocks") "\n";
  size_t n = strlen(text);
  static const char with[] = "\"{}[],:x\0\n\xff";
  char copy[1024];
  for (int list = 0; list < 2; list++)
    for (size_t at = 0; at < n; at++)
      for (size_t w = 0; w < sizeof with - 1; w += 1 + (at % 2)) {
        memcpy(copy, text, n);
        copy[at] = with[w];
        struct lrl_corpus_source s = {.path = fx_write_bytes(list ? "m.json" : "m.jsonl", copy, n)};
        struct lrl_corpus *c;
        if (lrl_corpus_build(&s, 1, &o, &c) != LRL_OK) {
          assert_true(list); /* lines are never fatal */
          lrl_error_clear();
          continue;
        }
        struct lrl_corpus_source_info info;
        lrl_corpus_get_source(c, 0, &info);
        assert_int_equal(info.n_rows, info.n_kept + lrl_corpus_n_asides(c));
        lrl_corpus_free(c);
      }
}

static void test_mixture(void **state) {
  (void)state;
  struct lrl_mixture m;
  fx_write("a.json", "[]");
  assert_int_equal(
      lrl_mixture_read(fx_write("data.txt", "./a.json 1.5\n\nb c.json 2\r\n"), true, &m), LRL_OK);
  assert_int_equal(m.n, 2);
  assert_float_equal(m.sources[0].number, 1.5, 0);
  assert_true(m.sources[0].given_num);
  assert_non_null(strstr(m.sources[1].path, "/b c.json"));
  lrl_mixture_free(&m);
  static const char *const bad[] = {"",    "a.json\n", "a.json x\n", "a.json -1\n", "a.json nan\n",
                                    " 3\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(lrl_mixture_read(fx_write("bad.txt", bad[i]), true, &m), LRL_ERR_FORMAT);
    lrl_error_clear();
  }
}

/* Real files: every row is kept or set aside, as many as there are. */
static void test_real(void **state) {
  (void)state;
  const char *root = getenv("LAUREL_ASSETS"), *tree = getenv("LAUREL_SOURCE");
  char base[512], path[640];
  if (root != NULL)
    snprintf(base, sizeof base, "%s", root);
  else
    snprintf(base, sizeof base, "%s/../shared/assets", tree == NULL ? "." : tree);
  static const struct {
    const char *path;
    int64_t rows;
  } files[] = {{"mm_pref/ixc_example/example.json", 1},
               {"mm_pref/nlvr1/attr_pairs_test.ixc.jsonl.gz", 4126},
               {"text_pref/pandalm/majority_pairs.ixc.jsonl.gz", 894},
               {"text_pref/llamafactory/dpo_zh_demo.json.gz", 300},
               {"text_pref/hh_rlhf/harmless-base_test.ixc.jsonl.gz", 2312},
               {"text_pref/hh_rlhf/harmless-base_test.jsonl.gz", 2312},
               {"text_pref/gsm8k/model_solution_pairs.ixc.jsonl.gz", 4157}};
  struct lrl_corpus_options o = fx_options();
  o.images = NULL;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    snprintf(path, sizeof path, "%s/%s", base, files[i].path);
    if (access(path, R_OK) != 0) {
      printf("SKIP: %s is missing\n", path);
      skip();
    }
    struct lrl_corpus *c = fx_build(path, &o);
    struct lrl_corpus_source_info s;
    lrl_corpus_get_source(c, 0, &s);
    printf("%s: %lld rows, %lld kept;", files[i].path, (long long)s.n_rows, (long long)s.n_kept);
    for (int k = 1; k < LRL_ASIDE_COUNT; k++)
      if (count_asides(c, (enum lrl_aside)k) > 0)
        printf(" %s %lld", lrl_aside_name((enum lrl_aside)k),
               (long long)count_asides(c, (enum lrl_aside)k));
    printf("\n");
    assert_int_equal(s.n_rows, files[i].rows);
    assert_int_equal(s.n_rows, s.n_kept + lrl_corpus_n_asides(c));
    lrl_corpus_free(c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_odd_rows),
      cmocka_unit_test(test_transcript),
      cmocka_unit_test(test_check_data_counts_code_points),
      cmocka_unit_test(test_whole_file_errors),
      cmocka_unit_test(test_gzip),
      cmocka_unit_test(test_options),
      cmocka_unit_test(test_shared_prefix),
      cmocka_unit_test(test_image_outside_prefix),
      cmocka_unit_test(test_save_open),
      cmocka_unit_test(test_damaged_file),
      cmocka_unit_test(test_mutated_json),
      cmocka_unit_test(test_mixture),
      cmocka_unit_test(test_real),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
