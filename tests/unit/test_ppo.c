/* The update step of PPO on small networks: the gradient of the whole loss, and what packing,
 * micro-batches and decoding must not change. */
#include "kernels/philox.h"
#include "model/param_build.h"
#include "train/ppo_trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 5, VOCAB = 23, HIDDEN = 16, PROMPTS = 3, RESPONSES = 7, TOKENS = 21, IMAGES = 5 };

/* Three prompts, the first of image tokens alone but for <s>; responses of 1 to 6 tokens. */
struct world {
  struct lrl_ctx ctx;
  struct lrl_arena steps, weights;
  struct lrl_vlm policy, critic;
  struct lrl_ppo_experience e;
  struct lrl_ppo_prompt prompt[PROMPTS];
  int32_t ids[PROMPTS][8], group[RESPONSES], start[RESPONSES], length[RESPONSES], token[TOKENS];
  float images[IMAGES * HIDDEN], old[TOKENS], ref[TOKENS], adv[TOKENS], values[TOKENS],
      returns[TOKENS];
  struct lrl_ppo_objective objective;
};

static void fill(float *x, int64_t n, uint64_t stream, float mean, float std) {
  struct lrl_rng r = lrl_rng_make(SEED, LRL_RNG_TEST, stream);
  for (int64_t i = 0; i < n; i++)
    x[i] = mean + std * lrl_rng_normal(&r);
}

static struct lrl_vlm_config config(enum lrl_vlm_head head) {
  return (struct lrl_vlm_config){
      .train_decoder = true,
      .head = head,
      .decoder = {.vocab_size = VOCAB,
                  .hidden_size = HIDDEN,
                  .intermediate_size = 24,
                  .num_hidden_layers = 2,
                  .num_attention_heads = 4,
                  .num_key_value_heads = 2,
                  .rms_norm_eps = 1e-5,
                  .plora_r = 4,
                  .plora_alpha = 8,
                  .initializer_range = 0.4,
                  .pad_token_id = -1,
                  .rope = {.head_dim = 4, .max_position_embeddings = 64, .theta = 1e4}}};
}

/* B of a low-rank pair begins at zero, which would hide its partner's gradient. */
static void wake(struct lrl_vlm *m) {
  for (int u = 0; u < m->params.n_units; u++)
    for (int i = 0; i < m->params.units[u].n_params; i++) {
      const struct lrl_param *p = &m->params.units[u].params[i];
      if (strstr(p->name, "Plora_B") != NULL)
        fill((float *)m->params.units[u].data + p->offset, p->n,
             100 + 10 * (uint64_t)u + (uint64_t)i, 0, 0.3f);
    }
}

