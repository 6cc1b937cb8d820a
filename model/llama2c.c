#include "model/llama2c.h"

#include "model/param_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, SEQ_LEN, N_SIZES };

struct lrl_llama2c {
  int64_t size[N_SIZES];
  bool shared; /* the embedding is the classifier */
  int64_t n;
  float *weights;
  const float *embed, *attention_norm, *wq, *wk, *wv, *wo, *ffn_norm, *w1, *w2, *w3, *norm, *head;
};

static int64_t kv_dim(const struct lrl_llama2c *m) {
  return m->size[DIM] / m->size[HEADS] * m->size[KV_HEADS];
}

/* Points at the weights in the order of the file; returns their number. */
static int64_t lay_out(struct lrl_llama2c *m) {
  const int64_t d = m->size[DIM], h = m->size[HIDDEN], l = m->size[LAYERS], v = m->size[VOCAB];
  const int64_t rope = m->size[SEQ_LEN] * (d / m->size[HEADS]); /* cos and sin, recomputed here */
  const struct {
    const float **at;
    int64_t n;
  } parts[] = {
      {&m->embed, v * d},          {&m->attention_norm, l * d}, {&m->wq, l * d * d},
      {&m->wk, l * kv_dim(m) * d}, {&m->wv, l * kv_dim(m) * d}, {&m->wo, l * d * d},
      {&m->ffn_norm, l * d},       {&m->w1, l * h * d},         {&m->w2, l * d * h},
      {&m->w3, l * h * d},         {&m->norm, d + rope},        {&m->head, m->shared ? 0 : v * d}};
  int64_t at = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; at += parts[i++].n)
    *parts[i].at = m->weights + at;
  if (m->shared)
    m->head = m->embed;
  return at;
}

static lrl_status read_sizes(struct lrl_llama2c *m, FILE *f, const char *path) {
  int32_t raw[N_SIZES];
  if (fread(raw, sizeof *raw, N_SIZES, f) != N_SIZES)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is too short for a llama2.c checkpoint", path);
  m->shared = raw[VOCAB] > 0;
  for (int i = 0; i < N_SIZES; i++) {
    m->size[i] = i == VOCAB && raw[i] < 0 ? -(int64_t)raw[i] : raw[i];
    if (m->size[i] < 1 || m->size[i] > 1 << 20)
      return LRL_FAIL(LRL_ERR_FORMAT,
                      "%s is no llama2.c checkpoint: its size number %d is %lld (of a Hugging Face "
                      "model, name the folder)",
                      path, i + 1, (long long)m->size[i]);
  }
  const int64_t d = m->size[DIM], heads = m->size[HEADS];
  if (d % (2 * heads) != 0 || heads % m->size[KV_HEADS] != 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: a width of %lld does not fit %lld and %lld heads", path,
                    (long long)d, (long long)heads, (long long)m->size[KV_HEADS]);
  return LRL_OK;
}

static lrl_status read_weights(struct lrl_llama2c *m, FILE *f, const char *path) {
  long end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
  m->n = lay_out(m);
  if (end < 0 || (int64_t)end != N_SIZES * 4 + m->n * 4)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s has %ld bytes, a llama2.c checkpoint of its sizes has %lld",
                    path, end, (long long)(N_SIZES * 4 + m->n * 4));
  m->weights = malloc((size_t)m->n * sizeof *m->weights);
  if (m->weights == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the weights of %s", path);
  if (fseek(f, N_SIZES * 4, SEEK_SET) != 0 ||
      fread(m->weights, sizeof *m->weights, (size_t)m->n, f) != (size_t)m->n)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno));
  lay_out(m);
  return LRL_OK;
}

