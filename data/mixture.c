/* data.txt: which files, and how much of each (SPEC 5.7). */
#include "data/bytes.h"
#include "data/corpus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lrl_mixture_free(struct lrl_mixture *m) {
  for (int64_t i = 0; i < m->n; i++)
    free((void *)m->sources[i].path);
  free(m->sources);
  *m = (struct lrl_mixture){0};
}

static lrl_status add_line(struct lrl_mixture *m, const char *file, int64_t line, char *text,
                           const char *folder, bool given_num) {
  size_t n = strlen(text);
  while (n > 0 && strchr(" \t\r", text[n - 1]) != NULL)
    text[--n] = '\0';
  if (n == 0)
    return LRL_OK;
  char *blank = strrchr(text, ' '), *end = NULL;
  double number = blank == NULL ? NAN : strtod(blank + 1, &end);
  if (blank == NULL || blank == text || end == blank + 1 || *end != '\0' || !(number > 0) ||
      number > 1e9)
    return LRL_FAIL(
        LRL_ERR_FORMAT,
        "%s, line %lld: expected \"<json path> <number above 0, at most 1e9>\", found \"%.80s\"",
        file, (long long)line, text);
  while (blank > text && blank[-1] == ' ')
    blank--;
  *blank = '\0';
  void *p = realloc(m->sources, (size_t)(m->n + 1) * sizeof *m->sources);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the mixture");
  m->sources = p;
  char *path = lrl_path_join(folder, text);
  if (path != NULL && access(path, F_OK) != 0 && access(text, F_OK) == 0) {
    free(path);
    path = lrl_path_join(NULL, text);
  }
  if (path == NULL)
    return LRL_ERR_MEMORY;
  m->sources[m->n++] =
      (struct lrl_corpus_source){.path = path, .number = number, .given_num = given_num};
  return LRL_OK;
}

lrl_status lrl_mixture_read(const char *path, bool given_num, struct lrl_mixture *out) {
  char *text = NULL, *folder = NULL;
  size_t n_bytes;
  int64_t line = 1;
  *out = (struct lrl_mixture){0};
  lrl_status status;
  LRL_TRY_GOTO(lrl_file_read(path, &text, &n_bytes));
  if (strlen(text) != n_bytes)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s holds a byte 0: it is not a text file", path));
  folder = lrl_path_folder(path);
  if (folder == NULL)
    LRL_TRY_GOTO(LRL_ERR_MEMORY);
  for (char *at = text, *next; at != NULL; at = next, line++) {
    next = strchr(at, '\n');
    if (next != NULL)
      *next++ = '\0';
    LRL_TRY_GOTO(add_line(out, path, line, at, folder, given_num));
  }
  if (out->n == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s names no data file", path));
done:
  free(text);
  free(folder);
  if (status != LRL_OK)
    lrl_mixture_free(out);
  return status;
}
