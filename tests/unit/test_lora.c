/* LoRA in the decoder (SPEC 5.8): what trains, its gradients against those of the merged model, its
 * dropout, merging, and the base model underneath. */
#include "kernels/philox.h"
#include "model/param_build.h"
#include "model/vlm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HIDDEN = 32, VOCAB = 50, T = 22, R = 4, SEED = 5 };

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena weights, steps;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
};

static struct lrl_decoder_config config(int64_t lora_r) {
  return (struct lrl_decoder_config){
      .vocab_size = VOCAB,
      .hidden_size = HIDDEN,
      .intermediate_size = 48,
      .num_hidden_layers = 2,
      .num_attention_heads = 4,
      .num_key_value_heads = 2,
      .rms_norm_eps = 1e-5,
      .initializer_range = 0.2,
      .pad_token_id = -1,
      .lora_r = lora_r,
      .lora_alpha = 6,
      .lora_dropout = 0.3,
      .rope = {.head_dim = HIDDEN / 4, .max_position_embeddings = 64, .theta = 1e4}};
}

static struct model *make(int64_t lora_r, lrl_dtype dtype, bool trainable) {
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  struct lrl_decoder_config c = config(lora_r);
  assert_int_equal(lrl_ctx_init(&m->ctx, "cpu", 2), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->weights, "weights", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->steps, "steps", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_decoder_build(&m->decoder, &c, &m->params, dtype, trainable), LRL_OK);
  assert_int_equal(lrl_param_set_alloc(&m->params, &m->weights), LRL_OK);
  assert_int_equal(lrl_param_set_alloc_grads(&m->params, &m->weights), LRL_OK);
  assert_int_equal(lrl_param_set_init(&m->params, SEED), LRL_OK);
  return m;
}

static void drop(struct model *m) {
  lrl_decoder_free(&m->decoder);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->weights);
  lrl_arena_free(&m->steps);
  lrl_ctx_free(&m->ctx);
  free(m);
}

/* A fresh B is zero; most tests want one that does something. */
static void fill_b(struct model *m) {
  for (int u = 0; u < m->params.n_units; u++)
    for (int i = 0; i < m->params.units[u].n_params; i++) {
      struct lrl_param *p = &m->params.units[u].params[i];
      if (strstr(p->name, "lora_B") == NULL)
        continue;
      float *v = malloc((size_t)p->n * sizeof *v);
      struct lrl_rng rng = lrl_rng_make(SEED, LRL_RNG_TEST, (uint64_t)u * 100 + (uint64_t)i);
      for (int64_t k = 0; k < p->n; k++)
        v[k] = 0.2f * lrl_rng_normal(&rng);
      lrl_param_store(&m->params.units[u], p, v);
      free(v);
    }
}

/* Two sequences of 13 and 9 tokens, or the other way round. */
struct batch {
  int32_t ids[T], start[2], length[2];
  uint64_t keys[T];
  struct lrl_layout layout;
};
static void make_batch(struct batch *b, bool swapped) {
  const int32_t n[2] = {swapped ? 9 : 13, swapped ? 13 : 9};
  for (int s = 0; s < 2; s++) {
    b->start[s] = s == 0 ? 0 : n[0];
    b->length[s] = n[s];
    for (int32_t i = 0; i < n[s]; i++) {
      b->ids[b->start[s] + i] = (i * 7 + n[s]) % VOCAB;
      b->keys[b->start[s] + i] = (uint64_t)n[s] * 1000 + (uint64_t)i;
    }
  }
  b->layout =
      (struct lrl_layout){.n_tokens = T, .n_seqs = 2, .start = b->start, .length = b->length};
}

struct options {
  bool record, recompute, dropout, without_lora, swapped;
};

/* Hidden states [T, HIDDEN] of the model's dtype as f32, and with `record` one pass backward from a
 * fixed gradient. Returns the peak of step memory in bytes. */
