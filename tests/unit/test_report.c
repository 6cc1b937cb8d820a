/* laurel report: pages of made-up and of real runs are whole, escaped and load nothing; a browser
 * shows them. What a run records about its machine and its samples. */
#include "html_fixture.h"

#include <jansson.h>

static int make_dir(void **state) {
  (void)state;
  return getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL ? -1 : 0;
}

/* A reward run of two sources, 100 steps, evaluated four times. */
static void fake_run(const char *name, double gain, const char *config) {
  char text[120], *metrics = NULL;
  size_t n;
  FILE *f = open_memstream(&metrics, &n);
  for (int step = 1; step <= 100; step++) {
    fprintf(f, "{\"step\":%d,\"train/loss\":%g,\"train/accuracy\":%s,\"train/odd<metric>\":%d}\n",
            step, 0.7 - gain * step, step == 50 ? "null" : "0.6", step);
    if (step % 25 != 0)
      continue;
    fprintf(f, "{\"step\":%d,\"eval/loss\":%g,\"eval/accuracy\":0.75,\"eval/num_pairs\":200", step,
            0.69 - gain * step);
    fprintf(f, ",\"eval/a.b/accuracy\":0.5,\"eval/a.b/num_pairs\":100,\"eval/a.b/margin\":0.1");
    fprintf(f, ",\"eval/c/d/accuracy\":1,\"eval/c/d/num_pairs\":100,\"eval/c/d/margin\":3.5");
    fprintf(f, ",\"eval/margin\":1.8,\"eval/margin_histogram\":[");
    for (int i = 0; i < 22; i++)
      fprintf(f, "%s%d", i > 0 ? "," : "", i * i);
    fprintf(f, "]}\n");
  }
  fprintf(f, "{\"step\": 101, \"train/lo"); /* killed while it wrote */
  fclose(f);
  snprintf(text, sizeof text, "mkdir -p '%s'", name);
  assert_int_equal(shell(text), 0);
  snprintf(text, sizeof text, "%s/metrics.jsonl", name);
  write_text(text, metrics);
  snprintf(text, sizeof text, "%s/config.yaml", name);
  write_text(text, config);
  free(metrics);
}

static void test_page(void **state) {
  (void)state;
  fake_run("one", 0.001, "optim.lr: 0.001\ntrain.output_dir: \"one\"\nmodel.same: 1\n");
  fake_run("a<b>&\"c", 0.002, "optim.lr: 0.002\ntrain.output_dir: \"two\"\nmodel.same: 1\n");
  expect(0, "$L report one 'a<b>&\"c' --out page.html", "1 lines are no metrics");
  char *page = slurp("page.html");
  expect_self_contained(page);
  static const char *const parts[] = {"a&lt;b&gt;&amp;&quot;c",
                                      "odd&lt;metric&gt;",
                                      "<h2>Curves</h2>",
                                      "accuracy by source",
                                      ">a.b</text>",
                                      ">c/d</text>",
                                      "50.0 %",
                                      "Margins of held-out pairs",
                                      "what differs",
                                      "optim.lr",
                                      "viewport",
                                      "prefers-color-scheme:dark"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr(page, parts[i]) == NULL)
      fail_msg("'%s' is not in the page", parts[i]);
  /* A key that is the same in both is in the list of all keys, not in that of differences. */
  const char *same = strstr(page, "model.same");
  assert_true(same > strstr(page, "every key"));
  assert_null(strstr(page, "nan"));
  free(page);
}

static void test_browser(void **state) {
  (void)state;
  struct lrl_image shot = {0};
  const uint8_t blue[3] = {0x24, 0x58, 0xc5}, dark[3] = {0x13, 0x14, 0x17};
  if (!screenshot("page.html", 1000, "", &shot))
    skip();
  assert_true(shot.width >= 900 && share(&shot, NULL) > 0.05 && share(&shot, blue) > 0.0005);
  if (shell("command -v chromium") == 0) { /* the dark scheme, as wide as a phone allows */
    assert_true(screenshot("page.html", 500, "--blink-settings=preferredColorScheme=0", &shot));
    assert_true(share(&shot, dark) > 0.2 && share(&shot, NULL) > 0.05);
  }
  lrl_image_free(&shot);
}

