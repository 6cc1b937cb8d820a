#include "launch/config.h"

#include "launch/yaml_keys.h"

#include <string.h>

struct reader {
  const struct lrl_option_table *table;
  void *out;
  bool seen[512]; /* by table index: a key given twice is an error */
};

static lrl_status on_key(void *user, const struct lrl_yaml_key *k) {
  struct reader *r = user;
  const struct lrl_option *o;
  char joined[LRL_OPTION_TEXT] = "";
  size_t used = 0;
  if (!k->list && k->n == 0) /* a mapping without keys */
    return LRL_OK;
  LRL_TRY(lrl_config_find(r->table, k->path, k->where, &o));
  const int64_t index = o - r->table->options;
  LRL_ASSERT(index < 512);
  if (r->seen[index])
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: the key '%s' was already given", k->where, k->path);
  r->seen[index] = true;
  if (!k->list)
    return lrl_config_set(r->table, r->out, k->path, k->item[0], k->where);
  for (int64_t i = 0; i < k->n; i++) {
    if (used + strlen(k->item[i]) + 2 > sizeof joined)
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: the list is too long", k->where);
    used +=
        (size_t)snprintf(joined + used, sizeof joined - used, "%s%s", i > 0 ? "," : "", k->item[i]);
  }
  return lrl_config_set(r->table, r->out, k->path, joined, k->where);
}

lrl_status lrl_config_load(const struct lrl_option_table *t, void *out, const char *yaml_path) {
  struct reader r = {.table = t, .out = out};
  return lrl_yaml_read(yaml_path, on_key, &r);
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
