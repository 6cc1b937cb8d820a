/* Attention in its two packings, and the ViT's patch embedding. */
#include "model/nn.h"

#include <math.h>
#include <string.h>

struct attention_saved {
  struct lrl_tensor *qkv, *o;
  struct lrl_rope rope;
  struct lrl_attention_shape shape;
  void *q, *k, *v;
  int64_t ld_q, ld_k, ld_v;
  float *lse;
};

static struct lrl_attention_fwd_args forward_args(const struct attention_saved *s) {
  return (struct lrl_attention_fwd_args){.layout = s->shape.layout,
                                         .n_heads = s->shape.n_heads,
                                         .n_kv_heads = s->shape.n_kv_heads,
                                         .head_dim = s->shape.head_dim,
                                         .dtype = s->qkv->dtype,
                                         .causal = s->shape.causal,
                                         .scale = 1.0f / sqrtf((float)s->shape.head_dim),
                                         .q = s->q,
                                         .k = s->k,
                                         .v = s->v,
                                         .ld_q = s->ld_q,
                                         .ld_k = s->ld_k,
                                         .ld_v = s->ld_v,
                                         .ld_o = s->o->cols,
                                         .o = s->o->data,
                                         .lse = s->lse};
}

static lrl_status attention_grads(struct lrl_tape *tape, const struct attention_saved *s, void *dq,
                                  void *dk, void *dv) {
  struct lrl_attention_fwd_args f = forward_args(s);
  return lrl_attention_bwd(tape->ctx, &(struct lrl_attention_bwd_args){.layout = f.layout,
                                                                       .n_heads = f.n_heads,
                                                                       .n_kv_heads = f.n_kv_heads,
                                                                       .head_dim = f.head_dim,
                                                                       .dtype = f.dtype,
                                                                       .causal = f.causal,
                                                                       .scale = f.scale,
                                                                       .q = f.q,
                                                                       .k = f.k,
                                                                       .v = f.v,
                                                                       .o = f.o,
                                                                       .d_o = s->o->grad,
                                                                       .ld_q = f.ld_q,
                                                                       .ld_k = f.ld_k,
                                                                       .ld_v = f.ld_v,
                                                                       .ld_o = f.ld_o,
                                                                       .lse = f.lse,
                                                                       .dq = dq,
                                                                       .dk = dk,
                                                                       .dv = dv});
}

/* Keeps the new keys and values; with page lists, attends to the cache. *done: o is there. */
static lrl_status use_cache(struct lrl_tape *tape, const struct attention_saved *s, bool *done) {
  const struct lrl_kv_view *kv = s->shape.kv;
  struct lrl_attention_fwd_args f = forward_args(s);
  if (s->qkv->needs_grad)
    return LRL_FAIL(LRL_ERR_ARG, "a key/value cache cannot be used where gradients are wanted");
  LRL_TRY(lrl_kv_write(tape->ctx, &(struct lrl_kv_write_args){.n_tokens = s->qkv->rows,
                                                              .n_kv_heads = f.n_kv_heads,
                                                              .head_dim = f.head_dim,
                                                              .n_pages = kv->n_pages,
                                                              .dtype = f.dtype,
                                                              .slot = kv->slot,
                                                              .k = s->k,
                                                              .v = s->v,
                                                              .k_pages = kv->k_pages,
                                                              .v_pages = kv->v_pages}));
  *done = kv->page_start != NULL;
  if (!*done)
    return LRL_OK;
  return lrl_attention_decode(tape->ctx,
                              &(struct lrl_attention_decode_args){.n_tokens = s->qkv->rows,
                                                                  .n_heads = f.n_heads,
                                                                  .n_kv_heads = f.n_kv_heads,
                                                                  .head_dim = f.head_dim,
                                                                  .n_pages = kv->n_pages,
                                                                  .dtype = f.dtype,
                                                                  .scale = f.scale,
                                                                  .page_start = kv->page_start,
                                                                  .page = kv->page,
                                                                  .used = kv->used,
                                                                  .q = s->q,
                                                                  .k_pages = kv->k_pages,
                                                                  .v_pages = kv->v_pages,
                                                                  .o = f.o});
}

static struct lrl_tensor *run(struct lrl_tape *tape, struct attention_saved *s, lrl_back *back) {
  struct lrl_attention_fwd_args f = forward_args(s);
  if (!lrl_tape_ok(tape, lrl_attention_fwd(tape->ctx, &f)) || !s->qkv->needs_grad)
    return s->o;
  struct attention_saved *kept = lrl_tape_record(tape, back, sizeof *kept, s->o, NULL, NULL);
  if (kept != NULL)
    *kept = *s;
  return s->o;
}

