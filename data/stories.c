#include "data/stories.h"

#include "data/bytes.h"
#include "data/text.h"
#include "kernels/philox.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A word with the blank or line end before it, in the text of its story. */
struct word {
  const char *at;
  int64_t n;
};
struct story {
  struct lrl_text text;
  struct word *word;
  int64_t n;
};
struct writer {
  const struct lrl_stories_options *o;
  struct story *story;
  int64_t n, cap;
  struct lrl_rng rng;
  struct word *words; /* of a corruption */
};

static lrl_status no_memory(void) { return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the stories"); }

/* ---- reading ---- */

static bool opens(const char *line) {
  static const char *const openings[] = {"Once upon a time", "Once there", "There once",
                                         "One day, a"};
  for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++)
    if (strncmp(line, openings[i], strlen(openings[i])) == 0)
      return true;
  return false;
}

static lrl_status begin_story(struct writer *w) {
  if (w->n == w->cap) {
    const int64_t cap = w->cap == 0 ? 64 : 2 * w->cap;
    void *more = realloc(w->story, (size_t)cap * sizeof *w->story);
    if (more == NULL)
      return no_memory();
    w->story = more;
    w->cap = cap;
  }
  w->story[w->n++] = (struct story){0};
  return LRL_OK;
}

static lrl_status add_line(struct writer *w, const char *line, bool *open) {
  int64_t n = (int64_t)strlen(line);
  lrl_text_strip(&line, &n, true, true);
  const bool end = n == 13 && strncmp(line, "<|endoftext|>", 13) == 0;
  *open = *open && !end;
  if (n == 0 || end)
    return LRL_OK;
  if (!*open || opens(line))
    LRL_TRY(begin_story(w));
  *open = true;
  struct lrl_text *text = &w->story[w->n - 1].text;
  if (text->len > 0)
    LRL_TRY(lrl_text_puts(text, "\n"));
  return lrl_text_add(text, line, n);
}

static lrl_status read_file(struct writer *w, const char *path) {
  char *text;
  size_t n;
  bool open = false;
  LRL_TRY(lrl_file_read(path, &text, &n));
  lrl_status s = strlen(text) == n ? LRL_OK : LRL_FAIL(LRL_ERR_FORMAT, "%s holds a byte 0", path);
  for (char *at = text, *next; at != NULL && s == LRL_OK; at = next) {
    next = strchr(at, '\n');
    if (next != NULL)
      *next++ = '\0';
    s = add_line(w, at, &open);
  }
  free(text);
  return s;
}

static lrl_status cut_into_words(struct story *s) {
  const char *text = s->text.data;
  s->word = malloc((size_t)(s->text.len + 1) * sizeof *s->word);
  if (s->word == NULL)
    return no_memory();
  for (int64_t at = 0; at < s->text.len;) {
    int64_t end = at;
    while (end < s->text.len && isspace((unsigned char)text[end]))
      end++;
    while (end < s->text.len && !isspace((unsigned char)text[end]))
      end++;
    s->word[s->n++] = (struct word){text + at, end - at};
    at = end;
  }
  return LRL_OK;
}

/* ---- corrupting ---- */

static int64_t below(struct writer *w, int64_t n) {
  return (int64_t)lrl_rng_below(&w->rng, (uint64_t)n);
}

/* A run of n words of a story other than `own`, repeated when that is short. */
static void elsewhere(struct writer *w, int64_t own, int64_t n) {
  const int64_t other = (own + 1 + below(w, w->n - 1)) % w->n;
  const struct story *s = &w->story[other];
  const int64_t first = below(w, s->n > n ? s->n - n : 1);
  for (int64_t i = 0; i < n; i++)
    w->words[i] = s->word[(first + i) % s->n];
}

static void replace(struct writer *w, int64_t own, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (below(w, 5) == 0) {
      const struct story *s = &w->story[(own + 1 + below(w, w->n - 1)) % w->n];
      w->words[i] = s->word[below(w, s->n)];
    }
}

static void shuffle(struct writer *w, int64_t n) {
  for (int64_t i = n - 1; i > 0; i--) {
    const int64_t j = below(w, i + 1);
    const struct word kept = w->words[i];
    w->words[i] = w->words[j];
    w->words[j] = kept;
  }
}

static void swap(struct writer *w, int64_t n) {
  for (int64_t i = 0; i + 1 < n; i++)
    if (below(w, 4) == 0) {
      const struct word kept = w->words[i];
      w->words[i] = w->words[i + 1];
      w->words[++i] = kept;
    }
}

/* Corrupts w->words[n], of story `own`; returns the kind. */
static const char *corrupt(struct writer *w, int64_t own, int64_t n) {
  static const char *const kinds[] = {"swapped", "replaced", "shuffled", "elsewhere", "repeated"};
  const int64_t kind = below(w, 5), few = 4 + below(w, 5);
  switch (kind) {
  case 0:
    swap(w, n);
    break;
  case 1:
    replace(w, own, n);
    break;
  case 2:
    shuffle(w, n);
    break;
  case 3:
    elsewhere(w, own, n);
    break;
  default:
    for (int64_t i = few; i < n; i++)
      w->words[i] = w->words[i - few];
    break;
  }
  return kinds[kind];
}

/* Each word behind one blank or line end, whatever stood before it. */
static lrl_status join(const struct word *word, int64_t n, struct lrl_text *out) {
  for (int64_t i = 0; i < n; i++) {
    if (!isspace((unsigned char)word[i].at[0])) /* the first word of a story */
      LRL_TRY(lrl_text_puts(out, " "));
    LRL_TRY(lrl_text_add(out, word[i].at, word[i].n));
  }
  return LRL_OK;
}

