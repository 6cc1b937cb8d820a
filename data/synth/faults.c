/* Answers to imitate, some of them faulty: what data cleaning is measured on. A row is the right
 * reply to an item's prompt, or by chance one of three faults:
 *   wrong_image     the picture of another item with the same question, for which the reply is
 * wrong empty_answer    the reply is empty hallucination   the reply says what is not so: the
 * item's wrong one "fault" says which ("none"); nothing that trains reads it. */
#include "data/synth/files.h"
#include "data/synth/verify.h"

#include <stdlib.h>
#include <string.h>

enum { WRONG_IMAGE, EMPTY_ANSWER, HALLUCINATION, N_FAULTS };
static const char *const names[N_FAULTS] = {"wrong_image", "empty_answer", "hallucination"};

/* An item without its pictures. */
struct text {
  char *prompt, *right, *wrong, *gold;
  int n_images;
};

static lrl_status read_texts(const struct lrl_synth_options *o, enum lrl_synth_domain domain,
                             enum lrl_synth_split split, struct text *t, int64_t n) {
  struct lrl_synth_item item = {0};
  lrl_status status = LRL_OK;
  for (int64_t i = 0; i < n && status == LRL_OK; i++) {
    status = lrl_synth_item_draw(&o->world, domain, split, i, &item);
    if (status != LRL_OK)
      break;
    t[i] = (struct text){strdup(item.prompt), strdup(item.chosen), strdup(item.rejected),
                         json_dumps(item.gold, 0), item.n_images};
    if (t[i].prompt == NULL || t[i].right == NULL || t[i].wrong == NULL || t[i].gold == NULL)
      status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for the synthetic chats");
  }
  lrl_synth_item_free(&item);
  return status;
}

/* An item whose picture makes the answer of item i wrong; -1: none among the next thousand. */
static lrl_status other_picture(struct lrl_synth_draw *d, const struct text *t, int64_t n,
                                int64_t i, int64_t *other) {
  const int64_t begin = n > 1 ? lrl_synth_int(d, 1, (int)(n - 1)) : 0;
  *other = -1;
  for (int64_t k = 0; k < n && k < 1000 && *other < 0; k++) {
    const int64_t j = (i + begin + k) % n;
    double reward = 1;
    if (t[j].n_images == t[i].n_images && strcmp(t[j].prompt, t[i].prompt) == 0)
      LRL_TRY(lrl_synth_verify(t[j].gold, t[i].right, true, &reward));
    *other = reward < 1 ? j : -1;
  }
  return LRL_OK;
}

static lrl_status put_row(FILE *f, enum lrl_synth_domain domain, enum lrl_synth_split split,
                          const struct text *t, int64_t i, int64_t picture, int fault, bool first) {
  const char *reply = fault == EMPTY_ANSWER ? "" : fault == HALLUCINATION ? t[i].wrong : t[i].right;
  char name[128];
  bool png;
  json_t *row = json_object(), *images = json_array();
  json_object_set_new(row, "id",
                      json_sprintf("%s-%s-%06lld", lrl_synth_domain_name(domain),
                                   lrl_synth_split_name(split), (long long)i));
  for (int k = 0; k < t[i].n_images; k++) {
    lrl_synth_image_name(name, domain, split, picture, k, &png);
    json_array_append_new(images, json_string(name));
  }
  if (t[i].n_images > 0)
    json_object_set(row, "image", t[i].n_images == 1 ? json_array_get(images, 0) : images);
  json_decref(images);
  json_object_set_new(row, "conversations", lrl_synth_conversation(t[i].prompt, reply));
  json_object_set_new(row, "source", json_string(lrl_synth_domain_name(domain)));
  json_object_set_new(row, "fault", json_string(fault == N_FAULTS ? "none" : names[fault]));
  char *text = json_dumps(row, 0);
  json_decref(row);
  if (text == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the synthetic chats");
  fprintf(f, "%s%s", first ? "" : ",\n", text);
  free(text);
  return LRL_OK;
}

static lrl_status put_domain(FILE *f, const struct lrl_synth_options *o,
                             enum lrl_synth_domain domain, enum lrl_synth_split split,
                             const struct text *t, int64_t n, bool *first) {
  for (int64_t i = 0; i < n; i++) {
    /* A stream of its own: the pairs do not change with the faults. */
    struct lrl_synth_draw d = {.rng = lrl_rng_make(o->world.seed, LRL_RNG_SYNTH,
                                                   (uint64_t)1 << 60 | (uint64_t)domain << 48 |
                                                       (uint64_t)split << 47 | (uint64_t)i)};
    const bool faulty = lrl_synth_int(&d, 0, 999999) < (int)(o->faults * 1e6);
    int fault = lrl_synth_int(&d, t[i].n_images > 0 ? WRONG_IMAGE : EMPTY_ANSWER, N_FAULTS - 1);
    int64_t picture = i;
    if (faulty && fault == WRONG_IMAGE) {
      int64_t other;
      LRL_TRY(other_picture(&d, t, n, i, &other));
      picture = other >= 0 ? other : i;
      fault = other >= 0 ? WRONG_IMAGE : HALLUCINATION;
    }
    LRL_TRY(put_row(f, domain, split, t, i, picture, faulty ? fault : N_FAULTS, *first));
    *first = false;
  }
  return LRL_OK;
}

lrl_status lrl_synth_write_chats(const char *dir, const struct lrl_synth_options *o,
                                 enum lrl_synth_split split) {
  const int64_t n = split == LRL_SYNTH_TRAIN ? o->n_train : o->n_validation;
  char path[LRL_SYNTH_PATH], name[64];
  FILE *f;
  bool first = true;
  lrl_status status = LRL_OK;
  snprintf(name, sizeof name, "sft_%s.json", lrl_synth_split_name(split));
  LRL_TRY(lrl_synth_file_open(dir, name, path, &f));
  fputs("[\n", f);
  for (int k = 0; k < LRL_SYNTH_DOMAINS && status == LRL_OK; k++) {
    const enum lrl_synth_domain domain = (enum lrl_synth_domain)k;
    if ((o->domains >> k & 1) == 0)
      continue;
    struct text *t = calloc((size_t)n + 1, sizeof *t);
    status = t == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory for the synthetic chats")
                       : read_texts(o, domain, split, t, n);
    if (status == LRL_OK)
      status = put_domain(f, o, domain, split, t, n, &first);
    for (int64_t i = 0; i < n && t != NULL; i++) {
      free(t[i].prompt);
      free(t[i].right);
      free(t[i].wrong);
      free(t[i].gold);
    }
    free(t);
  }
  fputs("\n]\n", f);
  return lrl_synth_file_close(f, path, status);
}
