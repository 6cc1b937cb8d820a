/* From axes and stages to runs with all of their arguments. */
#include "data/text.h"
#include "launch/config.h"
#include "launch/sweep_impl.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* *out: the text with its references replaced; malloc'ed. */
static lrl_status expand(const struct lrl_sweep *s, const struct lrl_sweep_point *p, int64_t k,
                         const char *text, char **out) {
  struct lrl_text t = {0};
  lrl_status status = lrl_text_add(&t, "", 0);
  for (const char *at = text, *end, *name; *at != '\0' && status == LRL_OK; at = end) {
    size_t n;
    end = lrl_sweep_reference(at, &name, &n);
    if (end == NULL) {
      end = at + 1;
      status = lrl_text_add(&t, at, 1);
      continue;
    }
    const int64_t axis = lrl_sweep_axis_named(s, name, n);
    status =
        lrl_text_puts(&t, axis >= 0 ? s->axis[axis].choice[p->choice[axis]].name
                                    : s->run[p->run[lrl_sweep_stage_named(s, k, name, n)]].dir);
  }
  *out = t.data;
  return status;
}

/* "rm-without-seed1": the stage and what it depends on. */
static lrl_status name_of(const struct lrl_sweep *s, const struct lrl_sweep_point *p, int64_t k,
                          char **out) {
  struct lrl_text t = {0};
  lrl_status status = lrl_text_puts(&t, s->stage[k].name);
  for (int64_t a = 0; a < s->n_axes && status == LRL_OK; a++) {
    const struct lrl_sweep_axis *axis = &s->axis[a];
    if ((s->stage[k].axes >> a & 1) == 0)
      continue;
    const char *dot = strrchr(axis->name, '.'), *short_name = dot == NULL ? axis->name : dot + 1;
    status = lrl_text_puts(&t, "-");
    if (status == LRL_OK && !axis->variants)
      status = lrl_text_puts(&t, short_name);
    if (status == LRL_OK)
      status = lrl_text_puts(&t, axis->choice[p->choice[a]].name);
  }
  for (char *c = t.data; c != NULL && *c != '\0'; c++)
    if (!isalnum((unsigned char)*c) && strchr("._+-", *c) == NULL)
      *c = '_';
  *out = t.data;
  return status;
}

/* Values are parsed into it to be checked, and forgotten; as large as the largest config. */
static union {
  char bytes[1 << 16];
  double align;
} scratch;

/* Checks a setting and adds it to the arguments, each key once, the last value. */
static lrl_status add_key(const struct lrl_sweep *s, const struct lrl_sweep_point *p,
                          struct lrl_sweep_settings *keys, int64_t k, const char *key,
                          const char *value, const char *where) {
  const struct lrl_sweep_command *c = s->stage[k].command;
  const char *ours[] = {c->trainer ? "train.output_dir" : c->out, "train.resume"};
  const struct lrl_option *o;
  char *text = NULL;
  LRL_TRY(lrl_config_find(&c->table, key, where, &o));
  LRL_ASSERT(o->offset + LRL_OPTION_TEXT <= sizeof scratch);
  for (int i = 0; i < 2; i++)
    if (strcmp(key, ours[i]) == 0)
      return LRL_FAIL(LRL_ERR_ARG, "%s: a sweep chooses %s itself", where, key);
  lrl_status status = expand(s, p, k, value, &text);
  if (status == LRL_OK)
    status = lrl_config_set(&c->table, &scratch, key, text, where);
  if (status == LRL_OK)
    status = lrl_sweep_set(keys, key, text, where, true);
  free(text);
  return status;
}

static lrl_status collect_keys(const struct lrl_sweep *s, const struct lrl_sweep_point *p,
                               int64_t k, struct lrl_sweep_settings *keys) {
  const struct lrl_sweep_stage *stage = &s->stage[k];
  for (int64_t i = 0; i < stage->settings.n; i++) {
    const struct lrl_sweep_setting *t = &stage->settings.at[i];
    LRL_TRY(add_key(s, p, keys, k, t->key, t->value, t->where));
  }
  for (int64_t a = 0; a < s->n_axes; a++) {
    const struct lrl_sweep_choice *c = &s->axis[a].choice[p->choice[a]];
    if (lrl_sweep_takes_seed(&s->axis[a], stage))
      LRL_TRY(add_key(s, p, keys, k, "train.seed", c->name, c->settings.at[0].where));
    for (int64_t i = 0; i < c->settings.n; i++) {
      const struct lrl_sweep_setting *t = &c->settings.at[i];
      const char *key = lrl_sweep_key_of(s, stage, t->key);
      if (key != NULL)
        LRL_TRY(add_key(s, p, keys, k, key, t->value, t->where));
    }
  }
  return LRL_OK;
}

static lrl_status word(struct lrl_sweep_run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static lrl_status word(struct lrl_sweep_run *r, const char *fmt, ...) {
  char text[2 * LRL_OPTION_TEXT + 64];
  va_list args;
  va_start(args, fmt);
  const int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n >= (int)sizeof text)
    return LRL_FAIL(LRL_ERR_ARG, "an argument of the run %s is too long", r->name);
  return lrl_sweep_set(&r->words, "", text, "", false);
}

/* The config file of a trainer is read to find its mistakes before anything runs. */
static lrl_status add_config(const struct lrl_sweep *s, const struct lrl_sweep_point *p, int64_t k,
                             struct lrl_sweep_run *r) {
  const struct lrl_sweep_stage *stage = &s->stage[k];
  char *path = NULL;
  if (stage->config == NULL)
    return LRL_OK;
  if (!stage->command->trainer)
    return LRL_FAIL(LRL_ERR_ARG, "%s: laurel %s takes no config", s->file, stage->command->name);
  lrl_status status = expand(s, p, k, stage->config, &path);
  if (status == LRL_OK)
    status = lrl_config_load(&stage->command->table, &scratch, path);
  if (status == LRL_OK)
    status = word(r, "%s", path);
  free(path);
  return status;
}

