#include "data/chat.h"

#include "data/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- template ---- */

static lrl_status role_name(const struct lrl_message *m, int64_t i, enum lrl_chat_mode mode,
                            const char **out) {
  if (m->role == NULL || m->content == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "message %lld lacks its role or its content", (long long)i + 1);
  if (mode == LRL_CHAT_TRAINING) {
    bool user = strcasecmp(m->role, "human") == 0 || strcasecmp(m->role, "user") == 0;
    *out = user ? "user" : strcasecmp(m->role, "system") == 0 ? "system" : "assistant";
    return LRL_OK;
  }
  *out = m->role;
  if (strcmp(m->role, "system") != 0 && strcmp(m->role, "user") != 0 &&
      strcmp(m->role, "assistant") != 0)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "message %lld has the role \"%.40s\"; use system, user or assistant",
                    (long long)i + 1, m->role);
  return LRL_OK;
}

static lrl_status add_turn(const struct lrl_message *m, int64_t i, enum lrl_chat_mode mode,
                           struct lrl_text *s) {
  const char *role = NULL, *content;
  LRL_TRY(role_name(m, i, mode, &role));
  content = m->content;
  int64_t len = (int64_t)strlen(content);
  if (mode == LRL_CHAT_TRAINING)
    lrl_text_strip(&content, &len, true, true);
  LRL_TRY(lrl_text_puts(s, "[UNUSED_TOKEN_146]"));
  LRL_TRY(lrl_text_puts(s, role));
  LRL_TRY(lrl_text_puts(s, "\n"));
  LRL_TRY(lrl_text_add(s, content, len));
  return lrl_text_puts(s, "[UNUSED_TOKEN_145]\n");
}

lrl_status lrl_chat_render(const struct lrl_message *messages, int64_t n, enum lrl_chat_mode mode,
                           enum lrl_chat_suffix suffix, char **out) {
  static const char *const tail[] = {[LRL_CHAT_NO_SUFFIX] = "",
                                     [LRL_CHAT_REWARD] = "</s>[UNUSED_TOKEN_130]",
                                     [LRL_CHAT_REWARD_NO_NEWLINE] = "</s>[UNUSED_TOKEN_130]",
                                     [LRL_CHAT_EOS] = "</s>",
                                     [LRL_CHAT_GENERATE] = "[UNUSED_TOKEN_146]assistant\n"};
  struct lrl_text s = {0};
  lrl_status status = lrl_text_add(&s, "", 0);
  *out = NULL;
  for (int64_t i = 0; i < n && status == LRL_OK; i++)
    status = add_turn(&messages[i], i, mode, &s);
  if (status == LRL_OK && suffix == LRL_CHAT_REWARD_NO_NEWLINE && n > 0)
    s.data[--s.len] = '\0';
  if (status == LRL_OK)
    status = lrl_text_puts(&s, tail[suffix]);
  if (status != LRL_OK) {
    free(s.data);
    return status;
  }
  *out = s.data;
  return LRL_OK;
}

/* ---- packing ---- */

void lrl_chat_ids_free(struct lrl_chat_ids *c) {
  lrl_ids_free(&c->ids);
  free(c->spans);
  *c = (struct lrl_chat_ids){0};
}

static int64_t count_placeholders(const char *text) {
  int64_t n = 0;
  for (const char *p = text; (p = strstr(p, LRL_CHAT_IMAGE)) != NULL; p += strlen(LRL_CHAT_IMAGE))
    n++;
  return n;
}

static void cut(struct lrl_chat_ids *c, int64_t max_length) {
  c->n_full = c->ids.n;
  if (max_length <= 0 || c->ids.n <= max_length)
    return;
  c->ids.n = max_length;
  int64_t kept = 0;
  for (int64_t i = 0; i < c->n_spans && c->spans[i].start < max_length; i++) {
    if (c->spans[i].start + c->spans[i].count > max_length)
      c->spans[i].count = max_length - c->spans[i].start;
    kept = i + 1;
  }
  c->n_spans = kept;
}

/* Appends the parts and images of `text`; `images_first` = 1 when image 0 stands in front of the
 * text. */