lrl_status lrl_llama2c_open(const char *path, struct lrl_llama2c **out) {
  *out = NULL;
  FILE *f = fopen(path, "rb");
  if (f == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot open %s: %s", path, strerror(errno));
  struct lrl_llama2c *m = calloc(1, sizeof *m);
  lrl_status status = m == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory to open %s", path) : LRL_OK;
  if (status == LRL_OK)
    status = read_sizes(m, f, path);
  if (status == LRL_OK)
    status = read_weights(m, f, path);
  fclose(f);
  if (status == LRL_OK)
    *out = m;
  else
    lrl_llama2c_close(m);
  return status;
}

void lrl_llama2c_close(struct lrl_llama2c *m) {
  if (m != NULL)
    free(m->weights);
  free(m);
}

struct lrl_decoder_config lrl_llama2c_config(const struct lrl_llama2c *m) {
  return (struct lrl_decoder_config){.vocab_size = m->size[VOCAB],
                                     .hidden_size = m->size[DIM],
                                     .intermediate_size = m->size[HIDDEN],
                                     .num_hidden_layers = m->size[LAYERS],
                                     .num_attention_heads = m->size[HEADS],
                                     .num_key_value_heads = m->size[KV_HEADS],
                                     .rms_norm_eps = 1e-5,
                                     .initializer_range = 0.02,
                                     .pad_token_id = -1,
                                     .rope = {.head_dim = m->size[DIM] / m->size[HEADS],
                                              .max_position_embeddings = m->size[SEQ_LEN],
                                              .theta = 10000.0}};
}

static lrl_status store(struct lrl_param_set *set, const char *name, const float *x, int64_t n) {
  struct lrl_param_unit *unit;
  struct lrl_param *p = lrl_param_find(set, name, &unit);
  if (p == NULL || p->n != n)
    return LRL_FAIL(LRL_ERR_SHAPE, "the network's %s does not fit the llama2.c checkpoint", name);
  lrl_param_store(unit, p, x);
  return LRL_OK;
}

/* One head's rows: 2i -> i, 2i+1 -> i + d/2. */
static void copy_rotated(const float *from, int64_t head_dim, int64_t width, float *to) {
  for (int64_t r = 0; r < head_dim; r++)
    memcpy(to + (r / 2 + r % 2 * (head_dim / 2)) * width, from + r * width,
           (size_t)width * sizeof *to);
}

/* wq, wk, wv of layer l as InternLM2 packs them (SPEC 1.3). */
static void pack_wqkv(const struct lrl_llama2c *m, int64_t l, float *out) {
  const int64_t d = m->size[DIM], hd = d / m->size[HEADS],
                group = m->size[HEADS] / m->size[KV_HEADS];
  const int64_t head = hd * d; /* elements of a head's rows */
  const float *wq = m->wq + l * d * d, *wk = m->wk + l * kv_dim(m) * d,
              *wv = m->wv + l * kv_dim(m) * d;
  for (int64_t kv = 0; kv < m->size[KV_HEADS]; kv++) {
    for (int64_t j = 0; j < group; j++, out += head)
      copy_rotated(wq + (kv * group + j) * head, hd, d, out);
    copy_rotated(wk + kv * head, hd, d, out);
    memcpy(out + head, wv + kv * head, (size_t)head * sizeof *out);
    out += 2 * head;
  }
}

static lrl_status load_layer(const struct lrl_llama2c *m, int64_t l, float *wqkv,
                             struct lrl_param_set *set) {
  const int64_t d = m->size[DIM], h = m->size[HIDDEN];
  const struct {
    const char *name;
    const float *x;
    int64_t n;
  } parts[] = {{"attention_norm", m->attention_norm + l * d, d},
               {"ffn_norm", m->ffn_norm + l * d, d},
               {"attention.wqkv", wqkv, (d + 2 * kv_dim(m)) * d},
               {"attention.wo", m->wo + l * d * d, d * d},
               {"feed_forward.w1", m->w1 + l * h * d, h * d},
               {"feed_forward.w2", m->w2 + l * h * d, h * d},
               {"feed_forward.w3", m->w3 + l * h * d, h * d}};
  pack_wqkv(m, l, wqkv);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    char name[LRL_NAME_MAX];
    snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)l, parts[i].name);
    LRL_TRY(store(set, name, parts[i].x, parts[i].n));
  }
  return LRL_OK;
}

lrl_status lrl_llama2c_load(const struct lrl_llama2c *m, struct lrl_param_set *set) {
  const int64_t d = m->size[DIM], v = m->size[VOCAB];
  struct lrl_param_unit *unit;
  float *wqkv = malloc((size_t)((d + 2 * kv_dim(m)) * d) * sizeof *wqkv);
  lrl_status status = wqkv == NULL ? LRL_FAIL(LRL_ERR_MEMORY, "no memory to load a layer") : LRL_OK;
  for (int64_t l = 0; l < m->size[LAYERS] && status == LRL_OK; l++)
    status = load_layer(m, l, wqkv, set);
  free(wqkv);
  LRL_TRY(status);
  LRL_TRY(store(set, "model.tok_embeddings.weight", m->embed, v * d));
  LRL_TRY(store(set, "model.norm.weight", m->norm, d));
  if (lrl_param_find(set, "output.weight", &unit) == NULL)
    return LRL_OK;
  return store(set, "output.weight", m->head, v * d);
}
