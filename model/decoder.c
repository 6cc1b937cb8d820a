#include "model/decoder.h"

#include "model/kv_cache.h"
#include "model/param_build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lrl_linear_params add_linear(struct lrl_decoder *d, int unit, int64_t layer,
                                           const char *name, int64_t out, int64_t in, bool bias) {
  char full[LRL_NAME_MAX];
  float std = lrl_param_std(d->cfg.initializer_range, in);
  struct lrl_linear_params p = {-1, -1, -1, -1, -1, -1};
  snprintf(full, sizeof full, "model.layers.%lld.%s.weight", (long long)layer, name);
  p.weight = lrl_param_add(d->params, unit, full, out, in, std);
  if (bias) {
    snprintf(full, sizeof full, "model.layers.%lld.%s.bias", (long long)layer, name);
    p.bias = lrl_param_add(d->params, unit, full, out, 0, 0.0f);
  }
  return p;
}

/* Adds "<linear>.<pair>_A.weight" [r, in] and "_B.weight" [out, r]; a_std and b_std as init_std of
 * lrl_param_add. */
static void add_pair(struct lrl_decoder *d, int unit, int64_t layer, const char *name,
                     const char *pair, const int64_t size[3], float a_std, float b_std, int *a,
                     int *b) {
  char full[LRL_NAME_MAX];
  snprintf(full, sizeof full, "model.layers.%lld.%s.%s_A.weight", (long long)layer, name, pair);
  *a = lrl_param_add(d->params, unit, full, size[2], size[1], a_std);
  snprintf(full, sizeof full, "model.layers.%lld.%s.%s_B.weight", (long long)layer, name, pair);
  *b = lrl_param_add(d->params, unit, full, size[0], size[2], b_std);
}

