/* What the runs of a sweep gave, and a column's value of it. */
#include "data/rows.h"
#include "launch/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a run wrote ---- */

/* Of a trainer's metrics the last value of every key. */
static lrl_status on_line(void *user, const struct lrl_row *row) {
  if (json_is_object(row->value) && json_object_update(user, (json_t *)row->value) != 0)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for metrics");
  return LRL_OK;
}

/* Of the answers to a row their mean, of what best-of-N picked its own. */
static const char *const names[] = {"tokens",      "gold",      "score",     "unfinished",
                                    "best_tokens", "best_gold", "best_score"};
enum { N_NAMES = sizeof names / sizeof names[0], UNFINISHED = 3, N_MEANS = 4 };

/* NaN where there is none. */
static double figure(const json_t *response, int k) {
  const json_t *v = json_object_get(response, k < N_MEANS ? names[k] : names[k] + strlen("best_"));
  const char *finish = json_string_value(json_object_get(response, "finish"));
  if (k == UNFINISHED)
    return finish != NULL && strcmp(finish, "length") == 0 ? 1 : 0;
  return json_is_number(v) ? json_number_value(v) : NAN;
}

/* rows: {"3": {"tokens": mean, ...}}, by line; a row that was set aside is not there. */
static lrl_status on_answers(void *user, const struct lrl_row *row) {
  const json_t *list = json_object_get(row->value, "responses"),
               *best = json_object_get(row->value, "best");
  const size_t n = json_array_size(list);
  char key[32];
  if (n == 0)
    return LRL_OK;
  json_t *of_row = json_object();
  for (int k = 0; k < N_NAMES; k++) {
    double sum = 0;
    for (size_t i = 0; i < n && k < N_MEANS; i++)
      sum += figure(json_array_get(list, i), k) / (double)n;
    if (k >= N_MEANS)
      sum = json_is_integer(best)
                ? figure(json_array_get(list, (size_t)json_integer_value(best)), k)
                : NAN;
    if (isfinite(sum))
      json_object_set_new(of_row, names[k], json_real(sum));
  }
  snprintf(key, sizeof key, "%lld",
           (long long)json_integer_value(json_object_get(row->value, "line")));
  return json_object_set_new(user, key, of_row) == 0
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_MEMORY, "no memory for answers");
}

static void put_means(json_t *metrics, json_t *rows) {
  for (int k = 0; k < N_NAMES; k++) {
    double sum = 0;
    int64_t n = 0;
    const char *key;
    json_t *row;
    json_object_foreach(rows, key, row) {
      const json_t *v = json_object_get(row, names[k]);
      sum += json_number_value(v);
      n += json_is_number(v);
    }
    if (n > 0)
      json_object_set_new(metrics, names[k], json_real(sum / (double)n));
  }
}

