#include "data/tokenizer.h"

#include "data/spm.h"
#include "data/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SPECIAL 9

struct special {
  const char *text;
  int64_t len;
  int32_t id;
};

struct lrl_tokenizer {
  struct lrl_spm *spm;
  struct lrl_tokenizer_info info;
  struct special special[N_SPECIAL]; /* texts that are cut out before SentencePiece */
  int n_special;
  char *bytes;
  size_t size;
};

/* ---- opening ---- */

static void add_special(struct lrl_tokenizer *t, const char *text, const char *piece) {
  int32_t id = lrl_spm_find(t->spm, piece);
  if (id >= 0)
    t->special[t->n_special++] = (struct special){text, (int64_t)strlen(text), id};
}

static void add_all_specials(struct lrl_tokenizer *t) {
  add_special(t, "<s>", "<s>");
  add_special(t, "</s>", "</s>");
  add_special(t, "<unk>", "<unk>");
  if (!t->info.options.aliases)
    return;
  add_special(t, "<|im_start|>", "[UNUSED_TOKEN_146]");
  add_special(t, "<|im_end|>", "[UNUSED_TOKEN_145]");
  add_special(t, "<|action_start|>", "[UNUSED_TOKEN_144]");
  add_special(t, "<|action_end|>", "[UNUSED_TOKEN_143]");
  add_special(t, "<|interpreter|>", "[UNUSED_TOKEN_142]");
  add_special(t, "<|plugin|>", "[UNUSED_TOKEN_141]");
}

/* Takes over `bytes` (malloc'ed), also on failure. */
static lrl_status open_owned(char *bytes, size_t size, const char *name,
                             const struct lrl_tokenizer_options *options,
                             struct lrl_tokenizer **out) {
  *out = NULL;
  struct lrl_tokenizer *t = calloc(1, sizeof *t);
  if (t == NULL) {
    free(bytes);
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for tokenizer %s", name);
  }
  t->bytes = bytes;
  t->size = size;
  lrl_status status = lrl_spm_open(bytes, size, name, &t->spm);
  if (status != LRL_OK) {
    lrl_tokenizer_close(t);
    return status;
  }
  int32_t pad = lrl_spm_pad(t->spm), eos = lrl_spm_eos(t->spm);
  t->info = (struct lrl_tokenizer_info){.n_vocab = lrl_spm_size(t->spm),
                                        .unk = lrl_spm_unk(t->spm),
                                        .bos = lrl_spm_bos(t->spm),
                                        .eos = eos,
                                        .pad = pad >= 0 ? pad : eos,
                                        .im_start = lrl_spm_find(t->spm, "[UNUSED_TOKEN_146]"),
                                        .im_end = lrl_spm_find(t->spm, "[UNUSED_TOKEN_145]"),
                                        .reward = lrl_spm_find(t->spm, "[UNUSED_TOKEN_130]")};
  if (options != NULL)
    t->info.options = *options;
  add_all_specials(t);
  *out = t;
  return LRL_OK;
}

