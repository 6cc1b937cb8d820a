#include "launch/yaml_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { PATH_BYTES = 256, DEEPEST = 8, MOST_ITEMS = 4096 };

struct reader {
  const char *file;
  yaml_parser_t parser;
  lrl_yaml_fn *fn;
  void *user;
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

static lrl_status tell(struct reader *r, const char *path, const char *const *item, int64_t n,
                       bool list, size_t line) {
  char where[600];
  snprintf(where, sizeof where, "%s:%zu", r->file, line + 1);
  return r->fn(r->user, &(struct lrl_yaml_key){path, item, n, list, where});
}

/* Reads on to the end of a list; its texts are the caller's to free, also after a failure. */
static lrl_status items(struct reader *r, char **item, int64_t *n) {
  for (;;) {
    yaml_event_t e;
    LRL_TRY(next(r, &e));
    const yaml_event_type_t type = e.type;
    lrl_status s = LRL_OK;
    if (type == YAML_SCALAR_EVENT && *n == MOST_ITEMS)
      s = fail_at(r, &e, "the list is too long");
    else if (type == YAML_SCALAR_EVENT &&
             (item[(*n)++] = strdup((const char *)e.data.scalar.value)) == NULL)
      s = LRL_FAIL(LRL_ERR_MEMORY, "no memory for a list");
    else if (type != YAML_SCALAR_EVENT && type != YAML_SEQUENCE_END_EVENT)
      s = fail_at(r, &e, "a list may hold plain values only");
    yaml_event_delete(&e);
    if (s != LRL_OK || type == YAML_SEQUENCE_END_EVENT)
      return s;
  }
}

static lrl_status sequence(struct reader *r, const char *path, size_t line) {
  int64_t n = 0;
  char **item = calloc(MOST_ITEMS + 1, sizeof *item);
  if (item == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a list");
  lrl_status s = items(r, item, &n);
  if (s == LRL_OK)
    s = tell(r, path, (const char *const *)item, n, true, line);
  for (int64_t i = 0; i < n; i++)
    free(item[i]);
  free(item);
  return s;
}

static lrl_status mapping(struct reader *r, const char *prefix, int depth, size_t line);

static lrl_status value_of(struct reader *r, const char *path, int depth) {
  yaml_event_t e;
  LRL_TRY(next(r, &e));
  lrl_status s;
  size_t line = e.start_mark.line;
  if (e.type == YAML_SCALAR_EVENT) {
    const char *text = (const char *)e.data.scalar.value;
    s = tell(r, path, &text, 1, false, line);
  } else if (e.type == YAML_MAPPING_START_EVENT) {
    s = mapping(r, path, depth + 1, line);
  } else if (e.type == YAML_SEQUENCE_START_EVENT) {
    s = sequence(r, path, line);
  } else {
    s = fail_at(r, &e, "anchors and aliases are not supported");
  }
  yaml_event_delete(&e);
  return s;
}

static lrl_status mapping(struct reader *r, const char *prefix, int depth, size_t line) {
  for (int64_t n = 0;; n++) {
    yaml_event_t e;
    char path[PATH_BYTES] = "";
    LRL_TRY(next(r, &e));
    if (e.type == YAML_MAPPING_END_EVENT) {
      yaml_event_delete(&e);
      return n > 0 || depth == 0 ? LRL_OK : tell(r, prefix, NULL, 0, false, line);
    }
    lrl_status s = LRL_OK;
    if (e.type != YAML_SCALAR_EVENT || depth > DEEPEST)
      s = fail_at(r, &e, depth > DEEPEST ? "nested too deeply" : "a key must be a plain word");
    else if (snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "." : "",
                      (const char *)e.data.scalar.value) >= (int)sizeof path)
      s = fail_at(r, &e, "the key is too long");
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
      s = mapping(r, "", 0, e.start_mark.line);
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

lrl_status lrl_yaml_read(const char *path, lrl_yaml_fn *fn, void *user) {
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the config %s: %s", path, strerror(errno));
  struct stat st;
  if (fstat(fileno(f), &st) != 0 || S_ISDIR(st.st_mode)) {
    fclose(f);
    return LRL_FAIL(LRL_ERR_IO, "cannot open the config %s: it is a folder", path);
  }
  struct reader r = {.file = path, .fn = fn, .user = user};
  lrl_status s = LRL_ERR_MEMORY;
  if (yaml_parser_initialize(&r.parser)) {
    yaml_parser_set_input_file(&r.parser, f);
    s = document(&r);
    yaml_parser_delete(&r.parser);
  }
  fclose(f);
  return s;
}
