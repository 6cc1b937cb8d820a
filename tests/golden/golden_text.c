/* D1: tokenizer. D2: packing of text and image parts, label mask. Both were made with the official
 * tokenizer, which is found under $LAUREL_ASSETS/tokenizer by the SHA-256 that D1 states. */
#include "data/chat.h"
#include "kernels/status.h"
#include "tests/golden/golden.h"
#include "tests/golden/sha256.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model D2 was made with; D1 states its own. */
static const char official_sha256[] =
    "f868398fc4e05ee1e8aeba95ddf18ddcc45b8bce55d5093bead5bbf80429b48b";

/* ---- finding the tokenizer ---- */

static struct lrl_tokenizer *open_if(const char *path, const char *sha256, bool strip) {
  struct lrl_tokenizer_options options = {.strip_around_special = strip};
  struct lrl_tokenizer *t;
  char hex[65] = "";
  if (lrl_tokenizer_open_with(path, &options, &t) == LRL_OK) {
    size_t size;
    const void *bytes = lrl_tokenizer_model_bytes(t, &size);
    sha256_hex(bytes, size, hex);
    if (strcmp(hex, sha256) == 0)
      return t;
    lrl_tokenizer_close(t);
  }
  lrl_error_clear();
  return NULL;
}

/* NULL when no file under assets/tokenizer has this sum. */
static struct lrl_tokenizer *find_tokenizer(struct golden *g, const char *sha256, bool strip) {
  char path[4096];
  struct lrl_tokenizer *t = NULL;
  snprintf(path, sizeof path, "%s/tokenizer", g->assets);
  DIR *d = opendir(path);
  for (struct dirent *e; d != NULL && t == NULL && (e = readdir(d)) != NULL;) {
    if (e->d_name[0] == '.')
      continue;
    snprintf(path, sizeof path, "%s/tokenizer/%s/tokenizer.model", g->assets, e->d_name);
    t = open_if(path, sha256, strip);
  }
  if (d != NULL)
    closedir(d);
  return t;
}

/* ---- comparing ---- */

static int64_t mismatch(const int32_t *got, int64_t n, const json_t *want) {
  if (n != (int64_t)json_array_size(want))
    return 1;
  for (int64_t i = 0; i < n; i++)
    if (got[i] != json_integer_value(json_array_get(want, (size_t)i)))
      return 1;
  return 0;
}

struct tally {
  int64_t n, bad;
};

static void report(struct golden *g, const char *name, const char *what, const struct tally *c) {
  char label[120];
  snprintf(label, sizeof label, "%s (%lld)", what, (long long)c->n);
  if (c->n == 0)
    golden_skip(g, name, what, "the file holds none");
  else
    golden_check(g, name, label, (double)c->bad, 0);
}

/* Both folders name things alike; a value that differs in transformers 4.45 is in hf445_differs. */
static const json_t *expected(const json_t *item, const char *key, bool strip) {
  const json_t *newer = json_object_get(json_object_get(item, "hf445_differs"), key);
  return !strip && newer != NULL ? newer : json_object_get(item, key);
}

static void check_ids(const struct lrl_tokenizer *t, const json_t *text, const json_t *want,
                      int bos, struct tally *c) {
  struct lrl_ids ids = {0};
  int64_t len = (int64_t)json_string_length(text);
  if (want == NULL || !json_is_string(text))
    return;
  lrl_status status = bos < 0
                          ? lrl_tokenizer_encode_plain(t, json_string_value(text), len, &ids)
                          : lrl_tokenizer_encode(t, json_string_value(text), len, bos > 0, &ids);
  c->n++;
  c->bad += status != LRL_OK || mismatch(ids.data, ids.n, want) != 0;
  lrl_error_clear();
  lrl_ids_free(&ids);
}

static void check_decoded(const struct lrl_tokenizer *t, const json_t *ids, const json_t *want,
                          enum lrl_decode mode, struct tally *c) {
  struct lrl_ids list = {0};
  char *text = NULL;
  int64_t len = 0;
  if (!json_is_array(ids) || !json_is_string(want))
    return;
  lrl_status status = LRL_OK;
  for (size_t i = 0; i < json_array_size(ids) && status == LRL_OK; i++)
    status = lrl_ids_push(&list, (int32_t)json_integer_value(json_array_get(ids, i)));
  if (status == LRL_OK)
    status = lrl_tokenizer_decode_as(t, list.data, list.n, mode, &text, &len);
  c->n++;
  c->bad += status != LRL_OK || len != (int64_t)json_string_length(want) ||
            memcmp(text, json_string_value(want), (size_t)len) != 0;
  lrl_error_clear();
  free(text);
  lrl_ids_free(&list);
}

/* ---- D1 ---- */

struct d1 {
  struct tally ids, bos, plain, decoded, skip, rendered, parts, batch;
};