static lrl_status pack_parts(const struct lrl_tokenizer *t, const char *text,
                             const int64_t *image_tokens, int64_t n_images, bool image_first,
                             enum lrl_chat_pack pack, struct lrl_chat_ids *out) {
  bool need_bos = true;
  const char *part = text;
  for (int64_t k = 0; k <= n_images; k++) {
    const char *end = strstr(part, LRL_CHAT_IMAGE); /* NULL when the image comes first */
    int64_t len = image_first ? 0 : end != NULL ? end - part : (int64_t)strlen(part);
    if (len > 0 || (need_bos && pack == LRL_PACK_REWARD)) {
      LRL_TRY(lrl_tokenizer_encode(t, part, len, need_bos, &out->ids));
      need_bos = false;
    }
    if (k == n_images)
      break;
    if (image_tokens[k] <= 0)
      return LRL_FAIL(LRL_ERR_ARG, "image %lld has %lld tokens", (long long)k + 1,
                      (long long)image_tokens[k]);
    out->spans[out->n_spans++] = (struct lrl_image_span){(int32_t)k, out->ids.n, image_tokens[k]};
    LRL_TRY(lrl_ids_fill(&out->ids, LRL_ID_IMAGE, image_tokens[k]));
    LRL_ASSERT(image_first || end != NULL); /* lrl_chat_pack counted the places */
    part = image_first ? part : end + strlen(LRL_CHAT_IMAGE);
    image_first = false;
  }
  return LRL_OK;
}