static lrl_status rope_attention_back(struct lrl_tape *tape, void *saved) {
  struct attention_saved *s = saved;
  void *dqkv = lrl_grad_begin(tape, s->qkv);
  size_t mark = lrl_arena_mark(tape->arena);
  int64_t t = s->qkv->rows, size = lrl_dtype_bytes(s->qkv->dtype);
  void *dq = lrl_tape_alloc(tape, (size_t)(t * s->ld_q * size));
  void *dk = lrl_tape_alloc(tape, (size_t)(t * s->ld_k * size));
  void *dv = lrl_tape_alloc(tape, (size_t)(t * s->ld_v * size));
  if (tape->status != LRL_OK)
    return tape->status;
  LRL_TRY(attention_grads(tape, s, dq, dk, dv));
  LRL_TRY(lrl_rope_qkv_bwd(tape->ctx,
                           &(struct lrl_rope_qkv_bwd_args){.n_tokens = t,
                                                           .n_heads = s->shape.n_heads,
                                                           .n_kv_heads = s->shape.n_kv_heads,
                                                           .head_dim = s->shape.head_dim,
                                                           .n_positions = s->rope.n_positions,
                                                           .dtype = s->qkv->dtype,
                                                           .positions = s->rope.positions,
                                                           .cos = s->rope.cos,
                                                           .sin = s->rope.sin,
                                                           .dq = dq,
                                                           .dk = dk,
                                                           .dv = dv,
                                                           .dqkv = dqkv}));
  lrl_arena_reset(tape->arena, mark);
  return lrl_grad_end(tape, s->qkv, dqkv);
}

struct lrl_tensor *lrl_nn_rope_attention(struct lrl_tape *tape, struct lrl_tensor *qkv,
                                         const struct lrl_rope *rope,
                                         const struct lrl_attention_shape *shape) {
  struct attention_saved s = {.qkv = qkv, .rope = *rope, .shape = *shape};
  int64_t t = qkv->rows, size = lrl_dtype_bytes(qkv->dtype);
  s.ld_q = shape->n_heads * shape->head_dim;
  s.ld_k = s.ld_v = shape->n_kv_heads * shape->head_dim;
  s.o = lrl_tensor_new(tape, qkv->dtype, t, s.ld_q);
  s.q = lrl_tape_alloc(tape, (size_t)(t * s.ld_q * size));
  s.k = lrl_tape_alloc(tape, (size_t)(t * s.ld_k * size));
  s.v = lrl_tape_alloc(tape, (size_t)(t * s.ld_v * size));
  s.lse = lrl_tape_alloc(tape, (size_t)(t * shape->n_heads) * sizeof *s.lse);
  if (tape->status != LRL_OK)
    return s.o;
  if (!lrl_tape_ok(tape, lrl_rope_qkv_fwd(tape->ctx, &(struct lrl_rope_qkv_fwd_args){
                                                         .n_tokens = t,
                                                         .n_heads = shape->n_heads,
                                                         .n_kv_heads = shape->n_kv_heads,
                                                         .head_dim = shape->head_dim,
                                                         .n_positions = rope->n_positions,
                                                         .dtype = qkv->dtype,
                                                         .positions = rope->positions,
                                                         .cos = rope->cos,
                                                         .sin = rope->sin,
                                                         .qkv = qkv->data,
                                                         .q = s.q,
                                                         .k = s.k,
                                                         .v = s.v})))
    return s.o;
  bool done = false;
  if (shape->kv != NULL && !lrl_tape_ok(tape, use_cache(tape, &s, &done)))
    return s.o;
  return done ? s.o : run(tape, &s, rope_attention_back);
}

static lrl_status attention_back(struct lrl_tape *tape, void *saved) {
  struct attention_saved *s = saved;
  char *d = lrl_grad_begin(tape, s->qkv);
  if (d == NULL)
    return tape->status;
  int64_t w = s->o->cols * lrl_dtype_bytes(s->qkv->dtype);
  LRL_TRY(attention_grads(tape, s, d, d + w, d + 2 * w));
  return lrl_grad_end(tape, s->qkv, d);
}

