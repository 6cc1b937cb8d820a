/* Following the gradients of units through a backward: each unit is announced once before its first
 * contribution and once after its last, however often it is used, recomputed or not; and
 * recomputing blocks does not change a gradient. */
#include "kernels/philox.h"
#include "model/param_build.h"
#include "model/vlm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LENGTH = 5, MAX_TOKENS = 64 };

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena steps;
  struct lrl_vlm vlm;
  struct lrl_unit_hooks hooks;
  int touched[LRL_MAX_UNITS], done[LRL_MAX_UNITS];
  float *at_done[LRL_MAX_UNITS]; /* the gradient as it was when the unit was done */
};

static struct lrl_param_unit *unit_of(struct model *m, int i) { return &m->vlm.params.units[i]; }
static size_t grad_bytes(const struct lrl_param_unit *u) { return (size_t)u->n * sizeof(float); }

static lrl_status touch(void *user, struct lrl_param_unit *u) {
  struct model *m = user;
  const int i = (int)(u - m->vlm.params.units);
  assert_int_equal(m->done[i], 0);
  for (int64_t k = 0; k < u->n; k++)
    assert_true(u->grad[k] == 0.0f);
  m->touched[i]++;
  return LRL_OK;
}

static lrl_status done(void *user, struct lrl_param_unit *u) {
  struct model *m = user;
  const int i = (int)(u - m->vlm.params.units);
  m->done[i]++;
  memcpy(m->at_done[i], u->grad, grad_bytes(u));
  return LRL_OK;
}

static struct model *make(bool vision_trains) {
  struct model *m = calloc(1, sizeof *m);
  assert_non_null(m);
  struct lrl_vlm_config c = {
      .decoder = {.vocab_size = 67,
                  .hidden_size = 24,
                  .intermediate_size = 40,
                  .num_hidden_layers = 3,
                  .num_attention_heads = 2,
                  .num_key_value_heads = 1,
                  .rms_norm_eps = 1e-5,
                  .initializer_range = 0.1,
                  .pad_token_id = -1,
                  .plora_r = 4,
                  .plora_alpha = 4,
                  .rope = {.head_dim = 12, .max_position_embeddings = 64, .theta = 1e4}},
      .has_vision = true,
      .vit = {.image_size = 28,
              .patch_size = 14,
              .hidden_size = 8,
              .intermediate_size = 12,
              .num_hidden_layers = 2,
              .num_attention_heads = 2,
              .layer_norm_eps = 1e-5,
              .initializer_range = 0.1},
      .dtype = LRL_F32,
      .train_decoder = true,
      .train_vision = vision_trains,
      .train_projector = true,
  };
  assert_int_equal(lrl_ctx_init(&m->ctx, "cpu", 1), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->steps, "steps", (size_t)1 << 28), LRL_OK);
  assert_int_equal(lrl_vlm_init(&m->vlm, &c), LRL_OK);
  assert_int_equal(lrl_param_set_alloc_grads(&m->vlm.params, &m->vlm.weights), LRL_OK);
  assert_int_equal(lrl_param_set_init(&m->vlm.params, 7), LRL_OK);
  for (int i = 0; i < m->vlm.params.n_units; i++)
    m->at_done[i] = calloc(1, grad_bytes(unit_of(m, i)) + 1);
  m->hooks = (struct lrl_unit_hooks){.touch = touch, .done = done, .user = m};
  return m;
}

static void drop(struct model *m) {
  for (int i = 0; i < m->vlm.params.n_units; i++)
    free(m->at_done[i]);
  lrl_vlm_free(&m->vlm);
  lrl_arena_free(&m->steps);
  lrl_ctx_free(&m->ctx);
  free(m);
}

