/* What the stages of a sweep can run, and which axes and stages each depends on. */
#include "launch/data_verbs.h"
#include "launch/generate.h"
#include "launch/sweep_impl.h"
#include "train/ppo_config.h"
#include "train/reward_config.h"
#include "train/sft.h"

#include <string.h>

const struct lrl_sweep_command *lrl_sweep_command_find(const char *name) {
  static struct lrl_sweep_command commands[] = {
      {.name = "reward", .words = {"reward"}, .trainer = true},
      {.name = "sft", .words = {"sft"}, .trainer = true},
      {.name = "ppo", .words = {"ppo"}, .trainer = true},
      {.name = "generate", .words = {"generate"}, .out = "out", .out_file = "/answers.jsonl"},
      {.name = "data synth", .words = {"data", "synth"}, .out = "out", .out_file = ""},
  };
  commands[0].table = (struct lrl_option_table){lrl_reward_options, lrl_n_reward_options};
  commands[1].table = (struct lrl_option_table){lrl_sft_options, lrl_n_sft_options};
  commands[2].table = (struct lrl_option_table){lrl_ppo_options, lrl_n_ppo_options};
  commands[3].table = lrl_generate_table;
  commands[4].table = lrl_data_synth_table;
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp(commands[i].name, name) == 0)
      return &commands[i];
  return NULL;
}

const char *lrl_sweep_key_of(const struct lrl_sweep *s, const struct lrl_sweep_stage *stage,
                             const char *key) {
  const size_t n = strlen(stage->name);
  if (!s->staged)
    return stage->command->trainer && strchr(key, '.') == NULL ? NULL : key;
  return strncmp(key, stage->name, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;
}

bool lrl_sweep_takes_seed(const struct lrl_sweep_axis *a, const struct lrl_sweep_stage *stage) {
  if (strcmp(a->name, "seed") != 0 || a->variants || !stage->command->trainer)
    return false;
  for (int64_t i = 0; i < stage->settings.n; i++)
    if (strcmp(stage->settings.at[i].key, "train.seed") == 0)
      return false;
  return true;
}

const char *lrl_sweep_reference(const char *p, const char **name, size_t *n) {
  if (p[0] != '$' || p[1] != '{')
    return NULL;
  *name = p + 2;
  *n = strcspn(*name, "}");
  return (*name)[*n] == '}' ? *name + *n + 1 : NULL;
}

int64_t lrl_sweep_axis_named(const struct lrl_sweep *s, const char *name, size_t n) {
  for (int64_t i = 0; i < s->n_axes; i++)
    if (strlen(s->axis[i].name) == n && memcmp(s->axis[i].name, name, n) == 0)
      return i;
  return -1;
}

int64_t lrl_sweep_stage_named(const struct lrl_sweep *s, int64_t before, const char *name,
                              size_t n) {
  for (int64_t i = 0; i < before; i++)
    if (strlen(s->stage[i].name) == n && memcmp(s->stage[i].name, name, n) == 0)
      return i;
  return -1;
}

/* What the references of a text add to what stage k depends on. */
static lrl_status depend(struct lrl_sweep *s, int64_t k, const char *text, const char *where) {
  for (const char *p = text, *end, *name; *p != '\0'; p = end) {
    size_t n;
    end = lrl_sweep_reference(p, &name, &n);
    if (end == NULL) {
      end = p + 1;
      continue;
    }
    const int64_t axis = lrl_sweep_axis_named(s, name, n),
                  stage = lrl_sweep_stage_named(s, k, name, n);
    if (axis < 0 && stage < 0)
      return LRL_FAIL(LRL_ERR_ARG,
                      "%s: ${%.*s} is neither an axis of the sweep nor a stage before '%s'", where,
                      (int)n, name, s->stage[k].name);
    s->stage[k].axes |= axis >= 0 ? 1U << axis : s->stage[stage].axes;
    s->stage[k].needs |= axis >= 0 ? 0 : 1U << stage;
  }
  return LRL_OK;
}

static lrl_status depend_all(struct lrl_sweep *s, int64_t k,
                             const struct lrl_sweep_settings *settings) {
  for (int64_t i = 0; i < settings->n; i++)
    LRL_TRY(depend(s, k, settings->at[i].value, settings->at[i].where));
  return LRL_OK;
}

static lrl_status dependencies(struct lrl_sweep *s, int64_t k) {
  struct lrl_sweep_stage *stage = &s->stage[k];
  LRL_TRY(depend_all(s, k, &stage->settings));
  LRL_TRY(depend_all(s, k, &stage->files));
  if (stage->config != NULL)
    LRL_TRY(depend(s, k, stage->config, s->file));
  for (int64_t a = 0; a < s->n_axes; a++) {
    if (lrl_sweep_takes_seed(&s->axis[a], stage))
      stage->axes |= 1U << a;
    for (int64_t c = 0; c < s->axis[a].n; c++) {
      const struct lrl_sweep_settings *t = &s->axis[a].choice[c].settings;
      for (int64_t i = 0; i < t->n; i++)
        if (lrl_sweep_key_of(s, stage, t->at[i].key) != NULL) {
          stage->axes |= 1U << a;
          LRL_TRY(depend(s, k, t->at[i].value, t->at[i].where));
        }
    }
  }
  return LRL_OK;
}

/* Whether an axis sets this key of the stage. */
static bool sets(const struct lrl_sweep *s, const struct lrl_sweep_stage *stage,
                 const struct lrl_sweep_axis *a, const char *key) {
  bool found = lrl_sweep_takes_seed(a, stage) && strcmp(key, "train.seed") == 0;
  for (int64_t c = 0; c < a->n; c++)
    for (int64_t i = 0; i < a->choice[c].settings.n; i++) {
      const char *own = lrl_sweep_key_of(s, stage, a->choice[c].settings.at[i].key);
      found = found || (own != NULL && strcmp(own, key) == 0);
    }
  return found;
}

/* Two axes over one key: the results of one would bear the names of the other. */
static lrl_status check_keys(const struct lrl_sweep *s, const struct lrl_sweep_stage *stage,
                             int64_t axis) {
  const struct lrl_sweep_axis *a = &s->axis[axis];
  for (int64_t c = 0; c < a->n; c++)
    for (int64_t i = 0; i < a->choice[c].settings.n; i++) {
      const struct lrl_sweep_setting *t = &a->choice[c].settings.at[i];
      const char *key = lrl_sweep_key_of(s, stage, t->key);
      for (int64_t b = 0; b < s->n_axes && key != NULL; b++)
        if (b != axis && sets(s, stage, &s->axis[b], key))
          return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s and sweep.%s both set %s", t->where, a->name,
                          s->axis[b].name, t->key);
    }
  return LRL_OK;
}

