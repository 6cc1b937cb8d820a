/* llama2.c checkpoints: the real stories260K against the numbers and the text of run.c, from
 * prefill and from cached decoding; damaged files. */
#include "data/llama2c_vocab.h"
#include "data/tokenizer.h"
#include "model/generate.h"
#include "model/llama2c.h"
#include "model/param_build.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps, results;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  struct lrl_lm lm;
  struct lrl_tokenizer *tokenizer;
};

static bool asset(const char *name, char *path, size_t size) {
  const char *root = getenv("LAUREL_ASSETS"), *source = getenv("LAUREL_SOURCE");
  if (root != NULL)
    snprintf(path, size, "%s/weights/stories260K/%s", root, name);
  else
    snprintf(path, size, "%s/../shared/assets/weights/stories260K/%s",
             source == NULL ? "." : source, name);
  return access(path, R_OK) == 0;
}

static void open_model(struct model *m) {
  char path[1000];
  struct lrl_llama2c *file;
  void *bytes;
  size_t n;
  memset(m, 0, sizeof *m);
  if (!asset("stories260K.bin", path, sizeof path)) {
    printf("SKIP: no %s\n", path);
    skip();
  }
  assert_int_equal(lrl_llama2c_open(path, &file), LRL_OK);
  const struct lrl_decoder_config c = lrl_llama2c_config(file);
  assert_int_equal(lrl_ctx_init(&m->ctx, "cpu", 2), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->weights, "weights", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->steps, "steps", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->results, "results", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_decoder_build(&m->decoder, &c, &m->params, LRL_F32, false), LRL_OK);
  const int head = lrl_param_unit_add(&m->params, "output", LRL_F32, false);
  lrl_param_add(&m->params, head, "output.weight", c.vocab_size, c.hidden_size, 0.02f);
  assert_int_equal(lrl_param_set_alloc(&m->params, &m->weights), LRL_OK);
  assert_int_equal(lrl_llama2c_load(file, &m->params), LRL_OK);
  lrl_llama2c_close(file);
  m->lm = (struct lrl_lm){&m->decoder, &m->params.units[head], 0};
  assert_true(asset("tok512.bin", path, sizeof path));
  assert_int_equal(lrl_llama2c_vocab(path, &bytes, &n), LRL_OK);
  const lrl_status s = lrl_tokenizer_open_bytes(bytes, n, path, NULL, &m->tokenizer);
  if (s != LRL_OK)
    printf("%s\n", lrl_last_error());
  assert_int_equal(s, LRL_OK);
  assert_int_equal(lrl_tokenizer_info(m->tokenizer)->n_vocab, c.vocab_size);
  free(bytes);
}

static void close_model(struct model *m) {
  lrl_tokenizer_close(m->tokenizer);
  lrl_decoder_free(&m->decoder);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->weights);
  lrl_arena_free(&m->steps);
  lrl_arena_free(&m->results);
  lrl_ctx_free(&m->ctx);
}

/* Logits [n, vocab] of one pass over ids, in step memory. */
static const float *one_pass(struct model *m, const int32_t *ids, int32_t n) {
  const int32_t start = 0;
  const struct lrl_layout layout = {n, 1, &start, &n, NULL, NULL};
  const struct lrl_decoder_input in = {.ids = ids, .layout = &layout};
  struct lrl_decoder_output out;
  struct lrl_tape tape;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  lrl_decoder_forward(&tape, &m->decoder, &in, &out);
  const struct lrl_tensor *logits =
      lrl_lm_logits(&tape, &m->lm, lrl_decoder_final(&tape, &m->decoder, &out, NULL, 0));
  assert_int_equal(tape.status, LRL_OK);
  return logits->data;
}

static const float *cached_step(struct model *m, struct lrl_kv_cache *cache, struct lrl_kv_seq *seq,
                                int32_t id) {
  const int32_t one = 1;
  struct lrl_decoder_input in = {.ids = &id};
  struct lrl_decoder_output out;
  struct lrl_tape tape;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  assert_int_equal(lrl_kv_pass(&tape, cache, &seq, 1, &one, &in), LRL_OK);
  lrl_decoder_forward(&tape, &m->decoder, &in, &out);
  const struct lrl_tensor *logits =
      lrl_lm_logits(&tape, &m->lm, lrl_decoder_final(&tape, &m->decoder, &out, NULL, 0));
  assert_int_equal(tape.status, LRL_OK);
  return logits->data;
}