lrl_status lrl_tokenizer_open_bytes(const void *bytes, size_t size, const char *name,
                                    const struct lrl_tokenizer_options *options,
                                    struct lrl_tokenizer **out) {
  *out = NULL;
  char *copy = malloc(size + 1);
  if (copy == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for tokenizer %s", name);
  if (size > 0)
    memcpy(copy, bytes, size);
  return open_owned(copy, size, name, options, out);
}

static lrl_status read_file(const char *path, char **out, size_t *size) {
  enum { LIMIT = 1 << 28 }; /* far above any real model; stops at devices and wrong files */
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot open tokenizer file %s: %s", path, strerror(errno));
  char *bytes = NULL;
  size_t n = 0, cap = 0;
  lrl_status status = LRL_OK;
  for (size_t got = 1; got > 0; n += got) {
    if (n + 1 >= cap) {
      cap = cap == 0 ? 1 << 20 : cap * 2;
      char *p = cap > LIMIT ? NULL : realloc(bytes, cap);
      if (p == NULL) {
        status = LRL_FAIL(LRL_ERR_FORMAT, "tokenizer file %s is too large", path);
        goto done;
      }
      bytes = p;
    }
    got = fread(bytes + n, 1, cap - n, f);
  }
  if (ferror(f))
    status = LRL_FAIL(LRL_ERR_IO, "cannot read tokenizer file %s: %s", path, strerror(errno));
done:
  fclose(f);
  if (status != LRL_OK) {
    free(bytes);
    return status;
  }
  *out = bytes;
  *size = n;
  return LRL_OK;
}

lrl_status lrl_tokenizer_open_with(const char *path, const struct lrl_tokenizer_options *options,
                                   struct lrl_tokenizer **out) {
  char *bytes = NULL;
  size_t size = 0;
  *out = NULL;
  LRL_TRY(read_file(path, &bytes, &size));
  return open_owned(bytes, size, path, options, out);
}

lrl_status lrl_tokenizer_open(const char *path, struct lrl_tokenizer **out) {
  return lrl_tokenizer_open_with(path, NULL, out);
}

void lrl_tokenizer_close(struct lrl_tokenizer *t) {
  if (t == NULL)
    return;
  lrl_spm_close(t->spm);
  free(t->bytes);
  free(t);
}

const struct lrl_tokenizer_info *lrl_tokenizer_info(const struct lrl_tokenizer *t) {
  return &t->info;
}

const void *lrl_tokenizer_model_bytes(const struct lrl_tokenizer *t, size_t *size) {
  *size = t->size;
  return t->bytes;
}

int32_t lrl_tokenizer_find(const struct lrl_tokenizer *t, const char *piece) {
  return lrl_spm_find(t->spm, piece);
}

/* ---- encoding ---- */

static const struct special *special_at(const struct lrl_tokenizer *t, const char *text,
                                        int64_t len) {
  for (int i = 0; i < t->n_special; i++)
    if (t->special[i].len <= len &&
        memcmp(t->special[i].text, text, (size_t)t->special[i].len) == 0)
      return &t->special[i];
  return NULL;
}

static lrl_status append_sink(void *user, const int32_t *ids, int64_t n) {
  return lrl_ids_append(user, ids, n);
}

lrl_status lrl_tokenizer_encode_plain(const struct lrl_tokenizer *t, const char *text, int64_t len,
                                      struct lrl_ids *out) {
  return len == 0 ? LRL_OK : lrl_spm_encode(t->spm, text, len, append_sink, out);
}

lrl_status lrl_tokenizer_encode(const struct lrl_tokenizer *t, const char *text, int64_t len,
                                bool add_bos, struct lrl_ids *out) {
  if (add_bos && t->info.bos < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the tokenizer has no begin-of-sequence piece <s>");
  if (add_bos)
    LRL_TRY(lrl_ids_push(out, t->info.bos));
  bool after_special = false;
  for (int64_t start = 0, i = 0; i <= len;) {
    const char *lt = i < len ? memchr(text + i, '<', (size_t)(len - i)) : NULL;
    i = lt != NULL ? lt - text : len;
    const struct special *sp = lt != NULL ? special_at(t, lt, len - i) : NULL;
    if (sp == NULL && i < len) {
      i++;
      continue;
    }
    const char *part = text + start;
    int64_t n = i - start;
    if (t->info.options.strip_around_special)
      lrl_text_strip(&part, &n, after_special, sp != NULL);
    LRL_TRY(lrl_tokenizer_encode_plain(t, part, n, out));
    if (sp == NULL)
      break;
    LRL_TRY(lrl_ids_push(out, sp->id));
    after_special = true;
    start = i += sp->len;
  }
  return LRL_OK;
}

/* ---- decoding ---- */

static bool is_special(const struct lrl_tokenizer *t, int32_t id) {
  return id == t->info.unk || id == t->info.bos || id == t->info.eos || id == t->info.pad;
}

/* The official clean_up_tokenization, in its order. In place: nothing grows. */
static void clean_up(struct lrl_text *s) {
  static const char *const rule[][2] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (size_t r = 0; r < sizeof rule / sizeof rule[0]; r++) {
    int64_t n_from = (int64_t)strlen(rule[r][0]), n_to = (int64_t)strlen(rule[r][1]), w = 0;
    for (int64_t i = 0; i < s->len;)
      if (s->len - i >= n_from && memcmp(s->data + i, rule[r][0], (size_t)n_from) == 0) {
        memcpy(s->data + w, rule[r][1], (size_t)n_to);
        w += n_to;
        i += n_from;
      } else {
        s->data[w++] = s->data[i++];
      }
    s->len = w;
    s->data[w] = '\0';
  }
}

static lrl_status add_decoded(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                              struct lrl_text *s) {
  char *part;
  int64_t len;
  if (n == 0)
    return LRL_OK;
  LRL_TRY(lrl_spm_decode(t->spm, ids, n, &part, &len));
  lrl_status status = lrl_text_add(s, part, len);
  free(part);
  return status;
}

lrl_status lrl_tokenizer_decode_as(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                   enum lrl_decode mode, char **out, int64_t *len) {
  struct lrl_text s = {0};
  lrl_status status;
  bool after_special = false;
  struct lrl_ids run = {0}; /* ordinary ids not yet decoded */
  *out = NULL;
  LRL_TRY_GOTO(lrl_text_add(&s, "", 0));
  for (int64_t i = 0; i < n; i++) {
    if (!is_special(t, ids[i])) {
      LRL_TRY_GOTO(lrl_ids_push(&run, ids[i]));
      after_special = false;
      continue;
    }
    if (mode == LRL_DECODE_HF_SKIP_SPECIAL)
      continue;
    const char *piece;
    if (mode == LRL_DECODE_HF && !after_special)
      LRL_TRY_GOTO(lrl_text_puts(&s, " "));
    LRL_TRY_GOTO(add_decoded(t, run.data, run.n, &s));
    LRL_TRY_GOTO(lrl_spm_piece(t->spm, ids[i], &piece));
    LRL_TRY_GOTO(lrl_text_puts(&s, piece));
    run.n = 0;
    after_special = true;
  }
  LRL_TRY_GOTO(add_decoded(t, run.data, run.n, &s));
  if (mode != LRL_DECODE_EXACT)
    clean_up(&s);
  *out = s.data;
  *len = s.len;
  s.data = NULL;
done:
  free(s.data);
  lrl_ids_free(&run);
  return status;
}

lrl_status lrl_tokenizer_decode(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                char **out) {
  int64_t len;
  return lrl_tokenizer_decode_as(t, ids, n, LRL_DECODE_EXACT, out, &len);
}

/* ---- training ---- */

lrl_status lrl_tokenizer_train(const char *const *texts, int64_t n, int32_t n_vocab,
                               const char *out_path) {
  char *model;
  size_t size;
  if (n <= 0 || n_vocab <= 0)
    return LRL_FAIL(LRL_ERR_ARG, "training a tokenizer needs texts and a positive vocabulary size");
  LRL_TRY(lrl_spm_train(texts, n, n_vocab,
                        "[UNUSED_TOKEN_130],[UNUSED_TOKEN_141],[UNUSED_TOKEN_142],"
                        "[UNUSED_TOKEN_143],[UNUSED_TOKEN_144],[UNUSED_TOKEN_145],"
                        "[UNUSED_TOKEN_146]",
                        &model, &size));
  FILE *f = fopen(out_path, "wb");
  bool ok = f != NULL && fwrite(model, 1, size, f) == size;
  ok = f != NULL && fclose(f) == 0 && ok;
  free(model);
  return ok ? LRL_OK
            : LRL_FAIL(LRL_ERR_IO, "cannot write tokenizer file %s: %s", out_path, strerror(errno));
}
