/* `laurel plan`: what it prints of the recipes, what it advises, what it refuses. The numbers
 * behind it: test_plan.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* Output of both kinds; the exit status must be `status`. */
static const char *plan(const char *arguments, int status) {
  static char text[16384], command[1024];
  const char *source = getenv("LAUREL_SOURCE");
  snprintf(command, sizeof command, "cd '%s' && '%s' plan %s 2>&1", source != NULL ? source : ".",
           getenv("LAUREL_BIN"), arguments);
  FILE *f = popen(command, "r"); /* NOLINT(cert-env33-c): our own command line */
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = '\0';
  const int ended = pclose(f);
  if (!WIFEXITED(ended) || WEXITSTATUS(ended) != status)
    fail_msg("laurel plan %s: %s", arguments, text);
  return text;
}
static void expect(const char *text, const char *what) {
  if (strstr(text, what) == NULL)
    fail_msg("no \"%s\" in:\n%s", what, text);
}
/* The number that stands behind the first `what`. */
static double number(const char *text, const char *what) {
  expect(text, what);
  return strtod(strstr(text, what) + strlen(what), NULL);
}

#define RECIPE "configs/recipes/ixc2_5_reward_7b.yaml "

static void test_fits(void **state) {
  (void)state;
  const char *t = plan(RECIPE "--gpu h100 --ranks 8", 0);
  expect(t, "laurel reward configs/recipes/");
  expect(t, "8 x H100 SXM 80 GB, ZeRO stage 2");
  expect(t, "8,300,759,040, 7,962,640,384 of them trained");
  expect(t, "12288 packed tokens");
  expect(t, "16383 tokens of text");
  expect(t, "together");
  expect(t, ": fits,");
  assert_null(strstr(t, "each change"));
  const double weights = number(t, "  weights"), step = number(t, "a step takes at least");
  assert_true(weights > 15.4 && weights < 15.5); /* GiB of bf16 */
  assert_true(step > 27.0 && step < 40.0);       /* 27,428 TFLOP at 989 TFLOP/s are 27.7 s */
  const double wide = number(plan(RECIPE "--gpu h100 --ranks 64", 0), "a step takes at least");
  assert_true(wide < 0.2 * step); /* an eighth of the pairs */
  const char *one = plan("sft " RECIPE "--ranks 1 --gpu h200 model.lora_r=16 --prompt 100 "
                         "--answer 20 --tiles 0",
                         1);
  expect(one, "unknown key 'loss."); /* a reward config is none of sft's */
}

static void test_does_not_fit(void **state) {
  (void)state;
  const char *t = plan(RECIPE "--gpu l40s --ranks 8", 0);
  expect(t, "DOES NOT FIT");
  expect(t, "what each change would give");
  expect(t, "--ranks 16");
  expect(t, "model.lora_r=64");
  expect(t, "data.max_length=4096 train.micro_batch_tokens=8192");
  expect(t, "any of those that fit will do");
  assert_null(strstr(t, "zero_stage=1"));           /* it has 2 */
  assert_null(strstr(t, "gradient_checkpointing")); /* is on */
  t = plan(RECIPE "--gpu h100 --ranks 8 --zero 0 train.gradient_checkpointing=false", 0);
  expect(t, "train.gradient_checkpointing=true");
  expect(t, "train.zero_stage=2");
  expect(t, "it fits with train.gradient_checkpointing=true train.zero_stage=1\n");
  assert_null(strstr(t, ": fits")); /* none of them alone */
  expect(plan(RECIPE "--gpu rtx4090 --ranks 1", 0), "nor does it fit with all of them");
}

static void test_ppo(void **state) {
  (void)state;
#define PPO "configs/recipes/ixc2_5_chat_ppo_7b.yaml "
  const char *t = plan(PPO "--model " RECIPE "--ranks 64 --gpu h200", 0);
  expect(t, "laurel ppo configs/recipes/");
  expect(t, "8,679,815,168, 8,341,688,320 of them trained");
  expect(t, "policy, reference, critic, reward model");
  expect(t, "256 prompts of 8192 tokens with an image of 3 x 3 tiles, 1 response of 1024 tokens");
  expect(t, "  rollout ");
  assert_true(number(t, "  cache and responses") > 1);
  assert_true(number(t, "  weights") > 63 && number(t, "  weights") < 64); /* GiB, four networks */
  t = plan(PPO "--model " RECIPE "actor.lora_r=16 ppo.estimator=grpo rollout.max_new_tokens=8", 0);
  expect(t, "policy (also the reference), reward model, all");
  expect(plan(PPO, 1), "which networks? --model");
  t = plan(PPO "--model " RECIPE "--ranks 64 --gpu h200 ppo.ema_beta=0.99", 0);
  expect(t, "policy, reference, critic, reward model, the policy's average in f32, all of the");
  assert_true(number(t, "  weights") > 94 && number(t, "  weights") < 96); /* and 32 GiB more */
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    const char *arguments, *want;
  } cases[] = {
      {RECIPE "--gpu h1000", "no GPU is called 'h1000' here; there are a100-40, a100,"},
      {RECIPE "--zero 3", "no ZeRO stage 3"},
      {RECIPE "--rank 8", "unknown key 'rank'; the nearest known key is 'ranks'"},
      {RECIPE "--ranks 0", "ranks"},
      {RECIPE "model.hiden_size=4", "the nearest known key is 'model.hidden_size'"},
      {RECIPE "model.vocab_size=0", "the vocabulary is not known"},
      {RECIPE "--prompt 100", "has 4081 tokens, the prompt of 100 tokens has no room"},
      {"configs/text_reward.yaml --tiles 3 model.vocab_size=1000", "has no vision tower"},
      {"/no/such.yaml", "/no/such.yaml"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    expect(plan(cases[i].arguments, 1), cases[i].want);
  expect(plan("", 2), "usage: laurel plan");
  expect(plan("--help", 0), "per_host");
}

int main(void) {
  if (getenv("LAUREL_BIN") == NULL) {
    printf("SKIP: LAUREL_BIN names no program\n");
    return 0;
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_fits),
                                     cmocka_unit_test(test_does_not_fit),
                                     cmocka_unit_test(test_ppo), cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
