/* laurel convert as a user runs it: a folder of Hugging Face scores, generates, trains a step, is
 * written back and scores the same. */
#include "hf_fixture.h"

#include "data/image_write.h"

#include <math.h>

/* Runs `laurel <arguments>` in the scratch folder; its output, malloc'ed. */
static char *laurel(int want, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *laurel(int want, const char *fmt, ...) {
  char arguments[1500], command[2500];
  va_list args;
  va_start(args, fmt);
  vsnprintf(arguments, sizeof arguments, fmt, args);
  va_end(args);
  snprintf(command, sizeof command, "cd %s && %s %s 2>err.txt", fx_dir, getenv("LAUREL_BIN"),
           arguments);
  FILE *p = popen(command, "r");
  assert_non_null(p);
  char *text = malloc(1 << 20);
  const size_t n = fread(text, 1, (1 << 20) - 1, p);
  text[n] = '\0';
  const int status = pclose(p);
  if (status != want << 8) {
    snprintf(command, sizeof command, "cat %s/err.txt", fx_dir);
    printf("laurel %s: exit %d, wanted %d\n", arguments, status >> 8, want);
    assert_int_equal(system(command), 0);
  }
  assert_int_equal(status, want << 8);
  return text;
}
#define RUN(...) free(laurel(0, __VA_ARGS__))

static void expect_same_output(const char *a, const char *b) {
  char *x = laurel(0, "%s", a), *y = laurel(0, "%s", b);
  assert_true(strlen(x) > 10);
  assert_string_equal(x, y);
  free(x);
  free(y);
}

static int32_t write_folder(const char *folder, bool reward) {
  static struct hf_list l;
  char config[2000];
  const int32_t vocab = hf_tokenizer(folder);
  l.n = 0;
  l.dtype = LRL_WEIGHT_F32;
  hf_xcomposer(&l, vocab);
  HF_M(&l, reward ? 1 : vocab, HF_HIDDEN, reward ? "score.weight" : "output.weight");
  hf_write_tensors(folder, &l, 100000);
  snprintf(config, sizeof config,
           "{\"model_type\": \"internlmxcomposer2\", " HF_SIZES "\"rope_theta\": 1000000}", vocab);
  hf_put(folder, "config.json", config);
  hf_put(folder, "modeling.py", "class X: pass\n");
  return vocab;
}

static int make_files(void **state) {
  uint8_t rgb[40 * 90 * 3];
  if (fx_setup(state) != 0 || getenv("LAUREL_BIN") == NULL)
    return -1;
  for (int i = 0; i < 40 * 90 * 3; i++)
    rgb[i] = (uint8_t)(i * 7 % 251);
  if (lrl_png_write(fx_path("ball.png"), rgb, 90, 40) != LRL_OK)
    return -1;
  write_folder(fx_path("hf"), true);
  write_folder(fx_path("chat"), false);
  hf_put(fx_dir, "chats.jsonl",
         "{\"messages\": [{\"role\": \"user\", \"content\": \"What colour is the ball?\"}, "
         "{\"role\": \"assistant\", \"content\": \"The ball is red.\"}], \"images\": "
         "[\"ball.png\"]}\n"
         "{\"messages\": [{\"role\": \"user\", \"content\": \"How many boats?\"}, {\"role\": "
         "\"assistant\", \"content\": \"There are 12 boats.\"}]}\n");
  hf_put(fx_dir, "pairs.jsonl",
         "{\"prompt\": \"What colour is the ball?\", \"chosen\": \"Red.\", \"rejected\": \"12.\", "
         "\"images\": [\"ball.png\"]}\n"
         "{\"prompt\": \"How many boats are there?\", \"chosen\": \"12.\", \"rejected\": "
         "\"Red.\"}\n");
  hf_put(fx_dir, "prompts.jsonl",
         "{\"prompt\": \"What colour is the ball?\", \"images\": [\"ball.png\"]}\n"
         "{\"prompt\": \"How many boats are there?\"}\n");
  return 0;
}

/* The network is that of model.init_from. */
#define TRAIN                                                                                      \
  "reward model.tokenizer=hf/tokenizer.model data.train=pairs.jsonl train.batch_size=2 "           \
  "train.threads=1 optim.lr=1e-2 optim.warmup_ratio=0 "

static bool same_tensor(const char *a, const char *in_a, const char *b, const char *in_b) {
  struct lrl_weights *x, *y;
  assert_int_equal(lrl_weights_open(a, &x), LRL_OK);
  assert_int_equal(lrl_weights_open(b, &y), LRL_OK);
  const struct lrl_weight *s = lrl_weights_find(x, in_a), *t = lrl_weights_find(y, in_b);
  assert_non_null(s);
  assert_non_null(t);
  assert_int_equal(s->n, t->n);
  const bool same = memcmp(s->data, t->data, (size_t)s->n * 4) == 0;
  lrl_weights_close(x);
  lrl_weights_close(y);
  return same;
}

static void test_reward(void **state) {
  (void)state;
  RUN("convert hf m.h5");
  RUN("convert m.h5 back --to hf");
  hf_expect_same(fx_path("hf"), fx_path("back"));
  RUN("convert back again.h5");
  expect_same_output("score m.h5 chats.jsonl", "score again.h5 chats.jsonl");
  /* A step of training from it, out and in again. */
  RUN(TRAIN "model.init_from=m.h5 train.max_steps=1 train.output_dir=run");
  RUN("convert run out --to hf --like hf --shard_gb 0.0001");
  assert_int_equal(access(fx_path("out/modeling.py"), R_OK), 0);
#define TOWER "vit.vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"
  assert_true(same_tensor(fx_path("hf"), TOWER, fx_path("out"), TOWER));
  assert_false(same_tensor(fx_path("hf"), "score.weight", fx_path("out"), "score.weight"));
  RUN("convert out trained.h5");
  expect_same_output("score run chats.jsonl", "score trained.h5 chats.jsonl");
  char *before = laurel(0, "score m.h5 chats.jsonl"), *after = laurel(0, "score run chats.jsonl");
  assert_string_not_equal(before, after);
  free(before);
  free(after);
}

static void test_chat(void **state) {
  (void)state;
#define GENERATE "generate %s.h5 prompts.jsonl --temperature 0 --max_new_tokens 8"
  char first[200], second[200];
  RUN("convert chat chat.h5");
  RUN("convert chat.h5 chat_back --to hf");
  RUN("convert chat_back chat2.h5");
  snprintf(first, sizeof first, GENERATE, "chat");
  snprintf(second, sizeof second, GENERATE, "chat2");
  expect_same_output(first, second);
  /* The policy's weights with a new score head. */
  RUN(TRAIN "model.init_from=chat.h5 train.max_steps=1 optim.lr=0 train.output_dir=from_chat");
  RUN("convert from_chat from_chat_hf --to hf");
#define W2 "model.layers.1.feed_forward.w2.weight"
  assert_true(same_tensor(fx_path("chat"), W2, fx_path("from_chat_hf"), W2));
}

/* Adapters are merged: the export scores as the run does, but for rounding. */
static void test_lora(void **state) {
  (void)state;
  RUN("convert hf base.h5");
  RUN(TRAIN "model.init_from=base.h5 model.lora_r=4 train.max_steps=3 train.output_dir=lora");
  RUN("convert lora lora_hf --to hf");
  RUN("convert lora_hf lora.h5");
  char *a = laurel(0, "score lora chats.jsonl"), *b = laurel(0, "score lora.h5 chats.jsonl"),
       *base = laurel(0, "score base.h5 chats.jsonl");
  const char *x = a, *y = b, *z = base;
  for (int i = 0; i < 2; i++) {
    x = strstr(x, "\"score\":");
    y = strstr(y, "\"score\":");
    z = strstr(z, "\"score\":");
    assert_true(x != NULL && y != NULL && z != NULL);
    const double merged = atof(y += 8), apart = atof(x += 8);
    assert_true(fabs(merged - apart) < 1e-4 * (1 + fabs(apart)));
    assert_true(fabs(apart - atof(z += 8)) > 1e-2);
  }
  free(a);
  free(b);
  free(base);
}

static void test_tower(void **state) {
  (void)state;
  static struct hf_list l;
  l.n = 0;
  l.dtype = LRL_WEIGHT_F32;
  hf_tower(&l, "vision_model.");
  mkdir(fx_path("clip"), 0777);
  hf_write_tensors(fx_path("clip"), &l, 1 << 30);
  hf_put(fx_path("clip"), "config.json",
         "{\"model_type\": \"clip_vision_model\", \"num_attention_heads\": 1}");
  RUN("convert clip tower.h5");
  RUN(TRAIN "model.init_from=tower.h5 model.hidden_size=48 model.num_hidden_layers=2 "
            "model.plora_r=8 train.max_steps=1 train.output_dir=seeing");
  RUN("convert seeing seeing_hf --to hf");
  assert_true(same_tensor(fx_path("clip"), "vision_model.encoder.layers.1.mlp.fc1.weight",
                          fx_path("seeing_hf"), TOWER));
}

/* laurel eval gives each answer the score that laurel score gives it. */
static void test_eval(void **state) {
  (void)state;
  static const char *const answers[] = {"Red.", "There are 12 boats."};
  char rows[2000] = "", chats[2000] = "";
  for (int i = 0; i < 2; i++) {
    const size_t n = strlen(chats);
    snprintf(chats + n, sizeof chats - n,
             "{\"images\": \"ball.png\", \"messages\": [{\"role\": \"user\", \"content\": \"What "
             "colour?\"}, {\"role\": \"assistant\", \"content\": \"%s\"}]}\n",
             answers[i]);
  }
  snprintf(rows, sizeof rows,
           "[{\"id\": \"gone\", \"query\": \"Q\", \"image\": \"gone.png\", \"response\": [\"a\", "
           "\"b\"], \"human_ranking\": [0, 1]}, {\"id\": \"mmmu_1\", \"query\": \"What colour?\", "
           "\"image\": \"ball.png\", \"response\": [\"%s\", \"%s\"], \"human_ranking\": [1, 0]}]",
           answers[1], answers[0]);
  hf_put(fx_dir, "answers.jsonl", chats);
  hf_put(fx_dir, "vl.json", rows);
  RUN("convert hf e.h5");
  char *scores = laurel(0, "score e.h5 answers.jsonl --hd-num 9");
  char *text = laurel(0, "eval e.h5 --bench vl-rewardbench --data vl.json --out vl_scores.json");
  json_t *list = json_load_file(fx_path("vl_scores.json"), 0, NULL), *row = json_array_get(list, 0);
  assert_int_equal(json_array_size(list), 1);
  const double chosen = json_number_value(json_object_get(row, "score_chosen")),
               rejected = json_number_value(json_object_get(row, "score_rejected"));
  const char *first = strstr(scores, "\"score\":"), *second = strstr(first + 8, "\"score\":");
  assert_true((float)chosen == (float)atof(first + 8));
  assert_true((float)rejected == (float)atof(second + 8));
  assert_non_null(strstr(text, chosen > rejected ? "1 / 1" : "0 / 1"));
  free(laurel(0, "eval --bench vl-rewardbench --from-scores vl_scores.json"));
  json_decref(list);
  free(scores);
  free(text);
}

/* The same of the benchmarks of texts. */
static void test_eval_texts(void **state) {
  (void)state;
  static const char *const answers[] = {"Red.",           "A blue ball.",   "It is *blue*.",
                                        "I do not know.", "Blue, I think.", "12"};
  char chats[2000] = "";
  for (int i = 0; i < 6; i++) {
    const size_t n = strlen(chats);
    snprintf(chats + n, sizeof chats - n,
             "{\"messages\": [{\"role\": \"user\", \"content\": \"What colour?\"}, {\"role\": "
             "\"assistant\", \"content\": \"%s\"}]}\n",
             answers[i]);
  }
  hf_put(fx_dir, "styles.jsonl", chats);
  hf_put(fx_dir, "rm.json",
         "[{\"prompt\": \"What colour?\", \"domain\": \"chat\", \"chosen\": [\"Red.\", \"A blue "
         "ball.\", \"It is *blue*.\"], \"rejected\": [\"I do not know.\", \"Blue, I think.\", "
         "\"12\"]}]");
  hf_put(fx_dir, "rb.jsonl",
         "{\"prompt\": \"What colour?\", \"chosen\": \"Red.\", \"rejected\": \"I do not "
         "know.\", \"subset\": \"hep-cpp\"}\n");
  RUN("convert hf t.h5");
  char *scores = laurel(0, "score t.h5 styles.jsonl");
  float score[6];
  const char *at = scores;
  for (int i = 0; i < 6; i++) {
    at = strstr(at, "\"score\":");
    assert_non_null(at);
    score[i] = (float)atof(at += 8);
  }
  RUN("eval t.h5 --bench rm-bench --data rm.json --out rm_scores.json");
  RUN("eval t.h5 --bench rewardbench --data rb.jsonl --out rb_scores.json");
  json_t *rm = json_load_file(fx_path("rm_scores.json"), 0, NULL),
         *rb = json_load_file(fx_path("rb_scores.json"), 0, NULL);
  const json_t *three = json_array_get(rm, 0), *one = json_array_get(rb, 0);
  for (size_t i = 0; i < 6; i++)
    assert_true((float)json_number_value(json_array_get(
                    json_object_get(three, i < 3 ? "score_chosen" : "score_rejected"), i % 3)) ==
                score[i]);
  assert_true((float)json_number_value(json_object_get(one, "score_chosen")) == score[0]);
  assert_true((float)json_number_value(json_object_get(one, "score_rejected")) == score[3]);
  json_decref(rm);
  json_decref(rb);
  free(scores);
}

static void test_refusals(void **state) {
  (void)state;
  char path[1000];
  struct {
    const char *arguments, *why;
  } cases[] = {
      {"convert hf", "two paths are needed"},
      {"convert hf x.h5 --dtype f16", "a checkpoint of Laurel is f32 or bf16"},
      {"convert nothing x.h5 --tokenizer hf/tokenizer.model", "cannot open nothing"},
      {"convert hf m2.h5 --tokenizer nothing", "nothing"},
      {"convert hf chat --to hf", "hf"},
      {"convert chats.jsonl --list", "is neither safetensors nor a zip archive of torch.save"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    free(laurel(1, "%s", cases[i].arguments));
    FILE *f = fopen(fx_path("err.txt"), "r");
    assert_non_null(f);
    assert_non_null(fgets(path, sizeof path, f));
    fclose(f);
    if (strstr(path, cases[i].why) == NULL)
      fail_msg("%s: %s", cases[i].arguments, path);
  }
  char *text = laurel(0, "convert hf --list");
  assert_non_null(strstr(text, "F32   [1, 1, 1, 256]       plora_sub_GN\n"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reward),   cmocka_unit_test(test_chat),
      cmocka_unit_test(test_lora),     cmocka_unit_test(test_tower),
      cmocka_unit_test(test_eval),     cmocka_unit_test(test_eval_texts),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, make_files, fx_teardown);
}