/* Records one forward of two answers, the first with an image if asked for. */
static struct lrl_tensor *forward(struct lrl_tape *tape, struct model *m, int seed, bool image) {
  static const int32_t one = 1;
  struct lrl_rng rng = lrl_rng_make(5, LRL_RNG_TEST, (uint64_t)seed);
  const int n_image = image ? (int)lrl_vlm_image_tokens(&m->vlm.cfg.vit, 1, 1) : 0;
  int32_t *ids = lrl_tape_alloc(tape, 2 * MAX_TOKENS * sizeof *ids), *rows = ids + MAX_TOKENS;
  int32_t *start = lrl_tape_alloc(tape, 6 * sizeof *start), *length = start + 2, *last = start + 4;
  float *tiles = lrl_tape_alloc(tape, 2 * 3 * 28 * 28 * sizeof *tiles);
  struct lrl_layout *layout = lrl_tape_alloc(tape, sizeof *layout);
  assert_int_equal(tape->status, LRL_OK);
  start[0] = 0;
  length[0] = start[1] = LENGTH + n_image;
  length[1] = LENGTH - 1;
  for (int i = 0; i < length[0] + length[1]; i++) {
    bool hole = i >= 1 && i < 1 + n_image;
    ids[i] = hole ? -1 : (int32_t)lrl_rng_below(&rng, 67);
    if (hole)
      rows[i - 1] = i;
  }
  for (int i = 0; i < 2 * 3 * 28 * 28; i++)
    tiles[i] = lrl_rng_normal(&rng);
  last[0] = length[0] - 1;
  last[1] = length[0] + length[1] - 1;
  *layout = (struct lrl_layout){
      .n_tokens = length[0] + length[1], .n_seqs = 2, .start = start, .length = length};
  struct lrl_vlm_images images = {
      .n_images = 1, .n_tiles = 2, .rows = &one, .cols = &one, .tiles = tiles};
  struct lrl_vlm_input in = {.ids = ids,
                             .layout = layout,
                             .images = image ? &images : NULL,
                             .image_rows = rows,
                             .n_image_rows = n_image,
                             .n_scores = 2,
                             .score_rows = last};
  return lrl_vlm_scores(tape, &m->vlm, &in);
}

/* A pass of `uses` forwards on one tape; then every unit was announced as it must. */
static void pass(struct model *m, int uses, bool image, bool recompute) {
  struct lrl_tape tape;
  struct lrl_tensor *score[2];
  static const float grad[2] = {1.0f, -0.5f};
  memset(m->touched, 0, sizeof m->touched);
  memset(m->done, 0, sizeof m->done);
  for (int i = 0; i < m->vlm.params.n_units; i++) {
    struct lrl_param_unit *u = unit_of(m, i);
    u->uses = 0;
    u->touched = false;
    if (u->trainable)
      memset(u->grad, 0, grad_bytes(u));
  }
  lrl_tape_init(&tape, &m->ctx, &m->steps, true);
  tape.recompute = recompute;
  tape.hooks = &m->hooks;
  for (int i = 0; i < uses; i++)
    score[i] = forward(&tape, m, i, image);
  for (int i = 0; i < uses; i++)
    lrl_grad_seed(&tape, score[i], grad);
  assert_int_equal(lrl_backward(&tape), LRL_OK);
  lrl_arena_reset(&m->steps, 0);
  for (int i = 0; i < m->vlm.params.n_units; i++) {
    struct lrl_param_unit *u = unit_of(m, i);
    const bool decoder = i > m->vlm.projector_unit;
    /* post_layernorm of the tower is not used by the reward model. */
    const bool used = u->trainable && i != m->vlm.vit.post_unit && (decoder || image);
    if (m->touched[i] != used || m->done[i] != used)
      fail_msg("%s: announced %d, done %d times, used %d", u->name, m->touched[i], m->done[i],
               used);
    if (used)
      assert_memory_equal(m->at_done[i], u->grad, grad_bytes(u));
  }
}

static void test_announced_once(void **state) {
  (void)state;
  for (int vision = 0; vision <= 1; vision++) {
    struct model *m = make(vision != 0);
    for (int i = 0; i < 8; i++)
      pass(m, 1 + i / 4, i % 4 >= 2, i % 2 != 0);
    drop(m);
  }
}

static void test_recomputed_gradients(void **state) {
  (void)state;
  struct model *m = make(true);
  for (int image = 0; image <= 1; image++) {
    float *kept[LRL_MAX_UNITS] = {0};
    pass(m, 1, image != 0, false);
    for (int i = 0; i < m->vlm.params.n_units; i++) {
      if (!unit_of(m, i)->trainable)
        continue;
      kept[i] = malloc(grad_bytes(unit_of(m, i)) + 1);
      memcpy(kept[i], unit_of(m, i)->grad, grad_bytes(unit_of(m, i)));
    }
    pass(m, 1, image != 0, true);
    for (int i = 0; i < m->vlm.params.n_units; i++) {
      const struct lrl_param_unit *u = unit_of(m, i);
      float size = 0, worst = 0;
      for (int64_t k = 0; kept[i] != NULL && k < u->n; k++) {
        size = fmaxf(size, fabsf(kept[i][k]));
        worst = fmaxf(worst, fabsf(kept[i][k] - u->grad[k]));
      }
      if (worst > 1e-5f * size)
        fail_msg("%s: recomputing changes the gradient by %g of %g", u->name, (double)worst,
                 (double)size);
      free(kept[i]);
    }
  }
  drop(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_announced_once),
      cmocka_unit_test(test_recomputed_gradients),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
