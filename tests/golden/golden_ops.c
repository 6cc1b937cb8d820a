/* K1_: single ops of PyTorch with odd sizes, forward and backward, one case after the other. What a
 * case is says its name up to the digits. */
#include "model/rope.h"
#include "tests/golden/bag.h"

#include <ctype.h>

/* A case under way. */
struct op_case {
  struct bag *b;
  const char *name; /* "rmsnorm3" */
  double worst;
  int n_compared;
  lrl_status status;
};

static float *input(struct op_case *c, const char *tensor, struct g5_array *shape) {
  float *x = bag_read(c->b, "inputs", c->name, tensor, shape);
  if (x == NULL && c->status == LRL_OK)
    c->status = LRL_FAIL(LRL_ERR_FORMAT, "input %s is missing", tensor);
  return x;
}
static void compare(struct op_case *c, const char *group, const char *tensor, const float *got,
                    int64_t n) {
  struct g5_array a;
  const float *want = bag_read(c->b, group, c->name, tensor, &a);
  c->worst = bag_worse(c->worst, want == NULL || a.n != n ? NAN : golden_max_abs(got, want, n));
  c->n_compared++;
}
static void output(struct op_case *c, const float *y, int64_t n) {
  compare(c, "outputs", "y", y, n);
}
static void gradient(struct op_case *c, const char *tensor, const float *dx, int64_t n) {
  compare(c, "grads", tensor, dx, n);
}
#define FLOATS(n) bag_floats(c->b, n)
/* Runs an op unless something failed before. */
#define RUN(op, ...)                                                                               \
  do {                                                                                             \
    if (c->status == LRL_OK)                                                                       \
      c->status = lrl_##op(&c->b->ctx, &(struct lrl_##op##_args){__VA_ARGS__});                    \
  } while (0)

static void rmsnorm(struct op_case *c) {
  struct g5_array a = {0};
  const float *x = input(c, "x", &a), *w = input(c, "weight", NULL), *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t width = a.dim[a.ndim - 1], t = a.n / width;
  float *y = FLOATS(a.n), *rstd = FLOATS(t), *dx = FLOATS(a.n), *dw = FLOATS(width);
  RUN(rms_norm_fwd, t, width, LRL_F32, (float)g5_num(&c->b->file, "rms_eps", 1e-5), x, NULL, w,
      NULL, y, rstd);
  RUN(rms_norm_bwd, t, width, LRL_F32, x, w, dy, NULL, rstd, dx, dw);
  output(c, y, a.n);
  gradient(c, "x", dx, a.n);
  gradient(c, "weight", dw, width);
}

static void layernorm(struct op_case *c) {
  struct g5_array a = {0};
  const float *x = input(c, "x", &a), *w = input(c, "weight", NULL), *bias = input(c, "bias", NULL);
  const float *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t width = a.dim[a.ndim - 1], t = a.n / width;
  float *y = FLOATS(a.n), *mean = FLOATS(t), *rstd = FLOATS(t);
  float *dx = FLOATS(a.n), *dw = FLOATS(width), *db = FLOATS(width);
  RUN(layer_norm_fwd, t, width, LRL_F32, (float)g5_num(&c->b->file, "ln_eps", 1e-5), x, w, bias, y,
      mean, rstd);
  RUN(layer_norm_bwd, t, width, LRL_F32, x, w, dy, NULL, mean, rstd, dx, dw, db);
  output(c, y, a.n);
  gradient(c, "x", dx, a.n);
  gradient(c, "weight", dw, width);
  gradient(c, "bias", db, width);
}

static void silu_mul(struct op_case *c) {
  struct g5_array s = {0};
  const float *a = input(c, "a", &s), *b = input(c, "b", NULL), *dy = input(c, "dy", NULL);
  float *y = FLOATS(s.n), *da = FLOATS(s.n), *db = FLOATS(s.n);
  RUN(swiglu_fwd, 1, s.n, s.n, LRL_F32, a, b, y);
  RUN(swiglu_bwd, 1, s.n, s.n, LRL_F32, a, b, dy, da, db);
  output(c, y, s.n);
  gradient(c, "a", da, s.n);
  gradient(c, "b", db, s.n);
}

