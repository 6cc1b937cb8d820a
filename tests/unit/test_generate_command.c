/* laurel convert and laurel generate as a user runs them. */
#include "model/param_build.h"
#include "train/reward_config.h"
#include "train/saved_model.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_generate_XXXXXX";

/* ---- two small models with one tokenizer ---- */

static struct lrl_tokenizer *tokenizer(void) {
  static const char *const texts[] = {"What colour is the ball?", "The ball is red.",
                                      "How many boats are there?", "There are 12 boats."};
  char path[128];
  struct lrl_tokenizer *t;
  snprintf(path, sizeof path, "%s/tok.model", dir);
  if (lrl_tokenizer_train(texts, 4, 300, path) != LRL_OK || lrl_tokenizer_open(path, &t) != LRL_OK)
    return NULL;
  return t;
}

static void shrink(struct lrl_model_options *o) {
  o->hidden_size = 32;
  o->intermediate_size = 48;
  o->num_hidden_layers = 2;
  o->num_attention_heads = 4;
  o->num_key_value_heads = 2;
  o->initializer_range = 0.4;
}

static lrl_status write_model(struct lrl_checkpoint *c, const struct lrl_tokenizer *t,
                              const struct lrl_model_options *o, const char *config,
                              enum lrl_vlm_head head) {
  struct lrl_vlm_config v;
  struct lrl_vlm m = {0};
  size_t n;
  const void *bytes = lrl_tokenizer_model_bytes(t, &n);
  lrl_status status = lrl_model_options_config(o, lrl_tokenizer_info(t), &v);
  v.head = head;
  if (status == LRL_OK)
    status = lrl_vlm_init(&m, &v);
  if (status == LRL_OK)
    status = lrl_param_set_init(&m.params, 5);
  if (status == LRL_OK && head == LRL_VLM_LANGUAGE)
    status = lrl_language_model_put(c, NULL, config, t, &m.params);
  if (status == LRL_OK && head == LRL_VLM_SCORE) {
    status = lrl_checkpoint_put_text(c, "kind", "reward");
    if (status == LRL_OK)
      status = lrl_checkpoint_put_text(c, "config", config);
    if (status == LRL_OK)
      status = lrl_checkpoint_put_blob(c, "tokenizer", bytes, n);
    if (status == LRL_OK)
      status = lrl_checkpoint_put_params(c, NULL, "model", &m.params);
  }
  lrl_vlm_free(&m);
  return status;
}

static bool save(const struct lrl_tokenizer *t, const char *name, enum lrl_vlm_head head) {
  const struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  static struct lrl_reward_config r;
  struct lrl_model_options o;
  char path[128], *config;
  struct lrl_checkpoint *c;
  lrl_config_defaults(&table, &r);
  lrl_model_options_defaults(&o);
  shrink(&r.common.model);
  shrink(&o);
  config = head == LRL_VLM_SCORE ? lrl_config_text(&table, &r) : lrl_model_options_text(&o);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  if (config == NULL || lrl_checkpoint_create(path, NULL, &c) != LRL_OK)
    return false;
  bool ok = write_model(c, t, &o, config, head) == LRL_OK && lrl_checkpoint_commit(c) == LRL_OK;
  free(config);
  return ok;
}

static int make_files(void **state) {
  (void)state;
  if (getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL)
    return -1;
  struct lrl_tokenizer *t = tokenizer();
  bool ok = t != NULL && save(t, "policy.h5", LRL_VLM_LANGUAGE) && save(t, "rm.h5", LRL_VLM_SCORE);
  if (!ok)
    printf("%s\n", lrl_last_error());
  lrl_tokenizer_close(t);
  char path[128];
  snprintf(path, sizeof path, "%s/prompts.jsonl", dir);
  FILE *f = fopen(path, "w");
  if (f == NULL)
    return -1;
  fputs("{\"id\": \"a\", \"prompt\": \"What colour is the ball?\"}\n"
        "{\"id\": \"b\", \"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, "
        "{\"role\": \"user\", \"content\": \"How many boats are there?\"}]}\n"
        "{\"id\": \"odd\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}, "
        "{\"role\": \"assistant\", \"content\": \"y\"}]}\n"
        "{\"id\": \"broken\", \"prompt\": 3}\n"
        "not json\n"
        "{\"id\": \"c\", \"prompt\": \"The ball is red. There are 12 boats.\"}\n",
        f);
  fclose(f);
  return ok ? 0 : -1;
}

