/* Generation: the bits of a training forward, independence of everything but the sample itself,
 * the sampler's distribution, finish reasons, errors. */
#include "kernels/philox.h"
#include "model/generate.h"
#include "model/param_build.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HIDDEN = 32, VOCAB = 50, SEED = 3, N_PROMPTS = 4, MAX_IDS = 150 };

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps, results;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  struct lrl_lm lm;
  lrl_dtype dtype;
  int32_t ids[N_PROMPTS][MAX_IDS];
  void *images; /* of prompt 1 */
  struct lrl_gen_prompt prompts[N_PROMPTS];
};

static void make_prompts(struct model *m) {
  const int64_t length[N_PROMPTS] = {5, 70, 130, 1}, samples[N_PROMPTS] = {3, 2, 5, 1};
  struct lrl_rng g = lrl_rng_make(SEED, LRL_RNG_TEST, 1);
  for (int p = 0; p < N_PROMPTS; p++) {
    for (int64_t t = 0; t < length[p]; t++)
      m->ids[p][t] = p == 1 && t >= 3 && t < 9 ? -1 : (int32_t)lrl_rng_below(&g, VOCAB);
    m->prompts[p] = (struct lrl_gen_prompt){
        .ids = m->ids[p], .n_ids = length[p], .n_samples = samples[p], .key = 1000 + (uint64_t)p};
  }
  m->images = malloc(6 * HIDDEN * sizeof(float));
  for (int64_t i = 0; i < 6 * HIDDEN; i++) {
    const float x = lrl_rng_normal(&g);
    if (m->dtype == LRL_BF16)
      ((uint16_t *)m->images)[i] = lrl_f32_to_bf16(x);
    else
      ((float *)m->images)[i] = x;
  }
  m->prompts[1].images = m->images;
}

static struct model *make(lrl_dtype dtype, int threads) {
  const struct lrl_decoder_config c = {
      .vocab_size = VOCAB,
      .hidden_size = HIDDEN,
      .intermediate_size = 48,
      .num_hidden_layers = 2,
      .num_attention_heads = 4,
      .num_key_value_heads = 2,
      .rms_norm_eps = 1e-5,
      .initializer_range = 0.3,
      .pad_token_id = -1,
      .plora_r = 4,
      .plora_alpha = 4,
      .rope = {.head_dim = HIDDEN / 4, .max_position_embeddings = 512, .theta = 1e4}};
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  m->dtype = dtype;
  assert_int_equal(lrl_ctx_init(&m->ctx, "cpu", threads), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->weights, "weights", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->steps, "steps", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->results, "results", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_decoder_build(&m->decoder, &c, &m->params, dtype, true), LRL_OK);
  const int head = lrl_param_unit_add(&m->params, "output", dtype, true);
  lrl_param_add(&m->params, head, "output.weight", VOCAB, HIDDEN, 0.3f);
  assert_int_equal(lrl_param_set_alloc(&m->params, &m->weights), LRL_OK);
  assert_int_equal(lrl_param_set_init(&m->params, SEED), LRL_OK);
  m->lm = (struct lrl_lm){&m->decoder, &m->params.units[head], 0};
  make_prompts(m);
  return m;
}

static void drop(struct model *m) {
  free(m->images);
  lrl_decoder_free(&m->decoder);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->weights);
  lrl_arena_free(&m->steps);
  lrl_arena_free(&m->results);
  lrl_ctx_free(&m->ctx);
  free(m);
}

static struct lrl_gen_options options(void) {
  static const int32_t stop[] = {7, 11};
  return (struct lrl_gen_options){.temperature = 0.9,
                                  .top_p = 0.95,
                                  .top_k = 40,
                                  .repetition_penalty = 1.1,
                                  .max_new_tokens = 75,
                                  .stop_ids = stop,
                                  .n_stop_ids = 2,
                                  .seed = 42};
}

static struct lrl_generation run(struct model *m, const struct lrl_gen_options *o,
                                 const struct lrl_gen_prompt *prompts, int64_t n) {
  struct lrl_generation out;
  const lrl_status s =
      lrl_generate(&m->ctx, &m->lm, o, prompts, n, &m->results, &m->steps, NULL, NULL, &out);
  if (s != LRL_OK)
    printf("%s\n", lrl_last_error());
  assert_int_equal(s, LRL_OK);
  assert_int_equal(lrl_arena_mark(&m->steps), 0);
  return out;
}

static bool same_sample(const struct lrl_gen_sample *a, const struct lrl_gen_sample *b) {
  const size_t bytes = (size_t)a->n * 4;
  return a->n == b->n && a->finish == b->finish && memcmp(a->tokens, b->tokens, bytes) == 0 &&
         memcmp(a->logprobs, b->logprobs, bytes) == 0 &&
         memcmp(a->sampling_logprobs, b->sampling_logprobs, bytes) == 0;
}

