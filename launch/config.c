#include "launch/config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

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
  if (yaml_parser_parse(&r->parser, e)) {
    if (e->type != YAML_SCALAR_EVENT ||
        strlen((const char *)e->data.scalar.value) == e->data.scalar.length)
      return LRL_OK;
    lrl_status s = fail_at(r, e, "a key or value holds the character U+0000");
    yaml_event_delete(e);
    return s;
  }
  return LRL_FAIL(LRL_ERR_FORMAT, "%s:%zu: %s", r->file, r->parser.problem_mark.line + 1,
                  r->parser.problem ? r->parser.problem : "the YAML text is damaged");
}

static lrl_status assign(struct reader *r, const char *path, const char *value, size_t line) {
  char where[600];
  snprintf(where, sizeof where, "%s:%zu", r->file, line + 1);
  const struct lrl_option *o;
  LRL_TRY(lrl_config_find(r->table, path, where, &o));
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
  struct stat st;
  if (fstat(fileno(f), &st) != 0 || S_ISDIR(st.st_mode)) {
    fclose(f);
    return LRL_FAIL(LRL_ERR_IO, "cannot open the config %s: it is a folder", yaml_path);
  }
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
