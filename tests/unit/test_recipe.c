/* The recipes under configs/: every shipped config loads, and the official one says what was
 * published - each number here is SPEC's, typed again, not read from the file. */
#include "launch/config.h"
#include "model/param_build.h"
#include "train/ppo_config.h"
#include "train/reward_config.h"
#include "train/sft.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct lrl_option_table table(void) {
  return (struct lrl_option_table){lrl_reward_options, lrl_n_reward_options};
}

static const char *source_path(const char *name) {
  static char path[1024];
  const char *root = getenv("LAUREL_SOURCE");
  snprintf(path, sizeof path, "%s/%s", root != NULL ? root : ".", name);
  return path;
}

static struct lrl_reward_config *load(const char *path) {
  struct lrl_option_table t = table();
  struct lrl_reward_config *c = malloc(sizeof *c);
  assert_non_null(c);
  lrl_config_defaults(&t, c);
  if (lrl_config_load(&t, c, path) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return c;
}

/* Every file that one of the two patterns finds loads into `config`, of table t. */
static void expect_loads(const char *const patterns[2], const struct lrl_option_table *t,
                         void *config, size_t least) {
  size_t n = 0;
  for (int i = 0; i < 2; i++) {
    glob_t g;
    if (glob(source_path(patterns[i]), 0, NULL, &g) != 0)
      continue;
    for (size_t k = 0; k < g.gl_pathc; k++, n++) {
      lrl_config_defaults(t, config);
      if (lrl_config_load(t, config, g.gl_pathv[k]) != LRL_OK)
        fail_msg("%s", lrl_last_error());
    }
    globfree(&g);
  }
  assert_true(n >= least);
}

static void test_every_config_loads(void **state) {
  (void)state;
  static const char *const reward[2] = {"configs/*reward.yaml", "configs/*/*reward*.yaml"};
  static const char *const sft[2] = {"configs/*sft.yaml", "configs/*/*sft*.yaml"};
  static const char *const ppo[2] = {"configs/*ppo*.yaml", "configs/*/*ppo*.yaml"};
  const struct lrl_option_table of_reward = table();
  const struct lrl_option_table of_sft = {lrl_sft_options, lrl_n_sft_options};
  const struct lrl_option_table of_ppo = {lrl_ppo_options, lrl_n_ppo_options};
  static struct lrl_reward_config r;
  static struct lrl_sft_config s;
  static struct lrl_ppo_config p;
  expect_loads(reward, &of_reward, &r, 5);
  expect_loads(sft, &of_sft, &s, 3);
  expect_loads(ppo, &of_ppo, &p, 3);
}

static bool is(double a, double b) { return !(a < b) && !(a > b); }

/* The numbers that the paper gives, and those of the InternLM2 report (SPEC 6.3, 6.6). */
static void test_ppo_recipes(void **state) {
  (void)state;
  const struct lrl_option_table t = {lrl_ppo_options, lrl_n_ppo_options};
  static struct lrl_ppo_config c;
  lrl_config_defaults(&t, &c);
  assert_int_equal(lrl_config_load(&t, &c, source_path("configs/recipes/ixc2_5_chat_ppo_7b.yaml")),
                   LRL_OK);
  assert_true(is(c.actor.lr, 5e-5) && is(c.value.lr, 5e-5) && c.rollout_batch_size == 256);
  assert_true(is(c.gamma, 0.99) && is(c.lam, 0.95) && is(c.cliprange, 0.2));
  assert_true(is(c.kl_coef, 0.01) && is(c.top_p, 0.9) && is(c.cliprange_value, 0));
  lrl_config_defaults(&t, &c);
  assert_int_equal(lrl_config_load(&t, &c, source_path("configs/recipes/internlm2_ppo.yaml")),
                   LRL_OK);
  assert_true(is(c.actor.lr, 1e-6) && is(c.value.lr, 5e-6) && is(c.lam, 0.99));
  assert_true(is(c.kl_coef, 0.01) && is(c.top_p, 0.9) && is(c.cliprange_value, 0));
  assert_true(c.critic_warmup == 50 && c.max_steps == 400 && is(c.ptx_coef, 0.5));
  assert_true(c.critic_reset_head);
}

/* SFT before the reward model, and InternLM2's reward model (SPEC 5.3, 5.8). */
static void test_other_recipes(void **state) {
  (void)state;
  const struct lrl_option_table t = {lrl_sft_options, lrl_n_sft_options};
  static struct lrl_sft_config s;
  lrl_config_defaults(&t, &s);
  assert_int_equal(lrl_config_load(&t, &s, source_path("configs/recipes/ixc2_5_sft_7b.yaml")),
                   LRL_OK);
  const struct lrl_trainer_options *c = &s.common;
  assert_true(is(c->optim.lr, 1e-5) && is(c->optim.beta2, 0.95) && is(c->optim.weight_decay, 0.1));
  assert_true(c->data.hd_num == 18 && c->data.max_length == 16384 && c->batch_size == 2 * 8 * 8);
  assert_true(!c->model.freeze_vision && !c->model.freeze_projector);
  struct lrl_reward_config *r = load(source_path("configs/recipes/internlm2_reward.yaml"));
  c = &r->common;
  assert_true(is(c->optim.lr, 1e-5) && is(c->optim.lr * c->optim.min_lr_ratio, 5e-6));
  assert_true(is(c->optim.weight_decay, 0.01) && c->data.max_length == 8192);
  assert_true(is(r->focal_gamma, 2) && is(r->penalty_weight, 0.02) && is(r->barrier, 5));
  free(r);
}

/* "key: value" as lrl_config_text writes it. */
static void test_official_values(void **state) {
  (void)state;
  static const char *const lines[] = {
      "model.hidden_size: 4096",
      "model.intermediate_size: 14336",
      "model.num_hidden_layers: 32",
      "model.num_attention_heads: 32",
      "model.num_key_value_heads: 8",
      "model.max_position_embeddings: 24576",
      "model.rms_norm_eps: 1",
      "model.rope_theta: 1000000",
      "model.rope_scaling: dynamic",
      "model.rope_factor: 2",
      "model.dtype: bf16",
      "model.pooling: last",
      "model.plora_r: 256",
      "model.plora_alpha: 256",
      "model.plora_dropout: 0.05",
      "model.lora_r: 0",
      "model.freeze_decoder: false",
      "model.freeze_head: false",
      "model.freeze_vision_tower: true",
      "model.freeze_projector: true",
      "model.vision: clip",
      "vision.image_size: 560",
      "vision.patch_size: 14",
      "vision.hidden_size: 1024",
      "vision.intermediate_size: 4096",
      "vision.num_hidden_layers: 24",
      "vision.num_attention_heads: 16",
      "data.given_num: true",
      "data.order: official",
      "data.max_length: 8192",
      "data.filter_overlong: false",
      "data.check_data: true",
      "data.length_ratio: 0",
      "data.image_transform: training",
      "data.hd_num: 9",
      "data.reward_suffix: no_newline",
      "loss.rank: logsigmoid",
      "loss.penalty: none",
      "optim.schedule: cosine",
      "optim.max_grad_norm: 1",
      "train.seed: 42",
      "train.epochs: 1",
      "train.batch_size: 256",
      "train.gradient_checkpointing: true",
      "train.zero_stage: 2",
  };
  struct lrl_option_table t = table();
  struct lrl_reward_config *c = load(source_path("configs/recipes/ixc2_5_reward_7b.yaml"));
  char *text = lrl_config_text(&t, c), *all = NULL;
  assert_int_not_equal(asprintf(&all, "\n%s", text), -1);
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    char line[128];
    snprintf(line, sizeof line, "\n%s", lines[i]);
    if (strstr(all, line) == NULL)
      fail_msg("the recipe does not say '%s'", lines[i]);
  }
  assert_true(c->common.model.rms_norm_eps == 1e-5 && c->common.model.layer_norm_eps == 1e-5);
  assert_true(c->common.model.initializer_range == 0.02 && c->common.model.plora_dropout == 0.05);
  assert_true(c->common.optim.lr == 1e-5 && c->common.optim.warmup_ratio == 0.01 &&
              c->common.optim.weight_decay == 0.1);
  assert_true(c->common.optim.beta1 == 0.9 && c->common.optim.beta2 == 0.95 &&
              c->common.optim.eps == 1e-8);
  free(all);
  free(text);
  free(c);
}