/* Log-probs of a prompt's samples from one recorded pass: the prompt with its samples as children.
 */
static void trained_logprobs(struct model *m, const struct lrl_gen_prompt *p,
                             const struct lrl_gen_sample *s, double temperature, float *logprobs) {
  int32_t ids[1024], start[16] = {0}, length[16], parent[16], rows[1024], target[1024],
                     image_rows[8];
  int64_t n = p->n_ids, n_rows = 0, n_images = 0;
  memcpy(ids, p->ids, (size_t)n * sizeof *ids);
  length[0] = (int32_t)n;
  parent[0] = -1;
  for (int64_t t = 0; t < n; t++)
    if (ids[t] == -1)
      image_rows[n_images++] = (int32_t)t;
  for (int64_t k = 0; k < p->n_samples; k++) {
    start[k + 1] = (int32_t)n;
    length[k + 1] = (int32_t)s[k].n;
    parent[k + 1] = 0;
    for (int64_t i = 0; i < s[k].n; i++) {
      rows[n_rows] = (int32_t)(i == 0 ? p->n_ids - 1 : n - 1);
      target[n_rows++] = ids[n++] = s[k].tokens[i];
    }
  }
  const struct lrl_layout layout = {n, p->n_samples + 1, start, length, parent, NULL};
  struct lrl_tape tape;
  lrl_tape_init(&tape, &m->ctx, &m->steps, true);
  struct lrl_tensor *images = lrl_tensor_wrap(&tape, m->dtype, n_images, HIDDEN, m->images);
  const struct lrl_decoder_input in = {.ids = ids,
                                       .layout = &layout,
                                       .images = n_images > 0 ? images : NULL,
                                       .image_rows = image_rows,
                                       .n_image_rows = n_images};
  struct lrl_decoder_output out;
  lrl_decoder_forward(&tape, &m->decoder, &in, &out);
  struct lrl_tensor *logits =
      lrl_lm_logits(&tape, &m->lm, lrl_decoder_final(&tape, &m->decoder, &out, rows, n_rows));
  assert_int_equal(tape.status, LRL_OK);
  assert_int_equal(
      lrl_logprob_fwd(&m->ctx, &(struct lrl_logprob_fwd_args){.n_tokens = n_rows,
                                                              .n_vocab = VOCAB,
                                                              .temperature = (float)temperature,
                                                              .logits = logits->data,
                                                              .target = target,
                                                              .logprobs = logprobs}),
      LRL_OK);
  lrl_arena_reset(&m->steps, 0);
}

static void test_bits_of_training(void **state) {
  (void)state;
  for (int t = 0; t < 2; t++) {
    struct model *m = make(t == 0 ? LRL_F32 : LRL_BF16, 2);
    struct lrl_gen_options o = options();
    o.n_stop_ids = 1;
    const struct lrl_generation out = run(m, &o, m->prompts, N_PROMPTS);
    const struct lrl_gen_sample *s = out.sample;
    int64_t longest = 0;
    for (int p = 0; p < N_PROMPTS; s += m->prompts[p++].n_samples) {
      static float want[1024];
      int64_t at = 0;
      trained_logprobs(m, &m->prompts[p], s, o.temperature, want);
      for (int64_t k = 0; k < m->prompts[p].n_samples; at += s[k++].n) {
        assert_memory_equal(want + at, s[k].logprobs, (size_t)s[k].n * sizeof *want);
        longest = s[k].n > longest ? s[k].n : longest;
      }
    }
    assert_true(longest > LRL_KV_PAGE); /* so a sample's second page took part */
    drop(m);
  }
}

