/* Plans from option keys, for test_plan.c and test_plan_official.c. */
#ifndef LRL_TESTS_PLAN_FIXTURE_H
#define LRL_TESTS_PLAN_FIXTURE_H
#include "launch/config.h"
#include "train/plan_run.h"
#include "train/reward.h"
#include "train/sft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline void set(const struct lrl_option_table *t, void *cfg, const char *const *keys) {
  lrl_config_defaults(t, cfg);
  for (; *keys != NULL; keys++)
    if (lrl_config_override(t, cfg, *keys) != LRL_OK)
      fail_msg("%s", lrl_last_error());
}
static inline struct lrl_reward_config *reward(const char *const *keys) {
  static struct lrl_reward_config c;
  const struct lrl_option_table t = {lrl_reward_options, lrl_n_reward_options};
  set(&t, &c, keys);
  return &c;
}
static inline struct lrl_sft_config *sft(const char *const *keys) {
  static struct lrl_sft_config c;
  const struct lrl_option_table t = {lrl_sft_options, lrl_n_sft_options};
  set(&t, &c, keys);
  return &c;
}
static inline struct lrl_plan_report plan(const struct lrl_trainer_kind *kind,
                                          const struct lrl_trainer_options *o, const void *cfg,
                                          const struct lrl_plan_setting *s) {
  struct lrl_plan_report r;
  if (lrl_plan_training(kind, o, cfg, s, &r) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return r;
}

static inline struct lrl_plan_report ppo_plan(const char *const *networks, const char *const *keys,
                                              const struct lrl_plan_setting *s) {
  static struct lrl_ppo_config c;
  const struct lrl_option_table t = {lrl_ppo_options, lrl_n_ppo_options};
  struct lrl_plan_report r;
  set(&t, &c, keys);
  const struct lrl_plan_ppo n = {&reward(networks)->common.model, ""};
  if (lrl_plan_ppo(&c, &n, s, &r) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  return r;
}
#endif
