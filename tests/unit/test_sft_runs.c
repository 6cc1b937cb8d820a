/* Whole runs of laurel sft: killed and resumed, on several ranks, on pairs and packed corpora, and
 * models that begin from one another. */
#include "run_fixture.h"

#define SAVES "train.save_steps=4", "train.keep_last=2", "train.eval_steps=10"

static int make_sft_files(void **state) {
  trainer = "sft";
  return make_files(state);
}

static void test_killed(void **state) {
  (void)state;
  run("whole", 1, (const char *const[]){SAVES, NULL}, 0);
  static const int kills[] = {1, 9, 13, 21};
  struct command c = training("killed", 1, (const char *const[]){SAVES, "--resume", "auto", NULL});
  kill_and_resume(&c, "killed", kills, sizeof kills / sizeof kills[0]);
  expect_same_text("whole/metrics.jsonl", "killed/metrics.jsonl");
}

/* One rank and two, all stages, micro-batches of any size: the loss is divided by the targets of
 * the whole step, so nothing but rounding differs. */
static void test_ranks(void **state) {
  (void)state;
#define LONG "train.max_steps=50", "optim.lr=3e-4"
  run("np1", 1, (const char *const[]){LONG, NULL}, 0);
  run("small", 1, (const char *const[]){LONG, "train.micro_batch_tokens=40", NULL}, 0);
  expect_same_losses("np1", "small");
  if (!have_mpirun()) {
    print_message("SKIP: no mpirun\n");
    skip();
  }
  run("np2", 2, (const char *const[]){LONG, NULL}, 0);
  expect_same_losses("np1", "np2");
  run("np2z2", 2,
      (const char *const[]){LONG, "train.zero_stage=2", "train.micro_batch_tokens=80", NULL}, 0);
  expect_same_losses("np1", "np2z2");
}

static void call(const char *const *words) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  for (; *words != NULL; words++)
    add(&c, "%s", *words);
  finish(start(&c), 0);
}

/* A packed corpus of pairs, one of answers and the files themselves teach the same. */
static void test_packed(void **state) {
  (void)state;
  static const char *const forms[] = {"pairs", "answers"};
  char tok[96], in[96], out[96], train[110];
  snprintf(tok, sizeof tok, "%s/tok.model", dir);
  snprintf(in, sizeof in, "%s/train.jsonl", dir);
  for (int i = 0; i < 2; i++) {
    snprintf(out, sizeof out, "%s/%s.h5", dir, forms[i]);
    snprintf(train, sizeof train, "data.train=%s", out);
    call((const char *const[]){"data", "pack", "--form", forms[i], "--tokenizer", tok, "--out", out,
                               in, NULL});
    run(forms[i], 1, (const char *const[]){LONG, train, NULL}, 0);
    expect_same_losses("np1", forms[i]); /* packed pairs have a token more each, and so rounding */
  }
  expect_same_text("np1/metrics.jsonl", "answers/metrics.jsonl");
  trainer = "reward";
  run("refused", 1, (const char *const[]){train, NULL}, 1);
  expect_log("not pairs");
  trainer = "sft";
}

/* Weights go from one kind of model to the other; only the head begins anew. */
static void test_init_from(void **state) {
  (void)state;
  char from[96];
  snprintf(from, sizeof from, "model.init_from=%s/whole", dir);
  trainer = "reward";
  run("rm", 1, (const char *const[]){from, "train.max_steps=3", NULL}, 0);
  struct command c = training("odd", 1, (const char *const[]){from, "model.hidden_size=64", NULL});
  finish(start(&c), 1);
  expect_log("has the shape");
  trainer = "sft";
  snprintf(from, sizeof from, "model.init_from=%s/rm", dir);
  run("back", 1, (const char *const[]){from, "model.tokenizer=", "train.max_steps=3", NULL}, 0);
  run("whole", 1, (const char *const[]){SAVES, "--resume", "auto", "optim.lr=1", NULL}, 1);
  expect_log("optim.lr");
  char rm[128];
  snprintf(rm, sizeof rm, "train.resume=%s/rm/checkpoints/step_00000003.h5", dir);
  run("wrong", 1, (const char *const[]){rm, NULL}, 1);
  expect_log("is not a language model");
}

/* What was trained can be asked. */
static void test_generate(void **state) {
  (void)state;
  char model[96];
  snprintf(model, sizeof model, "%s/whole", dir);
  call((const char *const[]){"generate", model, "--prompt",
                             "I took the red ball number 3. Which colour?", "--max_new_tokens", "8",
                             NULL});
}

