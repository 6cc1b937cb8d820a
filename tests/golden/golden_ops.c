/* K1_: single ops of PyTorch with odd sizes, forward and backward, one case after the other. What a
 * case is says its name up to the digits. */
#include "tests/golden/golden_ops.h"

#include <ctype.h>

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
  const int64_t out = s.dim[0], patch = s.dim[2];
  const int64_t size = h > wd ? h : wd, grid = size / patch, gh = h / patch, gw = wd / patch;
  const int64_t rows = n * grid * grid;
  float *pixels = FLOATS(n * ch * size * size), *d_pixels = FLOATS(n * ch * size * size);
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
  RUN(patch_embed_fwd, n, ch, size, patch, out, LRL_F32, pixels, w, 0, y);
  RUN(patch_embed_bwd, n, ch, size, patch, out, LRL_F32, pixels, w, 0, d_rows, dw, d_pixels);
  EACH_PATCH flat[(i * out + o) * gh * gw + p] = y[PATCH];
  EACH_PIXEL dx[p * wd + j] = d_pixels[PIXEL];
  output(c, flat, n * out * gh * gw);
  gradient(c, "x", dx, a.n);
  gradient(c, "w", dw, s.n);
}

/* Laurel has no softmax by itself. Of its log-probability op a row per target gives it: y[j] is
 * exp(logprob of j), and dy[j] reaches the row as dy[j] y[j]. */
static void softmax(struct op_case *c) {
  struct g5_array a = {0};
  const float *x = input(c, "x", &a), *dy = input(c, "dy", NULL);
  if (c->status != LRL_OK)
    return;
  const int64_t v = a.dim[a.ndim - 1];
  float *logits = FLOATS(v * v), *logprobs = FLOATS(v), *lse = FLOATS(v), *d = FLOATS(v);
  float *d_logits = FLOATS(v * v), *y = FLOATS(a.n), *dx = FLOATS(a.n);
  int32_t *target = bag_zeros(c->b, v, sizeof *target);
  for (int64_t row = 0; row < a.n; row += v) {
    for (int64_t j = 0; j < v; j++) {
      memcpy(logits + j * v, x + row, (size_t)v * sizeof *x);
      target[j] = (int32_t)j;
    }
    RUN(logprob_fwd, v, v, 1.0f, logits, target, logprobs, NULL, lse, false);
    for (int64_t j = 0; j < v; j++) {
      y[row + j] = expf(logprobs[j]);
      d[j] = dy[row + j] * y[row + j];
    }
    RUN(logprob_bwd, v, v, 1.0f, logits, target, lse, NULL, d, NULL, LRL_F32, d_logits);
    RUN(colsum, v, v, LRL_F32, d_logits, dx + row);
  }
  output(c, y, a.n);
  gradient(c, "x", dx, a.n);
}

static const struct {
  const char *name;
  void (*run)(struct op_case *c);
} kinds[] = {
    {"attn_causal", golden_op_attn_causal},
    {"attn_full", golden_op_attn_full},
    {"conv_patch", conv_patch},
    {"cross_entropy", cross_entropy},
    {"embedding", embedding},
    {"gelu", gelu},
    {"layernorm", layernorm},
    {"linear", linear},
    {"plora", golden_op_plora},
    {"quick_gelu", quick_gelu},
    {"rmsnorm", rmsnorm},
    {"rope", golden_op_rope},
    {"silu_mul", silu_mul},
    {"softmax", softmax},
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
    struct op_case c = {.b = v->b, .name = name};
    kinds[i].run(&c);
    if (golden_ok(v->g, v->file, name, c.status))
      golden_check(v->g, v->file, name, c.n_compared > 0 ? c.worst : NAN, 2e-5);
    bag_clear(v->b);
    return;
  }
  golden_skip(v->g, v->file, name, "Laurel has no such op");
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