static void test_independence(void **state) {
  (void)state;
  struct model *m = make(LRL_F32, 2), *one = make(LRL_F32, 1);
  struct lrl_gen_options o = options();
  const struct lrl_generation base = run(m, &o, m->prompts, N_PROMPTS);
  assert_int_equal(base.n_samples, 11);
  /* Slots, prefill batches, a cache with room for one sample at a time, one thread. */
  const int64_t slots[] = {1, 2, 5, 100}, prefill[] = {1, 80, 0, 0}, pages[] = {5, 7, 0, 0};
  for (int i = 0; i < 4; i++) {
    o.max_samples = slots[i];
    o.prefill_tokens = prefill[i];
    o.cache_pages = pages[i];
    const struct lrl_generation got = run(i % 2 == 0 ? one : m, &o, m->prompts, N_PROMPTS);
    for (int64_t k = 0; k < base.n_samples; k++)
      assert_true(same_sample(&base.sample[k], &got.sample[k]));
  }
  /* Other company: prompt 2 alone, and all of them backwards. */
  o = options();
  struct lrl_gen_prompt back[N_PROMPTS];
  for (int p = 0; p < N_PROMPTS; p++)
    back[p] = m->prompts[N_PROMPTS - 1 - p];
  const struct lrl_generation alone = run(m, &o, &m->prompts[2], 1),
                              reversed = run(m, &o, back, N_PROMPTS);
  for (int64_t k = 0; k < 5; k++) {
    assert_true(same_sample(&base.sample[5 + k], &alone.sample[k]));
    assert_true(same_sample(&base.sample[5 + k], &reversed.sample[1 + k]));
  }
  /* Another seed, key or number gives another sample. */
  assert_false(same_sample(&alone.sample[0], &alone.sample[1]));
  o.seed++;
  const struct lrl_generation other = run(m, &o, &m->prompts[2], 1);
  assert_false(same_sample(&alone.sample[0], &other.sample[0]));
  drop(m);
  drop(one);
}

struct stream {
  int64_t tokens, done;
};
static void count_tokens(void *user, const struct lrl_gen_sample *s, bool done) {
  struct stream *c = user;
  assert_true(s->n >= 1);
  c->tokens++;
  c->done += done;
}

static void test_finish_and_streaming(void **state) {
  (void)state;
  struct model *m = make(LRL_F32, 2);
  struct lrl_gen_options o = options();
  struct lrl_generation out;
  struct stream c = {0};
  assert_int_equal(lrl_generate(&m->ctx, &m->lm, &o, m->prompts, N_PROMPTS, &m->results, &m->steps,
                                count_tokens, &c, &out),
                   LRL_OK);
  assert_int_equal(c.done, out.n_samples);
  assert_int_equal(c.tokens, out.new_tokens);
  assert_int_equal(out.prefill_tokens, 5 + 70 + 130 + 1);
  int64_t stopped = 0, tokens = 0;
  for (int64_t k = 0; k < out.n_samples; k++) {
    const struct lrl_gen_sample *s = &out.sample[k];
    const int32_t last = s->tokens[s->n - 1];
    const bool stop = last == 7 || last == 11;
    assert_int_equal(s->finish == LRL_FINISH_STOP, stop);
    assert_true(stop || s->n == o.max_new_tokens);
    for (int64_t i = 0; i + 1 < s->n; i++)
      assert_true(s->tokens[i] != 7 && s->tokens[i] != 11);
    for (int64_t i = 0; i < s->n; i++)
      assert_true(s->logprobs[i] <= 0.0f && s->sampling_logprobs[i] <= 0.0f);
    stopped += stop;
    tokens += s->n;
  }
  assert_int_equal(tokens, out.new_tokens);
  assert_true(stopped > 0 && stopped < out.n_samples);
  o.max_new_tokens = 1;
  out = run(m, &o, m->prompts, N_PROMPTS);
  for (int64_t k = 0; k < out.n_samples; k++)
    assert_int_equal(out.sample[k].n, 1);
  assert_int_equal(out.decode_steps, 0);
  m->prompts[3].n_samples = 0;
  assert_int_equal(run(m, &o, &m->prompts[3], 1).n_samples, 0);
  drop(m);
}

/* Greedy tokens are the argmax of one pass over prompt and answer, up to float rounding. */
static void test_greedy(void **state) {
  (void)state;
  struct model *m = make(LRL_F32, 2);
  struct lrl_gen_options o = {.top_p = 1.0, .repetition_penalty = 1.0, .max_new_tokens = 20};
  const struct lrl_generation out = run(m, &o, &m->prompts[2], 1);
  const struct lrl_gen_sample *s = out.sample;
  for (int64_t k = 0; k < 5; k++)
    assert_true(same_sample(&s[0], &s[k]));
  int32_t ids[MAX_IDS + 20], start = 0, length = (int32_t)(130 + s->n);
  memcpy(ids, m->ids[2], 130 * sizeof *ids);
  memcpy(ids + 130, s->tokens, (size_t)s->n * sizeof *ids);
  const struct lrl_layout layout = {length, 1, &start, &length, NULL, NULL};
  const struct lrl_decoder_input in = {.ids = ids, .layout = &layout};
  struct lrl_tape tape;
  struct lrl_decoder_output hidden;
  lrl_tape_init(&tape, &m->ctx, &m->steps, false);
  lrl_decoder_forward(&tape, &m->decoder, &in, &hidden);
  const struct lrl_tensor *logits =
      lrl_lm_logits(&tape, &m->lm, lrl_decoder_final(&tape, &m->decoder, &hidden, NULL, 0));
  assert_int_equal(tape.status, LRL_OK);
  for (int64_t i = 0; i < s->n; i++) {
    const float *row = (const float *)logits->data + (129 + i) * VOCAB;
    for (int32_t j = 0; j < VOCAB; j++)
      assert_true(row[j] <= row[s->tokens[i]] + 1e-4f);
    assert_true(s->sampling_logprobs[i] >= 0.0f);
  }
  drop(m);
}

