#include "model/vit.h"

#include "model/param_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parameters of the embedding unit, in this order. */
enum { EMBED_CLASS, EMBED_PATCH, EMBED_POSITION, EMBED_PRE_W, EMBED_PRE_B };

struct builder {
  struct lrl_param_set *params;
  int unit;
  char prefix[LRL_NAME_MAX - 32];
  double range;
};

static int add(const struct builder *b, const char *name, int64_t rows, int64_t cols, float std) {
  char full[LRL_NAME_MAX + 64];
  snprintf(full, sizeof full, "%s%s", b->prefix, name);
  return lrl_param_add(b->params, b->unit, full, rows, cols, std);
}

static void build_layer(struct lrl_vit *v, const struct builder *base, int64_t i, lrl_dtype dtype,
                        bool trainable) {
  struct lrl_vit_layer *l = &v->layers[i];
  int64_t w = v->cfg.hidden_size, f = v->cfg.intermediate_size;
  struct builder b = *base;
  int n = snprintf(b.prefix, sizeof b.prefix, "%.30s", base->prefix);
  snprintf(b.prefix + n, sizeof b.prefix - (size_t)n, "encoder.layers.%d.", (int)i);
  l->unit = b.unit = lrl_param_unit_add(v->params, b.prefix, dtype, trainable);
  l->norm1_w = add(&b, "layer_norm1.weight", w, 0, -1.0f);
  l->norm1_b = add(&b, "layer_norm1.bias", w, 0, 0.0f);
  l->norm2_w = add(&b, "layer_norm2.weight", w, 0, -1.0f);
  l->norm2_b = add(&b, "layer_norm2.bias", w, 0, 0.0f);
  /* q, k, v side by side: one GEMM. */
  static const char *const qkv[3] = {"q_proj", "k_proj", "v_proj"};
  char name[48];
  for (int j = 0; j < 3; j++) {
    snprintf(name, sizeof name, "self_attn.%s.weight", qkv[j]);
    l->qkv_w[j] = add(&b, name, w, w, lrl_param_std(b.range, w));
  }
  for (int j = 0; j < 3; j++) {
    snprintf(name, sizeof name, "self_attn.%s.bias", qkv[j]);
    l->qkv_b[j] = add(&b, name, w, 0, 0.0f);
  }
  l->out_w = add(&b, "self_attn.out_proj.weight", w, w, lrl_param_std(b.range, w));
  l->out_b = add(&b, "self_attn.out_proj.bias", w, 0, 0.0f);
  l->fc1_w = add(&b, "mlp.fc1.weight", f, w, lrl_param_std(b.range, w));
  l->fc1_b = add(&b, "mlp.fc1.bias", f, 0, 0.0f);
  l->fc2_w = add(&b, "mlp.fc2.weight", w, f, lrl_param_std(b.range, f));
  l->fc2_b = add(&b, "mlp.fc2.bias", w, 0, 0.0f);
}

lrl_status lrl_vit_build(struct lrl_vit *v, const struct lrl_vit_config *cfg, const char *prefix,
                         struct lrl_param_set *params, lrl_dtype dtype, bool trainable) {
  int64_t w = cfg->hidden_size, p = cfg->patch_size;
  if (p < 1 || cfg->image_size < p)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "the vision tower's patch size %lld does not fit its image size %lld",
                    (long long)p, (long long)cfg->image_size);
  if (cfg->num_attention_heads < 1 || w % cfg->num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "the vision tower's width %lld is no multiple of its %lld heads",
                    (long long)w, (long long)cfg->num_attention_heads);
  *v = (struct lrl_vit){.cfg = *cfg, .params = params};
  v->layers = calloc((size_t)cfg->num_hidden_layers + 1, sizeof *v->layers);
  if (v->layers == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld layers", (long long)cfg->num_hidden_layers);
  struct builder b = {.params = params, .range = cfg->initializer_range};
  snprintf(b.prefix, sizeof b.prefix, "%.30s", prefix);
  char name[LRL_NAME_MAX];
  snprintf(name, sizeof name, "%.30sembeddings", prefix);
  v->embed_unit = b.unit = lrl_param_unit_add(params, name, dtype, trainable);
  add(&b, "embeddings.class_embedding", w, 0, lrl_param_std(b.range, 1));
  add(&b, "embeddings.patch_embedding.weight", w, 3 * p * p, lrl_param_std(b.range, 3 * p * p));
  add(&b, "embeddings.position_embedding.weight", lrl_vit_tokens(cfg), w,
      lrl_param_std(b.range, 1));
  add(&b, "pre_layrnorm.weight", w, 0, -1.0f);
  add(&b, "pre_layrnorm.bias", w, 0, 0.0f);
  for (int64_t i = 0; i < cfg->num_hidden_layers; i++)
    build_layer(v, &b, i, dtype, trainable);
  /* The feature bypasses post_layernorm; it is kept for checkpoints and never trained. */
  snprintf(name, sizeof name, "%.30spost_layernorm", prefix);
  v->post_unit = b.unit = lrl_param_unit_add(params, name, dtype, false);
  add(&b, "post_layernorm.weight", w, 0, -1.0f);
  add(&b, "post_layernorm.bias", w, 0, 0.0f);
  return LRL_OK;
}

void lrl_vit_free(struct lrl_vit *v) {
  free(v->layers);
  memset(v, 0, sizeof *v);
}