static void check_string(const struct lrl_tokenizer *t, const json_t *s, bool strip, struct d1 *c) {
  const json_t *text = json_object_get(s, "text");
  check_ids(t, text, expected(s, "ids", strip), 0, &c->ids);
  check_ids(t, text, expected(s, "ids_bos", strip), 1, &c->bos);
  check_ids(t, text, json_object_get(s, "sp_ids"), -1, &c->plain);
  check_decoded(t, expected(s, "ids", strip), expected(s, "decoded", strip), LRL_DECODE_HF,
                &c->decoded);
  check_decoded(t, expected(s, "ids", strip), expected(s, "decoded_skip_special", strip),
                LRL_DECODE_HF_SKIP_SPECIAL, &c->skip);
}

static void check_render(const json_t *chat, const char *key, enum lrl_chat_suffix suffix,
                         struct tally *c) {
  struct lrl_message messages[64];
  const json_t *turns = json_object_get(chat, "conversation");
  const char *want = json_string_value(json_object_get(chat, key));
  size_t n = json_array_size(turns);
  char *text = NULL;
  if (want == NULL || n > 64)
    return;
  for (size_t i = 0; i < n; i++) {
    const json_t *turn = json_array_get(turns, i);
    messages[i].role = json_string_value(json_object_get(turn, "from"));
    messages[i].content = json_string_value(json_object_get(turn, "value"));
  }
  lrl_status status = lrl_chat_render(messages, (int64_t)n, LRL_CHAT_TRAINING, suffix, &text);
  c->n++;
  c->bad += status != LRL_OK || strcmp(text, want) != 0;
  lrl_error_clear();
  free(text);
}

/* Each image has one token, so the ids between the image positions are the parts. */
static void check_parts(const struct lrl_tokenizer *t, const json_t *chat, bool strip,
                        struct tally *c) {
  const json_t *parts = expected(chat, "image_parts_ids", strip);
  const char *text = json_string_value(json_object_get(chat, "text"));
  int64_t n_images = 0, one[64], bad = 0, at = 0;
  struct lrl_chat_ids packed;
  if (parts == NULL || text == NULL)
    return;
  for (const char *p = text; (p = strstr(p, LRL_CHAT_IMAGE)) != NULL && n_images < 64; p++)
    one[n_images++] = 1;
  c->n++;
  if (lrl_chat_pack(t, text, one, n_images, LRL_PACK_SFT, 0, &packed) != LRL_OK) {
    lrl_error_clear();
    c->bad++;
    return;
  }
  for (size_t i = 0; i < json_array_size(parts); i++) {
    int64_t n = 0;
    at += i > 0; /* the image between two parts */
    while (at + n < packed.ids.n && packed.ids.data[at + n] != LRL_ID_IMAGE)
      n++;
    bad += mismatch(packed.ids.data + at, n, json_array_get(parts, i));
    at += n;
  }
  c->bad += bad != 0;
  lrl_chat_ids_free(&packed);
}

static void check_chat(const struct lrl_tokenizer *t, const json_t *chat, bool strip,
                       struct d1 *c) {
  const json_t *text = json_object_get(chat, "text");
  check_render(chat, "text", LRL_CHAT_REWARD, &c->rendered);
  check_render(chat, "text_no_end", LRL_CHAT_NO_SUFFIX, &c->rendered);
  check_ids(t, text, expected(chat, "ids_bos", strip), 1, &c->bos);
  check_ids(t, json_object_get(chat, "text_no_end"), expected(chat, "ids_no_end_bos", strip), 1,
            &c->bos);
  check_ids(t, text, json_object_get(chat, "sp_ids"), -1, &c->plain);
  check_decoded(t, expected(chat, "ids_bos", strip), expected(chat, "decoded", strip),
                LRL_DECODE_HF, &c->decoded);
  check_parts(t, chat, strip, &c->parts);
}

/* Rows of a padded batch: bos + text, cut on the right, padded with pad. */
static void check_batch(const struct lrl_tokenizer *t, const json_t *batch, struct tally *c) {
  const json_t *texts = json_object_get(batch, "texts"),
               *rows = json_object_get(batch, "input_ids");
  int64_t max = json_integer_value(json_object_get(batch, "max_length"));
  for (size_t i = 0; i < json_array_size(texts); i++) {
    struct lrl_ids ids = {0};
    const json_t *row = json_array_get(rows, i), *text = json_array_get(texts, i);
    lrl_status status = lrl_tokenizer_encode(t, json_string_value(text),
                                             (int64_t)json_string_length(text), true, &ids);
    ids.n = max > 0 && ids.n > max ? max : ids.n;
    int64_t missing = (int64_t)json_array_size(row) - ids.n;
    if (status == LRL_OK && missing > 0)
      status = lrl_ids_fill(&ids, lrl_tokenizer_info(t)->pad, missing);
    c->n++;
    c->bad += status != LRL_OK || mismatch(ids.data, ids.n, row) != 0;
    lrl_error_clear();
    lrl_ids_free(&ids);
  }
}

