/* laurel data: synth, pack and inspect as a user calls them. */
#include "data/corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_data_XXXXXX";
static char output[1 << 16];

/* Runs `laurel data ARGUMENTS` in the scratch folder; output holds both streams. */
static int run(const char *arguments) {
  char command[1024];
  snprintf(command, sizeof command, "cd %s && exec %s data %s 2>&1", dir, getenv("LAUREL_BIN"),
           arguments);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(output, 1, sizeof output - 1, f);
  output[n] = '\0';
  int status = pclose(f);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void expect(int status, const char *arguments, const char *part) {
  int got = run(arguments);
  if (got != status || strstr(output, part) == NULL)
    fail_msg("'%s' ended with %d and said '%s', without '%s'", arguments, got, output, part);
}

static int make_world(void **state) {
  (void)state;
  if (getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL)
    return -1;
  return run("synth --out w --size 12 --tile 56 --domains chart,arithmetic,relation --seed 3");
}

static int remove_world(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", dir);
  return system(command);
}

static void test_synth(void **state) {
  (void)state;
  expect(0, "synth --out=v --size=5 --validation 0 --domains instruct", "5 training and 0");
  expect(0, "synth --help", "--out DIR");
  expect(1, "synth", "--out DIR");
  expect(1, "synth --out", "--out needs a value");
  expect(1, "synth --otu v", "the nearest known key is 'out'");
  expect(1, "synth --out v extra", "'extra' is not an option");
  expect(1, "synth --out v --size some", "a number of pairs");
  expect(1, "synth --out v --size 0", "a number of pairs");
  expect(1, "synth --out v --domains chart,charts", "no domain 'charts'");
  expect(1, "synth --out v --domains ''", "no domain is named");
  expect(1, "synth --out v --verbose-bias 2", "verbose-bias must be between 0 and 1");
  expect(1, "synth --out v --tile 8", "tile must be between 56 and 1120");
  expect(1, "synth --out w/data.txt", "cannot make the folder");
  expect(1, "synth --out ''", "--out DIR");
}

static void test_pack_and_inspect(void **state) {
  (void)state;
  const char *images = "--tile 56 --patch 7 --hd-num 2 --image-transform inference";
  char arguments[256];
  snprintf(arguments, sizeof arguments,
           "pack --tokenizer w/tokenizer.model --out c.h5 w/data.txt %s", images);
  expect(0, arguments, "c.h5: 36 pairs, 24 images; 0 of 36 rows set aside");
  expect(0, "inspect c.h5", "36 pairs, 24 distinct images");
  expect(0, "inspect c.h5 --tokenizer w/tokenizer.model", "[UNUSED_TOKEN_146]user");
  char packed[sizeof output];
  memcpy(packed, output, sizeof packed);
  snprintf(arguments, sizeof arguments, "inspect --tokenizer w/tokenizer.model %s w/data.txt",
           images);
  assert_int_equal(run(arguments), 0);
  assert_string_equal(packed, output);
}

/* What the files hold is what training opens. */
static void test_packed_geometry(void **state) {
  (void)state;
  char path[128];
  struct lrl_corpus *c;
  struct lrl_corpus_pair p;
  assert_int_equal(run("pack --tokenizer w/tokenizer.model --out g.h5 --tile 56 --patch 7 "
                       "--image-transform inference w/relation_train.json"),
                   0);
  snprintf(path, sizeof path, "%s/g.h5", dir);
  assert_int_equal(lrl_corpus_open(path, &c), LRL_OK);
  lrl_corpus_get(c, 0, &p);
  assert_int_equal(p.n_spans, 1);
  assert_int_equal(p.spans[0].rows * p.spans[0].cols, 1);
  assert_int_equal(p.spans[0].count, 2 * 16 + 1 + 2 * 4);
  lrl_corpus_free(c);
}

/* A run with other image settings than the packed ones is told so. */
static void test_packed_for_others(void **state) {
  (void)state;
  static const struct {
    struct lrl_image_ops_options images;
    const char *want;
  } cases[] = {{{56, 7, 9, LRL_IMAGE_INFERENCE, 0, 0, 0}, NULL},
               {{56, 14, 9, LRL_IMAGE_INFERENCE, 0, 0, 0}, "other image settings"},
               {{112, 14, 9, LRL_IMAGE_INFERENCE, 0, 0, 0}, "other image settings"},
               {{56, 7, 9, LRL_IMAGE_TRAINING, 0, 0, 0}, "other image settings"}};
  char path[128], model[128];
  struct lrl_tokenizer *t;
  assert_int_equal(run("pack --tokenizer w/tokenizer.model --out o.h5 --tile 56 --patch 7 "
                       "--image-transform inference w/relation_train.json"),
                   0);
  snprintf(path, sizeof path, "%s/o.h5", dir);
  snprintf(model, sizeof model, "%s/w/tokenizer.model", dir);
  assert_int_equal(lrl_tokenizer_open(model, &t), LRL_OK);
  struct lrl_corpus_options o = {.tokenizer = t};
  struct lrl_corpus *c;
  assert_int_equal(lrl_corpus_read(path, false, &o, &c), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "no vision tower"));
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct lrl_image_ops ops;
    assert_int_equal(lrl_image_ops_init(&ops, &cases[i].images), LRL_OK);
    o.images = &ops;
    lrl_error_clear();
    lrl_status status = lrl_corpus_read(path, false, &o, &c);
    assert_int_equal(status, cases[i].want == NULL ? LRL_OK : LRL_ERR_ARG);
    if (cases[i].want != NULL)
      assert_non_null(strstr(lrl_last_error(), cases[i].want));
    lrl_corpus_free(c);
    lrl_image_ops_free(&ops);
  }
  lrl_error_clear();
  lrl_tokenizer_close(t);
}

static void test_wrong_use(void **state) {
  (void)state;
  expect(2, "", "usage: laurel data");
  expect(2, "frob", "unknown command 'frob'");
  expect(0, "--help", "inspect");
  expect(0, "pack --help", "length-ratio");
  expect(1, "pack", "--tokenizer MODEL");
  expect(1, "pack --tokenizer w/tokenizer.model", "--out CORPUS.h5");
  expect(1, "pack --tokenizer w/tokenizer.model --out d.h5", "name the preference files");
  expect(1, "pack --tokenizer w/nothing.model --out d.h5 w/data.txt", "w/nothing.model");
  expect(1, "pack --tokenizer w/tokenizer.model --out d.h5 nothing.json", "nothing.json");
  expect(1, "pack --tokenizer w/tokenizer.model --out d.h5 w/data.txt --patch 15",
         "no multiple of two patches");
  expect(1, "pack --tokenizer w/tokenizer.model --out nowhere/d.h5 w/arithmetic_train.json",
         "nowhere/d.h5");
  expect(1, "inspect", "name a corpus");
  expect(1, "inspect w/data.txt", "--tokenizer MODEL");
  expect(1, "inspect w/nothing.h5", "w/nothing.h5");
  expect(1, "inspect w/data.txt --tokeniser x", "the nearest known key is 'tokenizer'");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_synth), cmocka_unit_test(test_pack_and_inspect),
      cmocka_unit_test(test_packed_geometry), cmocka_unit_test(test_packed_for_others),
      cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, make_world, remove_world);
}
