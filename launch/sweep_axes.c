/* Settings and axes of a sweep. */
#include "launch/sweep_impl.h"

#include <stdlib.h>
#include <string.h>

lrl_status lrl_sweep_no_memory(void) { return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the sweep"); }

lrl_status lrl_sweep_copy(char **to, const char *text) {
  free(*to);
  *to = strdup(text);
  return *to != NULL ? LRL_OK : lrl_sweep_no_memory();
}

/* Room for one more of `size` bytes behind n; it is zero. */
static lrl_status grow(void **array, int64_t n, int64_t *cap, size_t size) {
  if (n == *cap) {
    const int64_t more = *cap == 0 ? 8 : 2 * *cap;
    void *p = realloc(*array, (size_t)more * size);
    if (p == NULL)
      return lrl_sweep_no_memory();
    *array = p;
    *cap = more;
  }
  memset((char *)*array + (size_t)n * size, 0, size);
  return LRL_OK;
}

lrl_status lrl_sweep_set(struct lrl_sweep_settings *s, const char *key, const char *value,
                         const char *where, bool replace) {
  struct lrl_sweep_setting *at = NULL;
  for (int64_t i = 0; i < s->n && replace; i++)
    if (strcmp(s->at[i].key, key) == 0)
      at = &s->at[i];
  if (at == NULL) {
    void *array = s->at;
    LRL_TRY(grow(&array, s->n, &s->cap, sizeof *s->at));
    s->at = array;
    at = &s->at[s->n++];
  }
  LRL_TRY(lrl_sweep_copy(&at->key, key));
  LRL_TRY(lrl_sweep_copy(&at->value, value));
  return lrl_sweep_copy(&at->where, where);
}

void lrl_sweep_settings_free(struct lrl_sweep_settings *s) {
  for (int64_t i = 0; i < s->n; i++) {
    free(s->at[i].key);
    free(s->at[i].value);
    free(s->at[i].where);
  }
  free(s->at);
  *s = (struct lrl_sweep_settings){0};
}

/* ---- axes ---- */

void lrl_sweep_axis_clear(struct lrl_sweep_axis *a) {
  for (int64_t i = 0; i < a->n; i++) {
    free(a->choice[i].name);
    lrl_sweep_settings_free(&a->choice[i].settings);
  }
  a->n = 0;
}

static lrl_status axis_of(struct lrl_sweep *s, const char *name, const char *where,
                          struct lrl_sweep_axis **out) {
  for (int64_t i = 0; i < s->n_axes; i++)
    if (strcmp(s->axis[i].name, name) == 0) {
      *out = &s->axis[i];
      return LRL_OK;
    }
  if (s->n_axes == LRL_SWEEP_AXES)
    return LRL_FAIL(LRL_ERR_ARG, "%s: a sweep has at most %d axes", where, LRL_SWEEP_AXES);
  *out = &s->axis[s->n_axes];
  LRL_TRY(lrl_sweep_copy(&(*out)->name, name));
  s->n_axes++;
  const size_t n = strlen(name), m = strlen(".train.seed");
  (*out)->seeds = strcmp(name, "seed") == 0 || strcmp(name, "train.seed") == 0 ||
                  (n > m && strcmp(name + n - m, ".train.seed") == 0);
  return LRL_OK;
}

static lrl_status choice_of(struct lrl_sweep_axis *a, const char *name,
                            struct lrl_sweep_choice **out) {
  for (int64_t i = 0; i < a->n; i++)
    if (strcmp(a->choice[i].name, name) == 0) {
      *out = &a->choice[i];
      return LRL_OK;
    }
  void *array = a->choice;
  LRL_TRY(grow(&array, a->n, &a->cap, sizeof *a->choice));
  a->choice = array;
  LRL_TRY(lrl_sweep_copy(&a->choice[a->n].name, name));
  *out = &a->choice[a->n++];
  return LRL_OK;
}

/* The choices of a list: numbers, words, or values of the key that the axis names. */
lrl_status lrl_sweep_axis_list(struct lrl_sweep *s, const char *name, const char *const *item,
                               int64_t n, const char *where) {
  struct lrl_sweep_axis *a;
  LRL_TRY(axis_of(s, name, where, &a));
  if (a->n > 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s was already given", where, name);
  if (n == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s has no values", where, name);
  for (int64_t i = 0; i < n; i++) {
    struct lrl_sweep_choice *c;
    const int64_t before = a->n;
    LRL_TRY(choice_of(a, item[i], &c));
    if (a->n == before)
      return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s has the value %s twice", where, name, item[i]);
    LRL_TRY(lrl_sweep_set(&c->settings, name, item[i], where, true));
  }
  return LRL_OK;
}

/* "AXIS.CHOICE.KEY": value, or "AXIS.CHOICE": {}. */
lrl_status lrl_sweep_axis_variant(struct lrl_sweep *s, const char *path,
                                  const struct lrl_yaml_key *k) {
  char axis[256], *name, *key;
  struct lrl_sweep_axis *a;
  struct lrl_sweep_choice *c;
  snprintf(axis, sizeof axis, "%s", path);
  name = strchr(axis, '.');
  key = name == NULL ? NULL : strchr(name + 1, '.');
  if (name == NULL || (key == NULL) != (k->n == 0))
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s: sweep.%s must be a list of values, or choices with a name and the keys "
                    "that each sets",
                    k->where, path);
  *name++ = '\0';
  if (key != NULL)
    *key++ = '\0';
  LRL_TRY(axis_of(s, axis, k->where, &a));
  if (a->n > 0 && !a->variants)
    return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s was already given", k->where, axis);
  a->variants = true;
  LRL_TRY(choice_of(a, name, &c));
  return key == NULL ? LRL_OK : lrl_sweep_set(&c->settings, key, k->item[0], k->where, true);
}

lrl_status lrl_sweep_axis_choose(struct lrl_sweep *s, const char *name, char *list,
                                 const char *where) {
  const char *item[256];
  int64_t n = 0, kept = 0;
  for (char *at = strtok(list, ","); at != NULL && n < 256; at = strtok(NULL, ","))
    item[n++] = at;
  for (int64_t i = 0; i < s->n_axes; i++) {
    struct lrl_sweep_axis *a = &s->axis[i];
    if (strcmp(a->name, name) != 0)
      continue;
    if (!a->variants) {
      lrl_sweep_axis_clear(a);
      return lrl_sweep_axis_list(s, name, item, n, where);
    }
    for (int64_t k = 0; k < n; k++) { /* to the front, in that order */
      int64_t j = kept;
      while (j < a->n && strcmp(a->choice[j].name, item[k]) != 0)
        j++;
      if (j == a->n)
        return LRL_FAIL(LRL_ERR_ARG, "%s: sweep.%s has no choice '%s'", where, name, item[k]);
      const struct lrl_sweep_choice c = a->choice[j];
      a->choice[j] = a->choice[kept];
      a->choice[kept++] = c;
    }
    struct lrl_sweep_axis rest = {.choice = a->choice + kept, .n = a->n - kept};
    lrl_sweep_axis_clear(&rest);
    a->n = kept;
    return LRL_OK;
  }
  return LRL_FAIL(LRL_ERR_ARG, "%s: the sweep has no axis '%s'", where, name);
}