static void make_world(struct world *w, const char *device) {
  static const int32_t lengths[RESPONSES] = {1, 4, 3, 6, 1, 4, 2};
  const struct lrl_vlm_config language = config(LRL_VLM_LANGUAGE), score = config(LRL_VLM_SCORE);
  struct lrl_rng r = lrl_rng_make(SEED, LRL_RNG_TEST, 1);
  memset(w, 0, sizeof *w);
  assert_int_equal(lrl_ctx_init(&w->ctx, device, 1), LRL_OK);
  assert_int_equal(lrl_arena_init(&w->steps, "steps", (size_t)1 << 30), LRL_OK);
  assert_int_equal(lrl_arena_init(&w->weights, "weights", (size_t)1 << 30), LRL_OK);
  assert_int_equal(lrl_vlm_init(&w->policy, &language), LRL_OK);
  assert_int_equal(lrl_vlm_init(&w->critic, &score), LRL_OK);
  assert_int_equal(lrl_param_set_init(&w->policy.params, 1), LRL_OK);
  assert_int_equal(lrl_param_set_init(&w->critic.params, 2), LRL_OK);
  wake(&w->policy);
  wake(&w->critic);
  assert_int_equal(lrl_param_set_alloc_grads(&w->policy.params, &w->weights), LRL_OK);
  assert_int_equal(lrl_param_set_alloc_grads(&w->critic.params, &w->weights), LRL_OK);
  int32_t at = 0;
  for (int k = 0; k < RESPONSES; k++) {
    w->group[k] = k < 3 ? 0 : k < 4 ? 1 : 2;
    w->start[k] = at;
    w->length[k] = lengths[k];
    at += lengths[k];
  }
  assert_int_equal(at, TOKENS);
  for (int t = 0; t < TOKENS; t++)
    w->token[t] = (int32_t)lrl_rng_below(&r, VOCAB);
  for (int p = 0, image = 0; p < PROMPTS; p++) {
    const int n_images = p == 0 ? 3 : p == 1 ? 0 : 2, n = p == 0 ? 4 : 6;
    for (int t = 0; t < n; t++)
      w->ids[p][t] = t > 0 && t <= n_images ? -1 : (int32_t)lrl_rng_below(&r, VOCAB);
    w->prompt[p] = (struct lrl_ppo_prompt){.position = p,
                                           .data = {.ids = w->ids[p], .n_ids = n},
                                           .first_image = image,
                                           .n_images = n_images,
                                           .first = p == 0   ? 0
                                                    : p == 1 ? 3
                                                             : 4,
                                           .n = p == 1 ? 1 : 3};
    image += n_images;
  }
  fill(w->images, IMAGES * HIDDEN, 2, 0, 1);
  fill(w->old, TOKENS, 3, 0, 0.3f);
  fill(w->ref, TOKENS, 4, 0, 0.3f);
  fill(w->adv, TOKENS, 5, 0, 1);
  fill(w->values, TOKENS, 6, 0, 1);
  fill(w->returns, TOKENS, 7, 0, 1);
  w->e = (struct lrl_ppo_experience){.n_prompts = PROMPTS,
                                     .n_responses = RESPONSES,
                                     .n_tokens = TOKENS,
                                     .n_image_rows = IMAGES,
                                     .prompt = w->prompt,
                                     .images = {w->images, NULL},
                                     .group = w->group,
                                     .start = w->start,
                                     .length = w->length,
                                     .token = w->token,
                                     .old_logprobs = w->old,
                                     .ref_logprobs = w->ref,
                                     .advantages = w->adv,
                                     .values = w->values,
                                     .returns = w->returns};
  w->objective = (struct lrl_ppo_objective){.cliprange = 0.2,
                                            .cliprange_high = 0.28,
                                            .dual_clip = 3,
                                            .log_ratio_clamp = 20,
                                            .entropy_coef = 0.1,
                                            .kl_loss = true,
                                            .kl_estimator = LRL_KL_K3,
                                            .kl_coef = 0.2,
                                            .cliprange_value = 0.5,
                                            .vf_coef = 0.7,
                                            .loss_agg = LRL_AGG_SEQ_MEAN_TOKEN_MEAN};
}
static void free_world(struct world *w) {
  lrl_vlm_free(&w->policy);
  lrl_vlm_free(&w->critic);
  lrl_arena_free(&w->steps);
  lrl_arena_free(&w->weights);
  lrl_ctx_free(&w->ctx);
}

static const int64_t in_order[PROMPTS] = {0, 1, 2};

/* Log-probs of all responses. */
static void logprobs_of(struct world *w, const int64_t *list, int64_t max_tokens, float *out) {
  struct lrl_ppo_cursor cursor = {.prompts = list, .n = PROMPTS};
  struct lrl_ppo_slice slices[PROMPTS];
  for (int64_t n;;) {
    lrl_ppo_next(&w->e, &cursor, max_tokens, slices, &n);
    if (n == 0)
      return;
    struct lrl_tape tape;
    struct lrl_ppo_packed packed;
    lrl_tape_init(&tape, &w->ctx, &w->steps, false);
    assert_int_equal(lrl_ppo_pack(&tape, &w->e, slices, n, &w->policy, w->images, &packed), LRL_OK);
    const struct lrl_ppo_pass pass = {.images = packed.images, .temperature = 0.8f};
    const struct lrl_tensor *x = lrl_ppo_logprobs(&tape, &w->policy, &packed.batch, &pass, NULL);
    assert_int_equal(tape.status, LRL_OK);
    lrl_ppo_unpack(&w->ctx, &w->e, slices, n, x->data, out);
    lrl_arena_reset(&w->steps, 0);
  }
}

