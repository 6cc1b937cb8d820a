#include "model/hf_map.h"

#include <stdio.h>
#include <stdlib.h>

/* In the names '#' stands for any number and a '*' at the end for any rest; the first row that fits
 * counts. */
enum form {
  SAME,
  QKV,       /* "%c" in their name is q, k and v */
  PATCH,     /* [width, 3 p p] here, [width, 3, p, p] there */
  GLOBAL_GN, /* [w] here, [1, 1, w] there */
  SUB_GN,    /* [w] here, [1, 1, 1, w] there */
};
struct row {
  const char *ours, *theirs;
  enum form form;
};

static const struct row xcomposer[] = {
    {LRL_VLM_TOWER "embeddings.patch_embedding.weight",
     LRL_VLM_TOWER "embeddings.patch_embedding.weight", PATCH},
    {"plora_glb_GN", "plora_glb_GN", GLOBAL_GN},
    {"plora_sub_GN", "plora_sub_GN", SUB_GN},
    {"*", "*", SAME},
    {NULL, NULL, SAME},
};
static const struct row internlm2[] = {
    {"*", "*", SAME},
    {NULL, NULL, SAME},
};
static const struct row llama[] = {
    {"model.tok_embeddings.weight", "model.embed_tokens.weight", SAME},
    {"model.layers.#.attention_norm.weight", "model.layers.#.input_layernorm.weight", SAME},
    {"model.layers.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight", SAME},
    {"model.layers.#.attention.wqkv.*", "model.layers.#.self_attn.%c_proj.*", QKV},
    {"model.layers.#.attention.wo.*", "model.layers.#.self_attn.o_proj.*", SAME},
    {"model.layers.#.feed_forward.w1.weight", "model.layers.#.mlp.gate_proj.weight", SAME},
    {"model.layers.#.feed_forward.w2.weight", "model.layers.#.mlp.down_proj.weight", SAME},
    {"model.layers.#.feed_forward.w3.weight", "model.layers.#.mlp.up_proj.weight", SAME},
    {"output.weight", "lm_head.weight", SAME},
    {"*", "*", SAME},
    {NULL, NULL, SAME},
};
static const struct row clip[] = {
    {LRL_VLM_TOWER "embeddings.patch_embedding.weight",
     "vision_model.embeddings.patch_embedding.weight", PATCH},
    {LRL_VLM_TOWER "*", "vision_model.*", SAME},
    {NULL, NULL, SAME},
};
static const struct row *const tables[] = {
    [LRL_HF_XCOMPOSER] = xcomposer, [LRL_HF_INTERNLM2] = internlm2, [LRL_HF_LLAMA] = llama,
    [LRL_HF_MISTRAL] = llama,       [LRL_HF_QWEN2] = llama,         [LRL_HF_CLIP] = clip};

/* Tensors of theirs that are computed from the config or that no part of Laurel has a use for. */
static const char *const passed_over[] = {"model.layers.#.attention.rotary_emb.inv_freq",
                                          "model.layers.#.self_attn.rotary_emb.inv_freq",
                                          LRL_VLM_TOWER "embeddings.position_ids", NULL};
static const char *const passed_over_clip[] = {"vision_model.embeddings.position_ids",
                                               "text_model.*",
                                               "text_projection.weight",
                                               "visual_projection.weight",
                                               "logit_scale",
                                               NULL};

/* Whether `name` fits the pattern; the number and the rest it stands for. */
static bool fits(const char *pattern, const char *name, char number[16], const char **rest) {
  *rest = "";
  number[0] = '\0';
  for (; *pattern != '\0'; pattern++) {
    if (*pattern == '*') {
      *rest = name;
      return true;
    }
    if (*pattern == '#') {
      const size_t n = strspn(name, "0123456789");
      if (n == 0 || n > 9)
        return false;
      snprintf(number, 16, "%.*s", (int)n, name);
      name += n;
    } else if (*name++ != *pattern) {
      return false;
    }
  }
  return *name == '\0';
}

