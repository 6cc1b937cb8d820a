/* The synthetic world as files. */
#include "data/bytes.h"
#include "data/image_write.h"
#include "data/synth/files.h"
#include "data/text.h"
#include "data/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JPEG_QUALITY = 90, TOKENIZER_ITEMS = 200, TOKENIZER_SIZE = 640 };

struct writer {
  const char *dir;
  const struct lrl_synth_options *opt;
  struct lrl_synth_item item;
};

static lrl_status no_memory(void) {
  return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the synthetic pairs");
}

lrl_status lrl_synth_file_open(const char *dir, const char *name, char path[LRL_SYNTH_PATH],
                               FILE **out) {
  snprintf(path, LRL_SYNTH_PATH, "%s/%s", dir, name);
  *out = fopen(path, "wb");
  return *out != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

lrl_status lrl_synth_file_close(FILE *f, const char *path, lrl_status status) {
  bool bad = ferror(f) != 0;
  bad = fclose(f) != 0 || bad;
  return bad && status == LRL_OK
             ? LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno))
             : status;
}

json_t *lrl_synth_conversation(const char *prompt, const char *reply) {
  return json_pack("[{ss ss} {ss ss}]", "from", "human", "value", prompt, "from", "bot", "value",
                   reply);
}

void lrl_synth_image_name(char name[128], enum lrl_synth_domain domain, enum lrl_synth_split split,
                          int64_t index, int k, bool *png) {
  *png = (index + k) % 2 == 0;
  snprintf(name, 128, "images/%s/%s-%06lld%s.%s", lrl_synth_domain_name(domain),
           lrl_synth_split_name(split), (long long)index, k == 0 ? "" : "b", *png ? "png" : "jpg");
}

/* *list gets the relative paths. */
static lrl_status write_images(const struct writer *w, enum lrl_synth_domain domain,
                               enum lrl_synth_split split, int64_t index, json_t *list) {
  for (int k = 0; k < w->item.n_images; k++) {
    const struct lrl_canvas *c = &w->item.image[k];
    char name[128], path[LRL_SYNTH_PATH];
    bool png;
    lrl_synth_image_name(name, domain, split, index, k, &png);
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    LRL_TRY(png ? lrl_png_write(path, c->rgb, c->width, c->height)
                : lrl_jpeg_write(path, c->rgb, c->width, c->height, JPEG_QUALITY));
    json_array_append_new(list, json_string(name));
  }
  return LRL_OK;
}

static lrl_status write_item(struct writer *w, enum lrl_synth_domain domain,
                             enum lrl_synth_split split, int64_t index, FILE *f) {
  struct lrl_synth_item *item = &w->item;
  char id[64];
  LRL_TRY(lrl_synth_item_draw(&w->opt->world, domain, split, index, item));
  snprintf(id, sizeof id, "%s-%s-%06lld", lrl_synth_domain_name(domain),
           lrl_synth_split_name(split), (long long)index);
  json_t *row = json_pack("{ss}", "id", id), *images = json_array();
  lrl_status status = write_images(w, domain, split, index, images);
  if (item->n_images == 1)
    json_object_set(row, "image", json_array_get(images, 0));
  else if (item->n_images > 1)
    json_object_set(row, "image", images);
  json_decref(images);
  json_object_set_new(row, "conversations_a", lrl_synth_conversation(item->prompt, item->chosen));
  json_object_set_new(row, "conversations_b", lrl_synth_conversation(item->prompt, item->rejected));
  json_object_set_new(item->gold, "domain", json_string(lrl_synth_domain_name(domain)));
  json_object_set_new(item->gold, "question", json_string(item->question));
  json_object_set_new(item->gold, "kind", json_string(item->kind));
  json_object_set_new(item->gold, "verdict", json_string("conversations_a"));
  json_object_set(row, "gold", item->gold);
  char *text = json_dumps(row, 0);
  json_decref(row);
  if (text == NULL)
    return no_memory();
  fprintf(f, "%s%s", index == 0 ? "" : ",\n", text);
  free(text);
  return status;
}

static lrl_status write_split(struct writer *w, enum lrl_synth_domain domain,
                              enum lrl_synth_split split) {
  char name[128], path[LRL_SYNTH_PATH];
  FILE *f;
  int64_t n = split == LRL_SYNTH_TRAIN ? w->opt->n_train : w->opt->n_validation;
  lrl_status status = LRL_OK;
  snprintf(path, sizeof path, "%s/images/%s", w->dir, lrl_synth_domain_name(domain));
  LRL_TRY(lrl_folder_make(path));
  snprintf(name, sizeof name, "%s_%s.json", lrl_synth_domain_name(domain),
           lrl_synth_split_name(split));
  LRL_TRY(lrl_synth_file_open(w->dir, name, path, &f));
  fputs("[\n", f);
  for (int64_t i = 0; i < n && status == LRL_OK; i++)
    status = write_item(w, domain, split, i, f);
  fputs("\n]\n", f);
  return lrl_synth_file_close(f, path, status);
}

/* ---- tokenizer ---- */

static lrl_status add_text(char **texts, int64_t *n, const char *text) {
  texts[*n] = strdup(text);
  return texts[(*n)++] != NULL ? LRL_OK : no_memory();
}

/* Trained on the first items of every domain and level, whichever domains and sizes are written, so
 * that corpora of one seed share it. */
