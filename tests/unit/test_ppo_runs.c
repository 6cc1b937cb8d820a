/* Whole runs of laurel ppo on the synthetic world: pictures, a reward model from the same base, the
 * gold rules; killed and resumed, on several ranks, with every estimator, at the edges. */
#include "run_fixture.h"

#include <hdf5.h>

static void call(const char *const *words) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  for (; *words != NULL; words++)
    add(&c, "%s", *words);
  finish(start(&c), 0);
}

static void write_text(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

/* A policy of words and pictures, and reward models from it: of the same vision, and of another. */
static int make_models(void **state) {
  if (make_files(state) != 0)
    return -1;
  char out[96], tokenizer[128], data[160], from[96];
  snprintf(out, sizeof out, "%s/world", dir);
  snprintf(tokenizer, sizeof tokenizer, "model.tokenizer=%s/tokenizer.model", out);
  snprintf(data, sizeof data, "data.train=%s/counting_train.json", out);
  snprintf(from, sizeof from, "model.init_from=%s/sft", dir);
  call((const char *const[]){"data", "synth", "--out", out, "--size", "24", "--validation", "5",
                             "--domains", "counting,arithmetic", "--tile", "56", NULL});
#define SHAPE                                                                                      \
  tokenizer, data, "model.initializer_range=0.05", "model.vision=clip", "vision.image_size=56",    \
      "vision.patch_size=14", "vision.hidden_size=16", "vision.intermediate_size=16",              \
      "vision.num_hidden_layers=1", "vision.num_attention_heads=2", "model.plora_r=2",             \
      "data.hd_num=1", "data.eval=", "data.max_length=256", "train.max_steps=20"
  trainer = "sft";
  run("sft", 1, (const char *const[]){SHAPE, NULL}, 0);
  run("sft_inference", 1, (const char *const[]){SHAPE, "data.image_transform=inference", NULL}, 0);
  trainer = "reward";
  run("rm", 1, (const char *const[]){SHAPE, from, NULL}, 0);
  run("rm2", 1, (const char *const[]){SHAPE, "train.seed=7", NULL}, 0);
  return 0;
}

/* `laurel ppo` into dir/run; later keys win. */
static struct command ppo(const char *name, int n_ranks, const char *const *extra) {
  struct command c = {0};
  if (n_ranks > 1) {
    static const char *const mpi[] = {"mpirun",
                                      "--allow-run-as-root",
                                      "--oversubscribe",
                                      "--bind-to",
                                      "none",
                                      "-x",
                                      "ASAN_OPTIONS=detect_leaks=0",
                                      "-np"};
    for (size_t i = 0; i < sizeof mpi / sizeof mpi[0]; i++)
      add(&c, "%s", mpi[i]);
    add(&c, "%d", n_ranks);
  }
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "ppo");
  add(&c, "actor.init_from=%s/sft", dir);
  add(&c, "reward.model=%s/rm", dir);
  add(&c, "data.train=%s/world/data.txt", dir);
  add(&c, "train.output_dir=%s/%s", dir, name);
  static const char *const base[] = {"train.threads=1",
                                     "rollout.batch_size=7",
                                     "ppo.mini_batch_size=3",
                                     "ppo.num_ppo_epochs=2",
                                     "train.max_steps=2",
                                     "rollout.max_new_tokens=6",
                                     "actor.optim.lr=1e-3",
                                     "critic.optim.lr=1e-3",
                                     "actor.optim.warmup_ratio=0",
                                     "critic.optim.warmup_ratio=0"};
  for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
    add(&c, "%s", base[i]);
  for (; extra != NULL && *extra != NULL; extra++)
    add(&c, "%s", *extra);
  return c;
}
static void run_ppo(const char *name, int n_ranks, const char *const *extra, int want) {
  struct command c = ppo(name, n_ranks, extra);
  finish(start(&c), want);
}