static void run_d1_with(struct golden *g, const char *name, const json_t *root, bool strip) {
  const json_t *meta = json_object_get(root, "meta");
  const char *sum = json_string_value(json_object_get(meta, "tokenizer_model_sha256"));
  struct lrl_tokenizer *t = find_tokenizer(g, sum != NULL ? sum : official_sha256, strip);
  if (t == NULL) {
    golden_skip(g, name, "", "the tokenizer with the stated SHA-256 is not under assets/tokenizer");
    return;
  }
  struct d1 c = {0};
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(root, "strings"), i, item) check_string(t, item, strip, &c);
  json_array_foreach(json_object_get(root, "chats"), i, item) check_chat(t, item, strip, &c);
  check_batch(t, json_object_get(root, "batch"), &c.batch);
  const struct {
    const char *what;
    const struct tally *tally;
  } lines[] = {{"ids", &c.ids},
               {"ids with bos", &c.bos},
               {"plain ids", &c.plain},
               {"decoded", &c.decoded},
               {"decoded, no specials", &c.skip},
               {"template", &c.rendered},
               {"image parts", &c.parts},
               {"batch", &c.batch}};
  for (i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    char what[80];
    snprintf(what, sizeof what, "%s %s", strip ? "4.33" : "4.45", lines[i].what);
    report(g, name, what, lines[i].tally);
  }
  lrl_tokenizer_close(t);
}

static json_t *load(struct golden *g, const char *path, const char *name) {
  json_error_t error;
  json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
  if (root == NULL)
    golden_fail(g, name, "", error.text);
  return root;
}

static void run_d1(struct golden *g, const char *path, const char *name) {
  json_t *root = load(g, path, name);
  if (root == NULL)
    return;
  run_d1_with(g, name, root, true);
  run_d1_with(g, name, root, false);
  json_decref(root);
}
GOLDEN_FAMILY("D1_", run_d1)

/* ---- D2 ---- */

static int64_t read_counts(const json_t *list, size_t from, size_t n, int64_t *out) {
  for (size_t i = 0; i < n; i++)
    out[i] = json_integer_value(json_array_get(list, from + i));
  return (int64_t)n;
}

/* The files number image tokens -(k+1), counting images through the batch. */
static void number_images(struct lrl_chat_ids *c, int64_t first) {
  for (int64_t s = 0; s < c->n_spans; s++)
    for (int64_t i = 0; i < c->spans[s].count; i++)
      c->ids.data[c->spans[s].start + i] = (int32_t)(-1 - first - c->spans[s].image);
}

/* Pads a row to `width` and compares ids, im_mask, and (when given) attention mask and targets. */
static bool row_matches(const struct lrl_ids *ids, const json_t *want_ids, const json_t *want_mask,
                        const json_t *want_attention, const int32_t *targets,
                        const json_t *want_targets, int32_t pad) {
  for (size_t i = 0; i < json_array_size(want_ids); i++) {
    bool real = (int64_t)i < ids->n;
    int32_t id = real ? ids->data[i] : pad;
    bool ok = json_integer_value(json_array_get(want_ids, i)) == id &&
              json_integer_value(json_array_get(want_mask, i)) == (id < 0);
    if (want_attention != NULL)
      ok = ok && json_integer_value(json_array_get(want_attention, i)) == real;
    if (want_targets != NULL)
      ok = ok && json_integer_value(json_array_get(want_targets, i)) ==
                     (real ? targets[i] : LRL_ID_IGNORE);
    if (!ok)
      return false;
  }
  return ids->n <= (int64_t)json_array_size(want_ids);
}

