#include "model/decoder.h"

#include "model/param_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lrl_linear_params add_linear(struct lrl_decoder *d, int unit, int64_t layer,
                                           const char *name, int64_t out, int64_t in, bool bias) {
  char full[LRL_NAME_MAX];
  float std = (float)d->cfg.initializer_range;
  struct lrl_linear_params p = {.bias = -1, .lora_a = -1, .lora_b = -1};
  snprintf(full, sizeof full, "model.layers.%lld.%s.weight", (long long)layer, name);
  p.weight = lrl_param_add(d->params, unit, full, out, in, std);
  if (bias) {
    snprintf(full, sizeof full, "model.layers.%lld.%s.bias", (long long)layer, name);
    p.bias = lrl_param_add(d->params, unit, full, out, 0, 0.0f);
  }
  return p;
}

static void add_lora(struct lrl_decoder *d, int unit, int64_t layer, const char *name,
                     struct lrl_linear_params *p, int64_t out, int64_t in) {
  char full[LRL_NAME_MAX];
  float std = (float)d->cfg.initializer_range; /* B is not zero on a fresh init (SPEC 1.6) */
  if (d->cfg.plora_r == 0)
    return;
  snprintf(full, sizeof full, "model.layers.%lld.%s.Plora_A.weight", (long long)layer, name);
  p->lora_a = lrl_param_add(d->params, unit, full, d->cfg.plora_r, in, std);
  snprintf(full, sizeof full, "model.layers.%lld.%s.Plora_B.weight", (long long)layer, name);
  p->lora_b = lrl_param_add(d->params, unit, full, out, d->cfg.plora_r, std);
}

static void build_layer(struct lrl_decoder *d, int64_t i, lrl_dtype dtype, bool trainable) {
  struct lrl_decoder_layer *l = &d->layers[i];
  const struct lrl_decoder_config *c = &d->cfg;
  int64_t h = c->hidden_size, f = c->intermediate_size;
  int64_t qkv = (c->num_attention_heads + 2 * c->num_key_value_heads) * c->rope.head_dim;
  int64_t o = c->num_attention_heads * c->rope.head_dim;
  char name[LRL_NAME_MAX];
  snprintf(name, sizeof name, "model.layers.%lld", (long long)i);
  int u = l->unit = lrl_param_unit_add(d->params, name, dtype, trainable);
  snprintf(name, sizeof name, "model.layers.%lld.attention_norm.weight", (long long)i);
  l->attention_norm = lrl_param_add(d->params, u, name, h, 0, -1.0f);
  snprintf(name, sizeof name, "model.layers.%lld.ffn_norm.weight", (long long)i);
  l->ffn_norm = lrl_param_add(d->params, u, name, h, 0, -1.0f);
  l->wqkv = add_linear(d, u, i, "attention.wqkv", qkv, h, c->bias);
  l->wo = add_linear(d, u, i, "attention.wo", h, o, c->bias);
  /* w1 and w3 side by side: one GEMM makes gate and up. */
  l->w1 = add_linear(d, u, i, "feed_forward.w1", f, h, false);
  l->w3 = add_linear(d, u, i, "feed_forward.w3", f, h, false);
  l->w2 = add_linear(d, u, i, "feed_forward.w2", h, f, false);
  add_lora(d, u, i, "attention.wqkv", &l->wqkv, qkv, h);
  add_lora(d, u, i, "attention.wo", &l->wo, h, o);
  add_lora(d, u, i, "feed_forward.w1", &l->w1, f, h);
  add_lora(d, u, i, "feed_forward.w3", &l->w3, f, h);
  add_lora(d, u, i, "feed_forward.w2", &l->w2, h, f);
}