static lrl_status add_words(const struct lrl_sweep *s, const struct lrl_sweep_point *p, int64_t k,
                            struct lrl_sweep_run *r, const struct lrl_sweep_settings *keys) {
  const struct lrl_sweep_stage *stage = &s->stage[k];
  const struct lrl_sweep_command *c = stage->command;
  for (int i = 0; i < 2 && c->words[i] != NULL; i++)
    LRL_TRY(word(r, "%s", c->words[i]));
  LRL_TRY(add_config(s, p, k, r));
  if (c->trainer && stage->files.n > 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s: laurel %s takes no files, but data.train",
                    stage->files.at[0].where, c->name);
  for (int64_t i = 0; i < stage->files.n; i++) {
    char *text = NULL;
    lrl_status status = expand(s, p, k, stage->files.at[i].value, &text);
    if (status == LRL_OK)
      status = word(r, "%s", text);
    free(text);
    LRL_TRY(status);
  }
  for (int64_t i = 0; i < keys->n; i++)
    LRL_TRY(word(r, "%s%s=%s", c->trainer ? "" : "--", keys->at[i].key, keys->at[i].value));
  if (!c->trainer)
    return word(r, "--%s=%s%s", c->out, r->dir, c->out_file);
  LRL_TRY(word(r, "train.output_dir=%s", r->dir));
  return word(r, "train.resume=auto");
}

enum { MOST_NAME = 200 };

static lrl_status make_run(struct lrl_sweep *s, const struct lrl_sweep_point *p, int64_t k,
                           struct lrl_sweep_run *r) {
  struct lrl_sweep_settings keys = {0};
  struct lrl_text dir = {0};
  lrl_status status;
  r->stage = k;
  memcpy(r->choice, p->choice, sizeof r->choice);
  LRL_TRY_GOTO(name_of(s, p, k, &r->name));
  LRL_TRY_GOTO(lrl_text_puts(&dir, s->output_dir));
  LRL_TRY_GOTO(lrl_text_puts(&dir, "/"));
  LRL_TRY_GOTO(lrl_text_puts(&dir, r->name));
  LRL_TRY_GOTO(collect_keys(s, p, k, &keys));
  r->dir = dir.data;
  dir.data = NULL;
  if (strlen(r->name) > MOST_NAME || strlen(r->dir) + 32 > LRL_OPTION_TEXT)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG,
                          "%s: the folder %.80s... would have too long a name; give the choices "
                          "names (docs/sweeps.md) or take a shorter output_dir",
                          s->file, r->dir));
  LRL_TRY_GOTO(add_words(s, p, k, r, &keys));
  for (int64_t i = 0; i < k; i++)
    if (s->stage[k].needs >> i & 1)
      r->need[r->n_need++] = p->run[i];
done:
  free(dir.data);
  lrl_sweep_settings_free(&keys);
  return status;
}

static bool same_choices(const struct lrl_sweep *s, const struct lrl_sweep_run *r, int64_t k,
                         const struct lrl_sweep_point *p) {
  bool same = r->stage == k;
  for (int64_t a = 0; a < s->n_axes; a++)
    same = same && ((s->stage[k].axes >> a & 1) == 0 || r->choice[a] == p->choice[a]);
  return same;
}

/* The run of stage k at a point: one that is there already, or a new one. */
static lrl_status run_of(struct lrl_sweep *s, struct lrl_sweep_point *p, int64_t k) {
  for (int64_t i = 0; i < s->n_runs; i++)
    if (same_choices(s, &s->run[i], k, p)) {
      p->run[k] = i;
      return LRL_OK;
    }
  if (s->n_runs == s->cap_runs) {
    const int64_t cap = s->cap_runs == 0 ? 64 : 2 * s->cap_runs;
    void *more = realloc(s->run, (size_t)cap * sizeof *s->run);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the runs");
    s->run = more;
    s->cap_runs = cap;
  }
  struct lrl_sweep_run *r = &s->run[s->n_runs];
  *r = (struct lrl_sweep_run){0};
  p->run[k] = s->n_runs++;
  LRL_TRY(make_run(s, p, k, r));
  for (int64_t i = 0; i + 1 < s->n_runs; i++)
    if (strcmp(s->run[i].name, r->name) == 0)
      return LRL_FAIL(LRL_ERR_ARG, "%s: two different runs would have the name %s", s->file,
                      r->name);
  return LRL_OK;
}

lrl_status lrl_sweep_plan(struct lrl_sweep *s) {
  enum { MOST_POINTS = 100000 };
  s->n_points = 1;
  LRL_TRY(lrl_sweep_dependencies(s));
  for (int64_t a = 0; a < s->n_axes; a++)
    if ((s->n_points *= s->axis[a].n) > MOST_POINTS)
      return LRL_FAIL(LRL_ERR_ARG, "%s: the sweep has over %d combinations", s->file, MOST_POINTS);
  s->point = calloc((size_t)s->n_points, sizeof *s->point);
  if (s->point == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sweep");
  for (int64_t i = 0; i < s->n_points; i++) {
    int64_t rest = i; /* the last axis turns fastest */
    for (int64_t a = s->n_axes - 1; a >= 0; a--) {
      s->point[i].choice[a] = (uint32_t)(rest % s->axis[a].n);
      rest /= s->axis[a].n;
    }
    for (int64_t k = 0; k < s->n_stages; k++)
      LRL_TRY(run_of(s, &s->point[i], k));
  }
  return LRL_OK;
}