static double logprob(const float *row, int64_t v, int32_t id) {
  double max = -INFINITY, sum = 0.0;
  for (int64_t i = 0; i < v; i++)
    max = fmax(max, (double)row[i]);
  for (int64_t i = 0; i < v; i++)
    sum += exp((double)row[i] - max);
  return (double)row[id] - max - log(sum);
}

static double number(const json_t *object, const char *key, size_t i) {
  return json_number_value(json_array_get(json_object_get(object, key), i));
}

/* run.c prints six digits; its sums are f32 in another order. */
static void check_row(const json_t *p, const float *last, int64_t v) {
  double sum = 0.0;
  for (int64_t i = 0; i < v; i++)
    sum += (double)last[i];
  for (size_t i = 0; i < 16; i++)
    assert_true(fabs((double)last[i] - number(p, "last_logits_first16", i)) < 1e-4);
  assert_true(fabs(sum - json_number_value(json_object_get(p, "last_logits_sum"))) < 1e-2);
}

static void test_golden(void **state) {
  (void)state;
  struct model m;
  char path[1000];
  open_model(&m);
  const int64_t v = m.decoder.cfg.vocab_size;
  assert_true(asset("golden_run_c.json", path, sizeof path));
  json_t *root = json_load_file(path, 0, NULL), *prompts = json_object_get(root, "prompts");
  assert_true(json_array_size(prompts) > 0);
  for (size_t k = 0; k < json_array_size(prompts); k++) {
    const json_t *p = json_array_get(prompts, k);
    const size_t n = json_array_size(json_object_get(p, "ids"));
    int32_t ids[512], slots[2 * 8];
    struct lrl_ids got = {0};
    const char *text = json_string_value(json_object_get(p, "text"));
    assert_int_equal(lrl_tokenizer_encode(m.tokenizer, text, (int64_t)strlen(text), true, &got),
                     LRL_OK);
    assert_int_equal(got.n, n);
    for (size_t i = 0; i < n; i++) {
      ids[i] = (int32_t)number(p, "ids", i);
      assert_int_equal(got.data[i], ids[i]);
    }
    lrl_ids_free(&got);
    const float *rows = one_pass(&m, ids, (int32_t)n);
    for (size_t i = 0; i + 1 < n; i++)
      assert_true(fabs(logprob(rows + (int64_t)i * v, v, ids[i + 1]) -
                       number(p, "logprob_next", i)) < 2e-5);
    check_row(p, rows + ((int64_t)n - 1) * v, v);
    /* Token by token through the cache. */
    struct lrl_kv_cache cache;
    struct lrl_kv_seq seq = {.page = slots, .used = slots + 8, .max_pages = 8};
    const size_t mark = lrl_arena_mark(&m.results);
    assert_int_equal(lrl_kv_cache_init(&cache, &m.decoder.cfg, LRL_F32, 8, &m.results), LRL_OK);
    for (size_t i = 0; i < n; i++) {
      lrl_arena_reset(&m.steps, 0);
      rows = cached_step(&m, &cache, &seq, ids[i]);
      if (i + 1 < n)
        assert_true(fabs(logprob(rows, v, ids[i + 1]) - number(p, "logprob_next", i)) < 2e-5);
    }
    check_row(p, rows, v);
    lrl_arena_reset(&m.steps, 0);
    lrl_arena_reset(&m.results, mark);
    /* Greedy: prefill, then decoding. */
    const struct lrl_gen_options o = {
        .top_p = 1.0, .repetition_penalty = 1.0, .max_new_tokens = 32};
    const struct lrl_gen_prompt prompt = {.ids = ids, .n_ids = (int64_t)n, .n_samples = 1};
    struct lrl_generation out;
    assert_int_equal(
        lrl_generate(&m.ctx, &m.lm, &o, &prompt, 1, &m.results, &m.steps, NULL, NULL, &out),
        LRL_OK);
    assert_int_equal(out.sample[0].n, json_array_size(json_object_get(p, "greedy32")));
    for (size_t i = 0; i < (size_t)out.sample[0].n; i++)
      assert_int_equal(out.sample[0].tokens[i], (int32_t)number(p, "greedy32", i));
    lrl_arena_reset(&m.results, mark);
  }
  json_decref(root);
  close_model(&m);
}

