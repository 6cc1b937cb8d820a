/* K1_: the ops that know of tokens and their order. */
#include "model/rope.h"
#include "tests/golden/golden_ops.h"

/* [batch, heads, T, d] <-> packed [tokens, heads, d]: the first length[b] tokens of each row. */
static int64_t packed(const struct lrl_layout *l, bool to_packed, float *packed, float *padded,
                      int64_t heads, int64_t n_t, int64_t d) {
  for (int64_t b = 0; b < l->n_seqs; b++)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t t = 0; t < l->length[b]; t++) {
        float *p = packed + ((l->start[b] + t) * heads + h) * d;
        float *q = padded + ((b * heads + h) * n_t + t) * d;
        memcpy(to_packed ? p : q, to_packed ? q : p, (size_t)d * sizeof(float));
      }
  return l->n_seqs * heads * n_t * d;
}
static float *pack(struct op_case *c, const struct lrl_layout *l, float *padded, int64_t heads,
                   int64_t n_t, int64_t d) {
  float *x = FLOATS(l->n_tokens * heads * d);
  packed(l, true, x, padded, heads, n_t, d);
  return x;
}
static float *unpack(struct op_case *c, const struct lrl_layout *l, float *x, int64_t heads,
                     int64_t n_t, int64_t d) {
  float *padded = FLOATS(l->n_seqs * heads * n_t * d);
  packed(l, false, x, padded, heads, n_t, d);
  return padded;
}
/* Rows of `lengths`, or of n_t tokens each when it is NULL. */
static struct lrl_layout layout_of(struct op_case *c, int64_t batch, int64_t n_t,
                                   const int32_t *lengths) {
  int32_t *start = bag_zeros(c->b, batch, sizeof *start), at = 0;
  int32_t *length = bag_zeros(c->b, batch, sizeof *length);
  for (int64_t b = 0; b < batch; b++) {
    start[b] = at;
    length[b] = lengths == NULL ? (int32_t)n_t : lengths[b];
    at += length[b];
  }
  return (struct lrl_layout){.n_tokens = at, .n_seqs = batch, .start = start, .length = length};
}

static void attention(struct op_case *c, bool causal) {
  struct g5_array a = {0}, s = {0};
  float *q = input(c, "q", &a), *k = input(c, "k", &s), *v = input(c, "v", NULL);
  float *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t h = a.dim[1], kv = s.dim[1], n_t = a.dim[2], d = a.dim[3], wq = h * d, wk = kv * d;
  const struct lrl_layout l = layout_of(c, a.dim[0], n_t, bag_ids(c->b, c->name, "lengths", NULL));
  const int64_t nq = l.n_tokens * wq, nk = l.n_tokens * wk;
  const float scale = 1.0f / sqrtf((float)d);
  float *o = FLOATS(nq), *lse = FLOATS(l.n_tokens * h);
  float *dq = FLOATS(nq), *dk = FLOATS(nk), *dv = FLOATS(nk);
  q = pack(c, &l, q, h, n_t, d);
  k = pack(c, &l, k, kv, n_t, d);
  v = pack(c, &l, v, kv, n_t, d);
  RUN(attention_fwd, &l, h, kv, d, LRL_F32, causal, scale, q, k, v, wq, wk, wk, wq, o, lse);
  RUN(attention_bwd, &l, h, kv, d, LRL_F32, causal, scale, q, k, v, o, pack(c, &l, dy, h, n_t, d),
      wq, wk, wk, wq, lse, dq, dk, dv);
  output(c, unpack(c, &l, o, h, n_t, d), a.n);
  gradient(c, "q", unpack(c, &l, dq, h, n_t, d), a.n);
  gradient(c, "k", unpack(c, &l, dk, kv, n_t, d), s.n);
  gradient(c, "v", unpack(c, &l, dv, kv, n_t, d), s.n);
}
void golden_op_attn_causal(struct op_case *c) { attention(c, true); }
void golden_op_attn_full(struct op_case *c) { attention(c, false); }

/* InternLM2's fused qkv [t, kv, g + 2, d] <-> q and k (v stays as it is). */
static void fused(float *qkv, float *q, float *k, int64_t t, int64_t kv, int64_t g, int64_t d,
                  bool fuse) {
  for (int64_t i = 0; i < t * kv; i++)
    for (int64_t j = 0; j <= g; j++) {
      float *x = qkv + (i * (g + 2) + j) * d, *y = j < g ? q + (i * g + j) * d : k + i * d;
      memcpy(fuse ? x : y, fuse ? y : x, (size_t)d * sizeof(float));
    }
}

