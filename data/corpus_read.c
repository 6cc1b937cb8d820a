/* A corpus from whatever a user names: preference files, mixtures, or one packed corpus. */
#include "data/bytes.h"
#include "data/corpus_columns.h"
#include "data/video_decode.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && strcmp(s + n - m, end) == 0;
}

/* The sources of a list; names are owned by `copy` and the mixtures. */
struct source_list {
  char *copy;
  struct lrl_corpus_source *sources;
  int64_t n;
  struct lrl_mixture *mixtures;
  int64_t n_mixtures;
};

static void free_list(struct source_list *l) {
  for (int64_t i = 0; i < l->n_mixtures; i++)
    lrl_mixture_free(&l->mixtures[i]);
  free(l->mixtures);
  free(l->sources);
  free(l->copy);
}

static lrl_status grow(void **array, int64_t n, size_t size) {
  void *p = realloc(*array, (size_t)n * size);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the list of files");
  *array = p;
  return LRL_OK;
}

static lrl_status add_sources(struct source_list *l, const struct lrl_corpus_source *from,
                              int64_t n) {
  void *p = l->sources;
  LRL_TRY(grow(&p, l->n + n, sizeof *l->sources));
  l->sources = p;
  memcpy(l->sources + l->n, from, (size_t)n * sizeof *from);
  l->n += n;
  return LRL_OK;
}

static lrl_status add_name(struct source_list *l, const char *name, bool given_num) {
  if (!ends_with(name, ".txt"))
    return add_sources(l, &(struct lrl_corpus_source){.path = name}, 1);
  struct lrl_mixture m;
  void *p = l->mixtures;
  LRL_TRY(lrl_mixture_read(name, given_num, &m));
  lrl_status status = grow(&p, l->n_mixtures + 1, sizeof m);
  if (status != LRL_OK) {
    lrl_mixture_free(&m);
    return status;
  }
  l->mixtures = p;
  l->mixtures[l->n_mixtures++] = m;
  return add_sources(l, m.sources, m.n);
}

/* A packed corpus has its image tokens laid out already: tile, patch and the tile grids must be
 * those of the run, or the tokens would not fit the features. */
static lrl_status check_images(const struct lrl_corpus *c, const char *path,
                               const struct lrl_image_ops *ops) {
  if (lrl_corpus_n_images(c) == 0)
    return LRL_OK;
  if (ops == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "%s holds images, but the model has no vision tower", path);
  char want[64];
  snprintf(want, sizeof want, LRL_CORPUS_TILE_SETTING, (int)ops->tile, (int)ops->merged_side);
  bool same = strstr(lrl_col_text(c, LRL_COL_settings), want) != NULL;
  /* Videos are opened once each: their tiles do not depend on what else is in the chat. */
  bool *seen = calloc((size_t)lrl_corpus_n_images(c), sizeof *seen);
  lrl_status status = LRL_OK;
  if (seen == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to check %s", path);
  for (int64_t i = 0; same && i < lrl_corpus_n_pairs(c); i++) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, i, &p);
    for (int64_t k = 0; same && k < p.n_spans; k++) {
      const struct lrl_corpus_span *s = &p.spans[k];
      struct lrl_corpus_image image;
      struct lrl_image_grid g;
      lrl_corpus_get_image(c, s->image, &image);
      if (seen[s->image])
        continue;
      LRL_TRY_GOTO(ops->grid(ops->user, image.bytes, image.n_bytes, s->n_in_chat, &g));
      same = g.rows == s->rows && g.cols == s->cols;
      seen[s->image] = lrl_video_container(image.bytes, image.n_bytes) != NULL;
    }
  }
  if (!same)
    status = LRL_FAIL(LRL_ERR_ARG,
                      "%s was packed for other image settings (tile, patch, hd_num, transform or "
                      "frames of videos) than this run's; pack it again with this run's",
                      path);
done:
  free(seen);
  return status;
}

/* Pairs can serve as answers, not the other way round. */
static lrl_status check_form(const struct lrl_corpus *c, enum lrl_corpus_form form,
                             const char *path) {
  if (form == LRL_FORM_ALL_ANSWERS)
    return LRL_FAIL(LRL_ERR_ARG, "%s is packed; name the files to learn all their answers", path);
  for (int64_t i = 0; i < lrl_corpus_n_pairs(c) && form == LRL_FORM_PAIRS; i++) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, i, &p);
    if (p.n_rejected == 0)
      return LRL_FAIL(LRL_ERR_ARG, "%s holds answers without rejected ones, not pairs", path);
  }
  return LRL_OK;
}

lrl_status lrl_corpus_read(const char *list, bool given_num,
                           const struct lrl_corpus_options *options, struct lrl_corpus **out) {
  struct source_list l = {.copy = strdup(list)};
  lrl_status status = LRL_OK;
  char *save = NULL;
  *out = NULL;
  if (l.copy == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for the list of files"));
  for (char *p = strtok_r(l.copy, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
    if (!ends_with(p, ".h5")) {
      LRL_TRY_GOTO(add_name(&l, p, given_num));
      continue;
    }
    if (p != l.copy || strlen(p) != strlen(list))
      LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG,
                            "%s is a packed corpus and must be named alone, not in a "
                            "list of files",
                            p));
    if (options->holdout > 0)
      LRL_TRY_GOTO(
          LRL_FAIL(LRL_ERR_ARG, "%s is packed: hold pairs out when packing, not after", p));
    LRL_TRY_GOTO(lrl_corpus_open(p, out));
    LRL_TRY_GOTO(lrl_corpus_check_tokenizer(*out, options->tokenizer));
    LRL_TRY_GOTO(check_images(*out, p, options->images));
    LRL_TRY_GOTO(check_form(*out, options->form, p));
  }
  if (*out == NULL && l.n == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG, "no data file is named"));
  if (*out == NULL)
    LRL_TRY_GOTO(lrl_corpus_build(l.sources, l.n, options, out));
done:
  free_list(&l);
  if (status != LRL_OK) {
    lrl_corpus_free(*out);
    *out = NULL;
  }
  return status;
}
