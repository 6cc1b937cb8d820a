#include "data/prompts.h"

#include "data/bytes.h"
#include "data/chats.h"
#include "data/corpus.h"

#include <stdlib.h>
#include <string.h>

/* A prompt owns its memory: one block of text and arrays each. */
struct entry {
  struct lrl_prompt p;
  struct lrl_message *messages;
  const char **images;
  struct lrl_prompt_image *image;
  struct lrl_ids ids;
  char *text; /* strings of messages and images */
  char *gold;
};
struct lrl_prompts {
  struct lrl_prompts_options o;
  struct entry *entry;
  int64_t n, cap, n_aside;
  char reason[300];
  /* Files, for messages and image roots. */
  char **file, **folder;
  int64_t n_files;
};

static void entry_free(struct entry *e) {
  for (int64_t i = 0; e->image != NULL && i < e->p.n_images; i++)
    free((char *)e->image[i].path);
  free(e->messages);
  free((void *)e->images);
  free(e->image);
  lrl_ids_free(&e->ids);
  free(e->text);
  free(e->gold);
}

void lrl_prompts_free(struct lrl_prompts *p) {
  if (p == NULL)
    return;
  for (int64_t i = 0; i < p->n; i++)
    entry_free(&p->entry[i]);
  for (int64_t i = 0; i < p->n_files; i++) {
    free(p->file[i]);
    free(p->folder[i]);
  }
  free(p->entry);
  free(p->file);
  free(p->folder);
  free(p);
}

static void aside(struct lrl_prompts *p, int64_t line, const char *why) {
  if (p->n_aside++ == 0)
    snprintf(p->reason, sizeof p->reason, "%s, line %lld: %.200s", p->file[p->n_files - 1],
             (long long)line, why);
}

/* Copies a string to *at, which moves on. */
static const char *keep(const char *text, char **at) {
  const size_t n = strlen(text) + 1;
  const char *copy = memcpy(*at, text, n);
  *at += n;
  return copy;
}

/* Messages and image names of the chat; gold of the row. */
static lrl_status copy(struct entry *e, const struct lrl_chat *c, int64_t n_messages,
                       const json_t *gold) {
  size_t bytes = 1;
  for (int64_t i = 0; i < n_messages; i++)
    bytes += strlen(c->messages[i].role) + strlen(c->messages[i].content) + 2;
  for (int64_t i = 0; i < c->n_images; i++)
    bytes += strlen(c->images[i]) + 1;
  e->messages = calloc((size_t)n_messages + 1, sizeof *e->messages);
  e->images = calloc((size_t)c->n_images + 1, sizeof *e->images);
  e->image = calloc((size_t)c->n_images + 1, sizeof *e->image);
  char *at = e->text = malloc(bytes);
  e->gold = gold == NULL ? NULL : json_dumps(gold, JSON_COMPACT);
  if (e->messages == NULL || e->images == NULL || e->image == NULL || at == NULL ||
      (gold != NULL && e->gold == NULL))
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a prompt");
  for (int64_t i = 0; i < n_messages; i++)
    e->messages[i] =
        (struct lrl_message){keep(c->messages[i].role, &at), keep(c->messages[i].content, &at)};
  for (int64_t i = 0; i < c->n_images; i++)
    e->images[i] = keep(c->images[i], &at);
  e->p.messages = e->messages;
  e->p.n_messages = n_messages;
  e->p.images = e->images;
  e->p.image = e->image;
  e->p.n_images = c->n_images;
  e->p.gold = e->gold;
  return LRL_OK;
}