lrl_status lrl_decoder_build(struct lrl_decoder *d, const struct lrl_decoder_config *cfg,
                             struct lrl_param_set *params, lrl_dtype dtype, bool trainable) {
  const struct lrl_decoder_config *c = cfg;
  if (c->num_key_value_heads < 1 || c->num_attention_heads % c->num_key_value_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "num_attention_heads %lld is no multiple of num_key_value_heads %lld",
                    (long long)c->num_attention_heads, (long long)c->num_key_value_heads);
  if (c->rope.head_dim < 2 || c->rope.head_dim % 2 != 0)
    return LRL_FAIL(LRL_ERR_SHAPE, "the head size %lld must be even and at least 2",
                    (long long)c->rope.head_dim);
  *d = (struct lrl_decoder){.cfg = *cfg, .params = params};
  d->layers = calloc((size_t)c->num_hidden_layers + 1, sizeof *d->layers);
  if (d->layers == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld layers", (long long)c->num_hidden_layers);
  d->embed_unit = lrl_param_unit_add(params, "model.tok_embeddings", dtype, trainable);
  lrl_param_add(params, d->embed_unit, "model.tok_embeddings.weight", c->vocab_size, c->hidden_size,
                (float)c->initializer_range);
  for (int64_t i = 0; i < c->num_hidden_layers; i++)
    build_layer(d, i, dtype, trainable);
  d->norm_unit = lrl_param_unit_add(params, "model.norm", dtype, trainable);
  lrl_param_add(params, d->norm_unit, "model.norm.weight", c->hidden_size, 0, -1.0f);
  return LRL_OK;
}

void lrl_decoder_free(struct lrl_decoder *d) {
  free(d->layers);
  memset(d, 0, sizeof *d);
}

/* What a layer needs to run (again, when it is recomputed going back). */
struct layer_run {
  struct lrl_decoder *d;
  const struct lrl_decoder_layer *layer;
  const struct lrl_decoder_input *in;
  const struct lrl_rope *rope;
  int64_t index;
};

static struct lrl_tensor *param(struct lrl_tape *tape, const struct layer_run *r, int index) {
  return index < 0 ? NULL : lrl_tensor_param(tape, &r->d->params->units[r->layer->unit], index);
}

static void plora(struct lrl_tape *tape, const struct layer_run *r,
                  const struct lrl_linear_params *p, uint32_t which, struct lrl_tensor *y,
                  int64_t col, struct lrl_tensor *x) {
  if (p->lora_a < 0)
    return;
  const struct lrl_decoder_config *c = &r->d->cfg;
  bool drop = tape->record && r->in->row_key != NULL;
  struct lrl_lora_rows rows = {
      .index = r->in->image_rows,
      .n = r->in->n_image_rows,
      .scale = (float)(c->plora_alpha / (double)c->plora_r),
      .dropout = drop ? (float)c->plora_dropout : 0.0f,
      .seed = r->in->dropout_seed + (uint64_t)(r->index * 8 + which) * 0x9E3779B97F4A7C15u,
      .row_key = r->in->row_key,
  };
  lrl_nn_lora_add(tape, y, col, x, param(tape, r, p->lora_a), param(tape, r, p->lora_b), &rows);
}

static struct lrl_tensor *linear(struct lrl_tape *tape, const struct layer_run *r,
                                 const struct lrl_linear_params *p, uint32_t which,
                                 struct lrl_tensor *x) {
  struct lrl_tensor *y = lrl_nn_linear(tape, x, param(tape, r, p->weight), param(tape, r, p->bias));
  plora(tape, r, p, which, y, 0, x);
  return y;
}

/* in: branch, stream (NULL before layer 0) whose sum is the layer's input; out: the same after it.
 */
static void layer_forward(struct lrl_tape *tape, void *user, struct lrl_tensor **in,
                          struct lrl_tensor **out) {
  struct layer_run *r = user;
  const struct lrl_decoder_config *c = &r->d->cfg;
  const struct lrl_decoder_layer *l = r->layer;
  float eps = (float)c->rms_norm_eps;
  struct lrl_tensor *stream, *stream2;
  lrl_tape_unit_begin(tape, &r->d->params->units[l->unit]);
  struct lrl_tensor *x =
      lrl_nn_rms_norm(tape, in[0], in[1], param(tape, r, l->attention_norm), eps, &stream);
  if (r->in->on_layer != NULL && tape->status == LRL_OK)
    r->in->on_layer(r->in->on_layer_user, r->index, stream);
  struct lrl_attention_shape shape = {.layout = r->in->layout,
                                      .n_heads = c->num_attention_heads,
                                      .n_kv_heads = c->num_key_value_heads,
                                      .head_dim = c->rope.head_dim,
                                      .causal = true};
  struct lrl_tensor *qkv = linear(tape, r, &l->wqkv, 0, x);
  struct lrl_tensor *attn =
      linear(tape, r, &l->wo, 1, lrl_nn_rope_attention(tape, qkv, r->rope, &shape));
  x = lrl_nn_rms_norm(tape, attn, stream, param(tape, r, l->ffn_norm), eps, &stream2);
  struct lrl_tensor *w13[2] = {param(tape, r, l->w1.weight), param(tape, r, l->w3.weight)};
  struct lrl_tensor *gate_up = lrl_nn_linears(tape, x, 2, w13, NULL);
  plora(tape, r, &l->w1, 2, gate_up, 0, x);
  plora(tape, r, &l->w3, 3, gate_up, c->intermediate_size, x);
  out[0] = linear(tape, r, &l->w2, 4, lrl_nn_swiglu(tape, gate_up));
  out[1] = stream2;
}

void lrl_decoder_forward(struct lrl_tape *tape, struct lrl_decoder *d,
                         const struct lrl_decoder_input *in, struct lrl_decoder_output *out) {
  struct lrl_rope *rope = lrl_tape_alloc(tape, sizeof *rope);
  struct layer_run *runs = lrl_tape_alloc(tape, (size_t)d->cfg.num_hidden_layers * sizeof *runs);
  struct lrl_decoder_input *input = lrl_tape_alloc(tape, sizeof *input);
  *out = (struct lrl_decoder_output){0};
  if (tape->status != LRL_OK ||
      !lrl_tape_ok(tape, lrl_rope_tables(tape, &d->cfg.rope, in->layout, in->positions, rope)))
    return;
  *input = *in; /* blocks are run again going back, when the caller's copy may be gone */
  struct lrl_param_unit *embed = &d->params->units[d->embed_unit];
  lrl_tape_unit_begin(tape, embed);
  struct lrl_tensor *x = lrl_nn_embedding(tape, lrl_tensor_param(tape, embed, 0), in->ids,
                                          in->layout->n_tokens, d->cfg.pad_token_id);
  if (in->images != NULL)
    lrl_nn_splice(tape, x, in->images, in->image_rows, in->n_image_rows);
  out->embeds = x;
  struct lrl_tensor *pair[2] = {x, NULL}, *next[2] = {NULL, NULL};
  for (int64_t i = 0; i < d->cfg.num_hidden_layers && tape->status == LRL_OK; i++) {
    runs[i] =
        (struct layer_run){.d = d, .layer = &d->layers[i], .in = input, .rope = rope, .index = i};
    lrl_block(tape, layer_forward, &runs[i], 2, pair, 2, next);
    pair[0] = next[0];
    pair[1] = next[1];
  }
  out->branch = pair[0];
  out->stream = pair[1];
}

struct lrl_tensor *lrl_decoder_final(struct lrl_tape *tape, struct lrl_decoder *d,
                                     const struct lrl_decoder_output *x, const int32_t *rows,
                                     int64_t n) {
  struct lrl_tensor *branch = x->branch, *stream = x->stream, *sum;
  struct lrl_param_unit *unit = &d->params->units[d->norm_unit];
  lrl_tape_unit_begin(tape, unit);
  if (tape->status == LRL_OK && rows != NULL) {
    branch = lrl_nn_gather(tape, branch, rows, n);
    stream = stream == NULL ? NULL : lrl_nn_gather(tape, stream, rows, n);
  }
  if (tape->status != LRL_OK)
    return lrl_tensor_new(tape, LRL_F32, 0, 0);
  return lrl_nn_rms_norm(tape, branch, stream, lrl_tensor_param(tape, unit, 0),
                         (float)d->cfg.rms_norm_eps, &sum);
}