/* Old and reference log-probs near those of the policy, as in training. */
static void near(struct world *w) {
  float now[TOKENS];
  logprobs_of(w, in_order, 0, now);
  for (int t = 0; t < TOKENS; t++) {
    w->old[t] += now[t];
    w->ref[t] += now[t];
  }
}

static void clear_grads(struct lrl_vlm *m) {
  for (int u = 0; u < m->params.n_units; u++)
    memset(m->params.units[u].grad, 0, (size_t)m->params.units[u].n * sizeof(float));
}

/* Loss of all prompts in micro-batches; gradients are added when asked for. */
static double loss_of(struct world *w, struct lrl_vlm *m, const int64_t *list, int64_t max_tokens,
                      bool gradients) {
  struct lrl_loss_count count = {.tokens = TOKENS, .seqs = RESPONSES};
  struct lrl_ppo_policy_sums policy = {0};
  struct lrl_ppo_value_stats value = {0};
  struct lrl_ppo_cursor cursor = {.prompts = list, .n = PROMPTS};
  struct lrl_ppo_slice slices[PROMPTS];
  for (int64_t n;;) {
    lrl_ppo_next(&w->e, &cursor, max_tokens, slices, &n);
    if (n == 0)
      break;
    struct lrl_tape tape;
    struct lrl_ppo_packed packed;
    lrl_tape_init(&tape, &w->ctx, &w->steps, gradients);
    assert_int_equal(lrl_ppo_pack(&tape, &w->e, slices, n, m, w->images, &packed), LRL_OK);
    const struct lrl_ppo_pass pass = {.images = packed.images, .temperature = 0.8f};
    lrl_status s = m == &w->policy
                       ? lrl_ppo_policy_micro_batch(&tape, m, &packed.batch, &pass, &packed.targets,
                                                    &w->objective, &count, &policy)
                       : lrl_ppo_value_micro_batch(&tape, m, &packed.batch, &pass, &packed.targets,
                                                   &w->objective, &count, &value);
    if (s != LRL_OK)
      fail_msg("%s", lrl_last_error());
    lrl_arena_reset(&w->steps, 0);
  }
  return m == &w->policy ? policy.policy.loss + w->objective.kl_coef * policy.kl_loss : value.loss;
}
/* Moves a unit along `d` by h. */
static void move(struct lrl_param_unit *u, const float *at, const float *d, double h) {
  for (int64_t i = 0; i < u->n; i++)
    ((float *)u->data)[i] = (float)((double)at[i] + h * (double)d[i]);
  u->version++;
}

