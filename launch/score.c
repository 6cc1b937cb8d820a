/* `laurel score MODEL CHATS.jsonl`: reward scores, comparisons, rankings. */
#include "data/chats.h"
#include "kernels/log.h"
#include "launch/commands.h"
#include "train/judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: laurel score MODEL CHATS.jsonl [options]\n"
    "\n"
    "MODEL is a checkpoint or the folder of a run; the forms of a chat are in data/chats.h. One "
    "JSON\n"
    "line per row goes to standard output. A score does not depend on what else is scored.\n"
    "\n"
    "  --compare            rows of two chats: also \"better\", 0 or 1, null for a tie\n"
    "  --rank               rows of any number of chats: also \"rank\" of each, 0 is best\n"
    "  --out FILE           instead of standard output\n"
    "  --image-root DIR     where relative image paths start [the folder of CHATS]\n"
    "  --image-transform M  inference or training geometry [inference]\n"
    "  --hd-num N           most tiles of an image [the model's data.hd_num]\n"
    "  --max-length N       longer chats are cut on the right [16384 tokens]\n"
    "  --batch-tokens N     tokens scored at a time [8192]\n"
    "  --threads N          [all]\n"
    "  --device NAME        cpu or ref [cpu]\n";

struct row {
  json_t *id;
  int64_t line, first_seq, n_chats;
  char error[300]; /* "" when the row is good */
};
struct scorer {
  struct lrl_saved_model *model;
  struct lrl_judge judge;
  const char *image_root;
  int64_t batch_tokens;
  bool compare, rank;
  FILE *out;
  struct row *rows;
  int64_t n_rows, cap_rows;
  float *scores;
  int64_t cap_scores, n_scored, n_failed;
};

/* Positions by descending score, ties in order of appearance: rank[i] is the place of chat i. */
static json_t *ranks(const float *s, int64_t n) {
  json_t *a = json_array();
  for (int64_t i = 0; i < n; i++) {
    json_int_t place = 0;
    for (int64_t j = 0; j < n; j++)
      place += s[j] > s[i] || (j < i && !(s[j] < s[i]));
    json_array_append_new(a, json_integer(place));
  }
  return a;
}

static lrl_status put(struct scorer *s, const struct row *r) {
  json_t *o = json_object();
  const float *scores = s->scores + r->first_seq;
  if (r->id != NULL)
    json_object_set(o, "id", r->id);
  if (r->error[0] != '\0') {
    json_object_set_new(o, "line", json_integer(r->line));
    json_object_set_new(o, "error", json_string(r->error));
    fprintf(stderr, "laurel score: line %lld is set aside: %s\n", (long long)r->line, r->error);
    s->n_failed++;
  } else if (r->n_chats == 1) {
    json_object_set_new(o, "score", json_real((double)scores[0]));
  } else {
    json_t *a = json_array();
    for (int64_t i = 0; i < r->n_chats; i++)
      json_array_append_new(a, json_real((double)scores[i]));
    json_object_set_new(o, "scores", a);
    if (s->compare)
      json_object_set_new(o, "better",
                          scores[0] > scores[1]   ? json_integer(0)
                          : scores[1] > scores[0] ? json_integer(1)
                                                  : json_null());
    if (s->rank)
      json_object_set_new(o, "rank", ranks(scores, r->n_chats));
  }
  s->n_scored += r->error[0] == '\0';
  char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  bool ok = line != NULL && fprintf(s->out, "%s\n", line) > 0 && fflush(s->out) == 0;
  free(line);
  json_decref(o);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write the scores: %s", strerror(errno));
}