static size_t forward(struct model *m, struct options o, float *hidden) {
  struct batch b;
  struct lrl_tape tape;
  make_batch(&b, o.swapped);
  lrl_tape_init(&tape, &m->ctx, &m->steps, o.record);
  tape.recompute = o.recompute;
  struct lrl_decoder_input in = {.ids = b.ids,
                                 .layout = &b.layout,
                                 .dropout_seed = 9,
                                 .token_key = o.dropout ? b.keys : NULL,
                                 .without_lora = o.without_lora};
  struct lrl_decoder_output out;
  lrl_decoder_forward(&tape, &m->decoder, &in, &out);
  struct lrl_tensor *x = lrl_decoder_final(&tape, &m->decoder, &out, NULL, 0);
  assert_int_equal(tape.status, LRL_OK);
  for (int64_t i = 0; i < T * HIDDEN; i++)
    hidden[i] =
        x->dtype == LRL_F32 ? ((float *)x->data)[i] : lrl_bf16_to_f32(((uint16_t *)x->data)[i]);
  if (o.record) {
    float seed[T * HIDDEN];
    for (int i = 0; i < T * HIDDEN; i++)
      seed[i] = (float)((i * 37) % 11 - 5) / 50.0f;
    lrl_grad_seed(&tape, x, seed);
    assert_int_equal(lrl_backward(&tape), LRL_OK);
  }
  size_t peak = m->steps.peak;
  lrl_arena_reset(&m->steps, 0);
  return peak;
}

static double worst(const float *a, const float *b, int64_t n) {
  double w = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    w = !(d <= w) ? d : w;
  }
  return w;
}

static void test_base_underneath(void **state) {
  (void)state;
  struct model *base = make(0, LRL_F32, false), *lora = make(R, LRL_F32, true);
  float want[T * HIDDEN], got[T * HIDDEN];
  forward(base, (struct options){0}, want);
  forward(lora, (struct options){0}, got);
  assert_memory_equal(got, want, sizeof want); /* B is zero */
  fill_b(lora);
  forward(lora, (struct options){.without_lora = true}, got);
  assert_memory_equal(got, want, sizeof want);
  forward(lora, (struct options){0}, got);
  assert_true(worst(got, want, T * HIDDEN) > 1e-2);
  drop(base);
  drop(lora);
}

static void test_fresh_adapters(void **state) {
  (void)state;
  struct model *m = make(R, LRL_F32, true);
  struct lrl_param_unit *u;
  const struct lrl_param *a =
      lrl_param_find(&m->params, "model.layers.1.feed_forward.w2.lora_A.weight", &u);
  assert_non_null(a);
  assert_int_equal(a->dim[0], R);
  assert_int_equal(a->dim[1], 48);
  double bound = 1 / sqrt(48.0), square = 0;
  const float *v = (const float *)u->data + a->offset;
  for (int64_t i = 0; i < a->n; i++) {
    assert_true(fabs((double)v[i]) <= bound);
    square += (double)v[i] * (double)v[i] / (double)a->n;
  }
  /* Uniform: variance bound^2/3, its estimate from 192 values within 4 standard errors. */
  assert_true(fabs(square / (bound * bound / 3) - 1) < 4 * sqrt(0.8 / (double)a->n));
  drop(m);
}

/* With W' = W + s B A and G = dL/dW' of the merged model: dA = s B^T G, dB = s G A^T. */
static void check_gradients(struct model *m, struct model *full, const char *name) {
  char key[3][LRL_NAME_MAX];
  struct lrl_param_unit *u[3];
  const struct lrl_param *p[3];
  static const char *const part[3] = {"lora_A.weight", "lora_B.weight", "weight"};
  for (int i = 0; i < 3; i++) {
    snprintf(key[i], sizeof key[i], "model.layers.0.%s.%s", name, part[i]);
    p[i] = lrl_param_find(i < 2 ? &m->params : &full->params, key[i], &u[i]);
    assert_non_null(p[i]);
  }
  const float *a = (const float *)u[0]->data + p[0]->offset,
              *b = (const float *)u[1]->data + p[1]->offset, *da = u[0]->grad + p[0]->offset,
              *db = u[1]->grad + p[1]->offset, *g = u[2]->grad + p[2]->offset;
  int64_t out = p[2]->dim[0], in = p[2]->dim[1];
  double s = 6.0 / R, error = 0, size = 0;
  for (int64_t r = 0; r < R; r++) {
    for (int64_t j = 0; j < in; j++) {
      double want = 0;
      for (int64_t i = 0; i < out; i++)
        want += s * (double)b[i * R + r] * (double)g[i * in + j];
      error = fmax(error, fabs(want - (double)da[r * in + j]));
      size = fmax(size, fabs(want));
    }
    for (int64_t i = 0; i < out; i++) {
      double want = 0;
      for (int64_t j = 0; j < in; j++)
        want += s * (double)g[i * in + j] * (double)a[r * in + j];
      error = fmax(error, fabs(want - (double)db[i * R + r]));
      size = fmax(size, fabs(want));
    }
  }
  if (!(size > 1e-3 && error < 1e-4 * size))
    fail_msg("%s: error %g, largest gradient %g", name, error, size);
}

