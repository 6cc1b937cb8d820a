/* Rows of `laurel filter` and their scores. */
#include "data/chats.h"
#include "launch/filter.h"
#include "train/judge.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct scorer {
  struct lrl_filter *f;
  struct lrl_saved_model *model;
  struct lrl_judge judge;
  char *image_root;
  int64_t file;  /* whose root that is; -1: none yet */
  int64_t first; /* row of the batch's first chat */
  struct lrl_filter_log log;
  struct lrl_filter_replies *replies; /* of --contrast */
  float *scores;
  int64_t cap_scores;
  double told; /* when */
};

/* ---- reading ---- */

struct reading {
  lrl_status (*fn)(void *user, int64_t file, struct lrl_pair *pair);
  void *user;
  int64_t file;
};

static lrl_status on_pair(void *user, struct lrl_pair *pair) {
  const struct reading *r = user;
  return r->fn(r->user, r->file, pair);
}

lrl_status lrl_filter_read(struct lrl_filter *f,
                           lrl_status (*fn)(void *user, int64_t file, struct lrl_pair *pair),
                           void *user) {
  for (int64_t i = 0; i < f->n_files; i++)
    LRL_TRY(lrl_pairs_read(f->file[i], LRL_FORM_ANSWERS, on_pair,
                           &(struct reading){.fn = fn, .user = user, .file = i}));
  return LRL_OK;
}

char *lrl_filter_image_root(const struct lrl_filter *f, int64_t file) {
  return f->o.image_root[0] != '\0' ? strdup(f->o.image_root) : lrl_path_folder(f->file[file]);
}

static lrl_status name_index(struct lrl_filter_names *names, const char *name, const char *key,
                             int32_t *out) {
  for (*out = 0; *out < names->n; ++*out)
    if (strcmp(names->name[*out], name) == 0)
      return LRL_OK;
  if (names->n == LRL_FILTER_MOST_NAMES)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "the key \"%s\" of the rows has more than %d values; name another with "
                    "--source_key or --fault_key",
                    key, LRL_FILTER_MOST_NAMES);
  if (names->name == NULL)
    names->name = calloc(LRL_FILTER_MOST_NAMES, sizeof *names->name);
  if (names->name == NULL || (names->name[names->n] = strdup(name)) == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the names of sources");
  *out = names->n++;
  return LRL_OK;
}

/* "a/chats.jsonl.gz" -> "chats". */
static void short_name(const char *path, char *out, size_t size) {
  const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
  const char *dot = strchr(name, '.');
  snprintf(out, size, "%.*s", dot == NULL || dot == name ? (int)strlen(name) : (int)(dot - name),
           name);
}

lrl_status lrl_filter_source(struct lrl_filter *f, int64_t file, const struct lrl_pair *p,
                             int32_t *source) {
  char of_file[200];
  const char *named = json_string_value(json_object_get(p->from->value, f->o.source_key));
  short_name(f->file[file], of_file, sizeof of_file);
  return name_index(&f->sources, named != NULL ? named : of_file, f->o.source_key, source);
}

static lrl_status new_row(struct lrl_filter *f, int64_t file, const struct lrl_pair *p,
                          struct lrl_filter_row **out) {
  const char *fault = json_string_value(json_object_get(p->from->value, f->o.fault_key));
  if (f->n == f->cap) {
    const int64_t cap = f->cap == 0 ? 1024 : 2 * f->cap;
    void *more = realloc(f->row, (size_t)cap * sizeof *f->row);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld rows", (long long)cap);
    f->row = more;
    f->cap = cap;
  }
  struct lrl_filter_row *r = &f->row[f->n];
  *r = (struct lrl_filter_row){.score = NAN, .z = NAN, .reward = NAN, .fault = -1};
  LRL_TRY(lrl_filter_source(f, file, p, &r->source));
  if (fault != NULL)
    LRL_TRY(name_index(&f->faults, fault, f->o.fault_key, &r->fault));
  f->n++;
  *out = r;
  return LRL_OK;
}

/* ---- scoring ---- */

static lrl_status set_reason(struct lrl_filter_row *r, const char *why) {
  r->reason = strdup(why);
  return r->reason != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for a reason");
}

static lrl_status flush(struct scorer *s) {
  struct lrl_filter *f = s->f;
  const int64_t n = lrl_judge_chats(&s->judge);
  if (n > s->cap_scores) {
    float *more = realloc(s->scores, (size_t)n * sizeof *more);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the scores");
    s->scores = more;
    s->cap_scores = n;
  }
  LRL_TRY(lrl_judge_scores(&s->judge, s->scores));
  const float *x = s->scores;
  for (; s->first < f->n; s->first++) {
    struct lrl_filter_row *r = &f->row[s->first];
    if (r->reason == NULL) {
      r->score = r->reward = (double)*x++;
      for (int32_t k = 0; k < r->n_others; k++)
        r->score -= (double)*x++ / r->n_others;
    }
    if (r->reason == NULL && !isfinite(r->score)) {
      LRL_TRY(set_reason(r, "its score is not finite"));
      r->score = r->reward = NAN;
      r->n_others = 0;
    }
    LRL_TRY(lrl_filter_log_put(&s->log, s->first, r));
  }
  LRL_TRY(lrl_filter_log_flush(&s->log));
  const double now = omp_get_wtime();
  if (now - s->told > 10) {
    fprintf(stderr, "laurel filter: %lld rows scored\n", (long long)f->n);
    s->told = now;
  }
  return LRL_OK;
}