/* An axis that nothing depends on, or a choice that sets a key of no stage, is a slip of the pen.
 */
static lrl_status check_axes(const struct lrl_sweep *s) {
  for (int64_t a = 0; a < s->n_axes; a++) {
    const struct lrl_sweep_axis *axis = &s->axis[a];
    bool used = false;
    for (int64_t k = 0; k < s->n_stages; k++) {
      used = used || (s->stage[k].axes >> a & 1) != 0;
      LRL_TRY(check_keys(s, &s->stage[k], a));
    }
    if (!used)
      return LRL_FAIL(LRL_ERR_ARG,
                      "%s: nothing depends on sweep.%s: name a key (STAGE.KEY where there are "
                      "stages) or use it as ${%s}",
                      s->file, axis->name, axis->name);
    for (int64_t c = 0; c < axis->n && axis->variants; c++)
      for (int64_t i = 0; i < axis->choice[c].settings.n; i++) {
        const struct lrl_sweep_setting *t = &axis->choice[c].settings.at[i];
        bool known = false;
        for (int64_t k = 0; k < s->n_stages; k++)
          known = known || lrl_sweep_key_of(s, &s->stage[k], t->key) != NULL;
        if (!known)
          return LRL_FAIL(LRL_ERR_ARG, "%s: '%s' is a key of no stage", t->where, t->key);
      }
  }
  return LRL_OK;
}

lrl_status lrl_sweep_dependencies(struct lrl_sweep *s) {
  for (int64_t k = 0; k < s->n_stages; k++)
    LRL_TRY(dependencies(s, k));
  return check_axes(s);
}
