/* Rows and answers of laurel generate. */
#include "launch/generate.h"

#include "data/synth/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Copies a string to *at, which moves on. */
static const char *keep(const char *text, char **at) {
  const size_t n = strlen(text) + 1;
  const char *copy = memcpy(*at, text, n);
  *at += n;
  return copy;
}

/* Turns of the row's chat that make the prompt: of a preference pair those before the answers. 0
 * and to->error for a row that is no prompt. */
static int64_t prompt_turns(const struct lrl_chat_row *from, struct lrl_generate_row *to) {
  const json_t *v = from->value;
  const bool pair = from->n_chats == 2 && json_object_get(v, "chats") == NULL;
  if (from->error != NULL)
    snprintf(to->error, sizeof to->error, "%s", from->error);
  else if (pair && from->chats[0].n_messages < 2)
    snprintf(to->error, sizeof to->error, "nothing stands before the answers of the pair");
  else if (from->n_chats != 1 && !pair)
    snprintf(to->error, sizeof to->error, "a prompt is one chat, the row has %lld",
             (long long)from->n_chats);
  else
    return from->chats[0].n_messages - pair;
  return 0;
}

lrl_status lrl_generate_row_copy(const struct lrl_chat_row *from, struct lrl_generate_row *to) {
  *to = (struct lrl_generate_row){.id = from->id == NULL ? NULL : json_deep_copy(from->id),
                                  .row = from->row,
                                  .line = from->line,
                                  .seq = -1};
  const int64_t n = prompt_turns(from, to);
  if (n == 0)
    return LRL_OK;
  const struct lrl_chat *c = from->chats;
  const json_t *gold = json_object_get(from->value, "gold");
  size_t bytes = 1;
  for (int64_t i = 0; i < n; i++)
    bytes += strlen(c->messages[i].role) + strlen(c->messages[i].content) + 2;
  for (int64_t i = 0; i < c->n_images; i++)
    bytes += strlen(c->images[i]) + 1;
  to->messages = calloc((size_t)n + 1, sizeof *to->messages);
  to->images = calloc((size_t)c->n_images + 1, sizeof *to->images);
  char *at = to->text = malloc(bytes);
  to->gold = json_is_object(gold) ? json_dumps(gold, JSON_COMPACT) : NULL;
  if (to->messages == NULL || to->images == NULL || at == NULL ||
      (json_is_object(gold) && to->gold == NULL)) {
    lrl_generate_row_free(to);
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a prompt");
  }
  for (; to->n_messages < n; to->n_messages++) {
    const struct lrl_message *m = &c->messages[to->n_messages];
    to->messages[to->n_messages] = (struct lrl_message){keep(m->role, &at), keep(m->content, &at)};
  }
  for (; to->n_images < c->n_images; to->n_images++)
    to->images[to->n_images] = keep(c->images[to->n_images], &at);
  return LRL_OK;
}

void lrl_generate_row_free(struct lrl_generate_row *r) {
  free(r->messages);
  free((void *)r->images);
  free(r->text);
  free(r->gold);
  json_decref(r->id);
  *r = (struct lrl_generate_row){0};
}

/* Text of a sample's first n tokens; malloc'ed. In raw mode it goes on with the prompt's text, so
 * both are decoded together: a tokenizer may drop a blank that begins a text. */
static lrl_status decode(const struct lrl_generator *g, const struct lrl_generate_row *r,
                         const struct lrl_gen_sample *s, int64_t n, char **text) {
  const struct lrl_batch *b = &g->batch.batch;
  const int32_t *prompt = b->ids + b->layout.start[r->seq];
  char *before = NULL;
  struct lrl_ids ids = {0};
  lrl_status status = LRL_OK;
  *text = NULL;
  if (!g->raw)
    return lrl_tokenizer_decode(g->model->tokenizer, s->tokens, n, text);
  LRL_TRY_GOTO(lrl_ids_append(&ids, prompt, b->layout.length[r->seq]));
  LRL_TRY_GOTO(lrl_tokenizer_decode(g->model->tokenizer, ids.data, ids.n, &before));
  LRL_TRY_GOTO(lrl_ids_append(&ids, s->tokens, n));
  LRL_TRY_GOTO(lrl_tokenizer_decode(g->model->tokenizer, ids.data, ids.n, text));
  size_t skip = strlen(before), len = strlen(*text);
  skip = skip < len ? skip : len;
  memmove(*text, *text + skip, len - skip + 1);
done:
  free(before);
  lrl_ids_free(&ids);
  return status;
}
/* The answer without the token that ended it. */
static lrl_status answer_text(const struct lrl_generator *g, const struct lrl_generate_row *r,
                              const struct lrl_gen_sample *s, char **text) {
  return decode(g, r, s, s->n - (s->finish == LRL_FINISH_STOP), text);
}