/* Grid and token count of one image, from the head of its file. */
static lrl_status look_at(const struct lrl_prompts *p, struct entry *e, int64_t k, int64_t *count) {
  char *bytes = NULL;
  size_t n;
  const char *path = e->image[k].path = lrl_path_join(e->p.image_root, e->images[k]);
  lrl_status status;
  if (path == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY_GOTO(lrl_file_read_raw(path, &bytes, &n));
  LRL_TRY_GOTO(p->o.images->grid(p->o.images->user, bytes, n, e->p.n_images, &e->image[k].grid));
  *count = lrl_image_ops_tokens(p->o.images, &e->image[k].grid);
done:
  free(bytes);
  return status;
}

static lrl_status encode_chat(const struct lrl_prompts *p, struct entry *e) {
  const struct lrl_chat_options chat = {
      .mode = LRL_CHAT_SCORING, .suffix = LRL_CHAT_GENERATE, .pack = LRL_PACK_REWARD};
  struct lrl_chat_ids ids = {0};
  int64_t *counts = calloc((size_t)e->p.n_images + 1, sizeof *counts);
  lrl_status status = LRL_OK;
  if (counts == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for a prompt"));
  if (e->p.n_images > 0 && p->o.images == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "it has an image, the model sees none"));
  for (int64_t k = 0; k < e->p.n_images; k++)
    LRL_TRY_GOTO(look_at(p, e, k, &counts[k]));
  LRL_TRY_GOTO(lrl_chat_encode(p->o.tokenizer, e->messages, e->p.n_messages, counts, e->p.n_images,
                               &chat, &ids));
  for (int64_t k = 0; k < ids.n_spans; k++) {
    e->image[ids.spans[k].image].first = ids.spans[k].start;
    e->image[ids.spans[k].image].count = ids.spans[k].count;
  }
  e->ids = ids.ids;
  ids.ids = (struct lrl_ids){0};
done:
  free(counts);
  lrl_chat_ids_free(&ids);
  return status;
}

static lrl_status encode(const struct lrl_prompts *p, struct entry *e) {
  const int64_t most = p->o.max_length;
  if (p->o.raw) {
    const char *text = e->messages[e->p.n_messages - 1].content;
    e->p.n_images = 0;
    const int64_t n =
        text != NULL ? (int64_t)strlen(text) : 0; /* readers leave none without text */
    LRL_TRY(lrl_tokenizer_encode(p->o.tokenizer, text, n, true, &e->ids));
  } else {
    LRL_TRY(encode_chat(p, e));
  }
  if (most > 0 && e->ids.n > most && e->ids.data != NULL) {
    if (!p->o.cut_left || e->p.n_images > 0)
      return LRL_FAIL(LRL_ERR_FORMAT, "it has %lld tokens, more than %lld", (long long)e->ids.n,
                      (long long)most);
    memmove(e->ids.data + 1, e->ids.data + 1 + (e->ids.n - most),
            (size_t)(most - 1) * sizeof *e->ids.data);
    e->ids.n = most;
  }
  e->p.ids = e->ids.data;
  e->p.n_ids = e->ids.n;
  return LRL_OK;
}

static lrl_status add(struct lrl_prompts *p, const struct lrl_chat_row *row, int64_t n_messages) {
  if (p->n == p->cap) {
    const int64_t cap = p->cap == 0 ? 256 : 2 * p->cap;
    void *more = realloc(p->entry, (size_t)cap * sizeof *p->entry);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld prompts", (long long)cap);
    p->entry = more;
    p->cap = cap;
  }
  struct entry *e = &p->entry[p->n];
  *e = (struct entry){.p = {.image_root = p->folder[p->n_files - 1],
                            .file = p->file[p->n_files - 1],
                            .i_file = p->n_files - 1,
                            .line = row->line}};
  const json_t *gold = json_object_get(row->value, "gold");
  lrl_status s = copy(e, row->chats, n_messages, json_is_object(gold) ? gold : NULL);
  if (s == LRL_OK)
    s = encode(p, e);
  if (s == LRL_OK) {
    p->n++;
    return LRL_OK;
  }
  entry_free(e);
  if (s == LRL_ERR_MEMORY)
    return s;
  aside(p, row->line, lrl_last_error());
  lrl_error_clear();
  return LRL_OK;
}

static lrl_status on_row(void *user, const struct lrl_chat_row *row) {
  struct lrl_prompts *p = user;
  if (row->error != NULL) {
    aside(p, row->line, row->error);
    return LRL_OK;
  }
  int64_t n = row->chats[0].n_messages;
  if (n > 1 && strcmp(row->chats[0].messages[n - 1].role, "assistant") == 0)
    n--;
  if (strcmp(row->chats[0].messages[n - 1].role, "assistant") == 0) {
    aside(p, row->line, "there is nothing before the answer");
    return LRL_OK;
  }
  return add(p, row, n);
}

static lrl_status read_file(struct lrl_prompts *p, const char *path) {
  const size_t n = (size_t)p->n_files + 1;
  char **files = realloc(p->file, n * sizeof *files);
  p->file = files != NULL ? files : p->file;
  char **folders = realloc(p->folder, n * sizeof *folders);
  p->folder = folders != NULL ? folders : p->folder;
  if (files == NULL || folders == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the names of files");
  char *file = lrl_path_join(NULL, path), *folder = lrl_path_folder(path);
  p->file[p->n_files] = file;
  p->folder[p->n_files++] = folder;
  if (file == NULL || folder == NULL)
    return LRL_ERR_MEMORY;
  return lrl_chats_read(path, on_row, p);
}

static lrl_status read_entry(struct lrl_prompts *p, const char *path) {
  const size_t n = strlen(path);
  if (n < 4 || strcmp(path + n - 4, ".txt") != 0)
    return read_file(p, path);
  struct lrl_mixture m;
  LRL_TRY(lrl_mixture_read(path, true, &m));
  lrl_status s = LRL_OK;
  for (int64_t i = 0; i < m.n && s == LRL_OK; i++)
    s = read_file(p, m.sources[i].path);
  lrl_mixture_free(&m);
  return s;
}

lrl_status lrl_prompts_read(const char *list, const struct lrl_prompts_options *options,
                            struct lrl_prompts **out) {
  struct lrl_prompts *p = calloc(1, sizeof *p);
  char *names = strdup(list), *rest = names;
  lrl_status status = LRL_OK;
  *out = NULL;
  if (p == NULL || names == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for the prompts"));
  p->o = *options;
  for (char *name; (name = strsep(&rest, ",")) != NULL;)
    if (name[0] != '\0')
      LRL_TRY_GOTO(read_entry(p, name));
  if (p->n == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "no prompt of %s can be used%s%s", list,
                          p->n_aside > 0 ? ": " : "", p->reason));
  *out = p;
done:
  free(names);
  if (status != LRL_OK)
    lrl_prompts_free(p);
  return status;
}

int64_t lrl_prompts_n(const struct lrl_prompts *p) { return p->n; }
void lrl_prompts_get(const struct lrl_prompts *p, int64_t i, struct lrl_prompt *out) {
  *out = p->entry[i].p;
}
int64_t lrl_prompts_n_files(const struct lrl_prompts *p) { return p->n_files; }
const char *lrl_prompts_file(const struct lrl_prompts *p, int64_t i) { return p->file[i]; }
int64_t lrl_prompts_n_aside(const struct lrl_prompts *p, const char **reason) {
  *reason = p->reason;
  return p->n_aside;
}

int64_t lrl_prompt_n_tiles(const struct lrl_prompt *p) {
  int64_t n = 0;
  for (int64_t k = 0; k < p->n_images; k++)
    n += 1 + (int64_t)p->image[k].grid.rows * p->image[k].grid.cols;
  return n;
}

lrl_status lrl_prompt_tiles(const struct lrl_prompt *p, const struct lrl_image_ops *images,
                            float *out) {
  const int64_t tile = 3 * (int64_t)images->tile * images->tile;
  for (int64_t k = 0; k < p->n_images; k++) {
    const struct lrl_image_grid *g = &p->image[k].grid;
    char *bytes = NULL;
    size_t n;
    LRL_TRY(lrl_file_read_raw(p->image[k].path, &bytes, &n));
    lrl_status s = images->tiles(images->user, bytes, n, p->n_images, out);
    free(bytes);
    LRL_TRY(s);
    out += (1 + (int64_t)g->rows * g->cols) * tile;
  }
  return LRL_OK;
}
