/* The scores that `laurel filter` knows, a JSON line each as soon as it is there. */
#include "launch/filter.h"
#include "train/checkpoint_seal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

/* Names the scores: the model's weights, the rows, and how chats become tokens. */
static lrl_status header(const struct lrl_filter *f, const char *checkpoint, json_t **out) {
  const struct lrl_filter_options *o = &f->o;
  uint64_t model, data = 0;
  char names[2][24];
  LRL_TRY(lrl_seal_name(checkpoint, &model));
  for (int64_t i = 0; i < f->n_files; i++) {
    char *text;
    size_t n;
    LRL_TRY(lrl_file_read(f->file[i], &text, &n));
    data = XXH64(text, n, data);
    free(text);
  }
  snprintf(names[0], sizeof names[0], "%016llx", (unsigned long long)model);
  snprintf(names[1], sizeof names[1], "%016llx", (unsigned long long)data);
  *out =
      json_pack("{ss ss ss sI sI sI ss ss}", "model", names[0], "data", names[1], "image_root",
                o->image_root, "contrast", (json_int_t)o->contrast, "hd_num", (json_int_t)o->hd_num,
                "max_length", (json_int_t)o->max_length, "image_transform",
                o->image_transform == 0 ? "inference" : "training", "source_key", o->source_key);
  return *out != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the scores");
}

/* A line of the log; false: it is damaged, as the last line of a killed call may be. */
static bool take_known(struct lrl_filter_log *s, const char *line, size_t n) {
  json_t *o = json_loadb(line, n, 0, NULL);
  const json_t *score = json_object_get(o, "score");
  const json_t *reward = json_object_get(o, "reward");
  const char *error = json_string_value(json_object_get(o, "error"));
  const bool next = json_integer_value(json_object_get(o, "row")) == s->n_known &&
                    (json_is_number(score) || error != NULL);
  if (next && s->n_known == s->cap_known) {
    const int64_t cap = s->cap_known == 0 ? 1024 : 2 * s->cap_known;
    struct lrl_filter_known *more = realloc(s->known, (size_t)cap * sizeof *more);
    s->known = more != NULL ? more : s->known;
    s->cap_known = more != NULL ? cap : s->cap_known;
  }
  const bool kept = next && s->n_known < s->cap_known;
  if (kept)
    s->known[s->n_known++] =
        (struct lrl_filter_known){.score = error != NULL ? NAN : json_number_value(score),
                                  .reward = error != NULL    ? NAN
                                            : reward != NULL ? json_number_value(reward)
                                                             : json_number_value(score),
                                  .reason = error != NULL ? strdup(error) : NULL};
  json_decref(o);
  return kept;
}

/* Bytes of the log that hold: its header, if that is ours, and whole lines in order. */
static int64_t read_log(struct lrl_filter_log *s, const json_t *want) {
  char *text;
  size_t n;
  if (access(s->path, R_OK) != 0 || lrl_file_read_raw(s->path, &text, &n) != LRL_OK) {
    lrl_error_clear();
    return 0;
  }
  const char *at = text, *stop = memchr(text, '\n', n);
  json_t *have = stop == NULL ? NULL : json_loadb(text, (size_t)(stop - text), 0, NULL);
  const bool ours = have != NULL && json_equal(have, want) == 1;
  json_decref(have);
  for (at = ours ? stop + 1 : text; ours; at = stop + 1) {
    stop = memchr(at, '\n', (size_t)(text + n - at));
    if (stop == NULL || !take_known(s, at, (size_t)(stop - at)))
      break;
  }
  free(text);
  return at - text;
}

static lrl_status cannot_write(const struct lrl_filter_log *s) {
  return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", s->path, strerror(errno));
}

static lrl_status put_line(const struct lrl_filter_log *s, json_t *o) {
  char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
  const bool ok = line != NULL && fprintf(s->f, "%s\n", line) > 0;
  free(line);
  json_decref(o);
  return ok ? LRL_OK : cannot_write(s);
}

lrl_status lrl_filter_log_open(struct lrl_filter_log *s, const struct lrl_filter *f,
                               const char *checkpoint) {
  json_t *want;
  *s = (struct lrl_filter_log){0};
  snprintf(s->path, sizeof s->path, "%s/scoring.jsonl", f->o.out);
  s->f = fopen(s->path, "a");
  if (s->f == NULL)
    return cannot_write(s);
  if (flock(fileno(s->f), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return LRL_FAIL(LRL_ERR_ARG, "another laurel filter is writing to %s now", f->o.out);
  LRL_TRY(header(f, checkpoint, &want));
  const int64_t bytes = read_log(s, want);
  lrl_status status = ftruncate(fileno(s->f), (off_t)bytes) == 0 ? LRL_OK : cannot_write(s);
  if (status == LRL_OK && bytes == 0)
    status = put_line(s, json_incref(want));
  json_decref(want);
  return status;
}

lrl_status lrl_filter_log_put(struct lrl_filter_log *s, int64_t i, const struct lrl_filter_row *r) {
  json_t *o = json_pack("{sI}", "row", (json_int_t)i);
  if (r->reason != NULL)
    json_object_set_new(o, "error", json_string(r->reason));
  else
    json_object_set_new(o, "score", json_real(r->score));
  if (r->n_others > 0)
    json_object_set_new(o, "reward", json_real(r->reward));
  return put_line(s, o);
}

lrl_status lrl_filter_log_flush(struct lrl_filter_log *s) {
  return fflush(s->f) == 0 ? LRL_OK : cannot_write(s);
}

lrl_status lrl_filter_log_close(struct lrl_filter_log *s) {
  const bool ok = s->f == NULL || fclose(s->f) == 0;
  for (int64_t i = 0; i < s->n_known; i++)
    free(s->known[i].reason);
  free(s->known);
  s->known = NULL;
  s->f = NULL;
  return ok ? LRL_OK : cannot_write(s);
}