static lrl_status flush(struct scorer *s) {
  const int64_t n = lrl_judge_chats(&s->judge);
  if (n > s->cap_scores) {
    free(s->scores);
    s->scores = malloc((size_t)n * sizeof *s->scores);
    s->cap_scores = s->scores == NULL ? 0 : n;
    if (s->scores == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the scores");
  }
  lrl_status status = lrl_judge_scores(&s->judge, s->scores);
  for (int64_t i = 0; i < s->n_rows; i++) {
    if (status == LRL_OK)
      status = put(s, &s->rows[i]);
    json_decref(s->rows[i].id);
  }
  s->n_rows = 0;
  return status;
}

static lrl_status add_chats(struct scorer *s, const struct lrl_chat_row *row, struct row *r) {
  for (int64_t i = 0; i < row->n_chats && r->error[0] == '\0'; i++) {
    const struct lrl_chat *c = &row->chats[i];
    lrl_status status =
        lrl_judge_add(&s->judge, c->messages, c->n_messages, c->images, c->n_images, s->image_root);
    if (status == LRL_ERR_MEMORY)
      return status;
    if (status != LRL_OK) {
      snprintf(r->error, sizeof r->error, "%s", lrl_last_error());
      lrl_error_clear();
    } else if (s->judge.batch.chat_tokens > s->judge.chat.max_length) {
      fprintf(stderr,
              "laurel score: line %lld: a chat of %lld tokens is cut to %lld and read at its last "
              "token\n",
              (long long)row->line, (long long)s->judge.batch.chat_tokens,
              (long long)s->judge.chat.max_length);
    }
  }
  return LRL_OK;
}

static lrl_status on_row(void *user, const struct lrl_chat_row *row) {
  struct scorer *s = user;
  if (s->n_rows == s->cap_rows) {
    int64_t cap = s->cap_rows == 0 ? 64 : 2 * s->cap_rows;
    void *p = realloc(s->rows, (size_t)cap * sizeof *s->rows);
    if (p == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld rows", (long long)cap);
    s->rows = p;
    s->cap_rows = cap;
  }
  struct row *r = &s->rows[s->n_rows++];
  *r = (struct row){.id = row->id == NULL ? NULL : json_deep_copy(row->id),
                    .line = row->line,
                    .first_seq = lrl_judge_chats(&s->judge),
                    .n_chats = row->n_chats};
  if (row->error != NULL)
    snprintf(r->error, sizeof r->error, "%s", row->error);
  else if (s->compare && row->n_chats != 2)
    snprintf(r->error, sizeof r->error, "--compare needs two chats in a row, there are %lld",
             (long long)row->n_chats);
  LRL_TRY(add_chats(s, row, r));
  return lrl_judge_tokens(&s->judge) >= s->batch_tokens ? flush(s) : LRL_OK;
}

/* ---- arguments ---- */

struct args {
  const char *model, *chats, *out, *image_root, *transform, *device;
  int64_t hd_num, max_length, batch_tokens, threads;
  bool compare, rank;
};

static lrl_status number(const char *name, const char *text, int64_t *out) {
  char *end;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0 || v < 0 || v > 1000000000)
    return LRL_FAIL(LRL_ERR_ARG, "%s must be a whole number, not '%s'", name, text);
  *out = v;
  return LRL_OK;
}

static lrl_status parse(int argc, char **argv, struct args *a) {
  const struct {
    const char *name, **text;
    int64_t *value;
    bool *flag;
  } options[] = {{"--out", &a->out, NULL, NULL},
                 {"--image-root", &a->image_root, NULL, NULL},
                 {"--image-transform", &a->transform, NULL, NULL},
                 {"--device", &a->device, NULL, NULL},
                 {"--hd-num", NULL, &a->hd_num, NULL},
                 {"--max-length", NULL, &a->max_length, NULL},
                 {"--batch-tokens", NULL, &a->batch_tokens, NULL},
                 {"--threads", NULL, &a->threads, NULL},
                 {"--compare", NULL, NULL, &a->compare},
                 {"--rank", NULL, NULL, &a->rank}};
  enum { N = sizeof options / sizeof options[0] };
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "--", 2) != 0) {
      const char **at = a->model == NULL ? &a->model : a->chats == NULL ? &a->chats : NULL;
      if (at == NULL)
        return LRL_FAIL(LRL_ERR_ARG, "one argument too many: '%s'", argv[i]);
      *at = argv[i];
      continue;
    }
    int k = 0;
    while (k < N && strcmp(argv[i], options[k].name) != 0)
      k++;
    if (k == N)
      return LRL_FAIL(LRL_ERR_ARG, "unknown option '%s'; see laurel score --help", argv[i]);
    if (options[k].flag != NULL) {
      *options[k].flag = true;
      continue;
    }
    if (i + 1 == argc)
      return LRL_FAIL(LRL_ERR_ARG, "%s needs a value", argv[i]);
    i++;
    if (options[k].text != NULL)
      *options[k].text = argv[i];
    else
      LRL_TRY(number(options[k].name, argv[i], options[k].value));
  }
  if (a->chats == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "a model and a file of chats are needed; see laurel score --help");
  if (strcmp(a->transform, "inference") != 0 && strcmp(a->transform, "training") != 0)
    return LRL_FAIL(LRL_ERR_ARG, "--image-transform is inference or training, not '%s'",
                    a->transform);
  return LRL_OK;
}

static lrl_status set_up(struct scorer *s, const struct args *a, char **folder) {
  LRL_TRY(lrl_saved_model_open(a->model, "reward", a->device, (int)a->threads, &s->model));
  LRL_TRY(lrl_judge_init(
      &s->judge, s->model,
      &(struct lrl_judge_options){a->transform[0] == 't', a->hd_num, a->max_length}));
  s->batch_tokens = a->batch_tokens;
  s->compare = a->compare;
  s->rank = a->rank;
  s->image_root = a->image_root;
  if (s->image_root == NULL && (s->image_root = *folder = lrl_path_folder(a->chats)) == NULL)
    return LRL_ERR_MEMORY;
  s->out = a->out == NULL ? stdout : fopen(a->out, "w");
  return s->out != NULL ? LRL_OK
                        : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", a->out, strerror(errno));
}

static lrl_status score(const struct args *a) {
  struct scorer s = {0};
  char *folder = NULL;
  lrl_status status;
  LRL_TRY_GOTO(set_up(&s, a, &folder));
  fprintf(stderr, "laurel score: %s scores %s\n", s.model->path,
          s.model->model.cfg.has_vision ? "text and images" : "text only");
  LRL_TRY_GOTO(lrl_chats_read(a->chats, on_row, &s));
  LRL_TRY_GOTO(flush(&s));
  if (s.n_scored == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "no row of %s could be scored", a->chats));
done:
  if (s.n_failed > 0)
    fprintf(stderr, "laurel score: %lld of %lld rows were set aside\n", (long long)s.n_failed,
            (long long)s.n_failed + (long long)s.n_scored);
  for (int64_t i = 0; i < s.n_rows; i++)
    json_decref(s.rows[i].id);
  if (s.out != NULL && s.out != stdout && fclose(s.out) != 0 && status == LRL_OK)
    status = LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", a->out, strerror(errno));
  lrl_judge_free(&s.judge);
  lrl_saved_model_close(s.model);
  free(s.rows);
  free(s.scores);
  free(folder);
  return status;
}

int lrl_command_score(int argc, char **argv) {
  struct args a = {
      .transform = "inference", .device = "cpu", .max_length = 16384, .batch_tokens = 8192};
  if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
    fputs(usage_text, argc == 0 ? stderr : stdout);
    return argc == 0 ? 2 : 0;
  }
  lrl_status s = parse(argc, argv, &a);
  if (s == LRL_OK)
    s = score(&a);
  if (s != LRL_OK)
    fprintf(stderr, "laurel score: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