/* NULL: the row has a chat that ends with a reply. */
static const char *unusable(const struct lrl_pair *p) {
  if (p->aside != LRL_ASIDE_NONE)
    return p->detail;
  const char *role = p->chosen[p->n_chosen - 1].role;
  return strcasecmp(role, "human") == 0 || strcasecmp(role, "user") == 0 ||
                 strcasecmp(role, "system") == 0
             ? "the conversation does not end with a reply"
             : NULL;
}

static lrl_status add_row(struct scorer *s, int64_t file, struct lrl_pair *p,
                          struct lrl_filter_row *r) {
  char *others[LRL_FILTER_MOST_OTHERS];
  const char *why = unusable(p);
  int n = 0;
  if (why == NULL && s->replies != NULL) {
    n = lrl_filter_replies_draw(s->replies, r - s->f->row, others, (int)s->f->o.contrast);
    why = n > 0 ? NULL : "its source has no other reply to measure it against";
  }
  if (why != NULL)
    return set_reason(r, why);
  if (s->file != file) {
    free(s->image_root);
    s->image_root = lrl_filter_image_root(s->f, file);
    s->file = file;
    if (s->image_root == NULL)
      return LRL_ERR_MEMORY;
  }
  lrl_chat_name_roles(p->chosen, p->n_chosen);
  const lrl_status status =
      lrl_judge_add(&s->judge, p->chosen, p->n_chosen, p->images, p->n_images, s->image_root);
  if (status == LRL_ERR_MEMORY)
    return status;
  if (status != LRL_OK) {
    LRL_TRY(set_reason(r, lrl_last_error()));
    lrl_error_clear();
    return LRL_OK;
  }
  s->f->n_cut += s->judge.batch.chat_tokens > s->judge.chat.max_length;
  for (; r->n_others < n; r->n_others++) {
    p->chosen[p->n_chosen - 1].content = others[r->n_others];
    LRL_TRY(
        lrl_judge_add(&s->judge, p->chosen, p->n_chosen, p->images, p->n_images, s->image_root));
  }
  return LRL_OK;
}

static lrl_status on_row(void *user, int64_t file, struct lrl_pair *p) {
  struct scorer *s = user;
  struct lrl_filter_row *r;
  const int64_t i = s->f->n;
  LRL_TRY(new_row(s->f, file, p, &r));
  for (int64_t k = 0; k < p->n_images && p->aside == LRL_ASIDE_NONE; k++)
    s->f->relative_images = s->f->relative_images || p->images[k][0] != '/';
  if (i < s->log.n_known) {
    r->score = s->log.known[i].score;
    r->reward = s->log.known[i].reward;
    r->reason = s->log.known[i].reason;
    s->log.known[i].reason = NULL;
    s->first = i + 1;
    return LRL_OK;
  }
  LRL_TRY(add_row(s, file, p, r));
  return lrl_judge_tokens(&s->judge) >= s->f->o.batch_tokens ? flush(s) : LRL_OK;
}

static lrl_status score(struct scorer *s) {
  struct lrl_filter *f = s->f;
  const struct lrl_filter_options *o = &f->o;
  LRL_TRY(lrl_saved_model_open(o->model, "reward", lrl_device_name(o->device), (int)o->threads,
                               &s->model));
  LRL_TRY(lrl_judge_init(
      &s->judge, s->model,
      &(struct lrl_judge_options){o->image_transform == 1, o->hd_num, o->max_length}));
  LRL_TRY(lrl_filter_log_open(&s->log, f, s->model->path));
  if (s->log.n_known > 0)
    fprintf(stderr, "laurel filter: %s/scoring.jsonl has the scores of %lld rows already\n", o->out,
            (long long)s->log.n_known);
  if (o->contrast > 0)
    LRL_TRY(lrl_filter_replies_read(f, &s->replies));
  s->told = omp_get_wtime();
  LRL_TRY(lrl_filter_read(f, on_row, s));
  LRL_TRY(flush(s));
  for (int64_t i = 0; i < f->n; i++)
    f->n_scored += isfinite(f->row[i].score);
  if (f->n == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s has no rows", o->data);
  return f->n_scored > 0 ? LRL_OK
                         : LRL_FAIL(LRL_ERR_FORMAT, "no row of %s can be scored; the first: %s",
                                    o->data, f->row[0].reason);
}

lrl_status lrl_filter_score(struct lrl_filter *f) {
  struct scorer s = {.f = f, .file = -1};
  const lrl_status status = score(&s);
  const lrl_status closed = lrl_filter_log_close(&s.log);
  lrl_judge_free(&s.judge);
  lrl_saved_model_close(s.model);
  lrl_filter_replies_free(s.replies);
  free(s.image_root);
  free(s.scores);
  return status == LRL_OK ? closed : status;
}
