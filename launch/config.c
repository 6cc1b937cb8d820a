#include "launch/config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

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

static lrl_status unknown(const struct lrl_option_table *t, const char *path, const char *where) {
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
  return LRL_FAIL(LRL_ERR_ARG, "%s: unknown key '%s'; the nearest known key is '%s'", where, path,
                  nearest);
}

static lrl_status bad(const struct lrl_option *o, const char *value, const char *where,
                      const char *want) {
  return LRL_FAIL(LRL_ERR_ARG, "%s: %s must be %s, not '%s'", where, o->path, want, value);
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
  const struct lrl_option *o = find(t, path);
  if (o == NULL)
    return unknown(t, path, where);
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
    if (end == value || *end != '\0' || errno != 0)
      return bad(o, value, where, "a whole number");
    *(int64_t *)field(o, out) = v;
    return in_range(o, (double)v, value, where);
  }
  case LRL_OPTION_FLOAT: {
    double v = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(v))
      return bad(o, value, where, "a number");
    *(double *)field(o, out) = v;
    return in_range(o, v, value, where);
  }
  case LRL_OPTION_STRING:
    if (strlen(value) >= LRL_OPTION_TEXT)
      return LRL_FAIL(LRL_ERR_ARG, "%s: %s is longer than %d bytes", where, o->path,
                      LRL_OPTION_TEXT - 1);
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
    return LRL_FAIL(LRL_ERR_ARG, "command line: '%s' is not of the form key=value", assignment);
  memcpy(path, assignment, (size_t)(eq - assignment));
  path[eq - assignment] = '\0';
  return lrl_config_set(t, out, path, eq + 1, "command line");
}

/* ---- YAML ---- */

struct reader {
  const struct lrl_option_table *table;
  void *out;
  const char *file;
  yaml_parser_t parser;
  bool seen[512]; /* by table index: a key given twice is an error */
};

static lrl_status fail_at(const struct reader *r, const yaml_event_t *e, const char *what) {
  return LRL_FAIL(LRL_ERR_FORMAT, "%s:%zu: %s", r->file, e->start_mark.line + 1, what);
}

static lrl_status next(struct reader *r, yaml_event_t *e) {
  if (yaml_parser_parse(&r->parser, e))
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_FORMAT, "%s:%zu: %s", r->file, r->parser.problem_mark.line + 1,
                  r->parser.problem ? r->parser.problem : "the YAML text is damaged");
}

static lrl_status assign(struct reader *r, const char *path, const char *value, size_t line) {
  char where[600];
  snprintf(where, sizeof where, "%s:%zu", r->file, line + 1);
  const struct lrl_option *o = find(r->table, path);
  if (o == NULL)
    return unknown(r->table, path, where);
  int64_t index = o - r->table->options;
  LRL_ASSERT(index < 512);
  if (r->seen[index])
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the key '%s' was already given", where, path);
  r->seen[index] = true;
  return lrl_config_set(r->table, r->out, path, value, where);
}

/* A list of scalars as "a,b,c". */
static lrl_status sequence(struct reader *r, const char *path, size_t line) {
  char joined[LRL_OPTION_TEXT] = "";
  for (;;) {
    yaml_event_t e;
    LRL_TRY(next(r, &e));
    yaml_event_type_t type = e.type;
    lrl_status s = LRL_OK;
    if (type == YAML_SCALAR_EVENT) {
      const char *v = (const char *)e.data.scalar.value;
      size_t used = strlen(joined);
      if (used + strlen(v) + 2 > sizeof joined)
        s = fail_at(r, &e, "the list is too long");
      else
        snprintf(joined + used, sizeof joined - used, "%s%s", used ? "," : "", v);
    } else if (type != YAML_SEQUENCE_END_EVENT) {
      s = fail_at(r, &e, "a list may hold plain values only");
    }
    yaml_event_delete(&e);
    LRL_TRY(s);
    if (type == YAML_SEQUENCE_END_EVENT)
      return assign(r, path, joined, line);
  }
}

static lrl_status mapping(struct reader *r, const char *prefix, int depth);

static lrl_status value_of(struct reader *r, const char *path, int depth) {
  yaml_event_t e;
  LRL_TRY(next(r, &e));
  lrl_status s;
  size_t line = e.start_mark.line;
  if (e.type == YAML_SCALAR_EVENT)
    s = assign(r, path, (const char *)e.data.scalar.value, line);
  else if (e.type == YAML_MAPPING_START_EVENT)
    s = mapping(r, path, depth + 1);
  else if (e.type == YAML_SEQUENCE_START_EVENT)
    s = sequence(r, path, line);
  else
    s = fail_at(r, &e, "anchors and aliases are not supported");
  yaml_event_delete(&e);
  return s;
}

static lrl_status mapping(struct reader *r, const char *prefix, int depth) {
  for (;;) {
    yaml_event_t e;
    char path[256];
    LRL_TRY(next(r, &e));
    if (e.type == YAML_MAPPING_END_EVENT) {
      yaml_event_delete(&e);
      return LRL_OK;
    }
    lrl_status s = LRL_OK;
    if (e.type != YAML_SCALAR_EVENT || depth > 8)
      s = fail_at(r, &e, depth > 8 ? "nested too deeply" : "a key must be a plain word");
    else
      snprintf(path, sizeof path, "%.120s%s%.120s", prefix, prefix[0] ? "." : "",
               (const char *)e.data.scalar.value);
    yaml_event_delete(&e);
    LRL_TRY(s);
    LRL_TRY(value_of(r, path, depth));
  }
}

static lrl_status document(struct reader *r) {
  for (;;) {
    yaml_event_t e;
    LRL_TRY(next(r, &e));
    yaml_event_type_t type = e.type;
    lrl_status s = LRL_OK;
    if (type == YAML_MAPPING_START_EVENT)
      s = mapping(r, "", 0);
    else if (type == YAML_SCALAR_EVENT && e.data.scalar.length > 0)
      s = fail_at(r, &e, "expected 'key: value' lines");
    else if (type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT)
      s = fail_at(r, &e, "expected 'key: value' lines");
    yaml_event_delete(&e);
    LRL_TRY(s);
    if (type == YAML_STREAM_END_EVENT)
      return LRL_OK;
  }
}

lrl_status lrl_config_load(const struct lrl_option_table *t, void *out, const char *yaml_path) {
  FILE *f = fopen(yaml_path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the config %s: %s", yaml_path, strerror(errno));
  struct reader r = {.table = t, .out = out, .file = yaml_path};
  lrl_status s = LRL_ERR_MEMORY;
  if (yaml_parser_initialize(&r.parser)) {
    yaml_parser_set_input_file(&r.parser, f);
    s = document(&r);
    yaml_parser_delete(&r.parser);
  }
  fclose(f);
  return s;
}

void lrl_config_help(const struct lrl_option_table *t, FILE *to) {
  static const char *const types[] = {"true|false", "whole number", "number", "text", ""};
  for (int i = 0; i < t->n; i++) {
    const struct lrl_option *o = &t->options[i];
    const char *type = o->type == LRL_OPTION_ENUM ? o->choices : types[o->type];
    fprintf(to, "  %-34s %s [%s]%s%s\n      %s\n", o->path, type,
            o->default_text[0] ? o->default_text : "none", o->unit[0] ? ", " : "", o->unit,
            o->help);
  }
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