/* Line k of a run's metrics. */
static json_t *metrics(const char *run_name, int k) {
  char name[100];
  snprintf(name, sizeof name, "%s/metrics.jsonl", run_name);
  char *text = slurp(name, NULL), *line = text;
  assert_non_null(text);
  for (; k > 0 && line != NULL; k--)
    line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1;
  json_t *o = line == NULL ? NULL : json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
  free(text);
  return o;
}
static double number(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  return json_is_number(v) ? json_number_value(v) : NAN;
}

/* What must hold whatever the settings: decoding and training agree to the bit, so the ratio is
 * exactly 1 before the first update, and nothing that was computed is NaN. */
static void expect_sound(const char *run_name) {
  for (int k = 0; k < 2; k++) {
    json_t *o = metrics(run_name, k);
    if (o == NULL)
      fail_msg("%s has no line %d", run_name, k);
    static const char *const zero[] = {"actor/ratio_first_epoch_max_abs",
                                       "actor/rollout_logprob_max_abs_diff", "train/skipped_steps"};
    static const char *const finite[] = {"actor/pg_loss",         "actor/grad_norm",
                                         "objective/kl",          "objective/entropy",
                                         "response_length/mean",  "critic/advantages/mean",
                                         "objective/rlhf_reward", "actor/ratio"};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
      if (!(number(o, zero[i]) == 0.0))
        fail_msg("%s, line %d: %s is %g", run_name, k, zero[i], number(o, zero[i]));
    for (size_t i = 0; i < sizeof finite / sizeof finite[0]; i++)
      if (!isfinite(number(o, finite[i])))
        fail_msg("%s, line %d: %s is not finite", run_name, k, finite[i]);
    json_decref(o);
  }
}

/* ---- exactness ---- */

#define LONG                                                                                       \
  "train.max_steps=6", "train.save_steps=2", "reward.normalize=true", "kl.kl_ctrl.type=adaptive",  \
      "kl.kl_ctrl.horizon=20", "ppo.ema_beta=0.9", "rollout.samples_per_prompt=2",                 \
      "train.eval_steps=3", "ptx.coef=0.5", "ptx.batch_size=3", GENTLE, answers, evaluation
static char evaluation[128], answers[128];
/* Gradients of well-behaved networks: what is chaotic anyhow cannot show that ranks agree. */
#define GENTLE "actor.optim.lr=2e-5", "critic.optim.lr=2e-5"

static void test_killed(void **state) {
  (void)state;
  snprintf(evaluation, sizeof evaluation, "data.eval=%s/world/data_validation.txt", dir);
  snprintf(answers, sizeof answers, "ptx.data=%s/world/data.txt", dir);
  run_ppo("whole", 1, (const char *const[]){LONG, NULL}, 0);
  static const int kills[] = {1, 3, 5, 7};
  struct command c = ppo("killed", 1, (const char *const[]){LONG, "--resume", "auto", NULL});
  kill_and_resume(&c, "killed", kills, sizeof kills / sizeof kills[0]);
  expect_same_text("whole/metrics.jsonl", "killed/metrics.jsonl");
  size_t a, b;
  char *x = slurp("whole/checkpoints/step_00000006.h5", &a);
  char *y = slurp("killed/checkpoints/step_00000006.h5", &b);
  assert_non_null(x);
  assert_non_null(y);
  assert_int_equal(a, b); /* the texts in them differ by the folder's name only */
  free(x);
  free(y);
  json_t *last = metrics("whole", 8);
  assert_non_null(last); /* 6 iterations, evaluations before, in the middle and at the end */
  assert_true(isfinite(number(last, "eval/objective/gold")));
  json_decref(last);
}

/* Every number of both runs' metrics. */
static void expect_near(const char *a, const char *b, double tolerance) {
  for (int k = 0;; k++) {
    json_t *x = metrics(a, k), *y = metrics(b, k);
    assert_int_equal(x == NULL, y == NULL);
    if (x == NULL) {
      assert_true(k > 5);
      return;
    }
    const char *key;
    json_t *v;
    json_object_foreach(x, key, v) {
      const double p = json_number_value(v), q = json_number_value(json_object_get(y, key));
      if (!(fabs(p - q) <= tolerance * fmax(1.0, fabs(p))))
        fail_msg("%s against %s, line %d: %s is %.9g and %.9g", a, b, k + 1, key, p, q);
    }
    json_decref(x);
    json_decref(y);
  }
}