/* y is q and k side by side over heads. */
void golden_op_rope(struct op_case *c) {
  struct g5_array a = {0}, s = {0};
  float *q = input(c, "q", &a), *k = input(c, "k", &s), *dy = input(c, "dy", NULL);
  const int32_t *positions = bag_ids(c->b, c->name, "position_ids", NULL);
  if (positions == NULL || c->status != LRL_OK)
    return;
  const int64_t batch = a.dim[0], h = a.dim[1], kv = s.dim[1], n_t = a.dim[2], d = a.dim[3];
  const int64_t t = batch * n_t;
  const struct lrl_layout l = layout_of(c, batch, n_t, NULL);
  struct lrl_arena arena;
  struct lrl_tape tape;
  struct lrl_rope r;
  c->status = lrl_arena_init(&arena, "steps", (size_t)1 << 30);
  if (c->status != LRL_OK)
    return;
  lrl_tape_init(&tape, &c->b->ctx, &arena, false);
  const struct lrl_rope_config config = {.head_dim = d,
                                         .max_position_embeddings = 1 << 20,
                                         .theta = g5_num(&c->b->file, "rope_theta", 1e4)};
  c->status = lrl_rope_tables(&tape, &config, &l, positions, NULL, &r);
  float *qkv = FLOATS(t * (h + 2 * kv) * d), *dqkv = FLOATS(t * (h + 2 * kv) * d);
  float *v = FLOATS(t * kv * d), *both = FLOATS(t * (h + kv) * d);
  float *pq = pack(c, &l, q, h, n_t, d), *pk = pack(c, &l, k, kv, n_t, d);
  fused(qkv, pq, pk, t, kv, h / kv, d, true);
  RUN(rope_qkv_fwd, t, h, kv, d, r.n_positions, LRL_F32, r.positions, r.cos, r.sin, qkv, pq, pk, v);
  float *y = pack(c, &l, dy, h + kv, n_t, d), *dq = FLOATS(t * h * d), *dk = FLOATS(t * kv * d);
  for (int64_t i = 0; i < t; i++) {
    memcpy(both + i * (h + kv) * d, pq + i * h * d, (size_t)(h * d) * sizeof(float));
    memcpy(both + (i * (h + kv) + h) * d, pk + i * kv * d, (size_t)(kv * d) * sizeof(float));
    memcpy(dq + i * h * d, y + i * (h + kv) * d, (size_t)(h * d) * sizeof(float));
    memcpy(dk + i * kv * d, y + (i * (h + kv) + h) * d, (size_t)(kv * d) * sizeof(float));
  }
  RUN(rope_qkv_bwd, t, h, kv, d, r.n_positions, LRL_F32, r.positions, r.cos, r.sin, dq, dk, v,
      dqkv);
  output(c, unpack(c, &l, both, h + kv, n_t, d), t * (h + kv) * d);
  fused(dqkv, dq, dk, t, kv, h / kv, d, false);
  gradient(c, "q", unpack(c, &l, dq, h, n_t, d), a.n);
  gradient(c, "k", unpack(c, &l, dk, kv, n_t, d), s.n);
  lrl_arena_free(&arena);
}

static struct lrl_tensor parameter(struct op_case *c, const char *tensor) {
  struct g5_array a = {0};
  float *w = input(c, tensor, &a);
  return (struct lrl_tensor){.rows = a.dim[0],
                             .cols = a.dim[1],
                             .dtype = LRL_F32,
                             .data = w,
                             .needs_grad = true,
                             .is_param = true,
                             .grad = FLOATS(a.n)};
}
/* y = W x, + scaling * B A x at the tokens of im_mask. */
void golden_op_plora(struct op_case *c) {
  struct g5_array a = {0}, s = {0};
  float *x = input(c, "x", &a);
  const float *dy = input(c, "dy", NULL);
  const int32_t *mask = bag_ids(c->b, c->name, "im_mask", &s);
  struct lrl_tensor w = parameter(c, "weight"), la = parameter(c, "A"), lb = parameter(c, "B");
  if (mask == NULL || c->status != LRL_OK)
    return;
  struct lrl_arena arena;
  struct lrl_tape tape;
  c->status = lrl_arena_init(&arena, "steps", (size_t)1 << 30);
  if (c->status != LRL_OK)
    return;
  lrl_tape_init(&tape, &c->b->ctx, &arena, true);
  int32_t *index = bag_zeros(c->b, s.n, sizeof *index);
  struct lrl_lora_rows rows = {.index = index,
                               .scale = (float)g5_num(&c->b->file, "plora_scaling", 1.0)};
  for (int64_t i = 0; i < s.n; i++)
    if (mask[i] != 0)
      index[rows.n++] = (int32_t)i;
  struct lrl_tensor *xt = lrl_tensor_wrap(&tape, LRL_F32, s.n, w.cols, x);
  xt->needs_grad = true;
  struct lrl_tensor *y = lrl_nn_linear(&tape, xt, &w, NULL);
  lrl_nn_lora_add(&tape, y, 0, xt, &la, &lb, &rows);
  lrl_grad_seed(&tape, y, dy);
  (void)lrl_tape_ok(&tape, lrl_backward(&tape));
  (void)lrl_tape_ok(&tape, lrl_ctx_sync(&c->b->ctx));
  c->status = tape.status;
  if (c->status == LRL_OK) {
    output(c, y->data, s.n * w.rows);
    gradient(c, "x", xt->grad, a.n);
    gradient(c, "weight", w.grad, w.rows * w.cols);
    gradient(c, "A", la.grad, la.rows * la.cols);
    gradient(c, "B", lb.grad, lb.rows * lb.cols);
  }
  lrl_arena_free(&arena);
}