static void gelu_of(struct op_case *c, enum lrl_gelu_kind kind) {
  struct g5_array a = {0};
  const float *x = input(c, "x", &a), *dy = input(c, "dy", NULL);
  float *y = FLOATS(a.n), *dx = FLOATS(a.n);
  RUN(gelu_fwd, a.n, kind, LRL_F32, x, y);
  RUN(gelu_bwd, a.n, kind, LRL_F32, x, dy, dx);
  output(c, y, a.n);
  gradient(c, "x", dx, a.n);
}
static void gelu(struct op_case *c) { gelu_of(c, LRL_GELU_ERF); }
static void quick_gelu(struct op_case *c) { gelu_of(c, LRL_GELU_QUICK); }

static void linear(struct op_case *c) {
  struct g5_array a = {0}, s = {0};
  const float *x = input(c, "x", &a), *w = input(c, "w", &s), *bias = input(c, "b", NULL);
  const float *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t out = s.dim[0], in = s.dim[1], t = a.n / in;
  float *y = FLOATS(t * out), *dx = FLOATS(a.n), *dw = FLOATS(s.n), *db = FLOATS(out);
  RUN(gemm, .m = t, .n = out, .k = in, .trans_b = true, .a = x, .b = w, .bias = bias, .ld_a = in,
      .ld_b = in, .ld_c = out, .c = y);
  RUN(gemm, .m = t, .n = in, .k = out, .a = dy, .b = w, .ld_a = out, .ld_b = in, .ld_c = in,
      .c = dx);
  RUN(gemm, .m = out, .n = in, .k = t, .trans_a = true, .a = dy, .b = x, .ld_a = out, .ld_b = in,
      .ld_c = in, .c = dw);
  RUN(colsum, t, out, LRL_F32, dy, db);
  output(c, y, t * out);
  gradient(c, "x", dx, a.n);
  gradient(c, "w", dw, s.n);
  gradient(c, "b", db, out);
}

static void embedding(struct op_case *c) {
  struct g5_array a = {0}, s = {0};
  const int32_t *ids = bag_ids(c->b, c->name, "ids", &a);
  const float *w = input(c, "w", &s), *dy = input(c, "dy", NULL);
  if (ids == NULL || c->status != LRL_OK)
    return;
  float *y = FLOATS(a.n * s.dim[1]), *dw = FLOATS(s.n);
  RUN(embedding_fwd, a.n, s.dim[1], s.dim[0], LRL_F32, ids, w, y);
  RUN(embedding_bwd, a.n, s.dim[1], s.dim[0], LRL_F32, ids, 2, dy, dw); /* padding_idx 2 */
  output(c, y, a.n * s.dim[1]);
  gradient(c, "w", dw, s.n);
}

/* The mean over labels that are not -100. */
static void cross_entropy(struct op_case *c) {
  struct g5_array a = {0};
  const int32_t *labels = bag_ids(c->b, c->name, "labels", NULL);
  const float *logits = input(c, "logits", &a);
  if (labels == NULL || c->status != LRL_OK)
    return;
  const int64_t t = a.dim[0];
  float *weight = FLOATS(t), *loss = FLOATS(t), *d_logits = FLOATS(a.n), n = 0.0f, mean = 0.0f;
  for (int64_t i = 0; i < t; i++)
    n += labels[i] == -100 ? 0.0f : 1.0f;
  for (int64_t i = 0; i < t; i++)
    weight[i] = 1.0f / n;
  RUN(cross_entropy, t, a.dim[1], logits, weight, labels, loss, NULL, LRL_F32, d_logits);
  for (int64_t i = 0; i < t; i++)
    mean += loss[i];
  output(c, &mean, 1);
  gradient(c, "logits", d_logits, a.n);
}

/* Convolution with stride = kernel = patch. Laurel's images are square: the image is laid into the
 * top left of a square of zeros, and only its own patches and pixels are compared. */