static void test_ranks(void **state) {
  (void)state;
  run_ppo("small", 1, (const char *const[]){LONG, "train.micro_batch_tokens=40", NULL}, 0);
  expect_near("whole", "small", 1e-5);
  run_ppo("threads", 1,
          (const char *const[]){LONG, "train.threads=2", "rollout.max_samples=3", NULL}, 0);
  expect_same_text("whole/metrics.jsonl", "threads/metrics.jsonl");
  if (!have_mpirun()) {
    print_message("SKIP: no mpirun\n");
    skip();
  }
  run_ppo("np2", 2, (const char *const[]){LONG, NULL}, 0);
  expect_near("whole", "np2", 1e-5);
  run_ppo("np2z1", 2, (const char *const[]){LONG, "train.zero_stage=1", NULL}, 0);
  expect_near("whole", "np2z1", 1e-5);
  run_ppo("np3z2", 3,
          (const char *const[]){LONG, "train.zero_stage=2", "train.micro_batch_tokens=80", NULL},
          0);
  expect_near("whole", "np3z2", 1e-5);
}

/* ---- settings ---- */

static void expect_settings(const char *const *const *sets, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char name[16];
    snprintf(name, sizeof name, "set%zu", i);
    const char *extra[16] = {"train.overwrite=true"};
    print_message("  %s\n", sets[i][0]);
    for (int k = 0; sets[i][k] != NULL; k++)
      extra[k + 1] = sets[i][k];
    run_ppo(name, 1, extra, 0);
    expect_sound(name);
  }
}
#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_estimators(void **state) {
  (void)state;
#define GROUP "rollout.samples_per_prompt=3"
  const char *const *const sets[] = {
      SET("ppo.estimator=grpo", GROUP, "kl.in=loss", "kl.kl_estimator=k3"),
      SET("ppo.estimator=grpo", GROUP, "ppo.norm_adv_by_std_in_grpo=false",
          "ppo.loss_agg=seq-mean-token-sum-norm"),
      SET("ppo.estimator=rloo", GROUP, "ppo.loss_agg=seq-mean-token-sum"),
      SET("ppo.estimator=reinforce_pp", "kl.kl_estimator=k2"),
      SET("ppo.estimator=reinforce_pp_baseline", GROUP),
      SET("ppo.estimator=remax", GROUP),
      SET("ppo.estimator=opo", GROUP, "ppo.loss_agg=seq-mean-token-mean"),
  };
  expect_settings(sets, sizeof sets / sizeof sets[0]);
}

/* Networks in bf16: decoding and training still agree to the bit, two ranks with one to the type's
 * rounding, and a run goes on with the same bits. */
static void test_bf16(void **state) {
  (void)state;
  char tokenizer[128], data[160], from[96], actor[96], reward[96];
  snprintf(data, sizeof data, "data.train=%s/world/counting_train.json", dir);
  snprintf(from, sizeof from, "model.init_from=%s/sft", dir);
  snprintf(tokenizer, sizeof tokenizer, "model.tokenizer=%s/world/tokenizer.model", dir);
  snprintf(actor, sizeof actor, "actor.init_from=%s/sft_bf16", dir);
  snprintf(reward, sizeof reward, "reward.model=%s/rm_bf16", dir);
  trainer = "sft";
  run("sft_bf16", 1, (const char *const[]){SHAPE, from, "model.dtype=bf16", NULL}, 0);
  trainer = "reward";
  run("rm_bf16", 1, (const char *const[]){SHAPE, from, "model.dtype=bf16", NULL}, 0);
#define BOTH actor, reward, GENTLE
  run_ppo("half", 1, (const char *const[]){BOTH, NULL}, 0);
  expect_sound("half");
  static const int kills[] = {1};
  struct command c =
      ppo("half_killed", 1,
          (const char *const[]){BOTH, "train.save_steps=1", "--resume", "auto", NULL});
  kill_and_resume(&c, "half_killed", kills, 1);
  expect_same_text("half/metrics.jsonl", "half_killed/metrics.jsonl");
  if (!have_mpirun())
    return;
  run_ppo("half2", 2, (const char *const[]){BOTH, NULL}, 0);
  expect_sound("half2");
  for (int k = 0; k < 2; k++) {
    json_t *a = metrics("half", k), *b = metrics("half2", k);
    const double x = number(a, "objective/scores"), y = number(b, "objective/scores");
    if (!(fabs(x - y) <= 1e-2 * (1 + fabs(x))))
      fail_msg("line %d: mean score %.9g with one rank, %.9g with two", k, x, y);
    json_decref(a);
    json_decref(b);
  }
}