static const char world[] =
    "$L data synth --out w --level easy --size 30 --tile 56 --domains relation,arithmetic --seed 2";
#define QUICK                                                                                      \
  " model.tokenizer=w/tokenizer.model train.threads=1 train.batch_size=4 train.eval_steps=1 "

/* Real runs of every trainer: the machine's record, one line a start; samples of PPO with texts. */
static void test_runs(void **state) {
  (void)state;
  char *page, *machine;
  expect(0, world, "");
  expect(0,
         "$L reward $S/configs/quickstart/reward.yaml" QUICK
         "data.train=w/data.txt data.eval=w/data_validation.txt train.output_dir=reward "
         "train.max_steps=2",
         "");
  expect(0,
         "$L reward $S/configs/quickstart/reward.yaml" QUICK
         "data.train=w/data.txt data.eval=w/data_validation.txt train.output_dir=reward "
         "train.max_steps=2 --resume auto",
         "");
  machine = slurp("reward/machine.jsonl");
  json_t *o = json_loadb(machine, strcspn(machine, "\n"), 0, NULL);
  assert_true(json_string_length(json_object_get(o, "commit")) > 0);
  assert_true(json_integer_value(json_object_get(o, "ranks")) == 1);
  assert_true(json_integer_value(json_object_get(o, "memory_bytes")) > 1 << 20);
  json_decref(o);
  assert_non_null(strchr(strchr(machine, '\n') + 1, '\n')); /* two starts */
  free(machine);
  expect(0,
         "$L sft $S/configs/quickstart/sft.yaml model.init_from=reward" QUICK
         "data.train=w/relation_train.json data.eval=w/relation_validation.json "
         "train.output_dir=sft train.max_steps=1",
         "");
  expect(0,
         "$L ppo $S/configs/quickstart/ppo.yaml actor.init_from=sft reward.model=reward "
         "data.train=w/relation_train.json data.eval=w/relation_validation.json "
         "rollout.batch_size=4 ppo.mini_batch_size=4 train.max_steps=1 train.threads=1 "
         "train.output_dir=ppo rollout.show=3",
         "");
  /* A run of the same prompts stands beside the first, in the same cards. */
  expect(0, "cp -r ppo ppo2 && $L report reward sft ppo ppo2 --out all.html", "all.html");
  page = slurp("all.html");
  expect_self_contained(page);
  static const char *const parts[] = {"Answers to held-out prompts", "Machine and commit",
                                      "gold reward", "ppo2</span>, step 1", "data:image/jpeg"};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strstr(page, parts[i]) == NULL)
      fail_msg("'%s' is not in the page", parts[i]);
  int n = 0;
  for (const char *p = page; (p = strstr(p, "<article")) != NULL; p++)
    n++;
  assert_int_equal(n, 3);
  free(page);
}

static void test_wrong_use(void **state) {
  (void)state;
  expect(2, "$L report", "usage: laurel report");
  expect(0, "$L report --help", "loads nothing");
  expect(1, "$L report --out x.html", "name one to 16 folders");
  expect(1, "$L report nowhere", "nowhere is no folder of a run: it has no metrics.jsonl");
  expect(1, "$L report one --outt x", "'out'");
  expect(1, "$L report one --out nowhere/x.html", "cannot write nowhere/x.html");
  expect(0, "mkdir -p new && : > new/metrics.jsonl && $L report new --out new.html", "new.html");
  char *page = slurp("new.html");
  expect_balanced(page);
  assert_non_null(strstr(page, "has no metrics yet"));
  free(page);
  /* What was there before stays when the disk is full. */
  expect(0,
         "cp page.html old.html && trap '' XFSZ && ulimit -f 4 && ! $L report one --out page.html",
         "cannot write all of page.html");
  expect(0, "cmp old.html page.html && ls", "page.html");
  assert_null(strstr(output, "tmp"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_page), cmocka_unit_test(test_browser),
                                     cmocka_unit_test(test_runs), cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, make_dir, remove_files);
}