/* Every unit of both networks along its gradient and along a random direction. */
static void test_gradient(void **state) {
  (void)state;
  struct world w;
  make_world(&w, "ref");
  near(&w);
  for (int k = 0; k < 2; k++) {
    struct lrl_vlm *m = k == 0 ? &w.policy : &w.critic;
    clear_grads(m);
    assert_true(isfinite(loss_of(&w, m, in_order, 0, true)));
    for (int u = 0; u < m->params.n_units; u++) {
      struct lrl_param_unit *unit = &m->params.units[u];
      float *at = malloc((size_t)unit->n * sizeof *at), *d = malloc((size_t)unit->n * sizeof *d);
      memcpy(at, unit->data, (size_t)unit->n * sizeof *at);
      for (int way = 0; way < 2; way++) {
        double norm = 0, slope = 0;
        if (way == 0)
          memcpy(d, unit->grad, (size_t)unit->n * sizeof *d);
        else
          fill(d, unit->n, 40 + (uint64_t)u, 0, 1);
        for (int64_t i = 0; i < unit->n; i++)
          norm += (double)d[i] * (double)d[i];
        norm = sqrt(norm);
        assert_true(norm > 1e-4);
        for (int64_t i = 0; i < unit->n; i++) {
          d[i] = (float)((double)d[i] / norm);
          slope += (double)d[i] * (double)unit->grad[i];
        }
        const double h = 5e-4; /* small: the clips have kinks */
        move(unit, at, d, h);
        const double up = loss_of(&w, m, in_order, 0, false);
        move(unit, at, d, -h);
        const double measured = (up - loss_of(&w, m, in_order, 0, false)) / (2 * h);
        move(unit, at, d, 0);
        if (!(fabs(measured - slope) <= 2e-3 * fmax(1.0, fabs(slope))))
          fail_msg("%s of the %s, direction %d: gradient %.7g, finite difference %.7g", unit->name,
                   k == 0 ? "policy" : "critic", way, slope, measured);
      }
      free(at);
      free(d);
    }
  }
  free_world(&w);
}

/* The sum does not depend on how it is cut; a group that is split has its prompt twice. */
static void test_micro_batches(void **state) {
  (void)state;
  struct world w;
  make_world(&w, "cpu");
  near(&w);
  for (int k = 0; k < 2; k++) {
    struct lrl_vlm *m = k == 0 ? &w.policy : &w.critic;
    clear_grads(m);
    const double whole = loss_of(&w, m, in_order, 0, true);
    float *grads[LRL_MAX_UNITS];
    for (int u = 0; u < m->params.n_units; u++) {
      const size_t bytes = (size_t)m->params.units[u].n * sizeof(float);
      grads[u] = malloc(bytes);
      memcpy(grads[u], m->params.units[u].grad, bytes);
    }
    static const int64_t turned[PROMPTS] = {2, 0, 1};
    for (int64_t most = 1; most <= 32; most *= 2) {
      clear_grads(m);
      const double cut = loss_of(&w, m, turned, most, true);
      assert_true(fabs(cut - whole) <= 1e-6 * fmax(1.0, fabs(whole)));
      for (int u = 0; u < m->params.n_units; u++)
        for (int64_t i = 0; i < m->params.units[u].n; i++)
          if (!(fabs((double)(m->params.units[u].grad[i] - grads[u][i])) <=
                2e-6 * fmax(1.0, fabs((double)grads[u][i]))))
            fail_msg("%s of the %s, element %d: %.8g and %.8g", m->params.units[u].name,
                     k == 0 ? "policy" : "critic", (int)i, (double)grads[u][i],
                     (double)m->params.units[u].grad[i]);
    }
    for (int u = 0; u < m->params.n_units; u++)
      free(grads[u]);
  }
  free_world(&w);
}

