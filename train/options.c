#include "train/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field(const struct lrl_option *o, void *base) { return (char *)base + o->offset; }

/* Levenshtein distance, capped lengths. */
static int distance(const char *a, const char *b) {
  int row[128];
  int n = (int)strnlen(b, 127);
  for (int j = 0; j <= n; j++)
    row[j] = j;
  for (int i = 1; a[i - 1] != '\0'; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int above = row[j], cost = diagonal + (a[i - 1] != b[j - 1]);
      int best = above < row[j - 1] ? above + 1 : row[j - 1] + 1;
      row[j] = cost < best ? cost : best;
      diagonal = above;
    }
  }
  return row[n];
}

static const struct lrl_option *find(const struct lrl_option_table *t, const char *path) {
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->options[i].path, path) == 0)
      return &t->options[i];
  return NULL;
}

lrl_status lrl_config_find(const struct lrl_option_table *t, const char *path, const char *where,
                           const struct lrl_option **out) {
  *out = find(t, path);
  if (*out != NULL)
    return LRL_OK;
  const char *nearest = "", *leaf = strrchr(path, '.');
  int best = 1 << 30;
  for (int i = 0; i < t->n; i++) {
    /* The last part alone counts too: "lr" should find "optim.lr". */
    const char *known = t->options[i].path, *tail = strrchr(known, '.');
    int d = distance(path, known);
    int d_leaf = 1 + distance(leaf ? leaf + 1 : path, tail ? tail + 1 : known);
    d = d_leaf < d ? d_leaf : d;
    if (d < best) {
      best = d;
      nearest = known;
    }
  }
  return LRL_FAIL(LRL_ERR_ARG, "%s: unknown key '%.200s'; the nearest known key is '%s'", where,
                  path, nearest);
}

static lrl_status bad(const struct lrl_option *o, const char *value, const char *where,
                      const char *want) {
  return LRL_FAIL(LRL_ERR_ARG, "%s: %s must be %s, not '%.200s'", where, o->path, want, value);
}

static lrl_status in_range(const struct lrl_option *o, double v, const char *value,
                           const char *where) {
  if (o->min == o->max || (v >= o->min && v <= o->max))
    return LRL_OK;
  char want[96];
  snprintf(want, sizeof want, "between %g and %g", o->min, o->max);
  return bad(o, value, where, want);
}

static lrl_status parse_enum(const struct lrl_option *o, int *to, const char *value,
                             const char *where) {
  const char *p = o->choices;
  size_t n = strlen(value);
  for (int i = 0; p != NULL; i++) {
    const char *bar = strchr(p, '|');
    size_t len = bar ? (size_t)(bar - p) : strlen(p);
    if (len == n && memcmp(p, value, n) == 0) {
      *to = i;
      return LRL_OK;
    }
    p = bar ? bar + 1 : NULL;
  }
  char want[256];
  snprintf(want, sizeof want, "one of %s", o->choices);
  return bad(o, value, where, want);
}

lrl_status lrl_config_set(const struct lrl_option_table *t, void *out, const char *path,
                          const char *value, const char *where) {
  const struct lrl_option *o;
  LRL_TRY(lrl_config_find(t, path, where, &o));
  char *end;
  errno = 0;
  switch (o->type) {
  case LRL_OPTION_BOOL:
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
      return bad(o, value, where, "true or false");
    *(bool *)field(o, out) = value[0] == 't';
    return LRL_OK;
  case LRL_OPTION_INT: {
    long long v = strtoll(value, &end, 10);
    if (end == value || isspace((unsigned char)*value) || *end != '\0' || errno != 0)
      return bad(o, value, where, "a whole number");
    *(int64_t *)field(o, out) = v;
    return in_range(o, (double)v, value, where);
  }
  case LRL_OPTION_FLOAT: {
    double v = strtod(value, &end);
    if (end == value || isspace((unsigned char)*value) || *end != '\0' || !isfinite(v))
      return bad(o, value, where, "a number");
    *(double *)field(o, out) = v;
    return in_range(o, v, value, where);
  }
  case LRL_OPTION_STRING:
    if (strlen(value) >= LRL_OPTION_TEXT)
      return LRL_FAIL(LRL_ERR_ARG, "%s: %s is longer than %d bytes", where, o->path,
                      LRL_OPTION_TEXT - 1);
    if (strpbrk(value, "\n\r\"") != NULL)
      return bad(o, value, where, "a text of one line without quotation marks");
    memcpy(field(o, out), value, strlen(value) + 1);
    return LRL_OK;
  default:
    return parse_enum(o, field(o, out), value, where);
  }
}