/* Fills '#', '*' and "%c" in. */
static void fill(const char *pattern, const char *number, const char *rest, char letter,
                 char out[LRL_NAME_MAX]) {
  size_t n = 0;
  for (; *pattern != '\0' && n + 1 < LRL_NAME_MAX; pattern++) {
    const char *with = *pattern == '#' ? number : *pattern == '*' ? rest : NULL;
    if (with != NULL)
      n += (size_t)snprintf(out + n, LRL_NAME_MAX - n, "%s", with);
    else if (*pattern == '%' && pattern[1] == 'c')
      out[n++] = letter, pattern++;
    else
      out[n++] = *pattern;
  }
  LRL_ASSERT(n < LRL_NAME_MAX);
  out[n] = '\0';
}

static void set_shape(struct lrl_hf_tensor *t, int ndim, int64_t a, int64_t b, int64_t c,
                      int64_t d) {
  t->ndim = ndim;
  t->dim[0] = a, t->dim[1] = b, t->dim[2] = c, t->dim[3] = d;
}

static void shape(const struct lrl_hf_model *m, const struct lrl_param *p, enum form form,
                  struct lrl_hf_source *s) {
  struct lrl_hf_tensor *t = s->tensor;
  const int64_t w = p->dim[0], patch = m->vlm.vit.patch_size;
  switch (form) {
  case PATCH:
    set_shape(t, 4, w, 3, patch, patch);
    return;
  case GLOBAL_GN:
    set_shape(t, 3, 1, 1, w, 0);
    return;
  case SUB_GN:
    set_shape(t, 4, 1, 1, 1, w);
    return;
  case QKV:
    s->groups = m->vlm.decoder.num_key_value_heads;
    s->heads = m->vlm.decoder.num_attention_heads / s->groups;
    s->head_rows = m->vlm.decoder.rope.head_dim;
    for (int k = 0; k < 3; k++)
      set_shape(&t[k], p->ndim, s->groups * (k == 0 ? s->heads : 1) * s->head_rows, p->dim[1], 0,
                0);
    return;
  default:
    set_shape(t, p->ndim, p->dim[0], p->dim[1], p->dim[2], p->dim[3]);
  }
}

void lrl_hf_source(const struct lrl_hf_model *m, const struct lrl_param *p,
                   struct lrl_hf_source *out) {
  const struct row *r = tables[m->family];
  char number[16];
  const char *rest;
  *out = (struct lrl_hf_source){.n = 1, .rows = p->dim[0], .cols = p->n / p->dim[0]};
  while (!fits(r->ours, p->name, number, &rest))
    LRL_ASSERT((++r)->ours != NULL);
  out->n = r->form == QKV ? 3 : 1;
  for (int k = 0; k < out->n; k++)
    fill(r->theirs, number, rest, "qkv"[k], out -> tensor[k].name);
  if (m->v_head && strcmp(p->name, "score.weight") == 0)
    strcpy(out->tensor[0].name, "v_head.weight");
  shape(m, p, r->form, out);
}

struct lrl_hf_rows lrl_hf_rows_at(const struct lrl_hf_source *s, int64_t row) {
  if (s->n == 1)
    return (struct lrl_hf_rows){0, row, s->rows - row};
  const int64_t slots = s->heads + 2, slot = row / s->head_rows, in_head = row % s->head_rows;
  const int64_t group = slot / slots, j = slot % slots;
  const int which = j < s->heads ? 0 : j == s->heads ? 1 : 2;
  const int64_t head = which == 0 ? group * s->heads + j : group;
  return (struct lrl_hf_rows){which, head * s->head_rows + in_head, s->head_rows - in_head};
}

bool lrl_hf_is_tied(const struct lrl_hf_model *m, const struct lrl_param *p) {
  return m->tied && strcmp(p->name, "output.weight") == 0;
}

/* The tensors a parameter is read from: those of the embedding for a tied head. */
static void source_to_read(const struct lrl_hf_model *m, const struct lrl_param *p,
                           struct lrl_hf_source *out) {
  struct lrl_param embedding = *p;
  if (lrl_hf_is_tied(m, p))
    strcpy(embedding.name, "model.tok_embeddings.weight");
  lrl_hf_source(m, &embedding, out);
}

