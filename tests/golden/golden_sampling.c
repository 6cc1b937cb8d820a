/* H*: the sampling op against Hugging Face's logits processors and warpers. */
#include "kernels/backend.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sampling_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_ctx ctx;
  struct g5_array logits, ids;
  int64_t rows, v;
  int32_t *seen_start, *seen, *token;
  double *uniform;
  float *probs, *logprobs;
};

/* "T0_7_k20_p0_8": a letter, then a number with '_' for the point. */
static void read_options(const char *text, struct lrl_sample_args *a) {
  while (*text != '\0' && *text != '.') {
    const char kind = *text;
    char number[32] = "";
    size_t n = 0;
    for (text++;
         (*text >= '0' && *text <= '9') || (*text == '_' && text[1] >= '0' && text[1] <= '9');
         text++)
      if (n + 1 < sizeof number)
        number[n++] = *text == '_' ? '.' : *text;
    number[n] = '\0';
    if (kind == 'T')
      a->temperature = atof(number);
    else if (kind == 'k')
      a->top_k = atoll(number);
    else if (kind == 'p')
      a->top_p = atof(number);
  }
}

static bool sample(struct sampling_case *c, const char *what, const char *options, double penalty) {
  struct lrl_sample_args a = {.n_tokens = c->rows,
                              .n_vocab = c->v,
                              .logits = c->logits.f32,
                              .uniform = c->uniform,
                              .temperature = 1.0,
                              .top_p = 1.0,
                              .repetition_penalty = penalty,
                              .token = c->token,
                              .logprobs = c->logprobs,
                              .probs = c->probs};
  if (penalty < 1.0 || penalty > 1.0) {
    a.seen_start = c->seen_start;
    a.seen = c->seen;
  }
  read_options(options, &a);
  return golden_ok(c->g, c->name, what, lrl_sample(&c->ctx, &a));
}

static int descending(const void *x, const void *y) {
  const float a = *(const float *)x, b = *(const float *)y;
  return a < b ? 1 : a > b ? -1 : 0;
}
/* Among equal logits it is not said which one top-p keeps: such rows compare as multisets. */
static bool has_ties(const float *x, int64_t v) {
  float *s = malloc((size_t)v * sizeof *s);
  bool tie = false;
  memcpy(s, x, (size_t)v * sizeof *s);
  qsort(s, (size_t)v, sizeof *s, descending);
  for (int64_t i = 1; i < v; i++)
    tie = tie || (s[i] > -INFINITY && !(s[i] < s[i - 1]));
  free(s);
  return tie;
}

/* Compares the distributions with those wanted; ids kept in one and not the other are counted. */
static void compare(struct sampling_case *c, const char *what, float *want) {
  double worst = 0, wrong = 0;
  for (int64_t r = 0; r < c->rows; r++) {
    float *p = c->probs + r * c->v, *q = want + r * c->v;
    const int32_t id = c->token[r];
    if (id < 0 || !(p[id] > 0) ||
        fabs(log((double)p[id]) - (double)c->logprobs[r]) > 1e-5 * (1 - log((double)p[id])))
      wrong++; /* the draw is none of the kept ids, or its log-probability is not its own */
    if (has_ties(c->logits.f32 + r * c->v, c->v)) {
      qsort(p, (size_t)c->v, sizeof *p, descending);
      qsort(q, (size_t)c->v, sizeof *q, descending);
    }
    const double e = golden_max_abs(p, q, c->v);
    worst = e > worst ? e : worst;
    for (int64_t i = 0; i < c->v; i++)
      wrong += (p[i] > 0) != (q[i] > 0);
  }
  char label[160];
  snprintf(label, sizeof label, "%s kept", what);
  golden_check(c->g, c->name, label, wrong, 0);
  golden_check(c->g, c->name, what, worst, 2e-6);
}

static void softmax(float *x, int64_t rows, int64_t v) {
  for (int64_t r = 0; r < rows; r++) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = r * v; i < (r + 1) * v; i++)
      max = fmax(max, (double)x[i]);
    for (int64_t i = r * v; i < (r + 1) * v; i++)
      sum += exp((double)x[i] - max);
    for (int64_t i = r * v; i < (r + 1) * v; i++)
      x[i] = (float)(exp((double)x[i] - max) / sum);
  }
}

static void check_output(const char *key, void *user) {
  struct sampling_case *c = user;
  char path[200];
  struct g5_array want;
  const char *dot = strchr(key, '.');
  snprintf(path, sizeof path, "/outputs/%s", key);
  if (dot == NULL || strncmp(key, "kept.", 5) == 0 || !g5_read_f32(&c->file, path, &want))
    return; /* kept is what probs is above 0 for */
  const double penalty = strncmp(key, "rep", 3) == 0 ? atof(dot + 1) : 1.0;
  const char *options = strncmp(key, "probs.", 6) == 0 ? key + 6 : "";
  if (strncmp(key, "rep_then_", 9) == 0)
    options = key + 9;
  else if (strncmp(key, "repetition_penalty.", 19) == 0)
    softmax(want.f32, c->rows, c->v); /* it holds the processed logits */
  if (want.n != c->rows * c->v)
    golden_fail(c->g, c->name, key, "another shape than the logits");
  else if (sample(c, key, options, penalty))
    compare(c, key, want.f32);
  g5_free(&want);
}

static void run_sampling(struct golden *g, const char *path, const char *name) {
  struct sampling_case c = {.g = g, .name = name};
  if (!g5_open(&c.file, path)) {
    golden_fail(g, name, "", "cannot open the file");
    return;
  }
  if (!g5_read_f32(&c.file, "/inputs/logits", &c.logits) ||
      !g5_read_i64(&c.file, "/inputs/input_ids", &c.ids) || c.logits.ndim != 2 ||
      !golden_ok(g, name, "", lrl_ctx_init(&c.ctx, g->device, 0))) {
    golden_fail(g, name, "", "no logits or input_ids");
    g5_close(&c.file);
    return;
  }
  c.rows = c.logits.dim[0];
  c.v = c.logits.dim[1];
  const int64_t each = c.ids.n / (c.rows > 0 ? c.rows : 1);
  c.seen_start = calloc((size_t)c.rows + 1, sizeof *c.seen_start);
  c.seen = calloc((size_t)c.ids.n + 1, sizeof *c.seen);
  c.token = calloc((size_t)c.rows + 1, sizeof *c.token);
  c.uniform = calloc((size_t)c.rows + 1, sizeof *c.uniform);
  c.logprobs = calloc((size_t)c.rows + 1, sizeof *c.logprobs);
  c.probs = calloc((size_t)(c.rows * c.v) + 1, sizeof *c.probs);
  for (int64_t i = 0; i < c.ids.n; i++)
    c.seen[i] = (int32_t)c.ids.i64[i];
  for (int64_t r = 0; r <= c.rows; r++)
    c.seen_start[r] = (int32_t)(r * each);
  for (int64_t r = 0; r < c.rows; r++)
    c.uniform[r] = ((double)r + 0.5) / (double)c.rows;
  g5_each(&c.file, "/outputs", check_output, &c);
  void *const lists[] = {c.seen_start, c.seen, c.token, c.uniform, c.logprobs, c.probs};
  for (int i = 0; i < 6; i++)
    free(lists[i]);
  g5_free(&c.logits);
  g5_free(&c.ids);
  g5_close(&c.file);
  lrl_ctx_free(&c.ctx);
}
GOLDEN_FAMILY("H", run_sampling)