/* The same bits however they are packed, and those that decoding gave. */
static void test_exact_ratio(void **state) {
  (void)state;
  struct world w;
  float whole[TOKENS], cut[TOKENS];
  make_world(&w, "cpu");
  struct lrl_arena memory;
  assert_int_equal(lrl_arena_init(&memory, "memory", (size_t)1 << 30), LRL_OK);
  struct lrl_gen_prompt prompts[PROMPTS];
  for (int p = 0; p < PROMPTS; p++)
    prompts[p] = (struct lrl_gen_prompt){
        .ids = w.ids[p],
        .n_ids = w.prompt[p].data.n_ids,
        .images = w.prompt[p].n_images > 0 ? w.images + w.prompt[p].first_image * HIDDEN : NULL,
        .n_samples = w.prompt[p].n,
        .key = (uint64_t)p};
  const struct lrl_lm lm = {&w.policy.decoder, &w.policy.params.units[w.policy.head_unit], 0};
  const struct lrl_gen_options options = {.temperature = 0.8,
                                          .top_p = 1,
                                          .repetition_penalty = 1,
                                          .max_new_tokens = 3,
                                          .seed = SEED,
                                          .max_samples = 2};
  struct lrl_generation g;
  assert_int_equal(
      lrl_generate(&w.ctx, &lm, &options, prompts, PROMPTS, &memory, &w.steps, NULL, NULL, &g),
      LRL_OK);
  assert_int_equal(g.n_samples, RESPONSES);
  int32_t at = 0;
  for (int k = 0; k < RESPONSES; k++) {
    assert_int_equal(g.sample[k].n, 3);
    w.start[k] = at;
    w.length[k] = 3;
    memcpy(w.token + at, g.sample[k].tokens, 3 * sizeof *w.token);
    at += 3;
  }
  assert_int_equal(at, TOKENS);
  static const int64_t turned[PROMPTS] = {1, 2, 0};
  logprobs_of(&w, in_order, 0, whole);
  logprobs_of(&w, turned, 9, cut);
  assert_memory_equal(whole, cut, sizeof whole);
  for (int k = 0; k < RESPONSES; k++)
    assert_memory_equal(whole + w.start[k], g.sample[k].logprobs, 3 * sizeof(float));
  lrl_arena_free(&memory);
  free_world(&w);
}

/* No micro-batch is larger than it may be, but for one of a single response. */
static void test_cutting(void **state) {
  (void)state;
  struct world w;
  make_world(&w, "cpu");
  for (int64_t most = 0; most < 40; most++) {
    struct lrl_ppo_cursor cursor = {.prompts = in_order, .n = PROMPTS};
    struct lrl_ppo_slice slices[PROMPTS];
    int seen[RESPONSES] = {0};
    for (int64_t n;;) {
      lrl_ppo_next(&w.e, &cursor, most, slices, &n);
      if (n == 0)
        break;
      int64_t tokens = 0, responses = 0;
      for (int64_t i = 0; i < n; i++) {
        tokens += w.prompt[slices[i].prompt].data.n_ids;
        for (int64_t k = slices[i].first; k < slices[i].first + slices[i].n; k++, responses++) {
          assert_int_equal(w.group[k], slices[i].prompt);
          tokens += w.length[k] - 1;
          seen[k]++;
        }
      }
      assert_true(most == 0 || tokens <= most || responses == 1);
    }
    for (int k = 0; k < RESPONSES; k++)
      assert_int_equal(seen[k], 1);
  }
  free_world(&w);
}

static void test_average(void **state) {
  (void)state;
  struct world w, v;
  make_world(&w, "cpu");
  make_world(&v, "cpu");
  float *x = v.policy.params.units[0].data;
  const float before = x[3];
  ((float *)w.policy.params.units[0].data)[3] = before + 1.0f;
  assert_int_equal(lrl_ppo_average(&w.ctx, &v.policy, &w.policy, 0.75), LRL_OK);
  assert_true(fabsf(x[3] - (before + 0.25f)) < 1e-6f);
  w.policy.params.units[0].trainable = false;
  const float now = x[3];
  assert_int_equal(lrl_ppo_average(&w.ctx, &v.policy, &w.policy, 0.75), LRL_OK);
  assert_true(x[3] == now);
  assert_int_equal(lrl_ppo_average(&w.ctx, &v.policy, &w.policy, 0.0), LRL_ERR_ARG);
  assert_non_null(strstr(lrl_last_error(), "op ema: beta is 0, allowed is (0, 1)"));
  lrl_error_clear();
  free_world(&w);
  free_world(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gradient), cmocka_unit_test(test_micro_batches),
      cmocka_unit_test(test_exact_ratio), cmocka_unit_test(test_cutting),
      cmocka_unit_test(test_average)};
  printf("seed %d\n", SEED);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