void lrl_hf_read(const struct lrl_hf_model *m, const struct lrl_weights *w,
                 const struct lrl_param *p, lrl_dtype dtype, int64_t first, int64_t n, void *out) {
  struct lrl_hf_source s;
  source_to_read(m, p, &s);
  for (int64_t at = first; at < first + n;) {
    const int64_t row = at / s.cols, col = at % s.cols;
    const struct lrl_hf_rows r = lrl_hf_rows_at(&s, row);
    const int64_t left = r.n * s.cols - col, todo = first + n - at;
    const int64_t k = left < todo ? left : todo;
    lrl_weight_read(lrl_weights_find(w, s.tensor[r.which].name), r.their_row * s.cols + col, k,
                    dtype, (char *)out + (at - first) * lrl_dtype_bytes(dtype));
    at += k;
  }
}

void lrl_hf_drop(const struct lrl_hf_model *m, const struct lrl_weights *w,
                 const struct lrl_param *p) {
  struct lrl_hf_source s;
  source_to_read(m, p, &s);
  for (int i = 0; i < s.n; i++)
    lrl_weight_drop(w, lrl_weights_find(w, s.tensor[i].name));
}

/* ---- the check ---- */

struct list {
  int64_t n;
  char text[500];
};

static void note(struct list *l, const char *name, const char *more) {
  const size_t used = strlen(l->text);
  if (++l->n <= 4)
    snprintf(l->text + used, sizeof l->text - used, "%s%.95s%s", l->n > 1 ? ", " : "", name, more);
}

static void compare(const struct lrl_hf_tensor *t, const struct lrl_weight *have,
                    struct list *wrong) {
  struct lrl_weight want = {.ndim = t->ndim};
  bool same = have->ndim == t->ndim && have->dtype <= LRL_WEIGHT_BF16;
  char a[64], b[64], more[160];
  for (int d = 0; d < t->ndim; d++) {
    want.dim[d] = t->dim[d];
    same = same && have->dim[d] == t->dim[d];
  }
  if (same)
    return;
  lrl_weight_shape(have, a, sizeof a);
  lrl_weight_shape(&want, b, sizeof b);
  snprintf(more, sizeof more, " (%s %s, not %s)", lrl_weight_dtype_name(have->dtype), a, b);
  note(wrong, t->name, more);
}

static bool is_passed_over(const struct lrl_hf_model *m, const char *name) {
  const char *const *p = m->family == LRL_HF_CLIP ? passed_over_clip : passed_over;
  char number[16];
  const char *rest;
  while (*p != NULL && !fits(*p, name, number, &rest))
    p++;
  return *p != NULL;
}

static void describe(char *text, size_t size, const char *what, const struct list *l) {
  const size_t used = strlen(text);
  char more[40] = "";
  if (l->n == 0)
    return;
  if (l->n > 4)
    snprintf(more, sizeof more, " and %lld more", (long long)l->n - 4);
  snprintf(text + used, size - used, "%s%lld %s: %s%s", used > 0 ? "; " : "", (long long)l->n, what,
           l->text, more);
}

lrl_status lrl_hf_check(const struct lrl_hf_model *m, const struct lrl_param_set *set,
                        const struct lrl_weights *w, const char *path, int64_t *n_passed_over) {
  struct list missing = {0}, wrong = {0}, unexpected = {0};
  char text[1600] = "";
  bool *used = calloc((size_t)w->n + 1, sizeof *used);
  if (used == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to compare the tensors of %s", path);
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++) {
      struct lrl_hf_source s;
      source_to_read(m, &set->units[u].params[i], &s);
      for (int k = 0; k < s.n; k++) {
        const struct lrl_weight *t = lrl_weights_find(w, s.tensor[k].name);
        if (t == NULL) {
          note(&missing, s.tensor[k].name, "");
          continue;
        }
        used[t - w->items] = true;
        compare(&s.tensor[k], t, &wrong);
      }
    }
  *n_passed_over = 0;
  for (int64_t i = 0; i < w->n; i++)
    if (!used[i] && is_passed_over(m, w->items[i].name))
      ++*n_passed_over;
    else if (!used[i])
      note(&unexpected, w->items[i].name, "");
  free(used);
  describe(text, sizeof text, "tensors are missing", &missing);
  describe(text, sizeof text, "are unexpected", &unexpected);
  describe(text, sizeof text, "have another shape or type", &wrong);
  return text[0] == '\0'
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_SHAPE, "%s does not fit its config.json: %s", path, text);
}