static void check_train(const struct lrl_tokenizer *t, const json_t *item, struct tally *c,
                        struct tally *own) {
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  const json_t *texts = json_object_get(item, "texts");
  size_t first = 0;
  for (size_t i = 0; i < json_array_size(texts); i++) {
    int64_t counts[64];
    size_t n = (size_t)json_integer_value(json_array_get(json_object_get(item, "image_nums"), i));
    struct lrl_chat_ids row;
    c->n++;
    if (n > 64 ||
        lrl_chat_pack(t, json_string_value(json_array_get(texts, i)), counts,
                      read_counts(json_object_get(item, "image_token_counts"), first, n, counts),
                      LRL_PACK_SFT, json_integer_value(json_object_get(item, "max_length")),
                      &row) != LRL_OK) {
      lrl_error_clear();
      c->bad++;
      continue;
    }
    const json_t *want = json_array_get(json_object_get(item, "targets"), i);
    int32_t *targets = calloc((size_t)row.ids.n + 1, sizeof *targets);
    lrl_mask_human_targets_official(info->im_end, info->eos, row.ids.data, row.ids.n, targets);
    number_images(&row, (int64_t)first);
    c->bad += !row_matches(&row.ids, json_array_get(json_object_get(item, "ids"), i),
                           json_array_get(json_object_get(item, "im_mask"), i),
                           json_array_get(json_object_get(item, "attention_mask"), i), targets,
                           want, info->pad);
    /* Ours differs from the official mask only where the last turn lacks its </s>: the "\n" after
     * it. */
    bool ok = lrl_mask_human_targets(t, row.ids.data, row.ids.n, targets) == LRL_OK;
    for (int64_t k = 0; k < row.ids.n; k++)
      ok = ok && (targets[k] == json_integer_value(json_array_get(want, (size_t)k)) ||
                  (k > 0 && row.ids.data[k - 1] == info->im_end && k + 1 == row.ids.n));
    own->n++;
    own->bad += !ok;
    free(targets);
    lrl_chat_ids_free(&row);
    first += n;
  }
}

static void check_inference(const struct lrl_tokenizer *t, const json_t *item, struct tally *c) {
  struct lrl_message m[66];
  int64_t n = 0, counts[64];
  const json_t *history = json_object_get(item, "history"), *images;
  const char *meta = json_string_value(json_object_get(item, "meta_instruction"));
  images = json_object_get(item, "image_token_counts");
  if (json_array_size(history) > 32 || json_array_size(images) > 64)
    return;
  if (meta != NULL && meta[0] != '\0')
    m[n++] = (struct lrl_message){"system", meta};
  for (size_t i = 0; i < json_array_size(history); i++)
    for (size_t k = 0; k < 2; k++)
      m[n++] =
          (struct lrl_message){k == 0 ? "user" : "assistant",
                               json_string_value(json_array_get(json_array_get(history, i), k))};
  m[n++] = (struct lrl_message){"user", json_string_value(json_object_get(item, "query"))};
  struct lrl_chat_options options = {.mode = LRL_CHAT_SCORING,
                                     .suffix = LRL_CHAT_GENERATE,
                                     .pack = LRL_PACK_REWARD,
                                     .max_length =
                                         json_integer_value(json_object_get(item, "max_length"))};
  struct lrl_chat_ids row;
  lrl_status status = lrl_chat_encode(
      t, m, n, counts, read_counts(images, 0, json_array_size(images), counts), &options, &row);
  c->n++;
  if (status == LRL_OK)
    number_images(&row, 0);
  c->bad += status != LRL_OK ||
            !row_matches(&row.ids, json_object_get(item, "ids"), json_object_get(item, "im_mask"),
                         NULL, NULL, NULL, 0) ||
            row.n_full != json_integer_value(json_object_get(item, "temp_len"));
  lrl_error_clear();
  lrl_chat_ids_free(&row);
}

static void check_mask(const struct lrl_tokenizer *t, const json_t *item, struct tally *c) {
  const json_t *ids = json_object_get(item, "ids"), *want = json_object_get(item, "targets");
  size_t n = json_array_size(ids);
  int32_t *in = calloc(n + 1, sizeof *in), *targets = calloc(n + 1, sizeof *targets);
  for (size_t i = 0; i < n; i++)
    in[i] = (int32_t)json_integer_value(json_array_get(ids, i));
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  lrl_mask_human_targets_official(info->im_end, info->eos, in, (int64_t)n, targets);
  c->n++;
  c->bad += mismatch(targets, (int64_t)n, want) != 0;
  free(in);
  free(targets);
}

static void run_d2(struct golden *g, const char *path, const char *name) {
  struct tally train = {0}, own = {0}, chat = {0}, mask = {0};
  size_t i;
  json_t *item, *root = load(g, path, name);
  if (root == NULL)
    return;
  struct lrl_tokenizer *t = find_tokenizer(g, official_sha256, true);
  if (t == NULL) {
    golden_skip(g, name, "", "the official tokenizer is not under assets/tokenizer");
    json_decref(root);
    return;
  }
  json_array_foreach(json_object_get(root, "train"), i, item) check_train(t, item, &train, &own);
  json_array_foreach(json_object_get(root, "chat"), i, item) check_inference(t, item, &chat);
  json_array_foreach(json_object_get(root, "mask_human_targets"), i, item)
      check_mask(t, item, &mask);
  report(g, name, "training rows", &train);
  report(g, name, "mask by role", &own);
  report(g, name, "inference", &chat);
  report(g, name, "official mask", &mask);
  lrl_tokenizer_close(t);
  json_decref(root);
}
GOLDEN_FAMILY("D2_", run_d2)