static void conv_patch(struct op_case *c) {
  struct g5_array a = {0}, s = {0};
  const float *x = input(c, "x", &a), *w = input(c, "w", &s), *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t n = a.dim[0], ch = a.dim[1], h = a.dim[2], wd = a.dim[3];
  const int64_t out = s.dim[0], patch = s.dim[2], k = ch * patch * patch;
  const int64_t size = h > wd ? h : wd, grid = size / patch, gh = h / patch, gw = wd / patch;
  const int64_t rows = n * grid * grid;
  float *pixels = FLOATS(n * ch * size * size), *d_pixels = FLOATS(n * ch * size * size);
  float *cols = FLOATS(rows * k), *d_cols = FLOATS(rows * k);
  float *y = FLOATS(rows * out), *d_rows = FLOATS(rows * out);
  float *flat = FLOATS(n * out * gh * gw), *dx = FLOATS(a.n), *dw = FLOATS(s.n);
#define EACH_PIXEL                                                                                 \
  for (int64_t p = 0; p < n * ch * h; p++)                                                         \
    for (int64_t j = 0; j < wd; j++)
#define EACH_PATCH                                                                                 \
  for (int64_t i = 0; i < n; i++)                                                                  \
    for (int64_t o = 0; o < out; o++)                                                              \
      for (int64_t p = 0; p < gh * gw; p++)
#define PIXEL ((p / h * size + p % h) * size + j)
#define PATCH ((i * grid * grid + p / gw * grid + p % gw) * out + o)
  EACH_PIXEL pixels[PIXEL] = x[p * wd + j];
  EACH_PATCH d_rows[PATCH] = dy[(i * out + o) * gh * gw + p];
  RUN(im2col_fwd, n, ch, size, patch, LRL_F32, pixels, cols);
  RUN(gemm, .m = rows, .n = out, .k = k, .trans_b = true, .a = cols, .b = w, .ld_a = k, .ld_b = k,
      .ld_c = out, .c = y);
  RUN(gemm, .m = rows, .n = k, .k = out, .a = d_rows, .b = w, .ld_a = out, .ld_b = k, .ld_c = k,
      .c = d_cols);
  RUN(gemm, .m = out, .n = k, .k = rows, .trans_a = true, .a = d_rows, .b = cols, .ld_a = out,
      .ld_b = k, .ld_c = k, .c = dw);
  RUN(im2col_bwd, n, ch, size, patch, LRL_F32, d_cols, d_pixels);
  EACH_PATCH flat[(i * out + o) * gh * gw + p] = y[PATCH];
  EACH_PIXEL dx[p * wd + j] = d_pixels[PIXEL];
  output(c, flat, n * out * gh * gw);
  gradient(c, "x", dx, a.n);
  gradient(c, "w", dw, s.n);
}

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
static void attn_causal(struct op_case *c) { attention(c, true); }
static void attn_full(struct op_case *c) { attention(c, false); }

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
static void rope(struct op_case *c) {
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
  c->status = lrl_rope_tables(&tape, &config, &l, positions, &r);
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
static void plora(struct op_case *c) {
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

static const struct {
  const char *name;
  void (*run)(struct op_case *c); /* NULL: Laurel has no such op */
  const char *why;
} kinds[] = {
    {"attn_causal", attn_causal, ""},
    {"attn_full", attn_full, ""},
    {"conv_patch", conv_patch, ""},
    {"cross_entropy", cross_entropy, ""},
    {"embedding", embedding, ""},
    {"gelu", gelu, ""},
    {"layernorm", layernorm, ""},
    {"linear", linear, ""},
    {"plora", plora, ""},
    {"quick_gelu", quick_gelu, ""},
    {"rmsnorm", rmsnorm, ""},
    {"rope", rope, ""},
    {"silu_mul", silu_mul, ""},
    {"softmax", NULL, "no such op: it is part of attention, cross_entropy, logprob and sample"},
};

struct visited {
  struct golden *g;
  struct bag *b;
  const char *file;
};
/* `member`: "rmsnorm3.y". */
static void run_case(const char *member, void *user) {
  struct visited *v = user;
  char name[128];
  snprintf(name, sizeof name, "%s", member);
  char *dot = strrchr(name, '.');
  if (dot != NULL)
    *dot = '\0';
  size_t length = strlen(name);
  while (length > 0 && isdigit((unsigned char)name[length - 1]))
    length--;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strlen(kinds[i].name) != length || strncmp(name, kinds[i].name, length) != 0)
      continue;
    if (kinds[i].run == NULL) {
      golden_skip(v->g, v->file, name, kinds[i].why);
      return;
    }
    struct op_case c = {.b = v->b, .name = name};
    kinds[i].run(&c);
    if (golden_ok(v->g, v->file, name, c.status))
      golden_check(v->g, v->file, name, c.n_compared > 0 ? c.worst : NAN, 2e-5);
    bag_clear(v->b);
    return;
  }
  golden_skip(v->g, v->file, name, "unknown op");
}

static void run_ops(struct golden *g, const char *path, const char *name) {
  struct bag b;
  if (!bag_open(g, &b, path, name))
    return;
  struct visited v = {g, &b, name};
  g5_each(&b.file, "/outputs", run_case, &v);
  bag_close(&b);
}
GOLDEN_FAMILY("K1_", run_ops)