/* The five linears of a layer, in the order of the numbers that key their dropout. */
enum { WQKV, WO, W1, W3, W2, N_LINEARS };
static const char *const linear_names[N_LINEARS] = {
    "attention.wqkv", "attention.wo", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"};

static struct lrl_linear_params *linear_of(struct lrl_decoder_layer *l, int which) {
  struct lrl_linear_params *all[N_LINEARS] = {&l->wqkv, &l->wo, &l->w1, &l->w3, &l->w2};
  return all[which];
}

static void add_adapters(struct lrl_decoder *d, int64_t i, lrl_dtype dtype, bool trainable) {
  struct lrl_decoder_layer *l = &d->layers[i];
  const struct lrl_decoder_config *c = &d->cfg;
  char name[LRL_NAME_MAX];
  if (c->lora_r > 0) {
    snprintf(name, sizeof name, "model.layers.%lld.lora", (long long)i);
    l->lora_unit = lrl_param_unit_add(d->params, name, dtype, trainable);
  }
  for (int k = 0; k < N_LINEARS; k++) {
    struct lrl_linear_params *p = linear_of(l, k);
    const struct lrl_param *w = &d->params->units[l->unit].params[p->weight];
    int64_t size[3] = {w->dim[0], w->dim[1], c->plora_r};
    if (c->plora_r > 0) /* B is not zero on a fresh init (SPEC 1.6) */
      add_pair(d, l->unit, i, linear_names[k], "Plora", size,
               lrl_param_std(c->initializer_range, size[1]),
               lrl_param_std(c->initializer_range, size[2]), &p->plora_a, &p->plora_b);
    size[2] = c->lora_r;
    if (c->lora_r > 0) {
      add_pair(d, l->lora_unit, i, linear_names[k], "lora", size, 0.0f, 0.0f, &p->lora_a,
               &p->lora_b);
      /* torch's kaiming_uniform with a = sqrt(5), as peft. */
      d->params->units[l->lora_unit].params[p->lora_a].init_bound = 1.0f / sqrtf((float)size[1]);
    }
  }
}

static void build_layer(struct lrl_decoder *d, int64_t i, lrl_dtype dtype, bool trainable) {
  struct lrl_decoder_layer *l = &d->layers[i];
  const struct lrl_decoder_config *c = &d->cfg;
  int64_t h = c->hidden_size, f = c->intermediate_size;
  int64_t qkv = (c->num_attention_heads + 2 * c->num_key_value_heads) * c->rope.head_dim;
  int64_t o = c->num_attention_heads * c->rope.head_dim;
  char name[LRL_NAME_MAX];
  snprintf(name, sizeof name, "model.layers.%lld", (long long)i);
  int u = l->unit = lrl_param_unit_add(d->params, name, dtype, trainable && c->lora_r == 0);
  l->lora_unit = -1;
  snprintf(name, sizeof name, "model.layers.%lld.attention_norm.weight", (long long)i);
  l->attention_norm = lrl_param_add(d->params, u, name, h, 0, -1.0f);
  snprintf(name, sizeof name, "model.layers.%lld.ffn_norm.weight", (long long)i);
  l->ffn_norm = lrl_param_add(d->params, u, name, h, 0, -1.0f);
  l->wqkv = add_linear(d, u, i, "attention.wqkv", qkv, h, c->bias || c->qkv_bias);
  l->wo = add_linear(d, u, i, "attention.wo", h, o, c->bias);
  /* w1 and w3 side by side: one GEMM makes gate and up. */
  l->w1 = add_linear(d, u, i, "feed_forward.w1", f, h, false);
  l->w3 = add_linear(d, u, i, "feed_forward.w3", f, h, false);
  l->w2 = add_linear(d, u, i, "feed_forward.w2", h, f, false);
  add_adapters(d, i, dtype, trainable);
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
  int64_t units = (c->lora_r > 0 ? 2 : 1) * c->num_hidden_layers + 2;
  if (params->n_units + units > LRL_MAX_UNITS - 1) /* the head comes after */
    return LRL_FAIL(LRL_ERR_SHAPE, "%lld decoder layers are more than this program can hold",
                    (long long)c->num_hidden_layers);
  *d = (struct lrl_decoder){.cfg = *cfg, .params = params};
  d->layers = calloc((size_t)c->num_hidden_layers + 1, sizeof *d->layers);
  if (d->layers == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld layers", (long long)c->num_hidden_layers);
  bool base = trainable && c->lora_r == 0;
  d->embed_unit = lrl_param_unit_add(params, "model.tok_embeddings", dtype, base);
  lrl_param_add(params, d->embed_unit, "model.tok_embeddings.weight", c->vocab_size, c->hidden_size,
                lrl_param_std(c->initializer_range, 1));
  for (int64_t i = 0; i < c->num_hidden_layers; i++)
    build_layer(d, i, dtype, trainable);
  d->norm_unit = lrl_param_unit_add(params, "model.norm", dtype, base);
  lrl_param_add(params, d->norm_unit, "model.norm.weight", c->hidden_size, 0, -1.0f);
  return LRL_OK;
}

void lrl_decoder_free(struct lrl_decoder *d) {
  free(d->layers);
  memset(d, 0, sizeof *d);
}

static lrl_status merge_one(struct lrl_ctx *ctx, struct lrl_decoder *d,
                            const struct lrl_decoder_layer *l, const struct lrl_linear_params *p,
                            float *scaled) {
  struct lrl_param_unit *base = &d->params->units[l->unit], *lora = &d->params->units[l->lora_unit];
  const struct lrl_param *w = &base->params[p->weight], *a = &lora->params[p->lora_a],
                         *b = &lora->params[p->lora_b];
  int64_t size = lrl_dtype_bytes(lora->dtype), r = d->cfg.lora_r;
  float alpha = (float)(d->cfg.lora_alpha / (double)r);
  char *b_data = (char *)lora->data + b->offset * size;
  LRL_TRY(
      lrl_cast(ctx, &(struct lrl_cast_args){
                        .n = b->n, .from = lora->dtype, .to = LRL_F32, .x = b_data, .y = scaled}));
  LRL_TRY(lrl_scale(ctx, &(struct lrl_scale_args){.n = b->n, .x = scaled, .alpha = alpha}));
  LRL_TRY(
      lrl_cast(ctx, &(struct lrl_cast_args){
                        .n = b->n, .from = LRL_F32, .to = lora->dtype, .x = scaled, .y = b_data}));
  LRL_TRY(lrl_gemm(ctx, &(struct lrl_gemm_args){.m = w->dim[0],
                                                .n = w->dim[1],
                                                .k = r,
                                                .dtype = lora->dtype,
                                                .c_dtype = base->dtype,
                                                .a = b_data,
                                                .b = (char *)lora->data + a->offset * size,
                                                .ld_a = r,
                                                .ld_b = w->dim[1],
                                                .ld_c = w->dim[1],
                                                .c = (char *)base->data + w->offset * size,
                                                .beta = 1.0f}));
  memset(b_data, 0, (size_t)(b->n * size));
  return LRL_OK;
}

lrl_status lrl_decoder_merge_lora(struct lrl_ctx *ctx, struct lrl_decoder *d) {
  const struct lrl_decoder_config *c = &d->cfg;
  int64_t qkv = (c->num_attention_heads + 2 * c->num_key_value_heads) * c->rope.head_dim;
  int64_t rows = qkv > c->intermediate_size ? qkv : c->intermediate_size;
  rows = rows > c->hidden_size ? rows : c->hidden_size;
  if (c->lora_r == 0)
    return LRL_OK;
  float *scaled = malloc((size_t)(rows * c->lora_r) * sizeof *scaled);
  if (scaled == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory to merge the adapters");
  lrl_status s = LRL_OK;
  for (int64_t i = 0; i < c->num_hidden_layers; i++) {
    struct lrl_decoder_layer *l = &d->layers[i];
    for (int k = 0; k < N_LINEARS && s == LRL_OK; k++)
      s = merge_one(ctx, d, l, linear_of(l, k), scaled);
    d->params->units[l->unit].version++;
    d->params->units[l->lora_unit].version++;
  }
  free(scaled);
  return s;
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

static struct lrl_tensor *lora_param(struct lrl_tape *tape, const struct layer_run *r, int index) {
  return lrl_tensor_param(tape, &r->d->params->units[r->layer->lora_unit], index);
}

/* Adds the low-rank paths of linear `which` to its output, columns [col, ...) of y. */
static void adapters(struct lrl_tape *tape, const struct layer_run *r,
                     const struct lrl_linear_params *p, int which, struct lrl_tensor *y,
                     int64_t col, struct lrl_tensor *x) {
  const struct lrl_decoder_config *c = &r->d->cfg;
  const struct lrl_decoder_input *in = r->in;
  uint64_t stream = (uint64_t)(r->index * 2 * N_LINEARS + which);
  if (p->plora_a >= 0) {
    struct lrl_lora_rows rows = {
        .index = in->image_rows,
        .n = in->n_image_rows,
        .scale = (float)(c->plora_alpha / (double)c->plora_r),
        .dropout = in->row_key != NULL ? (float)c->plora_dropout : 0.0f,
        .seed = in->dropout_seed + stream * 0x9E3779B97F4A7C15u,
        .row_key = in->row_key,
    };
    lrl_nn_lora_add(tape, y, col, x, param(tape, r, p->plora_a), param(tape, r, p->plora_b), &rows);
  }
  if (p->lora_a >= 0 && !in->without_lora) {
    struct lrl_lora_rows rows = {
        .n = x->rows,
        .scale = (float)(c->lora_alpha / (double)c->lora_r),
        .dropout = in->token_key != NULL ? (float)c->lora_dropout : 0.0f,
        .seed = in->dropout_seed + (stream + N_LINEARS) * 0x9E3779B97F4A7C15u,
        .row_key = in->token_key,
    };
    lrl_nn_lora_add(tape, y, col, x, lora_param(tape, r, p->lora_a), lora_param(tape, r, p->lora_b),
                    &rows);
  }
}

static struct lrl_tensor *linear(struct lrl_tape *tape, const struct layer_run *r,
                                 const struct lrl_linear_params *p, int which,
                                 struct lrl_tensor *x) {
  struct lrl_tensor *y = lrl_nn_linear(tape, x, param(tape, r, p->weight), param(tape, r, p->bias));
  adapters(tape, r, p, which, y, 0, x);
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
  if (l->lora_unit >= 0)
    lrl_tape_unit_begin(tape, &r->d->params->units[l->lora_unit]);
  struct lrl_tensor *x =
      lrl_nn_rms_norm(tape, in[0], in[1], param(tape, r, l->attention_norm), eps, &stream);
  if (r->in->on_layer != NULL && lrl_tape_ok(tape, lrl_ctx_sync(tape->ctx)))
    r->in->on_layer(r->in->on_layer_user, r->index, stream);
  struct lrl_attention_shape shape = {.layout = r->in->layout,
                                      .n_heads = c->num_attention_heads,
                                      .n_kv_heads = c->num_key_value_heads,
                                      .head_dim = c->rope.head_dim,
                                      .causal = true};
  struct lrl_kv_view view;
  if (r->in->kv != NULL) {
    view = lrl_kv_layer(r->in->kv, r->index);
    shape.kv = &view;
  }
  struct lrl_tensor *qkv = linear(tape, r, &l->wqkv, WQKV, x);
  struct lrl_tensor *attn =
      linear(tape, r, &l->wo, WO, lrl_nn_rope_attention(tape, qkv, r->rope, &shape));
  x = lrl_nn_rms_norm(tape, attn, stream, param(tape, r, l->ffn_norm), eps, &stream2);
  struct lrl_tensor *w13[2] = {param(tape, r, l->w1.weight), param(tape, r, l->w3.weight)};
  struct lrl_tensor *gate_up = lrl_nn_linears(tape, x, 2, w13, NULL);
  adapters(tape, r, &l->w1, W1, gate_up, 0, x);
  adapters(tape, r, &l->w3, W3, gate_up, c->intermediate_size, x);
  out[0] = linear(tape, r, &l->w2, W2, lrl_nn_swiglu(tape, gate_up));
  out[1] = stream2;
}

static void forward(struct lrl_tape *tape, struct lrl_decoder *d,
                    const struct lrl_decoder_input *in, struct lrl_decoder_output *out) {
  struct lrl_rope *rope = lrl_tape_host(tape, sizeof *rope);
  struct layer_run *runs = lrl_tape_host(tape, (size_t)d->cfg.num_hidden_layers * sizeof *runs);
  struct lrl_decoder_input *input = lrl_tape_host(tape, sizeof *input);
  if (tape->status != LRL_OK || !lrl_tape_ok(tape, lrl_rope_tables(tape, &d->cfg.rope, in->layout,
                                                                   in->positions, in->rope, rope)))
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

void lrl_decoder_forward(struct lrl_tape *tape, struct lrl_decoder *d,
                         const struct lrl_decoder_input *in, struct lrl_decoder_output *out) {
  *out = (struct lrl_decoder_output){0};
  forward(tape, d, in, out);
}

struct lrl_tensor *lrl_decoder_final(struct lrl_tape *tape, struct lrl_decoder *d,
                                     const struct lrl_decoder_output *x, const int32_t *rows,
                                     int64_t n) {
  struct lrl_tensor *branch = x->branch, *stream = x->stream, *sum;
  struct lrl_param_unit *unit = &d->params->units[d->norm_unit];
  lrl_tape_unit_begin(tape, unit);
  if (tape->status == LRL_OK && rows != NULL) {
    /* In this order: going back, the norm's x borrows the gradient of its residual, which must
     * therefore be the older of the two. */
    stream = stream == NULL ? NULL : lrl_nn_gather(tape, stream, rows, n);
    branch = lrl_nn_gather(tape, branch, rows, n);
  }
  if (tape->status != LRL_OK)
    return lrl_tensor_new(tape, LRL_F32, 0, 0);
  return lrl_nn_rms_norm(tape, branch, stream, lrl_tensor_param(tape, unit, 0),
                         (float)d->cfg.rms_norm_eps, &sum);
}