struct layer_run {
  struct lrl_vit *v;
  const struct lrl_vit_layer *layer;
  const struct lrl_layout *layout;
};

static struct lrl_tensor *param(struct lrl_tape *tape, const struct layer_run *r, int index) {
  return lrl_tensor_param(tape, &r->v->params->units[r->layer->unit], index);
}

static void layer_forward(struct lrl_tape *tape, void *user, struct lrl_tensor **in,
                          struct lrl_tensor **out) {
  struct layer_run *r = user;
  const struct lrl_vit_layer *l = r->layer;
  const struct lrl_vit_config *c = &r->v->cfg;
  float eps = (float)c->layer_norm_eps;
  lrl_tape_unit_begin(tape, &r->v->params->units[l->unit]);
  struct lrl_attention_shape shape = {.layout = r->layout,
                                      .n_heads = c->num_attention_heads,
                                      .n_kv_heads = c->num_attention_heads,
                                      .head_dim = c->hidden_size / c->num_attention_heads};
  struct lrl_tensor *w[3], *b[3];
  for (int i = 0; i < 3; i++) {
    w[i] = param(tape, r, l->qkv_w[i]);
    b[i] = param(tape, r, l->qkv_b[i]);
  }
  struct lrl_tensor *x =
      lrl_nn_layer_norm(tape, in[0], param(tape, r, l->norm1_w), param(tape, r, l->norm1_b), eps);
  x = lrl_nn_attention(tape, lrl_nn_linears(tape, x, 3, w, b), &shape);
  x = lrl_nn_linear(tape, x, param(tape, r, l->out_w), param(tape, r, l->out_b));
  struct lrl_tensor *mid = lrl_nn_add(tape, in[0], x);
  x = lrl_nn_layer_norm(tape, mid, param(tape, r, l->norm2_w), param(tape, r, l->norm2_b), eps);
  x = lrl_nn_linear(tape, x, param(tape, r, l->fc1_w), param(tape, r, l->fc1_b));
  x = lrl_nn_gelu(tape, x, LRL_GELU_QUICK);
  x = lrl_nn_linear(tape, x, param(tape, r, l->fc2_w), param(tape, r, l->fc2_b));
  out[0] = lrl_nn_add(tape, mid, x);
}

/* n equal sequences. */
static struct lrl_layout *square_layout(struct lrl_tape *tape, int64_t n, int64_t tokens) {
  struct lrl_layout *l = lrl_tape_host(tape, sizeof *l);
  int32_t *start = lrl_tape_host(tape, (size_t)n * 2 * sizeof *start);
  if (tape->status != LRL_OK)
    return NULL;
  for (int64_t i = 0; i < n; i++) {
    start[i] = (int32_t)(i * tokens);
    start[n + i] = (int32_t)tokens;
  }
  *l =
      (struct lrl_layout){.n_tokens = n * tokens, .n_seqs = n, .start = start, .length = start + n};
  return l;
}

struct lrl_tensor *
lrl_vit_forward(struct lrl_tape *tape, struct lrl_vit *v, const float *pixels, float *d_pixels,
                int64_t n, void (*on_layer)(void *user, int64_t layer, struct lrl_tensor *x),
                void *user) {
  const struct lrl_vit_config *c = &v->cfg;
  struct lrl_param_unit *embed = &v->params->units[v->embed_unit];
  struct lrl_layout *layout = square_layout(tape, n, lrl_vit_tokens(c));
  struct layer_run *runs = lrl_tape_host(tape, (size_t)c->num_hidden_layers * sizeof *runs);
  lrl_tape_unit_begin(tape, embed);
  struct lrl_tensor *x = lrl_nn_patch_embed(
      tape, pixels, d_pixels, n, 3, c->image_size, c->patch_size,
      lrl_tensor_param(tape, embed, EMBED_PATCH), lrl_tensor_param(tape, embed, EMBED_CLASS),
      lrl_tensor_param(tape, embed, EMBED_POSITION));
  x = lrl_nn_layer_norm(tape, x, lrl_tensor_param(tape, embed, EMBED_PRE_W),
                        lrl_tensor_param(tape, embed, EMBED_PRE_B), (float)c->layer_norm_eps);
  for (int64_t i = 0; i < c->num_hidden_layers && tape->status == LRL_OK; i++) {
    if (on_layer != NULL && lrl_tape_ok(tape, lrl_ctx_sync(tape->ctx)))
      on_layer(user, i, x);
    runs[i] = (struct layer_run){.v = v, .layer = &v->layers[i], .layout = layout};
    lrl_block(tape, layer_forward, &runs[i], 1, &x, 1, &x);
  }
  return x;
}

struct lrl_tensor *lrl_vit_pooler(struct lrl_tape *tape, struct lrl_vit *v, struct lrl_tensor *x,
                                  int64_t n) {
  int64_t tokens = lrl_vit_tokens(&v->cfg);
  int32_t *rows = lrl_tape_host(tape, (size_t)n * sizeof *rows);
  if (tape->status != LRL_OK)
    return x;
  for (int64_t i = 0; i < n; i++)
    rows[i] = (int32_t)(i * tokens);
  struct lrl_param_unit *post = &v->params->units[v->post_unit];
  return lrl_nn_layer_norm(tape, lrl_nn_gather(tape, x, rows, n), lrl_tensor_param(tape, post, 0),
                           lrl_tensor_param(tape, post, 1), (float)v->cfg.layer_norm_eps);
}