static void test_switches(void **state) {
  (void)state;
  const char *const *const sets[] = {
      SET("ppo.ratio=sequence", "ppo.dual_clip=3", "ppo.cliprange_high=0.28"),
      SET("ppo.ratio=sequence_token", "ppo.entropy_coef=0.01", "ppo.cliprange_value=0"),
      SET("ppo.whiten_rewards=true", "ppo.whiten_kind=biased", "ppo.whiten_advantages=false"),
      SET("reward.source=both", "reward.gold_coef=2", "reward.clip_low=-1", "reward.clip_high=1"),
      SET("rollout.top_p=0.8", "rollout.temperature=0.7", "rollout.top_k=20"),
      SET("ppo.target_kl_stop=1e-9", "train.gradient_checkpointing=true"),
      SET("actor.lora_r=4", "critic.lora_r=2"),
      SET("train.device=ref"),
  };
  expect_settings(sets, sizeof sets / sizeof sets[0]);
  json_t *o = metrics("set5", 1); /* one step an iteration, its KL is 0; the second ends it */
  assert_true(number(o, "actor/steps") < 6);
  assert_true(number(o, "actor/stopped") == 1.0);
  json_decref(o);
  /* With the printed ratio the first step already differs from 1 once the policy has moved. */
  run_ppo("printed", 1, SET("ppo.ratio_ref=ref", "train.overwrite=true"), 0);
  o = metrics("printed", 1);
  assert_true(number(o, "actor/ratio_first_epoch_max_abs") > 0);
  json_decref(o);
}

/* The reference of a LoRA policy is its base: no KL before the first step, some after it. */
static void test_lora_reference(void **state) {
  (void)state;
  run_ppo("lora", 1, SET("actor.lora_r=4", "actor.optim.lr=1e-2"), 0);
  json_t *first = metrics("lora", 0), *second = metrics("lora", 1);
  assert_true(number(first, "objective/kl") == 0.0);
  assert_true(number(second, "objective/kl_k3") > 0.0);
  json_decref(first);
  json_decref(second);
  /* What was trained with adapters can be trained on: they are merged. */
  char from[96];
  snprintf(from, sizeof from, "actor.init_from=%s/lora", dir);
  run_ppo("lora2", 1, SET(from, "actor.lora_r=2"), 0);
  expect_sound("lora2");
  json_t *o = metrics("lora2", 0);
  assert_true(number(o, "objective/kl") == 0.0);
  json_decref(o);
}

/* ---- vision ---- */

/* A picture that is seen once for all networks gives the very scores that laurel generate gets,
 * which looks at it for each answer. */