/* The text of the model's own page: greedy from <s>, 256 steps or to the next <s>. */
static void test_documented_text(void **state) {
  (void)state;
  struct model m;
  char path[1000], want[4096], *text;
  open_model(&m);
  assert_true(asset("greedy_expected.txt", path, sizeof path));
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(want, 1, sizeof want - 1, f);
  fclose(f);
  while (n > 0 && want[n - 1] == '\n')
    n--;
  want[n] = '\0';
  const int32_t bos = 1;
  const struct lrl_gen_options o = {.top_p = 1.0,
                                    .repetition_penalty = 1.0,
                                    .max_new_tokens = 256,
                                    .stop_ids = &bos,
                                    .n_stop_ids = 1};
  const struct lrl_gen_prompt prompt = {.ids = &bos, .n_ids = 1, .n_samples = 1};
  struct lrl_generation out;
  assert_int_equal(
      lrl_generate(&m.ctx, &m.lm, &o, &prompt, 1, &m.results, &m.steps, NULL, NULL, &out), LRL_OK);
  assert_int_equal(lrl_tokenizer_decode(m.tokenizer, out.sample[0].tokens, out.sample[0].n, &text),
                   LRL_OK);
  assert_string_equal(text, want);
  /* The same tokens from one pass over the whole text. */
  int32_t ids[257] = {bos};
  memcpy(ids + 1, out.sample[0].tokens, (size_t)out.sample[0].n * sizeof *ids);
  const int64_t v = m.decoder.cfg.vocab_size;
  const float *rows = one_pass(&m, ids, (int32_t)out.sample[0].n);
  for (int64_t i = 0; i < out.sample[0].n; i++) {
    int32_t best = 0;
    for (int32_t j = 1; j < v; j++)
      best = rows[i * v + j] > rows[i * v + best] ? j : best;
    assert_int_equal(best, out.sample[0].tokens[i]);
  }
  free(text);
  close_model(&m);
}

static void write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static void test_damaged_files(void **state) {
  (void)state;
  char path[] = "/tmp/laurel-llama2c-XXXXXX";
  const int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  struct lrl_llama2c *m;
  /* dim 4, hidden 3, 1 layer, 2 heads, 1 kv head, vocabulary 5, 2 positions: 120 weights. */
  struct {
    int32_t size[7];
    float w[120];
  } file = {.size = {4, 3, 1, 2, 1, 5, 2}};
  write_file(path, &file, sizeof file);
  assert_int_equal(lrl_llama2c_open(path, &m), LRL_OK);
  assert_int_equal(lrl_llama2c_config(m).rope.head_dim, 2);
  lrl_llama2c_close(m);
  for (size_t n = 0; n < sizeof file; n += 13) {
    write_file(path, &file, n);
    assert_int_equal(lrl_llama2c_open(path, &m), LRL_ERR_FORMAT);
    lrl_error_clear();
  }
  for (int i = 0; i < 7; i++)
    for (int bad = 0; bad < 3; bad++) {
      const int32_t keep = file.size[i], values[] = {0, INT32_MIN, INT32_MAX};
      file.size[i] = values[bad];
      write_file(path, &file, sizeof file);
      assert_int_equal(lrl_llama2c_open(path, &m), LRL_ERR_FORMAT);
      lrl_error_clear();
      file.size[i] = keep;
    }
  void *bytes;
  size_t size;
  for (uint8_t fill = 0; fill < 255; fill += 51) {
    uint8_t junk[100];
    memset(junk, fill, sizeof junk);
    write_file(path, junk, sizeof junk);
    assert_int_equal(lrl_llama2c_vocab(path, &bytes, &size), LRL_ERR_FORMAT);
    lrl_error_clear();
    write_file(path, junk, fill / 51);
    assert_int_equal(lrl_llama2c_vocab(path, &bytes, &size), LRL_ERR_FORMAT);
    lrl_error_clear();
  }
  unlink(path);
  assert_int_equal(lrl_llama2c_open(path, &m), LRL_ERR_IO);
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),
                                     cmocka_unit_test(test_documented_text),
                                     cmocka_unit_test(test_damaged_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
