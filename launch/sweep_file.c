/* The file of a sweep: stages, columns, and what the command line changes. */
#include "launch/sweep_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- stages and columns ---- */

static lrl_status stage_of(struct lrl_sweep *s, const char *name, size_t n, const char *where,
                           struct lrl_sweep_stage **out) {
  for (int64_t i = 0; i < s->n_stages; i++)
    if (strlen(s->stage[i].name) == n && memcmp(s->stage[i].name, name, n) == 0) {
      *out = &s->stage[i];
      return LRL_OK;
    }
  if (s->n_stages == LRL_SWEEP_STAGES)
    return LRL_FAIL(LRL_ERR_ARG, "%s: a sweep has at most %d stages", where, LRL_SWEEP_STAGES);
  *out = &s->stage[s->n_stages];
  (*out)->name = strndup(name, n);
  if ((*out)->name == NULL)
    return lrl_sweep_no_memory();
  s->n_stages++;
  return LRL_OK;
}

/* A list is one value with commas, but "files" has them one by one. */
static lrl_status stage_key(struct lrl_sweep_stage *stage, const char *key,
                            const struct lrl_yaml_key *k) {
  char joined[LRL_OPTION_TEXT] = "";
  if (strcmp(key, "files") == 0) {
    lrl_sweep_settings_free(&stage->files);
    for (int64_t i = 0; i < k->n; i++)
      LRL_TRY(lrl_sweep_set(&stage->files, "files", k->item[i], k->where, false));
    return LRL_OK;
  }
  if (!k->list && k->n == 0)
    return LRL_OK;
  size_t used = 0;
  for (int64_t i = 0; i < k->n; i++) {
    if (used + strlen(k->item[i]) + 2 > sizeof joined)
      return LRL_FAIL(LRL_ERR_ARG, "%s: the value of %s is too long", k->where, key);
    used +=
        (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", i > 0 ? "," : "", k->item[i]);
  }
  if (strcmp(key, "command") == 0) {
    stage->command = lrl_sweep_command_find(joined);
    return stage->command != NULL
               ? LRL_OK
               : LRL_FAIL(LRL_ERR_ARG, "%s: no stage can run '%.100s'; command is one of %s",
                          k->where, joined, LRL_SWEEP_COMMANDS);
  }
  return strcmp(key, "config") == 0 ? lrl_sweep_copy(&stage->config, joined)
                                    : lrl_sweep_set(&stage->settings, key, joined, k->where, true);
}

static lrl_status add_column(struct lrl_sweep *s, const char *title, const char *what,
                             const char *where) {
  if (s->n_columns == LRL_SWEEP_COLUMNS)
    return LRL_FAIL(LRL_ERR_ARG, "%s: a table has at most %d columns", where, LRL_SWEEP_COLUMNS);
  struct lrl_sweep_column *c = &s->column[s->n_columns++];
  LRL_TRY(lrl_sweep_copy(&c->title, title));
  LRL_TRY(lrl_sweep_copy(&c->metric, what));
  return lrl_sweep_copy(&c->where, where);
}

/* ---- keys ---- */

static const char *below(const char *path, const char *section) {
  const size_t n = strlen(section);
  return strncmp(path, section, n) == 0 && path[n] == '.' ? path + n + 1 : NULL;
}

static lrl_status on_key(void *user, const struct lrl_yaml_key *k) {
  struct lrl_sweep *s = user;
  struct lrl_sweep_stage *stage;
  const char *rest;
  if (strcmp(k->path, "output_dir") == 0)
    return lrl_sweep_copy(&s->output_dir, k->n > 0 ? k->item[0] : "");
  if ((rest = below(k->path, "sweep")) != NULL)
    return k->list ? lrl_sweep_axis_list(s, rest, k->item, k->n, k->where)
                   : lrl_sweep_axis_variant(s, rest, k);
  if ((rest = below(k->path, "table")) != NULL)
    return add_column(s, rest, k->n > 0 ? k->item[0] : "", k->where);
  if (strcmp(k->path, "table") == 0) {
    for (int64_t i = 0; i < k->n; i++)
      LRL_TRY(add_column(s, k->item[i], k->item[i], k->where));
    return LRL_OK;
  }
  if ((rest = below(k->path, "stages")) != NULL) {
    const char *key = strchr(rest, '.');
    const size_t n = key == NULL ? strlen(rest) : (size_t)(key - rest);
    s->staged = true;
    LRL_TRY(stage_of(s, rest, n, k->where, &stage));
    return key == NULL && k->n == 0 ? LRL_OK : stage_key(stage, key == NULL ? "" : key + 1, k);
  }
  if (strcmp(k->path, "sweep") == 0)
    return LRL_OK;
  if (s->staged)
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s: unknown key '%.200s'; beside stages there are output_dir, sweep and table",
                    k->where, k->path);
  LRL_TRY(stage_of(s, "run", 3, k->where, &stage));
  return stage_key(stage, k->path, k);
}