static void test_gradients_and_merge(void **state) {
  (void)state;
  struct model *m = make(R, LRL_F32, true), *merged = make(R, LRL_F32, true),
               *full = make(0, LRL_F32, true);
  float unmerged[T * HIDDEN], got[T * HIDDEN];
  fill_b(m);
  fill_b(merged);
  assert_int_equal(lrl_decoder_merge_lora(&merged->ctx, &merged->decoder), LRL_OK);
  for (int i = 0; i < full->params.n_units; i++) { /* the same weights without adapters */
    struct lrl_param_unit *to = &full->params.units[i];
    for (int j = 0; j < to->n_params; j++) {
      struct lrl_param_unit *from;
      const struct lrl_param *p = lrl_param_find(&merged->params, to->params[j].name, &from);
      assert_non_null(p);
      lrl_param_store(to, &to->params[j], (const float *)from->data + p->offset);
    }
  }
  forward(m, (struct options){.record = true}, unmerged);
  forward(merged, (struct options){0}, got);
  assert_true(worst(got, unmerged, T * HIDDEN) < 1e-5);
  forward(full, (struct options){.record = true}, got);
  assert_true(worst(got, unmerged, T * HIDDEN) < 1e-5);
  static const char *const names[] = {"attention.wqkv", "attention.wo", "feed_forward.w1",
                                      "feed_forward.w2", "feed_forward.w3"};
  for (int i = 0; i < 5; i++)
    check_gradients(m, full, names[i]);
  drop(m);
  drop(merged);
  drop(full);
}

static void test_merge_bf16(void **state) {
  (void)state;
  struct model *m = make(R, LRL_BF16, false);
  float before[T * HIDDEN], after[T * HIDDEN];
  fill_b(m);
  forward(m, (struct options){0}, before);
  assert_int_equal(lrl_decoder_merge_lora(&m->ctx, &m->decoder), LRL_OK);
  forward(m, (struct options){0}, after);
  double w = worst(after, before, T * HIDDEN); /* values are of order 1, bf16 keeps 8 bits */
  if (!(w < 0.1))
    fail_msg("bf16 merge moved a hidden state by %g", w);
  drop(m);
}

/* Recomputation draws the same dropout, and a token's does not depend on its place in the batch. */
static void test_dropout(void **state) {
  (void)state;
  struct model *m = make(R, LRL_F32, true);
  fill_b(m);
  float off[T * HIDDEN], on[T * HIDDEN], again[T * HIDDEN];
  struct lrl_param_unit *u = &m->params.units[m->decoder.layers[0].lora_unit];
  float *grad = calloc((size_t)u->n, sizeof *grad);
  forward(m, (struct options){0}, off);
  forward(m, (struct options){.record = true, .dropout = true}, on);
  assert_true(worst(on, off, T * HIDDEN) > 1e-3);
  memcpy(grad, u->grad, (size_t)u->n * sizeof *grad);
  memset(u->grad, 0, (size_t)u->n * sizeof *grad);
  forward(m, (struct options){.record = true, .dropout = true, .recompute = true}, again);
  assert_memory_equal(on, again, sizeof on);
  assert_memory_equal(grad, u->grad, (size_t)u->n * sizeof *grad);
  forward(m, (struct options){.dropout = true, .swapped = true}, again);
  assert_memory_equal(on, again + 9 * HIDDEN, 13 * HIDDEN * sizeof(float));
  assert_memory_equal(on + 13 * HIDDEN, again, 9 * HIDDEN * sizeof(float));
  free(grad);
  drop(m);
}