/* The text template from a story to a policy: texts, pairs, a reward model, answers, PPO. A model
 * trained so goes on with a text without being told to. */
static void test_text_template(void **state) {
  (void)state;
#define TEXT_FORM "data.template=text", "data.max_length=128", "train.max_steps=4"
  char text[96], out[96], train[128], from[96], model[96], rm[96];
  snprintf(text, sizeof text, "%s/stories.txt", dir);
  snprintf(out, sizeof out, "%s/st", dir);
  FILE *f = fopen(text, "w");
  assert_non_null(f);
  for (int i = 0; i < 12; i++)
    fprintf(f,
            "Once upon a time, there was a %s ball number %d.\n\nIt was %s and not %s. I took the "
            "%s ball and it was red or green or blue or white. Which colour was it?\n\n",
            colours[i % 6], i, colours[i % 6], colours[(i + 1) % 6], colours[(i + 2) % 6]);
  fclose(f);
  call((const char *const[]){"data", "stories", "--out", out, text, NULL});
  snprintf(train, sizeof train, "data.train=%s/texts.jsonl", out);
  run("texts", 1, (const char *const[]){TEXT_FORM, "data.eval=", train, "data.text_end=bos", NULL},
      0);
  trainer = "reward";
  snprintf(train, sizeof train, "data.train=%s/pairs.jsonl", out);
  snprintf(from, sizeof from, "model.init_from=%s/texts", dir);
  run("text_rm", 1,
      (const char *const[]){TEXT_FORM, "data.eval=", train, from, "model.tokenizer=", NULL}, 0);
  trainer = "sft";
  snprintf(model, sizeof model, "%s/texts", dir);
  snprintf(rm, sizeof rm, "%s/text_rm", dir);
  snprintf(out, sizeof out, "%s/st/pairs_validation.jsonl", dir);
  char answers[96];
  snprintf(answers, sizeof answers, "%s/said.jsonl", dir);
  call((const char *const[]){"generate", model, out, "--reward", rm, "--best_of", "2",
                             "--max_new_tokens", "6", "--out", answers, NULL});
  char *got = slurp("said.jsonl", NULL);
  assert_non_null(got);
  assert_non_null(strstr(got, "\"score\""));
  assert_null(strstr(got, "\"error\""));
  free(got);
}

/* Pictures: a vision tower that learns by the language loss, in micro-batches of any size. */
static void test_images(void **state) {
  (void)state;
  char out[80], tok[160], train[160], world[160];
  snprintf(out, sizeof out, "%s/world", dir);
  snprintf(tok, sizeof tok, "model.tokenizer=%s/tokenizer.model", out);
  snprintf(train, sizeof train, "data.train=%s/counting_train.json", out);
  snprintf(world, sizeof world, "data.eval=%s/counting_validation.json", out);
  call((const char *const[]){"data", "synth", "--out", out, "--size", "8", "--validation", "4",
                             "--domains", "counting", "--tile", "56", NULL});
  static const char *const cuts[] = {"train.micro_batch_tokens=1", "train.micro_batch_tokens=0"};
  double *x[2];
  int n[2];
  for (int i = 0; i < 2; i++) {
    const char *const extra[] = {tok,
                                 train,
                                 world,
                                 cuts[i],
                                 "model.vision=clip",
                                 "model.freeze_vision_tower=false",
                                 "model.freeze_projector=false",
                                 "vision.image_size=56",
                                 "vision.hidden_size=16",
                                 "vision.intermediate_size=32",
                                 "vision.num_hidden_layers=1",
                                 "vision.num_attention_heads=2",
                                 "data.hd_num=2",
                                 "data.image_transform=inference",
                                 "train.max_steps=3",
                                 NULL};
    char name[16];
    snprintf(name, sizeof name, "images%d", i);
    run(name, 1, extra, 0);
    x[i] = losses(name, &n[i]);
  }
  assert_int_equal(n[0], 4);
  assert_int_equal(n[1], 4);
  for (int k = 0; k < 4; k++)
    assert_true(fabs(x[0][k] - x[1][k]) <= 1e-5 * fabs(x[0][k]));
  free(x[0]);
  free(x[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed),   cmocka_unit_test(test_ranks),
      cmocka_unit_test(test_packed),   cmocka_unit_test(test_init_from),
      cmocka_unit_test(test_generate), cmocka_unit_test(test_text_template),
      cmocka_unit_test(test_images),
  };
  return cmocka_run_group_tests(tests, make_sft_files, remove_files);
}
