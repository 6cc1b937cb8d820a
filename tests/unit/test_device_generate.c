/* Generation on the device that the first argument names (default: cpu): the tokens of the cpu, and
 * on one that keeps what repeats (kernels/cuda/graph.cu) the bits of a run that keeps nothing, in
 * whatever order the device works. */
#include "model/generate.h"
#include "model/param_build.h"
#include "tests/unit/sim_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HIDDEN = 32, VOCAB = 50, N_PROMPTS = 3, MAX_IDS = 70 };

static const char *device = "cpu";
static struct sim_device sim;
static bool simulated;

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps, results;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  struct lrl_lm lm;
  int32_t ids[N_PROMPTS][MAX_IDS];
  struct lrl_gen_prompt prompts[N_PROMPTS];
};

static struct model *make(const char *name, lrl_dtype dtype, enum lrl_rope_scaling scaling) {
  const struct lrl_decoder_config c = {.vocab_size = VOCAB,
                                       .hidden_size = HIDDEN,
                                       .intermediate_size = 48,
                                       .num_hidden_layers = 2,
                                       .num_attention_heads = 4,
                                       .num_key_value_heads = 2,
                                       .rms_norm_eps = 1e-5,
                                       .initializer_range = 0.3,
                                       .pad_token_id = -1,
                                       .lora_r = 2,
                                       .lora_alpha = 2,
                                       .rope = {.head_dim = HIDDEN / 4,
                                                .max_position_embeddings = 80,
                                                .theta = 1e4,
                                                .factor = 2,
                                                .scaling = scaling}};
  const int64_t length[N_PROMPTS] = {5, 70, 1};
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  assert_int_equal(lrl_ctx_init(&m->ctx, name, 1), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->weights, "weights", (size_t)1 << 26), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->steps, "steps", (size_t)1 << 26), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->results, "results", (size_t)1 << 26), LRL_OK);
  assert_int_equal(lrl_decoder_build(&m->decoder, &c, &m->params, dtype, true), LRL_OK);
  const int head = lrl_param_unit_add(&m->params, "output", dtype, true);
  lrl_param_add(&m->params, head, "output.weight", VOCAB, HIDDEN, 0.3f);
  assert_int_equal(lrl_param_set_alloc(&m->params, &m->weights), LRL_OK);
  assert_int_equal(lrl_param_set_init(&m->params, 3), LRL_OK);
  m->lm = (struct lrl_lm){&m->decoder, &m->params.units[head], 0};
  for (int p = 0; p < N_PROMPTS; p++) {
    for (int64_t t = 0; t < length[p]; t++)
      m->ids[p][t] = (int32_t)((7 * t + 13 * p + 1) % VOCAB);
    m->prompts[p] = (struct lrl_gen_prompt){
        .ids = m->ids[p], .n_ids = length[p], .n_samples = 1, .key = (uint64_t)p};
  }
  return m;
}
static void drop(struct model *m) {
  lrl_decoder_free(&m->decoder);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->weights);
  lrl_arena_free(&m->steps);
  lrl_arena_free(&m->results);
  lrl_ctx_free(&m->ctx);
  free(m);
}
static struct lrl_generation run(struct model *m, const struct lrl_gen_options *o) {
  struct lrl_generation out;
  if (lrl_generate(&m->ctx, &m->lm, o, m->prompts, N_PROMPTS, &m->results, &m->steps, NULL, NULL,
                   &out) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return out;
}
static struct lrl_gen_options options(int64_t tokens) {
  return (struct lrl_gen_options){.temperature = 0.9,
                                  .top_p = 0.95,
                                  .top_k = 40,
                                  .repetition_penalty = 1.1,
                                  .max_new_tokens = tokens,
                                  .seed = 42};
}

static void expect_near(const struct lrl_generation *a, const struct lrl_generation *b) {
  assert_int_equal(a->n_samples, b->n_samples);
  for (int64_t k = 0; k < a->n_samples; k++) {
    const struct lrl_gen_sample *x = &a->sample[k], *y = &b->sample[k];
    assert_int_equal(x->n, y->n);
    assert_int_equal(x->finish, y->finish);
    assert_memory_equal(x->tokens, y->tokens, (size_t)x->n * sizeof *x->tokens);
    for (int64_t i = 0; i < x->n; i++) {
      assert_true(fabsf(x->logprobs[i] - y->logprobs[i]) < 1e-4f);
      assert_true(fabsf(x->sampling_logprobs[i] - y->sampling_logprobs[i]) < 1e-4f);
    }
  }
}
static void expect_same(const struct lrl_generation *a, const struct lrl_generation *b) {
  expect_near(a, b);
  for (int64_t k = 0; k < a->n_samples; k++) {
    const size_t bytes = (size_t)a->sample[k].n * sizeof(float);
    assert_memory_equal(a->sample[k].logprobs, b->sample[k].logprobs, bytes);
    assert_memory_equal(a->sample[k].sampling_logprobs, b->sample[k].sampling_logprobs, bytes);
  }
}
static void expect_no_report(void) {
  const char *text;
  if (simulated && sim.reports(&text) > 0)
    fail_msg("the simulator reports: %s", text);
}
/* The device against the cpu and against itself without graphs; returns the share of decoding steps
 * that were replayed. */
static double compare(lrl_dtype dtype, enum lrl_rope_scaling scaling, int64_t n_samples,
                      const struct lrl_gen_options *o, int orders) {
  struct model *cpu = make("cpu", LRL_F32, scaling);
  for (int p = 0; p < N_PROMPTS; p++)
    cpu->prompts[p].n_samples = n_samples;
  const struct lrl_generation want = run(cpu, o);
  setenv("LAUREL_GRAPHS", "0", 1);
  struct model *plain = make(device, dtype, scaling);
  unsetenv("LAUREL_GRAPHS");
  struct model *graphs = make(device, dtype, scaling);
  for (int p = 0; p < N_PROMPTS; p++)
    plain->prompts[p].n_samples = graphs->prompts[p].n_samples = n_samples;
  if (simulated)
    sim_order(&sim, 0);
  const struct lrl_generation base = run(plain, o);
  if (dtype == LRL_F32)
    expect_near(&want, &base);
  assert_int_equal(plain->ctx.repeats.replayed + plain->ctx.repeats.built, 0);
  double share = 0;
  for (int order = 0; order < orders; order++) {
    if (simulated)
      sim_order(&sim, order);
    const struct lrl_repeats before = graphs->ctx.repeats;
    const struct lrl_generation got = run(graphs, o);
    const struct lrl_repeats *r = &graphs->ctx.repeats;
    expect_same(&base, &got);
    expect_no_report();
    if (order == 0)
      share = (double)(r->replayed - before.replayed) / (double)got.decode_steps;
    if (simulated) {
      assert_int_equal(r->parts - before.parts, got.decode_steps);
      printf("%lld steps: %lld graphs built, %lld updated, %lld replayed\n",
             (long long)got.decode_steps, (long long)(r->built - before.built),
             (long long)(r->updated - before.updated), (long long)(r->replayed - before.replayed));
    }
    lrl_arena_reset(&graphs->results, 0);
  }
  drop(cpu);
  drop(plain);
  drop(graphs);
  return share;
}

/* All samples are drawn to the end: only new pages change what a step is. */
static void test_fixed_batch(void **state) {
  (void)state;
  const struct lrl_gen_options o = options(80);
  const double share = compare(LRL_F32, LRL_ROPE_NONE, 1, &o, 3);
  assert_true(!simulated || share >= 0.9);
}
/* Samples end, others begin: few steps are as the one before. */
static void test_changing_batch(void **state) {
  (void)state;
  static const int32_t stop[] = {7, 11, 23};
  struct lrl_gen_options o = options(24);
  o.stop_ids = stop;
  o.n_stop_ids = 3;
  o.max_samples = 4;
  o.temperature = 0;
  o.repetition_penalty = 1;
  compare(LRL_BF16, LRL_ROPE_NONE, 4, &o, 2);
}
/* Past the trained length a token has tables of its own, made on the host at each step. */
static void test_dynamic_tables(void **state) {
  (void)state;
  struct lrl_gen_options o = options(20);
  o.without_lora = true;
  const double share = compare(LRL_F32, LRL_ROPE_DYNAMIC, 1, &o, 2);
  assert_true(!simulated || share >= 0.5);
}

/* ---- parts that repeat, by hand ---- */

enum { N = 600 };
/* y[i] += x[(i + shift) % N]; on a device the list is the host's and is gone when this returns. */
static void add_shifted(struct lrl_ctx *ctx, const float *x, float *y, int64_t n, int shift) {
  int32_t *index = malloc((size_t)n * sizeof *index);
  assert_non_null(index);
  for (int64_t i = 0; i < n; i++)
    index[i] = (int32_t)((i + shift) % N);
  assert_int_equal(lrl_gather_rows(ctx, &(struct lrl_gather_rows_args){.n = n,
                                                                       .n_x = N,
                                                                       .width = 1,
                                                                       .dtype = LRL_F32,
                                                                       .index = index,
                                                                       .x = x,
                                                                       .out = y,
                                                                       .beta = 1.0f}),
                   LRL_OK);
  memset(index, 0x7f, (size_t)n * sizeof *index);
  free(index);
}
/* More kinds of parts than are kept, each three times; lists that no slot has room for; a
 * result on the host, which divides a part; an op behind it. */
static void test_parts(void **state) {
  (void)state;
  enum { KINDS = 10, LARGE = 1500000 };
  static float host[N], ones[LARGE];
  struct lrl_ctx ctx;
  struct lrl_arena arena;
  assert_int_equal(lrl_ctx_init(&ctx, device, 1), LRL_OK);
  assert_int_equal(lrl_arena_init(&arena, "memory", (size_t)1 << 26), LRL_OK);
  float *x = lrl_arena_alloc(&arena, N * sizeof *x), *y = lrl_arena_alloc(&arena, N * sizeof *y);
  float *large = lrl_arena_alloc(&arena, LARGE * sizeof *large);
  float *last = lrl_arena_zeros(&arena, N * sizeof *last);
  for (int i = 0; i < N; i++)
    host[i] = (float)i;
  for (int i = 0; i < LARGE; i++)
    ones[i] = 1;
  if (simulated)
    sim_order(&sim, 1);
  for (int turn = 0; turn < 3 * KINDS; turn++) {
    const int kind = turn / 3;
    double squares = 0, want = 0, more = 0, behind = 0;
    lrl_ctx_begin_repeated(&ctx);
    lrl_zero(&ctx, y, N * sizeof *y);
    lrl_move(&ctx, x, host, N * sizeof *x);
    add_shifted(&ctx, x, y, N - kind, turn);
    add_shifted(&ctx, x, y, N - kind, 2 * turn);
    assert_int_equal(lrl_sumsq(&ctx, &(struct lrl_sumsq_args){.n = N, .x = y, .out = &squares}),
                     LRL_OK);
    if (turn == KINDS) {
      lrl_zero(&ctx, large, LARGE * sizeof *large);
      lrl_move(&ctx, large, ones, LARGE * sizeof *large);
      add_shifted(&ctx, x, large, LARGE, 3);
      add_shifted(&ctx, x, large, LARGE, 5); /* its list takes the place of the other's */
      assert_int_equal(
          lrl_sumsq(&ctx, &(struct lrl_sumsq_args){.n = LARGE, .x = large, .out = &more}), LRL_OK);
    }
    lrl_move(&ctx, last, x, N * sizeof *last);
    assert_int_equal(lrl_ctx_end_repeated(&ctx), LRL_OK);
    assert_int_equal(lrl_sumsq(&ctx, &(struct lrl_sumsq_args){.n = N, .x = last, .out = &behind}),
                     LRL_OK);
    for (int i = 0; i < N; i++)
      want += (double)i * i;
    assert_true(behind == want);
    want = 0;
    for (int i = 0; i < N - kind; i++) {
      const double v = (i + turn) % N + (i + 2 * turn) % N;
      want += v * v;
    }
    assert_true(squares == want);
    want = 0;
    for (int64_t i = 0; i < LARGE && turn == KINDS; i++)
      want += pow((double)(1 + (i + 3) % N + (i + 5) % N), 2);
    assert_true(fabs(more - want) <= 1e-9 * want);
  }
  expect_no_report();
  if (simulated) {
    printf("%lld parts: %lld graphs built, %lld updated, %lld replayed\n",
           (long long)ctx.repeats.parts, (long long)ctx.repeats.built,
           (long long)ctx.repeats.updated, (long long)ctx.repeats.replayed);
    assert_true(ctx.repeats.built >= 4 && ctx.repeats.updated >= 2 && ctx.repeats.replayed >= 9);
  }
  lrl_arena_free(&arena);
  lrl_ctx_free(&ctx);
}

int main(int argc, char **argv) {
  struct lrl_ctx ctx;
  device = argc > 1 ? argv[1] : device;
  if (lrl_ctx_init(&ctx, device, 1) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return 0;
  }
  simulated = sim_device_open(&sim);
  lrl_ctx_free(&ctx);
  if (argc > 2)
    cmocka_set_test_filter(argv[2]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fixed_batch), cmocka_unit_test(test_changing_batch),
      cmocka_unit_test(test_dynamic_tables), cmocka_unit_test(test_parts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