lrl_status lrl_chat_pack(const struct lrl_tokenizer *t, const char *text,
                         const int64_t *image_tokens, int64_t n_images, enum lrl_chat_pack pack,
                         int64_t max_length, struct lrl_chat_ids *out) {
  *out = (struct lrl_chat_ids){0};
  int64_t n_places = count_placeholders(text);
  bool image_first = n_images == 1 && n_places == 0;
  if (n_places != n_images && !image_first)
    return LRL_FAIL(LRL_ERR_FORMAT, "the conversation has %lld image(s) but %lld " LRL_CHAT_IMAGE,
                    (long long)n_images, (long long)n_places);
  if (n_images > 0) {
    out->spans = calloc((size_t)n_images, sizeof *out->spans);
    if (out->spans == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld images", (long long)n_images);
  }
  lrl_status status = pack_parts(t, text, image_tokens, n_images, image_first, pack, out);
  if (status != LRL_OK) {
    lrl_chat_ids_free(out);
    return status;
  }
  cut(out, max_length);
  return LRL_OK;
}

static lrl_status encode_text(const struct lrl_tokenizer *t, const struct lrl_message *messages,
                              int64_t n, const struct lrl_chat_options *options,
                              struct lrl_chat_ids *out) {
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  const int32_t end = options->form == LRL_TEMPLATE_TEXT_EOS ? info->eos : info->bos;
  const bool ends = options->suffix != LRL_CHAT_NO_SUFFIX && options->suffix != LRL_CHAT_GENERATE;
  struct lrl_text s = {0};
  lrl_status status = LRL_OK;
  if (ends && end < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the tokenizer lacks the id that ends a text");
  for (int64_t i = 0; i < n && status == LRL_OK; i++)
    status = messages[i].content == NULL
                 ? LRL_FAIL(LRL_ERR_FORMAT, "message %lld lacks its content", (long long)i + 1)
                 : lrl_text_puts(&s, messages[i].content);
  if (status == LRL_OK)
    status = lrl_tokenizer_encode(t, s.data == NULL ? "" : s.data, s.len, true, &out->ids);
  if (status == LRL_OK && ends)
    status = lrl_ids_push(&out->ids, end);
  free(s.data);
  if (status == LRL_OK)
    cut(out, options->max_length);
  else
    lrl_chat_ids_free(out);
  return status;
}

lrl_status lrl_chat_encode(const struct lrl_tokenizer *t, const struct lrl_message *messages,
                           int64_t n, const int64_t *image_tokens, int64_t n_images,
                           const struct lrl_chat_options *options, struct lrl_chat_ids *out) {
  char *text;
  *out = (struct lrl_chat_ids){0};
  if (options->form != LRL_TEMPLATE_CHAT && n_images > 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "the text template has no place for images");
  if (options->form != LRL_TEMPLATE_CHAT)
    return encode_text(t, messages, n, options, out);
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  if (info->im_start < 0 || info->im_end < 0 || info->reward < 0)
    return LRL_FAIL(LRL_ERR_ARG, "the tokenizer lacks [UNUSED_TOKEN_130], [UNUSED_TOKEN_145] or "
                                 "[UNUSED_TOKEN_146]; chats need all three");
  LRL_TRY(lrl_chat_render(messages, n, options->mode, options->suffix, &text));
  lrl_status status =
      lrl_chat_pack(t, text, image_tokens, n_images, options->pack, options->max_length, out);
  free(text);
  return status;
}

/* ---- label mask ---- */

/* Whether ids[at..n) begins with the ids of the assistant header; *end = position after it. */
static bool at_header(const struct lrl_ids *header, const int32_t *ids, int64_t n, int64_t at,
                      int64_t *end) {
  *end = at + header->n;
  return *end <= n && memcmp(ids + at, header->data, (size_t)header->n * sizeof *ids) == 0;
}

lrl_status lrl_mask_human_targets(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                  int32_t *targets) {
  static const char text[] = "[UNUSED_TOKEN_146]assistant\n";
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  struct lrl_ids header = {0};
  bool answer = false;   /* inside an assistant turn */
  bool answered = false; /* the last turn seen was an assistant turn */
  lrl_status status = lrl_tokenizer_encode(t, text, (int64_t)sizeof text - 1, false, &header);
  if (status != LRL_OK)
    goto done;
  for (int64_t i = 0; i < n; i++)
    targets[i] = LRL_ID_IGNORE;
  for (int64_t i = 0, end; i < n; i++) {
    if (ids[i] == info->im_start) {
      answer = answered = at_header(&header, ids, n, i, &end);
      i = answer ? end - 1 : i;
    } else if (ids[i] == info->eos) {
      if (answered)
        targets[i] = ids[i];
      break;
    } else if (answer && ids[i] >= 0) {
      targets[i] = ids[i];
      answer = ids[i] != info->im_end;
    }
  }
done:
  lrl_ids_free(&header);
  return status;
}

lrl_status lrl_chat_targets(const struct lrl_tokenizer *t, enum lrl_chat_template form,
                            const int32_t *ids, int64_t n, int32_t *targets) {
  if (form == LRL_TEMPLATE_CHAT)
    return lrl_mask_human_targets(t, ids, n, targets);
  for (int64_t i = 0; i < n; i++)
    targets[i] = i == 0 || ids[i] < 0 ? LRL_ID_IGNORE : ids[i];
  return LRL_OK;
}

void lrl_mask_human_targets_official(int32_t im_end, int32_t eos, const int32_t *ids, int64_t n,
                                     int32_t *targets) {
  int64_t n_ends = 0, last = 0, ignore_from = n;
  bool saw_eos = false;
  for (int64_t i = 0; i < n; i++)
    targets[i] = ids[i] < 0 ? LRL_ID_IGNORE : ids[i];
  for (int64_t i = 0; i < n && !saw_eos; i++) {
    if (ids[i] == im_end && n_ends++ % 2 == 0)
      for (int64_t j = last; j < i + 6 && j < n; j++)
        targets[j] = LRL_ID_IGNORE;
    else if (ids[i] == im_end)
      last = i + 1;
    saw_eos = ids[i] == eos;
    if (saw_eos)
      ignore_from = i + 1;
  }
  if (!saw_eos && n_ends % 2 == 0)
    ignore_from = last + 1;
  for (int64_t j = ignore_from; j < n; j++)
    targets[j] = LRL_ID_IGNORE;
}

/* ---- data filter ---- */

const char *lrl_chat_reject_answer(const char *content) {
  if (strstr(content, "<|im_start|>") != NULL || strstr(content, "<|im_end|>") != NULL)
    return "the answer holds <|im_start|> or <|im_end|>";
  int64_t n = 0, word = 0, longest = 0;
  for (const char *p = content; *p != '\0'; p++) {
    if (((unsigned char)*p & 0xc0) == 0x80) /* not the first byte of a character */
      continue;
    n++;
    word = *p == ' ' || *p == '\n' ? 0 : word + 1;
    longest = word > longest ? word : longest;
  }
  if (longest == 0)
    return "the answer is empty";
  if (n > 500 && longest > 100)
    return "the answer has over 500 characters and a word of over 100";
  return NULL;
}