static int64_t count(const struct lrl_param_set *set, bool only_trainable) {
  int64_t n = 0;
  for (int i = 0; i < set->n_units; i++)
    for (int j = 0; j < set->units[i].n_params; j++)
      n += !only_trainable || set->units[i].trainable ? set->units[i].params[j].n : 0;
  return n;
}

/* The network it describes has as many parameters as the published one (SPEC 1.6). */
static void test_official_size(void **state) {
  (void)state;
  struct lrl_reward_config *c = load(source_path("configs/recipes/ixc2_5_reward_7b.yaml"));
  struct lrl_tokenizer_info info = {.n_vocab = 92544, .pad = 2};
  struct lrl_vlm_config m;
  assert_int_equal(lrl_model_options_config(&c->common.model, &info, &m), LRL_OK);
  struct lrl_param_set *params = calloc(1, sizeof *params);
  struct lrl_decoder d;
  struct lrl_vit v;
  assert_non_null(params);
  assert_int_equal(
      lrl_vit_build(&v, &m.vit, "vit.vision_tower.vision_model.", params, m.dtype, m.train_vision),
      LRL_OK);
  assert_int_equal(count(params, false), 304556032);
  assert_int_equal(count(params, true), 0);
  assert_int_equal(lrl_decoder_build(&d, &m.decoder, params, m.dtype, m.train_decoder), LRL_OK);
  const int64_t h = 4096, output = 92544 * h, plora = 603979776;
  assert_int_equal(count(params, true), 7737708544 - output + plora);
  const int64_t gn = 2 * h, head = h, projector = 2 * (h * h + h);
  assert_int_equal(projector, 33562624);
  assert_int_equal(count(params, false) + projector + gn + head, 8300759040);
  assert_int_equal(count(params, true) + gn + head, 7962640384);
  lrl_decoder_free(&d);
  lrl_vit_free(&v);
  lrl_param_set_free(params);
  free(params);
  free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_config_loads), cmocka_unit_test(test_ppo_recipes),
      cmocka_unit_test(test_other_recipes),      cmocka_unit_test(test_official_values),
      cmocka_unit_test(test_official_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