struct lrl_tensor *lrl_nn_attention(struct lrl_tape *tape, struct lrl_tensor *qkv,
                                    const struct lrl_attention_shape *shape) {
  struct attention_saved s = {.qkv = qkv, .shape = *shape};
  int64_t w = shape->n_heads * shape->head_dim, bytes = w * lrl_dtype_bytes(qkv->dtype);
  s.ld_q = s.ld_k = s.ld_v = 3 * w;
  s.o = lrl_tensor_new(tape, qkv->dtype, qkv->rows, w);
  s.lse = lrl_tape_alloc(tape, (size_t)(qkv->rows * shape->n_heads) * sizeof *s.lse);
  if (tape->status != LRL_OK)
    return s.o;
  s.q = qkv->data;
  s.k = (char *)qkv->data + bytes;
  s.v = (char *)qkv->data + 2 * bytes;
  return run(tape, &s, attention_back);
}

/* ---- patch embedding ---- */

struct patch_saved {
  struct lrl_patch_embed_fwd_args conv;
  struct lrl_tensor *patches, *y, *weight, *cls, *pos;
  float *d_pixels;
};

static lrl_status vit_embed_back(struct lrl_tape *tape, void *saved) {
  struct patch_saved *s = saved;
  void *d = lrl_grad_begin(tape, s->patches);
  LRL_TRY(lrl_vit_embed_bwd(
      tape->ctx, &(struct lrl_vit_embed_bwd_args){.n = s->conv.n,
                                                  .n_patches = s->patches->rows / s->conv.n,
                                                  .width = s->y->cols,
                                                  .dtype = s->y->dtype,
                                                  .d_out = s->y->grad,
                                                  .d_patches = d,
                                                  .d_cls = lrl_param_grad(tape, s->cls),
                                                  .d_pos = lrl_param_grad(tape, s->pos)}));
  return lrl_grad_end(tape, s->patches, d);
}

static lrl_status patch_embed_back(struct lrl_tape *tape, void *saved) {
  struct patch_saved *s = saved;
  const struct lrl_patch_embed_fwd_args *c = &s->conv;
  return lrl_patch_embed_bwd(
      tape->ctx, &(struct lrl_patch_embed_bwd_args){.n = c->n,
                                                    .channels = c->channels,
                                                    .size = c->size,
                                                    .patch = c->patch,
                                                    .width = c->width,
                                                    .dtype = c->dtype,
                                                    .pixels = c->pixels,
                                                    .weight = s->weight->data,
                                                    .weight_version = s->weight->version,
                                                    .d_out = s->patches->grad,
                                                    .d_weight = lrl_param_grad(tape, s->weight),
                                                    .d_pixels = s->d_pixels});
}

struct lrl_tensor *lrl_nn_patch_embed(struct lrl_tape *tape, const float *pixels, float *d_pixels,
                                      int64_t n, int64_t channels, int64_t size, int64_t patch,
                                      struct lrl_tensor *weight, struct lrl_tensor *cls,
                                      struct lrl_tensor *pos) {
  const int64_t grid = size / patch, per_image = grid * grid;
  struct lrl_tensor *patches = lrl_tensor_new(tape, weight->dtype, n * per_image, weight->rows);
  struct patch_saved value = {.conv = {.n = n,
                                       .channels = channels,
                                       .size = size,
                                       .patch = patch,
                                       .width = weight->rows,
                                       .dtype = weight->dtype,
                                       .pixels = pixels,
                                       .weight = weight->data,
                                       .weight_version = weight->version,
                                       .out = patches->data},
                              .patches = patches,
                              .weight = weight,
                              .cls = cls,
                              .pos = pos,
                              .d_pixels = d_pixels};
  if (tape->status != LRL_OK)
    return patches;
  lrl_tape_ok(tape, lrl_patch_embed_fwd(tape->ctx, &value.conv));
  if (d_pixels != NULL || weight->needs_grad) {
    struct patch_saved *s = lrl_tape_record(tape, patch_embed_back, sizeof *s, patches, NULL, NULL);
    if (s != NULL)
      *s = value;
  }
  struct lrl_tensor *y = lrl_tensor_new(tape, weight->dtype, n * (per_image + 1), weight->rows);
  value.y = y;
  if (tape->status != LRL_OK)
    return y;
  lrl_tape_ok(
      tape, lrl_vit_embed_fwd(tape->ctx, &(struct lrl_vit_embed_fwd_args){.n = n,
                                                                          .n_patches = per_image,
                                                                          .width = weight->rows,
                                                                          .dtype = weight->dtype,
                                                                          .patches = patches->data,
                                                                          .cls = cls->data,
                                                                          .pos = pos->data,
                                                                          .out = y->data}));
  if (!patches->needs_grad && !cls->needs_grad && !pos->needs_grad)
    return y;
  struct patch_saved *s = lrl_tape_record(tape, vit_embed_back, sizeof *s, y, NULL, NULL);
  if (s != NULL)
    *s = value;
  return y;
}