void lrl_generate_stream(void *user, const struct lrl_gen_sample *s, bool done) {
  struct lrl_generator *g = user;
  char *text;
  const int64_t n = s->n - (done && s->finish == LRL_FINISH_STOP);
  if (decode(g, &g->rows[0], s, n, &text) != LRL_OK) {
    lrl_error_clear();
    return;
  }
  size_t len = strlen(text);
  /* Bytes of a character that is not complete decode to U+FFFD: they wait. */
  while (!done && len >= 3 && memcmp(text + len - 3, "\xef\xbf\xbd", 3) == 0)
    len -= 3;
  if (len > g->streamed) {
    fwrite(text + g->streamed, 1, len - g->streamed, g->out);
    g->streamed = len;
  }
  if (done)
    fputc('\n', g->out);
  fflush(g->out);
  free(text);
}

/* scores[n_samples] of a row's answers. */
static lrl_status score_row(struct lrl_generator *g, struct lrl_generate_row *r,
                            const struct lrl_gen_sample *s, float *scores) {
  enum { TOKENS_AT_ONCE = 8192 };
  int64_t first = 0;
  for (int64_t k = 0; k < g->n_samples; k++) {
    char *text;
    LRL_TRY(answer_text(g, r, &s[k], &text));
    r->messages[r->n_messages] = (struct lrl_message){"assistant", text};
    const lrl_status status = lrl_judge_add(&g->judge, r->messages, r->n_messages + 1, r->images,
                                            r->n_images, g->image_root);
    r->messages[r->n_messages] = (struct lrl_message){0};
    free(text);
    LRL_TRY(status);
    if (lrl_judge_tokens(&g->judge) >= TOKENS_AT_ONCE || k + 1 == g->n_samples) {
      LRL_TRY(lrl_judge_scores(&g->judge, scores + first));
      first = k + 1;
    }
  }
  return LRL_OK;
}

static lrl_status response(const struct lrl_generator *g, const struct lrl_generate_row *r,
                           const struct lrl_gen_sample *s, const float *score, json_t *list) {
  char *text;
  double logprob = 0, gold;
  LRL_TRY(answer_text(g, r, s, &text));
  const lrl_status status =
      r->gold == NULL ? LRL_OK
                      : lrl_synth_verify(r->gold, text, s->finish == LRL_FINISH_STOP, &gold);
  if (status != LRL_OK) {
    free(text);
    return status;
  }
  for (int64_t i = 0; i < s->n; i++)
    logprob += (double)s->logprobs[i];
  json_t *o = json_object();
  json_t *t = json_string(text);
  json_object_set_new(o, "text", t != NULL ? t : json_null()); /* ids may spell invalid UTF-8 */
  json_object_set_new(o, "tokens", json_integer(s->n));
  json_object_set_new(o, "finish", json_string(s->finish == LRL_FINISH_STOP ? "stop" : "length"));
  json_object_set_new(o, "logprob", json_real(logprob));
  if (score != NULL)
    json_object_set_new(o, "score", json_real((double)*score));
  if (r->gold != NULL)
    json_object_set_new(o, "gold", json_real(gold));
  free(text);
  return json_array_append_new(list, o) == 0 ? LRL_OK
                                             : LRL_FAIL(LRL_ERR_MEMORY, "no memory for an answer");
}

static lrl_status write_line(struct lrl_generator *g, json_t *o) {
  char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  bool ok = line != NULL && fprintf(g->out, "%s\n", line) > 0 && fflush(g->out) == 0;
  free(line);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write the answers: %s", strerror(errno));
}

/* s: the row's samples; NULL when it was set aside. */
static lrl_status write_row(struct lrl_generator *g, struct lrl_generate_row *r,
                            const struct lrl_gen_sample *s, float *scores) {
  json_t *o = json_object(), *list = json_array();
  lrl_status status = LRL_OK;
  if (r->id != NULL)
    json_object_set(o, "id", r->id);
  json_object_set_new(o, "line", json_integer(r->line));
  if (s == NULL)
    json_object_set_new(o, "error", json_string(r->error));
  else
    json_object_set(o, "responses", list);
  if (s != NULL && g->reward != NULL)
    status = score_row(g, r, s, scores);
  int64_t best = 0;
  for (int64_t k = 0; k < g->n_samples && s != NULL && status == LRL_OK; k++) {
    status = response(g, r, &s[k], g->reward != NULL ? &scores[k] : NULL, list);
    best = g->reward != NULL && scores[k] > scores[best] ? k : best;
  }
  if (s != NULL && g->reward != NULL)
    json_object_set_new(o, "best", json_integer(best));
  if (status == LRL_OK)
    status = write_line(g, o);
  json_decref(list);
  json_decref(o);
  return status;
}

lrl_status lrl_generate_write(struct lrl_generator *g, const struct lrl_generation *out) {
  float *scores = calloc((size_t)g->n_samples, sizeof *scores);
  lrl_status status = scores == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for scores") : LRL_OK;
  for (int64_t i = 0, at = 0; i < g->n_rows && status == LRL_OK; i++) {
    struct lrl_generate_row *r = &g->rows[i];
    if (r->error[0] != '\0') {
      fprintf(stderr, "laurel generate: line %lld is set aside: %s\n", (long long)r->line,
              r->error);
      g->n_failed++;
      status = write_row(g, r, NULL, scores);
      continue;
    }
    if (!g->stream)
      status = write_row(g, r, &out->sample[at], scores);
    at += g->n_samples;
    g->n_done++;
  }
  free(scores);
  return status;
}