lrl_status lrl_sweep_metrics(const struct lrl_sweep *s, struct lrl_sweep_run *r) {
  const struct lrl_sweep_command *c = s->stage[r->stage].command;
  char path[2 * LRL_OPTION_TEXT];
  r->metrics = json_object();
  if (r->metrics == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for metrics");
  snprintf(path, sizeof path, "%s%s", r->dir, c->trainer ? "/metrics.jsonl" : c->out_file);
  if (c->trainer)
    return lrl_rows_read(path, on_line, r->metrics);
  if (c->out_file[0] == '\0')
    return LRL_OK;
  json_t *rows = json_object();
  const lrl_status status = lrl_rows_read(path, on_answers, rows);
  put_means(r->metrics, rows);
  json_object_set_new(r->metrics, "rows", rows);
  return status;
}

/* ---- columns ---- */

static double number(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Share of the rows that both have in which a's value is the larger one; equal ones count half. */
static double wins(const json_t *a, const json_t *b, const char *metric) {
  double won = 0, n = 0;
  const char *key;
  json_t *row;
  json_object_foreach(json_object_get(a, "rows"), key, row) {
    const double x = number(row, metric);
    const double y = number(json_object_get(json_object_get(b, "rows"), key), metric);
    if (!isfinite(x) || !isfinite(y))
      continue;
    won += x > y ? 1 : x < y ? 0 : 0.5;
    n++;
  }
  return n > 0 ? won / n : NAN;
}

static const json_t *metrics_at(const struct lrl_sweep *s, int64_t point, int64_t stage) {
  const struct lrl_sweep_run *r = &s->run[s->point[point].run[stage]];
  return r->state == LRL_SWEEP_FINISHED ? r->metrics : NULL;
}

double lrl_sweep_value(const struct lrl_sweep *s, int64_t point, const struct lrl_sweep_column *c) {
  const json_t *mine = metrics_at(s, point, c->stage);
  if (c->against == NULL)
    return number(mine, c->metric);
  for (int64_t i = 0; i < s->n_points; i++) {
    bool other = true;
    for (int64_t a = 0; a < s->n_axes; a++) {
      const uint32_t choice = s->point[i].choice[a];
      other = other && (a == c->axis ? strcmp(s->axis[a].choice[choice].name, c->against) == 0
                                     : choice == s->point[point].choice[a]);
    }
    if (other)
      return i == point ? NAN : wins(mine, metrics_at(s, i, c->stage), c->metric);
  }
  return NAN;
}

/* ---- what a column's words mean ---- */

/* The axis that has this choice; LRL_ERR_ARG for none or several. */
static lrl_status axis_with(const struct lrl_sweep *s, const struct lrl_sweep_column *c,
                            int64_t *axis) {
  int n = 0;
  for (int64_t a = 0; a < s->n_axes; a++)
    for (int64_t i = 0; i < s->axis[a].n; i++)
      if (strcmp(s->axis[a].choice[i].name, c->against) == 0) {
        *axis = a;
        n++;
      }
  return n == 1 ? LRL_OK
                : LRL_FAIL(LRL_ERR_ARG, "%s: '%s' is a choice of %s axis of the sweep", c->where,
                           c->against, n == 0 ? "no" : "more than one");
}

/* "STAGE METRIC", "STAGE METRIC against CHOICE"; without stages, without STAGE. */
lrl_status lrl_sweep_column_parse(const struct lrl_sweep *s, struct lrl_sweep_column *c) {
  char *word[5] = {0}, *copy = c->metric;
  int n = 0;
  c->metric = NULL;
  c->stage = -1;
  for (char *at = strtok(copy, " "); at != NULL && n < 5; at = strtok(NULL, " "))
    word[n++] = at;
  char **rest = s->staged ? word + 1 : word;
  n -= s->staged;
  lrl_status status = LRL_OK;
  for (int64_t k = 0; k < s->n_stages; k++)
    if (!s->staged || (word[0] != NULL && strcmp(s->stage[k].name, word[0]) == 0))
      c->stage = k;
  if (c->stage < 0 || !(n == 1 || (n == 3 && strcmp(rest[1], "against") == 0)))
    status = LRL_FAIL(LRL_ERR_ARG,
                      "%s: the column '%s' is not of the form '%sMETRIC' or '%sMETRIC against "
                      "CHOICE'%s",
                      c->where, c->title, s->staged ? "STAGE " : "", s->staged ? "STAGE " : "",
                      c->stage < 0 ? "; it names no stage" : "");
  else if ((c->metric = strdup(rest[0])) == NULL ||
           (n == 3 && (c->against = strdup(rest[2])) == NULL))
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for the table");
  else if (n == 3 && strcmp(s->stage[c->stage].command->name, "generate") != 0)
    status = LRL_FAIL(LRL_ERR_ARG, "%s: only answers of laurel generate are compared row by row",
                      c->where);
  else if (n == 3)
    status = axis_with(s, c, &c->axis);
  free(copy);
  return status;
}