static int remove_files(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

/* Runs `laurel <arguments>` in dir; its output is malloc'ed. */
static char *laurel(int want, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *laurel(int want, const char *fmt, ...) {
  char arguments[1500], command[2500];
  va_list args;
  va_start(args, fmt);
  vsnprintf(arguments, sizeof arguments, fmt, args);
  va_end(args);
  snprintf(command, sizeof command, "cd %s && %s %s 2>err.txt", dir, getenv("LAUREL_BIN"),
           arguments);
  FILE *p = popen(command, "r");
  assert_non_null(p);
  char *text = malloc(1 << 20);
  const size_t n = fread(text, 1, (1 << 20) - 1, p);
  text[n] = '\0';
  const int status = pclose(p);
  if (status != want << 8)
    printf("%s\nexit %d, wanted %d; see %s/err.txt\n", command, status >> 8, want, dir);
  assert_int_equal(status, want << 8);
  return text;
}

/* Line k of some JSON lines. */
static json_t *line(const char *text, int k) {
  for (; k > 0 && text != NULL; k--) {
    text = strchr(text, '\n');
    text = text == NULL ? NULL : text + 1;
  }
  assert_non_null(text);
  json_t *o = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
  assert_non_null(o);
  return o;
}

static void test_best_of(void **state) {
  (void)state;
  const char *const ids[] = {"a", "b", NULL, NULL, NULL, "c"};
  const char *options = "--max_new_tokens 12 --temperature 0.9 --reward rm.h5 --best-of 4";
  char *text = laurel(0, "generate policy.h5 prompts.jsonl %s", options);
  char path[128];
  snprintf(path, sizeof path, "%s/again.jsonl", dir);
  FILE *again = fopen(path, "w");
  assert_non_null(again);
  for (int i = 0; i < 6; i++) {
    json_t *o = line(text, i);
    const json_t *list = json_object_get(o, "responses");
    assert_int_equal(list == NULL, ids[i] == NULL);
    assert_int_equal(json_object_get(o, "error") != NULL, ids[i] == NULL);
    if (ids[i] != NULL) {
      assert_string_equal(json_string_value(json_object_get(o, "id")), ids[i]);
      assert_int_equal(json_array_size(list), 4);
    }
    const json_int_t best = json_integer_value(json_object_get(o, "best"));
    for (size_t k = 0; k < json_array_size(list); k++) {
      const json_t *r = json_array_get(list, k);
      const double top =
          json_real_value(json_object_get(json_array_get(list, (size_t)best), "score"));
      const char *finish = json_string_value(json_object_get(r, "finish"));
      assert_true(strcmp(finish, "stop") == 0 || strcmp(finish, "length") == 0);
      assert_int_equal(strcmp(finish, "length") == 0 &&
                           json_integer_value(json_object_get(r, "tokens")) != 12,
                       0);
      assert_true(json_real_value(json_object_get(r, "logprob")) < 0);
      assert_true(json_real_value(json_object_get(r, "score")) <= top);
      /* The same chat for laurel score. */
      json_t *prompt = json_object();
      json_object_set_new(prompt, "content",
                          json_string(i == 0   ? "What colour is the ball?"
                                      : i == 1 ? "How many boats are there?"
                                               : "The ball is red. There are 12 boats."));
      json_t *messages = json_array();
      if (i == 1)
        json_array_append_new(messages,
                              json_pack("{ssss}", "role", "system", "content", "Be brief."));
      json_object_set_new(prompt, "role", json_string("user"));
      json_array_append_new(messages, prompt);
      json_array_append_new(messages, json_pack("{sssO}", "role", "assistant", "content",
                                                json_object_get(r, "text")));
      json_t *row = json_pack("{sosO}", "messages", messages, "id", json_object_get(r, "score"));
      char *dump = json_dumps(row, JSON_COMPACT);
      fprintf(again, "%s\n", dump);
      free(dump);
      json_decref(row);
    }
    json_decref(o);
  }
  fclose(again);
  char *scores = laurel(0, "score rm.h5 again.jsonl");
  for (int i = 0; i < 12; i++) {
    json_t *o = line(scores, i);
    const double got = json_real_value(json_object_get(o, "score")),
                 want = json_real_value(json_object_get(o, "id"));
    assert_true(fabs(got - want) <= 1e-8 * fabs(want));
    json_decref(o);
  }
  /* Nothing but the prompt, the options and the seed counts. */
  char *other =
      laurel(0, "generate policy.h5 prompts.jsonl %s --max_samples 1 --threads 1", options);
  assert_string_equal(text, other);
  char *seed = laurel(0, "generate policy.h5 prompts.jsonl %s --seed 1", options);
  assert_string_not_equal(text, seed);
  free(text);
  free(scores);
  free(other);
  free(seed);
}

static void test_stream_is_the_text(void **state) {
  (void)state;
  const char *options = "--max_new_tokens 30 --temperature 0 --repetition_penalty 1";
  char *stream = laurel(0, "generate policy.h5 --prompt 'What colour is the ball?' %s", options);
  char *text = laurel(0, "generate policy.h5 prompts.jsonl %s", options);
  json_t *o = line(text, 0);
  const char *want = json_string_value(
      json_object_get(json_array_get(json_object_get(o, "responses"), 0), "text"));
  if (want != NULL) { /* else the random model wrote invalid UTF-8, which JSON cannot hold */
    assert_int_equal(strlen(stream), strlen(want) + 1);
    assert_memory_equal(stream, want, strlen(want));
  }
  json_decref(o);
  free(stream);
  free(text);
}

static void test_stories(void **state) {
  (void)state;
  const char *root = getenv("LAUREL_ASSETS"), *source = getenv("LAUREL_SOURCE");
  char folder[900], path[1000], want[4096];
  if (root != NULL)
    snprintf(folder, sizeof folder, "%s/weights/stories260K", root);
  else
    snprintf(folder, sizeof folder, "%s/../shared/assets/weights/stories260K",
             source == NULL ? "." : source);
  snprintf(path, sizeof path, "%s/greedy_expected.txt", folder);
  FILE *f = fopen(path, "rb");
  if (f == NULL) {
    printf("SKIP: no %s\n", path);
    skip();
  }
  want[fread(want, 1, sizeof want - 1, f)] = '\0';
  fclose(f);
  char cwd[500];
  assert_non_null(getcwd(cwd, sizeof cwd));
  if (folder[0] != '/') {
    char relative[900];
    snprintf(relative, sizeof relative, "%s", folder);
    snprintf(folder, sizeof folder, "%s/%.380s", cwd, relative);
  }
  free(
      laurel(0, "convert %s/stories260K.bin stories.h5 --tokenizer %s/tok512.bin", folder, folder));
  /* The first words of the documented text make the model write the rest of it. */
  const char *begin = "Once upon a time, there was a little girl named Lily.";
  assert_memory_equal(want, begin, strlen(begin));
  char *text = laurel(0,
                      "generate stories.h5 --raw --prompt '%s' --temperature 0 "
                      "--repetition_penalty 1 --max_new_tokens 200",
                      begin);
  assert_true(strlen(text) > 300);
  assert_memory_equal(text, want + strlen(begin), 300);
  free(text);
  free(laurel(1, "generate stories.h5 --prompt hello")); /* it knows no chat template */
  free(laurel(1, "convert %s/tok512.bin x.h5 --tokenizer %s/tok512.bin", folder, folder));
  free(laurel(1, "convert %s/stories260K.bin x.h5 --tokenizer %s/stories260K.bin", folder, folder));
}

/* Pairs are prompts up to their answers, and rows with a gold record get a gold reward. */
static void test_gold(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/gold.jsonl", dir);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  /* Whatever is said, it lacks this word: 0. No objects are asked for: 0. */
  fputs("{\"conversations_a\": [{\"from\": \"human\", \"value\": \"What colour is the ball?\"}, "
        "{\"from\": \"bot\", \"value\": \"red\"}], \"conversations_b\": [{\"from\": \"human\", "
        "\"value\": \"What colour is the ball?\"}, {\"from\": \"bot\", \"value\": \"no\"}], "
        "\"gold\": {\"check\": \"choice\", \"answer\": \"zyzzyva\", \"others\": []}}\n"
        "{\"prompt\": \"What colour is the ball?\", \"gold\": {\"check\": \"format\", \"topic\": "
        "\"zyzzyva\", \"rule\": \"none\", \"argument\": \"\"}}\n"
        "{\"prompt\": \"What colour is the ball?\"}\n"
        "{\"chosen\": [{\"role\": \"assistant\", \"content\": \"a\"}], \"rejected\": "
        "[{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
        f);
  fclose(f);
  char *text = laurel(0, "generate policy.h5 gold.jsonl --max_new_tokens 6 --samples 3");
  for (int i = 0; i < 4; i++) {
    json_t *o = line(text, i);
    const json_t *list = json_object_get(o, "responses");
    assert_int_equal(json_array_size(list), i < 3 ? 3 : 0);
    assert_int_equal(json_object_get(o, "error") != NULL, i == 3);
    for (size_t k = 0; k < json_array_size(list); k++) {
      const json_t *gold = json_object_get(json_array_get(list, k), "gold");
      assert_int_equal(gold != NULL, i < 2);
      assert_true(gold == NULL || json_real_value(gold) == (i == 0 ? 0 : 0.5));
    }
    json_decref(o);
  }
  free(text);
  /* The pair's prompt is the same prompt as the plain one: greedy answers agree. */
  text = laurel(0, "generate policy.h5 gold.jsonl --max_new_tokens 6 --temperature 0 "
                   "--repetition_penalty 1");
  json_t *a = line(text, 0), *b = line(text, 2);
  json_t *x = json_array_get(json_object_get(a, "responses"), 0);
  json_t *y = json_array_get(json_object_get(b, "responses"), 0);
  assert_true(json_equal(json_object_get(x, "logprob"), json_object_get(y, "logprob")));
  json_decref(a);
  json_decref(b);
  free(text);
}

static double number_of(const json_t *answer, const char *key) {
  return json_real_value(json_object_get(answer, key));
}
/* The same answers and nearly the same numbers from the kernels of the cuda backend. */
static void test_device(void **state) {
  (void)state;
  const char *bin = getenv("LAUREL_BIN"), *slash = strrchr(bin, '/');
  const char *options = "--max_new_tokens 12 --temperature 0.9 --reward rm.h5 --samples 2";
  char library[1024];
  snprintf(library, sizeof library, "%.*s/liblaurel_sim.so", slash != NULL ? (int)(slash - bin) : 0,
           bin);
  if (access(library, R_OK) != 0)
    skip();
  char *cpu = laurel(0, "generate policy.h5 prompts.jsonl %s", options);
  char *sim = laurel(0, "generate policy.h5 prompts.jsonl %s --device sim", options);
  for (int i = 0; i < 6; i += i == 1 ? 4 : 1) { /* the good rows */
    json_t *a = line(cpu, i), *b = line(sim, i);
    const json_t *x = json_object_get(a, "responses"), *y = json_object_get(b, "responses");
    assert_int_equal(json_array_size(x), 2);
    assert_int_equal(json_array_size(y), 2);
    for (size_t k = 0; k < 2; k++) {
      const json_t *want = json_array_get(x, k), *got = json_array_get(y, k);
      assert_true(json_equal(json_object_get(want, "text"), json_object_get(got, "text")));
      assert_true(json_equal(json_object_get(want, "tokens"), json_object_get(got, "tokens")));
      assert_true(fabs(number_of(want, "logprob") - number_of(got, "logprob")) < 1e-3);
      assert_true(fabs(number_of(want, "score") - number_of(got, "score")) < 1e-4);
    }
    json_decref(a);
    json_decref(b);
  }
  free(cpu);
  free(sim);
}

static void test_wrong_use(void **state) {
  (void)state;
  free(laurel(1, "generate policy.h5"));
  free(laurel(1, "generate rm.h5 prompts.jsonl"));
  free(laurel(1, "generate policy.h5 prompts.jsonl --best-of 2"));
  free(laurel(1, "generate policy.h5 prompts.jsonl --best+of 2"));
  free(laurel(1, "generate policy.h5 absent.jsonl"));
  free(laurel(1, "generate policy.h5 prompts.jsonl --max_length 1"));
  free(laurel(1, "generate policy.h5 prompts.jsonl --top_p 2"));
  free(laurel(0, "generate --help"));
  free(laurel(2, "convert"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_best_of), cmocka_unit_test(test_stream_is_the_text),
      cmocka_unit_test(test_stories), cmocka_unit_test(test_gold),
      cmocka_unit_test(test_device),  cmocka_unit_test(test_wrong_use)};
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