static void test_scores_of_shared_vision(void **state) {
  (void)state;
  char policy[96], data[110], rm[96], rows[96], out[96];
  snprintf(policy, sizeof policy, "actor.init_from=%s/sft_inference", dir);
  snprintf(data, sizeof data, "data.train=%s/one.jsonl", dir);
  snprintf(rm, sizeof rm, "%s/rm", dir);
  snprintf(rows, sizeof rows, "%s/one.jsonl", dir);
  snprintf(out, sizeof out, "%s/one_answers.jsonl", dir);
  write_text("one.jsonl", "{\"prompt\": \"How many?\", \"image\": "
                          "\"world/images/counting/train-000000.png\"}\n");
  call((const char *const[]){"generate", strchr(policy, '=') + 1,
                             rows,       "--reward",
                             rm,         "--out",
                             out,        "--samples",
                             "3",        "--seed",
                             "42",       "--temperature",
                             "1",        "--top_p",
                             "1",        "--repetition_penalty",
                             "1",        "--max_new_tokens",
                             "6",        "--hd_num",
                             "1",        NULL});
  char *text = slurp("one_answers.jsonl", NULL);
  assert_non_null(text);
  json_t *generated = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
  const json_t *list = json_object_get(generated, "responses");
  double least = INFINITY, most = -INFINITY;
  assert_int_equal(json_array_size(list), 3);
  for (size_t i = 0; i < 3; i++) {
    const double x = number(json_array_get(list, i), "score");
    least = fmin(least, x);
    most = fmax(most, x);
  }
  run_ppo("seen", 1,
          SET(policy, data, "rollout.batch_size=1", "rollout.samples_per_prompt=3",
              "train.max_steps=1"),
          0);
  json_t *o = metrics("seen", 0);
  assert_true(number(o, "critic/score/min") == least);
  assert_true(number(o, "critic/score/max") == most);
  assert_true(least < most);
  json_decref(o);
  json_decref(generated);
  free(text);
}

static void test_shared_vision(void **state) {
  (void)state;
  char other[96];
  snprintf(other, sizeof other, "critic.init_from=%s/rm2", dir);
  run_ppo("own", 1, SET(other), 0);
  expect_log("(own vision tower)");
  expect_sound("own");
  run_ppo("shared", 1, NULL, 0);
  expect_log("(the policy's vision tower)"); /* the separators were trained */
  expect_sound("shared");
}

/* ---- edges ---- */

static void test_edges(void **state) {
  (void)state;
  const char *const *const sets[] = {
      SET("rollout.max_new_tokens=1"),
      SET("rollout.max_new_tokens=2", "reward.missing_eos_penalty=3", "reward.overlong_buffer=1"),
      SET("rollout.batch_size=1", "ppo.mini_batch_size=5"),
      SET("data.max_prompt_length=1", "data.prompt_overflow=left"),
      SET("ppo.critic_warmup=0", "critic.reset_head=true"),
  };
  expect_settings(sets, sizeof sets / sizeof sets[0]);
  json_t *o = metrics("set0", 0);
  assert_true(number(o, "response_length/max") == 1.0);
  json_decref(o);
  o = metrics("set3", 0);
  assert_true(number(o, "prompt_length/max") == 1.0);
  json_decref(o);
  /* A critic alone for the first iteration: the policy stays. */
  run_ppo("warm", 1, SET("ppo.critic_warmup=2"), 0);
  o = metrics("warm", 1);
  assert_true(number(o, "actor/steps") == 0.0);
  assert_true(number(o, "objective/kl") == 0.0);
  assert_true(number(o, "critic/grad_norm") > 0.0);
  json_decref(o);
}

/* No member of a group is better than another: nothing to learn, and nothing breaks. */
static void test_identical_rewards(void **state) {
  (void)state;
  run_ppo("same", 1,
          SET("reward.source=gold", "ppo.estimator=grpo", "rollout.samples_per_prompt=3",
              "rollout.max_new_tokens=1", "kl.kl_coef=0"),
          0);
  expect_sound("same");
  json_t *o = metrics("same", 1);
  assert_true(number(o, "critic/rewards/max") == number(o, "critic/rewards/min"));
  assert_true(number(o, "actor/grad_norm") == 0.0);
  json_decref(o);
}