static lrl_status generate(struct model *m, const struct lrl_gen_options *o,
                           const struct lrl_gen_prompt *p) {
  struct lrl_generation out;
  lrl_error_clear();
  return lrl_generate(&m->ctx, &m->lm, o, p, 1, &m->results, &m->steps, NULL, NULL, &out);
}

static void test_errors(void **state) {
  (void)state;
  struct model *m = make(LRL_F32, 1);
  const struct lrl_gen_options good = options();
  struct lrl_gen_options o = good;
  struct lrl_gen_prompt p = m->prompts[0];
  p.n_ids = 0;
  assert_int_equal(generate(m, &o, &p), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "empty"));
  p = m->prompts[1];
  p.images = NULL;
  assert_int_equal(generate(m, &o, &p), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "image"));
  o.cache_pages = 3;
  assert_int_equal(generate(m, &o, &m->prompts[1]), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "cannot hold"));
  o = good;
  o.max_new_tokens = 0;
  assert_int_equal(generate(m, &o, &m->prompts[0]), LRL_ERR_ARG);
  o = good;
  o.top_p = 1.5;
  assert_int_equal(generate(m, &o, &m->prompts[0]), LRL_ERR_ARG);
  /* A NaN weight is named at the token where it shows. */
  ((float *)m->lm.head_unit->data)[5] = NAN;
  m->lm.head_unit->version++;
  assert_int_equal(generate(m, &good, &m->prompts[0]), LRL_ERR_NUMERIC);
  assert_non_null(strstr(lrl_last_error(), "token 0 of sample 0 of prompt 0"));
  lrl_error_clear();
  lrl_arena_reset(&m->steps, 0);
  drop(m);
}

/* Draws by (seed, prompt, sample, position) follow the distribution: chi-squared over 2e5 draws. */
static void test_distribution(void **state) {
  (void)state;
  enum { N = 200000, V = 20 };
  struct lrl_ctx ctx;
  assert_int_equal(lrl_ctx_init(&ctx, "cpu", 2), LRL_OK);
  float *logits = malloc(N * V * sizeof *logits), *logprobs = malloc(N * sizeof *logprobs);
  double *u = malloc(N * sizeof *u), p[V], total = 0, chi = 0;
  int32_t *token = malloc(N * sizeof *token);
  int64_t count[V] = {0};
  for (int64_t i = 0; i < N; i++) {
    u[i] = lrl_gen_uniform(99, (uint64_t)(i / 5000), i / 50 % 100, i % 50);
    for (int j = 0; j < V; j++)
      logits[i * V + j] = 0.2f * (float)j;
  }
  assert_int_equal(lrl_sample(&ctx, &(struct lrl_sample_args){.n_tokens = N,
                                                              .n_vocab = V,
                                                              .logits = logits,
                                                              .uniform = u,
                                                              .temperature = 1.0,
                                                              .top_p = 1.0,
                                                              .repetition_penalty = 1.0,
                                                              .token = token,
                                                              .logprobs = logprobs}),
                   LRL_OK);
  for (int j = 0; j < V; j++)
    total += p[j] = exp(0.2 * j);
  for (int64_t i = 0; i < N; i++) {
    assert_in_range(token[i], 0, V - 1);
    assert_true(fabs((double)logprobs[i] - log(p[token[i]] / total)) < 1e-5);
    count[token[i]]++;
  }
  for (int j = 0; j < V; j++) {
    const double want = N * p[j] / total;
    chi += ((double)count[j] - want) * ((double)count[j] - want) / want;
  }
  printf("chi-squared of %d draws over %d ids, seed 99: %.1f\n", (int)N, (int)V, chi);
  assert_true(chi < 43.8); /* 0.1 % point for 19 degrees of freedom */
  free(logits);
  free(logprobs);
  free(u);
  free(token);
  lrl_ctx_free(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits_of_training),
                                     cmocka_unit_test(test_independence),
                                     cmocka_unit_test(test_finish_and_streaming),
                                     cmocka_unit_test(test_greedy),
                                     cmocka_unit_test(test_errors),
                                     cmocka_unit_test(test_distribution)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