static void test_frozen_costs_nothing(void **state) {
  (void)state;
  float hidden[T * HIDDEN];
  struct model *frozen = make(0, LRL_F32, false), *lora = make(R, LRL_F32, true),
               *full = make(0, LRL_F32, true);
  int64_t adapters = 0, base = 0;
  for (int i = 0; i < lora->params.n_units; i++) {
    const struct lrl_param_unit *u = &lora->params.units[i];
    bool adapter = strstr(u->name, ".lora") != NULL;
    assert_int_equal(u->trainable, adapter);
    assert_int_equal(u->grad != NULL, adapter);
    *(adapter ? &adapters : &base) += u->n * 4;
  }
  /* Weights of the base, weights and gradients of the adapters, and nothing else. */
  assert_int_equal(frozen->weights.used, base);
  assert_int_equal(lora->weights.used, base + 2 * adapters);
  assert_int_equal(full->weights.used, 2 * base);
  /* A frozen decoder keeps nothing to go back, with or without recomputation. */
  size_t inference = forward(frozen, (struct options){0}, hidden);
  for (int recompute = 0; recompute < 2; recompute++) {
    struct lrl_tape tape;
    struct batch b;
    make_batch(&b, false);
    lrl_tape_init(&tape, &frozen->ctx, &frozen->steps, true);
    tape.recompute = recompute == 1;
    struct lrl_decoder_input in = {.ids = b.ids, .layout = &b.layout};
    struct lrl_decoder_output out;
    lrl_decoder_forward(&tape, &frozen->decoder, &in, &out);
    assert_int_equal(tape.status, LRL_OK);
    assert_false(out.branch->needs_grad);
    assert_false(out.stream->needs_grad);
    assert_null(tape.last);
    lrl_arena_reset(&frozen->steps, 0);
  }
  assert_true(frozen->steps.peak <= inference);
  /* The base's bits do not move under training. */
  float *before = malloc((size_t)lora->params.units[1].n * sizeof *before);
  memcpy(before, lora->params.units[1].data, (size_t)lora->params.units[1].n * sizeof *before);
  forward(lora, (struct options){.record = true}, hidden);
  assert_memory_equal(before, lora->params.units[1].data,
                      (size_t)lora->params.units[1].n * sizeof *before);
  free(before);
  drop(frozen);
  drop(lora);
  drop(full);
}

/* The reward model under the official LoRA script: adapters only (SPEC 5.8). */
static void test_reward_model(void **state) {
  (void)state;
  for (int freeze = 0; freeze < 2; freeze++) {
    struct lrl_vlm *m = calloc(1, sizeof *m);
    assert_non_null(m);
    struct lrl_vlm_config c = {.decoder = config(R),
                               .has_vision = true,
                               .vit = {.image_size = 28,
                                       .patch_size = 14,
                                       .hidden_size = 8,
                                       .intermediate_size = 8,
                                       .num_hidden_layers = 1,
                                       .num_attention_heads = 1,
                                       .layer_norm_eps = 1e-5},
                               .train_decoder = true,
                               .freeze_head = freeze == 1};
    assert_int_equal(lrl_vlm_init(m, &c), LRL_OK);
    for (int i = 0; i < m->params.n_units; i++) {
      const struct lrl_param_unit *u = &m->params.units[i];
      bool trains = strstr(u->name, ".lora") != NULL || (i == m->head_unit && freeze == 0);
      assert_int_equal(u->trainable, trains);
    }
    lrl_vlm_free(m);
    free(m);
  }
}

static void test_too_many_layers(void **state) {
  (void)state;
  struct lrl_param_set *params = calloc(1, sizeof *params);
  assert_non_null(params);
  struct lrl_decoder d;
  struct lrl_decoder_config c = config(R);
  c.num_hidden_layers = 200;
  assert_int_equal(lrl_decoder_build(&d, &c, params, LRL_F32, true), LRL_ERR_SHAPE);
  assert_non_null(strstr(lrl_last_error(), "200 decoder layers"));
  lrl_error_clear();
  free(params);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_base_underneath),
      cmocka_unit_test(test_fresh_adapters),
      cmocka_unit_test(test_gradients_and_merge),
      cmocka_unit_test(test_merge_bf16),
      cmocka_unit_test(test_dropout),
      cmocka_unit_test(test_frozen_costs_nothing),
      cmocka_unit_test(test_reward_model),
      cmocka_unit_test(test_too_many_layers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