static void test_pictures_alone(void **state) {
  (void)state;
  char rows[1200], data[128];
  const char *format = "{\"prompt\": \"%s\", \"image\": \"world/images/counting/%s\"}\n";
  int n = 0;
  for (int i = 0; i < 4; i++)
    n += snprintf(rows + n, sizeof rows - (size_t)n, format, i == 3 ? "Look." : "",
                  i % 2 == 0 ? "train-000000.png" : "train-000001.jpg");
  write_text("pictures.jsonl", rows);
  snprintf(data, sizeof data, "data.train=%s/pictures.jsonl", dir);
  run_ppo("pictures", 1, SET(data, "rollout.batch_size=4"), 0);
  expect_sound("pictures");
  /* One that is damaged behind its head is left out of the iteration, and told. */
  char command[400];
  snprintf(command, sizeof command,
           "cd %s/world/images/counting && head -c 300 train-000002.png > cut.png", dir);
  assert_int_equal(system(command), 0);
  snprintf(rows + n, sizeof rows - (size_t)n, format, "Look.", "cut.png");
  write_text("pictures.jsonl", rows);
  run_ppo("damaged", 1, SET(data, "rollout.batch_size=5"), 0);
  expect_log("is left out");
  expect_sound("damaged");
  json_t *o = metrics("damaged", 0);
  assert_true(number(o, "data/set_aside") == 1.0);
  json_decref(o);
}

/* The file of an iteration holds what its metrics are the means of. */
static void test_dump(void **state) {
  (void)state;
  run_ppo("dump", 1, SET("rollout.dump=true", "train.max_steps=1"), 0);
  char path[128];
  snprintf(path, sizeof path, "%s/dump/experience/step_00000001_rank0.h5", dir);
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  hid_t set = H5Dopen2(file, "length", H5P_DEFAULT), space = H5Dget_space(set);
  assert_int_equal(H5Sget_simple_extent_npoints(space), 7);
  int32_t length[7];
  double sum = 0;
  assert_true(H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, length) >= 0);
  for (int i = 0; i < 7; i++)
    sum += length[i];
  json_t *o = metrics("dump", 0);
  assert_true(fabs(sum / 7 - number(o, "response_length/mean")) < 1e-6);
  json_decref(o);
  H5Sclose(space);
  H5Dclose(set);
  set = H5Dopen2(file, "advantages", H5P_DEFAULT);
  space = H5Dget_space(set);
  assert_int_equal(H5Sget_simple_extent_npoints(space), (int)sum);
  H5Sclose(space);
  H5Dclose(set);
  assert_true(H5Lexists(file, "baseline", H5P_DEFAULT) <= 0); /* ReMax only */
  H5Fclose(file);
}

static void test_refusals(void **state) {
  (void)state;
  char rm[96], tok[110];
  snprintf(rm, sizeof rm, "actor.init_from=%s/rm", dir);
  run_ppo("no", 1, SET(rm), 1);
  expect_log("it cannot write");
  run_ppo("no", 1, SET("reward.model="), 1);
  expect_log("reward.model");
  run_ppo("no", 1, SET("data.max_prompt_length=1"), 1);
  expect_log("no prompt of");
  trainer = "reward";
  run("words", 1, SET("data.eval=", "train.max_steps=1"), 0); /* of another tokenizer */
  snprintf(tok, sizeof tok, "critic.init_from=%s/words", dir);
  run_ppo("no", 1, SET(tok), 1);
  expect_log("another tokenizer");
  run_ppo("whole", 1, SET(LONG, "--resume", "auto", "ppo.lam=0.5"), 1);
  expect_log("ppo.lam");
  write_text("plain.jsonl", "{\"prompt\": \"Hello\"}\n");
  snprintf(tok, sizeof tok, "data.train=%s/plain.jsonl", dir);
  run_ppo("no", 1, SET(tok, "reward.source=gold", "rollout.batch_size=1"), 1);
  expect_log("no \"gold\"");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed),         cmocka_unit_test(test_ranks),
      cmocka_unit_test(test_estimators),     cmocka_unit_test(test_bf16),
      cmocka_unit_test(test_switches),       cmocka_unit_test(test_lora_reference),
      cmocka_unit_test(test_shared_vision),  cmocka_unit_test(test_scores_of_shared_vision),
      cmocka_unit_test(test_edges),          cmocka_unit_test(test_identical_rewards),
      cmocka_unit_test(test_pictures_alone), cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_dump),
  };
  return cmocka_run_group_tests(tests, make_models, remove_files);
}