void lrl_config_defaults(const struct lrl_option_table *t, void *out) {
  for (int i = 0; i < t->n; i++) {
    const struct lrl_option *o = &t->options[i];
    LRL_ASSERT(lrl_config_set(t, out, o->path, o->default_text, "default") == LRL_OK);
  }
}

lrl_status lrl_config_override(const struct lrl_option_table *t, void *out,
                               const char *assignment) {
  const char *eq = strchr(assignment, '=');
  char path[128];
  if (eq == NULL || eq == assignment || (size_t)(eq - assignment) >= sizeof path)
    return LRL_FAIL(LRL_ERR_ARG, "command line: '%.200s' is not of the form key=value", assignment);
  memcpy(path, assignment, (size_t)(eq - assignment));
  path[eq - assignment] = '\0';
  return lrl_config_set(t, out, path, eq + 1, "command line");
}

char *lrl_config_text(const struct lrl_option_table *t, const void *values) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  if (f == NULL)
    return NULL;
  for (int i = 0; i < t->n; i++) {
    const struct lrl_option *o = &t->options[i];
    const void *p = (const char *)values + o->offset;
    fprintf(f, "%s: ", o->path);
    if (o->type == LRL_OPTION_BOOL)
      fprintf(f, "%s\n", *(const bool *)p ? "true" : "false");
    else if (o->type == LRL_OPTION_INT)
      fprintf(f, "%lld\n", (long long)*(const int64_t *)p);
    else if (o->type == LRL_OPTION_FLOAT)
      fprintf(f, "%.17g\n", *(const double *)p);
    else if (o->type == LRL_OPTION_STRING)
      fprintf(f, "\"%s\"\n", (const char *)p);
    else {
      const char *c = o->choices;
      for (int k = *(const int *)p; k > 0; k--)
        c = strchr(c, '|') + 1;
      fprintf(f, "%.*s\n", (int)strcspn(c, "|"), c);
    }
  }
  fclose(f);
  return text;
}

/* Undoes what lrl_config_text does to a value: quotes around texts. */
static void unquote(char *value) {
  size_t n = strlen(value);
  if (n < 2 || value[0] != '"' || value[n - 1] != '"')
    return;
  memmove(value, value + 1, n - 2);
  value[n - 2] = '\0';
}

lrl_status lrl_config_parse_text(const struct lrl_option_table *t, void *out, const char *text,
                                 const char *where) {
  while (*text != '\0') {
    char path[128], value[LRL_OPTION_TEXT + 2];
    size_t line = strcspn(text, "\n");
    const char *colon = memchr(text, ':', line);
    size_t n_path = colon == NULL ? 0 : (size_t)(colon - text);
    size_t n_value = colon == NULL ? 0 : line - n_path - 1;
    if (n_path == 0 || n_path >= sizeof path || n_value < 1 || n_value > sizeof value)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: the config is damaged at '%.40s'", where, text);
    memcpy(path, text, n_path);
    path[n_path] = '\0';
    memcpy(value, colon + 2, n_value - 1);
    value[n_value - 1] = '\0';
    unquote(value);
    if (find(t, path) != NULL)
      LRL_TRY(lrl_config_set(t, out, path, value, where));
    text += line + (text[line] == '\n');
  }
  return LRL_OK;
}