/* ---- overrides ---- */

static lrl_status override(struct lrl_sweep *s, const char *assignment) {
  char key[256];
  const char *equals = strchr(assignment, '='), *rest;
  if (equals == NULL || equals == assignment || (size_t)(equals - assignment) >= sizeof key)
    return LRL_FAIL(LRL_ERR_ARG, "command line: '%.200s' is not of the form key=value", assignment);
  snprintf(key, sizeof key, "%.*s", (int)(equals - assignment), assignment);
  const char *value = equals + 1;
  if ((rest = below(key, "sweep")) != NULL) {
    char *list = strdup(value);
    const lrl_status status =
        list == NULL ? lrl_sweep_no_memory() : lrl_sweep_axis_choose(s, rest, list, "command line");
    free(list);
    return status;
  }
  const struct lrl_yaml_key k = {key, &value, 1, false, "command line"};
  if (strcmp(key, "output_dir") == 0 || !s->staged)
    return on_key(s, &k);
  for (int64_t i = 0; i < s->n_stages; i++)
    if ((rest = below(key, s->stage[i].name)) != NULL)
      return stage_key(&s->stage[i], rest, &k);
  return LRL_FAIL(LRL_ERR_ARG,
                  "command line: unknown key '%s'; it is output_dir, sweep.AXIS or STAGE.KEY", key);
}

/* ---- the whole ---- */

static lrl_status complete(struct lrl_sweep *s) {
  if (s->n_stages == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s has neither a command nor stages", s->file);
  if (s->n_axes == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s has no sweep section", s->file);
  if (s->output_dir == NULL || s->output_dir[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "%s names no output_dir for the sweep", s->file);
  for (int64_t i = 0; i < s->n_axes; i++)
    if (s->axis[i].n == 0)
      return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s has no choices", s->file, s->axis[i].name);
  for (int64_t i = 0; i < s->n_stages; i++)
    if (s->stage[i].command == NULL)
      return LRL_FAIL(LRL_ERR_ARG, "%s: %s%s names no command; it is one of %s", s->file,
                      s->staged ? "the stage " : "it", s->staged ? s->stage[i].name : "",
                      LRL_SWEEP_COMMANDS);
  return s->staged ? LRL_OK : lrl_sweep_copy(&s->stage[0].name, s->stage[0].command->words[0]);
}

lrl_status lrl_sweep_read(const char *file, int n, char **overrides, struct lrl_sweep *s) {
  LRL_TRY(lrl_sweep_copy(&s->file, file));
  LRL_TRY(lrl_yaml_read(file, on_key, s));
  for (int i = 0; i < n; i++)
    LRL_TRY(override(s, overrides[i]));
  return complete(s);
}

void lrl_sweep_free(struct lrl_sweep *s) {
  for (int64_t i = 0; i < s->n_axes; i++) {
    lrl_sweep_axis_clear(&s->axis[i]);
    free(s->axis[i].choice);
    free(s->axis[i].name);
  }
  for (int64_t i = 0; i < s->n_stages; i++) {
    free(s->stage[i].name);
    free(s->stage[i].config);
    lrl_sweep_settings_free(&s->stage[i].settings);
    lrl_sweep_settings_free(&s->stage[i].files);
  }
  for (int64_t i = 0; i < s->n_columns; i++) {
    free(s->column[i].title);
    free(s->column[i].metric);
    free(s->column[i].where);
    free(s->column[i].against);
  }
  for (int64_t i = 0; i < s->n_runs; i++) {
    free(s->run[i].name);
    free(s->run[i].dir);
    lrl_sweep_settings_free(&s->run[i].words);
    json_decref(s->run[i].metrics);
  }
  free(s->run);
  free(s->point);
  free(s->file);
  free(s->output_dir);
}
