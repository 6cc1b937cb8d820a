/* The scale of new weights: initializer_range, or 1/sqrt(inputs) when that is 0. */
#include "model/param_build.h"
#include "model/vlm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Std of a parameter around 0. */
static double std_of(struct lrl_param_set *set, const char *name) {
  struct lrl_param_unit *u = NULL;
  const struct lrl_param *p = lrl_param_find(set, name, &u);
  if (p == NULL)
    fail_msg("there is no %s", name);
  double sum = 0;
  for (int64_t i = 0; i < p->n; i++)
    sum += pow(((const float *)u->data)[p->offset + i], 2);
  return sqrt(sum / (double)p->n);
}

static struct lrl_vlm_config config(double range) {
  return (struct lrl_vlm_config){
      .decoder = {.vocab_size = 200,
                  .hidden_size = 48,
                  .intermediate_size = 80,
                  .num_hidden_layers = 1,
                  .num_attention_heads = 2,
                  .num_key_value_heads = 2,
                  .initializer_range = range,
                  .plora_r = 20,
                  .plora_alpha = 1,
                  .rope = {.head_dim = 24, .max_position_embeddings = 64, .theta = 1e4}},
      .has_vision = true,
      .vit = {.image_size = 56,
              .patch_size = 7,
              .hidden_size = 32,
              .intermediate_size = 72,
              .num_hidden_layers = 1,
              .num_attention_heads = 2,
              .initializer_range = range},
      .dtype = LRL_F32};
}

static const struct {
  const char *name;
  double inputs, rel; /* rel: five standard deviations of a std from that many draws */
} weights[] = {
    {"model.tok_embeddings.weight", 1, 0.04},
    {"model.layers.0.attention.wqkv.weight", 48, 0.05},
    {"model.layers.0.attention.wqkv.Plora_A.weight", 48, 0.12},
    {"model.layers.0.attention.wqkv.Plora_B.weight", 20, 0.07},
    {"model.layers.0.feed_forward.w2.weight", 80, 0.06},
    {"vision_proj.0.weight", 4 * 32, 0.05},
    {"vision_proj.2.weight", 48, 0.08},
    {"vit.vision_tower.vision_model.embeddings.patch_embedding.weight", 3 * 7 * 7, 0.06},
    {"vit.vision_tower.vision_model.embeddings.position_embedding.weight", 1, 0.08},
    {"vit.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight", 32, 0.12},
    {"vit.vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", 32, 0.08},
    {"vit.vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight", 72, 0.08},
    {"score.weight", 48, 0.52},
};

static void test_scales(void **state) {
  (void)state;
  static const double ranges[2] = {0, 0.03};
  for (int k = 0; k < 2; k++) {
    const struct lrl_vlm_config c = config(ranges[k]);
    struct lrl_vlm m;
    assert_int_equal(lrl_vlm_init(&m, &c), LRL_OK);
    assert_int_equal(lrl_param_set_init(&m.params, 3), LRL_OK);
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
      double want = k == 0 ? 1 / sqrt(weights[i].inputs) : ranges[k];
      double got = std_of(&m.params, weights[i].name);
      if (fabs(got / want - 1) > weights[i].rel)
        fail_msg("%s with range %g: std %g, not %g", weights[i].name, ranges[k], got, want);
    }
    assert_true(std_of(&m.params, "model.layers.0.ffn_norm.weight") == 1);
    assert_true(std_of(&m.params, "vision_proj.0.bias") == 0);
    lrl_vlm_free(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_scales)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