/* ---- writing ---- */

static lrl_status write_row(FILE *f, json_t *o) {
  char *line = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
  const bool ok = line != NULL && fprintf(f, "%s\n", line) > 0;
  free(line);
  json_decref(o);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write a row: %s", strerror(errno));
}

/* *written: some corruption changed the words; of "a a a a" none does. */
static lrl_status write_pair(struct writer *w, FILE *f, int64_t own, int64_t n_prompt, int64_t n,
                             bool *written) {
  enum { TRIES = 16 };
  const struct story *s = &w->story[own];
  const int64_t prompt_bytes = s->word[n_prompt].at - s->text.data;
  struct lrl_text chosen = {0}, rejected = {0};
  const char *kind = "";
  lrl_status status;
  memcpy(w->words, s->word + n_prompt, (size_t)n * sizeof *w->words);
  LRL_TRY_GOTO(join(w->words, n, &chosen));
  *written = false;
  for (int i = 0; i < TRIES && !*written; i++) {
    memcpy(w->words, s->word + n_prompt, (size_t)n * sizeof *w->words);
    kind = corrupt(w, own, n);
    rejected.len = 0;
    LRL_TRY_GOTO(join(w->words, n, &rejected));
    *written = strcmp(chosen.data, rejected.data) != 0;
  }
  if (*written)
    LRL_TRY_GOTO(
        write_row(f, json_pack("{ss%, ss, ss, ss}", "prompt", s->text.data, (size_t)prompt_bytes,
                               "chosen", chosen.data, "rejected", rejected.data, "kind", kind)));
done:
  free(chosen.data);
  free(rejected.data);
  return status;
}

static lrl_status write_story(struct writer *w, int64_t own, FILE *texts, FILE *pairs,
                              int64_t *n_pairs) {
  const struct story *s = &w->story[own];
  const struct lrl_stories_options *o = w->o;
  w->rng = lrl_rng_make(o->seed, LRL_RNG_STORIES, (uint64_t)own);
  LRL_TRY(write_row(texts, json_pack("{ss}", "text", s->text.data)));
  for (int64_t k = 0; k < o->pairs; k++) {
    const int64_t n = o->min_words + below(w, o->max_words - o->min_words + 1);
    int64_t room = s->n - o->min_prompt_words - n;
    if (room < 0)
      continue;
    if (room > o->max_prompt_words - o->min_prompt_words)
      room = o->max_prompt_words - o->min_prompt_words;
    bool written;
    LRL_TRY(write_pair(w, pairs, own, o->min_prompt_words + below(w, room + 1), n, &written));
    *n_pairs += written;
  }
  return LRL_OK;
}

static lrl_status write_all(struct writer *w, const char *dir, struct lrl_stories_counts *c) {
  static const char *const names[4] = {"texts.jsonl", "pairs.jsonl", "texts_validation.jsonl",
                                       "pairs_validation.jsonl"};
  FILE *f[4] = {0};
  lrl_status status = LRL_OK;
  for (int i = 0; i < 4; i++) {
    char *path = lrl_path_join(dir, names[i]);
    f[i] = path == NULL ? NULL : fopen(path, "w");
    if (f[i] == NULL)
      status = LRL_FAIL(LRL_ERR_IO, "cannot write %s/%s: %s", dir, names[i], strerror(errno));
    free(path);
    LRL_TRY_GOTO(status);
  }
  for (int64_t i = 0; i < w->n; i++) {
    /* Every so many stories one is kept apart, wherever they come from. */
    const double share = w->o->validation;
    const bool apart = (int64_t)((double)(i + 1) * share) > (int64_t)((double)i * share);
    LRL_TRY_GOTO(write_story(w, i, f[2 * apart], f[2 * apart + 1],
                             apart ? &c->validation_pairs : &c->pairs));
    *(apart ? &c->validation_stories : &c->stories) += 1;
  }
done:
  for (int i = 0; i < 4; i++)
    if (f[i] != NULL && fclose(f[i]) != 0 && status == LRL_OK)
      status = LRL_FAIL(LRL_ERR_IO, "cannot write %s/%s: %s", dir, names[i], strerror(errno));
  return status;
}

lrl_status lrl_stories_write(const char *const *files, int64_t n_files, const char *dir,
                             const struct lrl_stories_options *options,
                             struct lrl_stories_counts *counts) {
  struct writer w = {.o = options};
  lrl_status status;
  *counts = (struct lrl_stories_counts){0};
  w.words = malloc((size_t)options->max_words * sizeof *w.words);
  if (w.words == NULL)
    LRL_TRY_GOTO(no_memory());
  if (options->min_words > options->max_words ||
      options->min_prompt_words > options->max_prompt_words)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG, "the fewest words of a prompt or a continuation are more "
                                       "than the most"));
  for (int64_t i = 0; i < n_files; i++)
    LRL_TRY_GOTO(read_file(&w, files[i]));
  if (w.n < 2)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s holds %lld stories; two are needed at least",
                          n_files > 0 ? files[0] : "nothing", (long long)w.n));
  for (int64_t i = 0; i < w.n; i++)
    LRL_TRY_GOTO(cut_into_words(&w.story[i]));
  LRL_TRY_GOTO(lrl_folder_make(dir));
  LRL_TRY_GOTO(write_all(&w, dir, counts));
done:
  for (int64_t i = 0; i < w.n; i++) {
    free(w.story[i].text.data);
    free(w.story[i].word);
  }
  free(w.story);
  free(w.words);
  return status;
}