static lrl_status write_tokenizer(struct writer *w) {
  char *texts[6 * TOKENIZER_ITEMS * LRL_SYNTH_DOMAINS + 1] = {0}, path[LRL_SYNTH_PATH];
  int64_t n = 0;
  lrl_status status = LRL_OK;
  snprintf(path, sizeof path, "%s/tokenizer.model", w->dir);
  LRL_TRY_GOTO(add_text(texts, &n, "user\nassistant\nsystem\n"));
  for (int k = 0; k < 2 * LRL_SYNTH_DOMAINS; k++) {
    const struct lrl_synth_world world = {w->opt->world.seed, LRL_CANVAS_POINTS,
                                          k % 2 == 0 ? LRL_SYNTH_FULL : LRL_SYNTH_EASY, 0};
    for (int64_t i = 0; i < TOKENIZER_ITEMS; i++) {
      LRL_TRY_GOTO(lrl_synth_item_draw(&world, (enum lrl_synth_domain)(k / 2), LRL_SYNTH_TRAIN, i,
                                       &w->item));
      LRL_TRY_GOTO(add_text(texts, &n, w->item.prompt));
      LRL_TRY_GOTO(add_text(texts, &n, w->item.chosen));
      LRL_TRY_GOTO(add_text(texts, &n, w->item.rejected));
    }
  }
  status = lrl_tokenizer_train((const char *const *)texts, n, TOKENIZER_SIZE, path);
done:
  for (int64_t i = 0; i < n; i++)
    free(texts[i]);
  return status;
}

/* ---- mixtures and the readme ---- */

static lrl_status write_mixture(const struct writer *w, enum lrl_synth_split split) {
  char path[LRL_SYNTH_PATH];
  FILE *f;
  int64_t n = split == LRL_SYNTH_TRAIN ? w->opt->n_train : w->opt->n_validation;
  LRL_TRY(lrl_synth_file_open(w->dir, split == LRL_SYNTH_TRAIN ? "data.txt" : "data_validation.txt",
                              path, &f));
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++)
    if (w->opt->domains >> k & 1)
      fprintf(f, "%s_%s.json %.12g\n", lrl_synth_domain_name((enum lrl_synth_domain)k),
              lrl_synth_split_name(split), (double)n / 1000);
  return lrl_synth_file_close(f, path, LRL_OK);
}

static lrl_status write_readme(const struct writer *w) {
  char path[LRL_SYNTH_PATH];
  FILE *f;
  LRL_TRY(lrl_synth_file_open(w->dir, "README.txt", path, &f));
  fprintf(f,
          "Preference pairs about a synthetic world, written by `laurel data synth` %s.\n"
          "%s level, seed %llu, %lld training and %lld validation pairs a domain, pictures of %d "
          "pixels.\n\n"
          "<domain>_<split>.json   pairs in the official format: conversations_a is right\n"
          "images/                 their pictures\n"
          "data.txt                all training files, with thousands of pairs\n"
          "data_validation.txt     all validation files\n"
          "tokenizer.model         SentencePiece model trained on these texts\n\n"
          "\"gold\" of a pair tells the kind of mistake and how to check a reply; training never\n"
          "reads it, nor \"fault\" of a chat in sft_<split>.json. The splits have no scene in "
          "common. For one question, the same reply is\n"
          "right as often as wrong: only the picture (or the arithmetic, or the instruction)\n"
          "tells.\n\n",
          LAUREL_VERSION, lrl_synth_level_name(w->opt->world.level),
          (unsigned long long)w->opt->world.seed, (long long)w->opt->n_train,
          (long long)w->opt->n_validation, (int)w->opt->world.unit);
  if (w->opt->world.verbose_bias > 0)
    fprintf(f, "Not so here: %g of the right replies alone are padded and therefore longer.\n\n",
            w->opt->world.verbose_bias);
  fputs("domains:", f);
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++)
    if (w->opt->domains >> k & 1)
      fprintf(f, " %s", lrl_synth_domain_name((enum lrl_synth_domain)k));
  fputc('\n', f);
  return lrl_synth_file_close(f, path, LRL_OK);
}

lrl_status lrl_synth_write(const char *dir, const struct lrl_synth_options *options) {
  struct writer w = {.dir = dir, .opt = options};
  lrl_status status;
  if (options->n_train < 1 || options->n_validation < 0 ||
      options->world.unit < LRL_CANVAS_POINTS || options->world.unit > 20 * LRL_CANVAS_POINTS)
    return LRL_FAIL(LRL_ERR_ARG, "a synthetic world needs at least one pair and pictures of 56 to "
                                 "1120 pixels");
  if (strlen(dir) > LRL_SYNTH_PATH - 128)
    return LRL_FAIL(LRL_ERR_ARG, "the path of the output folder is too long");
  LRL_TRY_GOTO(lrl_folder_make(dir));
  for (int k = 0; k < LRL_SYNTH_DOMAINS; k++)
    if (options->domains >> k & 1) {
      LRL_TRY_GOTO(write_split(&w, (enum lrl_synth_domain)k, LRL_SYNTH_TRAIN));
      LRL_TRY_GOTO(write_split(&w, (enum lrl_synth_domain)k, LRL_SYNTH_VALIDATION));
    }
  for (int k = 0; k < 2 && options->faults > 0; k++)
    LRL_TRY_GOTO(
        lrl_synth_write_chats(dir, options, k == 0 ? LRL_SYNTH_TRAIN : LRL_SYNTH_VALIDATION));
  LRL_TRY_GOTO(write_tokenizer(&w));
  LRL_TRY_GOTO(write_mixture(&w, LRL_SYNTH_TRAIN));
  LRL_TRY_GOTO(write_mixture(&w, LRL_SYNTH_VALIDATION));
  LRL_TRY_GOTO(write_readme(&w));
done:
  lrl_synth_item_free(&w.item);
  return status;
}
