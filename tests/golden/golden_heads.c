/* E1_: reward head, pooling and pair losses on hidden states. E2_: the losses on score pairs. */
#include "tests/golden/bag.h"

/* Options of a named loss as its library applies them: per-pair mean, XTuner's penalties divided by
 * the number of pairs, no gradient outside the barrier. */
static struct lrl_bradley_terry_args options(const struct bag *b, const char *loss, int64_t n) {
  struct lrl_bradley_terry_args a = {.n = n, .weight = 1.0f / (float)n};
  a.focal_gamma = (float)g5_num(&b->file, "focal_gamma", 2.0);
  a.barrier_lo = (float)g5_num(&b->file, "lower_bound", -5.0);
  a.barrier_hi = (float)g5_num(&b->file, "upper_bound", 5.0);
  a.barrier_eps = (float)g5_num(&b->file, "epsilon", 1e-3);
  a.rank = strstr(loss, "focal") != NULL ? LRL_RANK_FOCAL : LRL_RANK_LOGSIGMOID;
  if (strstr(loss, "log_barrier") != NULL)
    a.penalty = LRL_PENALTY_LOG_BARRIER;
  else if (strstr(loss, "L2") != NULL || strcmp(loss, "l2") == 0)
    a.penalty = LRL_PENALTY_L2;
  a.penalty_weight = (float)g5_num(&b->file, "penalty_weight", 0.01);
  const char *center = strstr(loss, "center");
  if (center != NULL)
    a.center_weight = strtof(center + 6, NULL);
  return a;
}

struct e1 {
  struct golden *g;
  struct bag b;
  const char *name;
  struct lrl_layout layout;
  int64_t rows, time, width;
  int64_t *where; /* packed token -> row*time + position */
  int32_t *seq, *last;
  const float *x, *weight; /* packed hidden states, head */
};

static lrl_status scores(struct e1 *e, bool mean, float *pooled, float *score) {
  if (mean)
    LRL_TRY(lrl_mean_pool_fwd(&e->b.ctx,
                              &(struct lrl_mean_pool_fwd_args){&e->layout, e->rows, e->width,
                                                               LRL_F32, e->seq, e->x, pooled}));
  else
    LRL_TRY(lrl_gather_rows(&e->b.ctx,
                            &(struct lrl_gather_rows_args){e->rows, e->layout.n_tokens, e->width,
                                                           LRL_F32, e->last, e->x, pooled, 0.0f}));
  return lrl_head_fwd(
      &e->b.ctx, &(struct lrl_head_fwd_args){e->rows, e->width, LRL_F32, pooled, e->weight, score});
}

/* Loss and gradients of the loss `loss` against the file. */
static lrl_status loss_case(struct e1 *e, const char *loss) {
  struct bag *b = &e->b;
  const bool mean = strstr(loss, "mean") != NULL;
  const int64_t n = e->rows / 2, w = e->width;
  float *pooled = bag_floats(b, e->rows * w), *score = bag_floats(b, e->rows);
  float *c = bag_floats(b, n), *r = bag_floats(b, n), *dc = bag_floats(b, n),
        *dr = bag_floats(b, n);
  float *d = bag_floats(b, e->rows), *dp = bag_floats(b, e->rows * w), *dw = bag_floats(b, w);
  float *dx = bag_floats(b, e->layout.n_tokens * w), *full = bag_floats(b, e->rows * e->time * w);
  double *value = bag_zeros(b, n, sizeof *value), total = 0.0;
  LRL_TRY(scores(e, mean, pooled, score));
  for (int64_t i = 0; i < n; i++) {
    c[i] = score[2 * i];
    r[i] = score[2 * i + 1];
  }
  struct lrl_bradley_terry_args a = options(b, loss, n);
  a.chosen = c;
  a.rejected = r;
  a.loss = value;
  a.d_chosen = dc;
  a.d_rejected = dr;
  a.margin = strstr(loss, "margin") != NULL ? bag_read(b, "inputs", "", "margin", NULL) : NULL;
  LRL_TRY(lrl_bradley_terry(&b->ctx, &a));
  for (int64_t i = 0; i < n; i++) {
    total += value[i] / (double)n;
    d[2 * i] = dc[i];
    d[2 * i + 1] = dr[i];
  }
  LRL_TRY(lrl_head_bwd(
      &b->ctx, &(struct lrl_head_bwd_args){e->rows, w, LRL_F32, pooled, e->weight, d, dp, dw}));
  if (mean)
    LRL_TRY(lrl_mean_pool_bwd(&b->ctx, &(struct lrl_mean_pool_bwd_args){&e->layout, e->rows, w,
                                                                        LRL_F32, e->seq, dp, dx}));
  else
    LRL_TRY(
        lrl_scatter_rows(&b->ctx, &(struct lrl_scatter_rows_args){e->rows, e->layout.n_tokens, w,
                                                                  LRL_F32, e->last, dp, dx, 0.0f}));
  for (int64_t t = 0; t < e->layout.n_tokens; t++)
    memcpy(full + e->where[t] * w, dx + t * w, (size_t)w * sizeof *dx);
  const float *want = bag_read(b, "outputs", loss, "loss", NULL);
  const float *want_h = bag_read(b, "grads", loss, "hidden", NULL);
  const float *want_w = bag_read(b, "grads", loss, "head_weight", NULL);
  double worst = want != NULL ? fabs(total - (double)*want) : NAN;
  if (want_h != NULL)
    worst = bag_worse(worst, golden_max_abs(full, want_h, e->rows * e->time * w));
  if (want_w != NULL)
    worst = bag_worse(worst, golden_max_abs(dw, want_w, w));
  golden_check(e->g, e->name, loss, worst, 5e-6);
  return LRL_OK;
}

static void visit_loss(const char *key, void *user) {
  struct e1 *e = user;
  const char *end = strstr(key, ".loss");
  char loss[128];
  if (end == NULL || strcmp(end, ".loss") != 0)
    return;
  snprintf(loss, sizeof loss, "%.*s", (int)(end - key), key);
  golden_ok(e->g, e->name, loss, loss_case(e, loss));
}

static lrl_status check_scores(struct e1 *e) {
  struct bag *b = &e->b;
  const float *bias = bag_read(b, "inputs", "", "head_bias", NULL);
  const char *const names[] = {"score_last", "score_mean", "score_mean_bias"};
  for (int k = 0; k < 3; k++) {
    const float *want = bag_read(b, "outputs", "", names[k], NULL);
    float *pooled = bag_floats(b, e->rows * e->width), *got = bag_floats(b, e->rows);
    if (want == NULL)
      continue;
    LRL_TRY(scores(e, k > 0, pooled, got));
    for (int64_t i = 0; k == 2 && bias != NULL && i < e->rows; i++)
      got[i] += bias[0];
    golden_check(e->g, e->name, names[k], golden_max_abs(got, want, e->rows), 5e-6);
  }
  return LRL_OK;
}

static void reward_head(struct golden *g, const char *path, const char *name) {
  struct e1 e = {.g = g, .name = name};
  struct bag *b = &e.b;
  struct g5_array shape = {0};
  if (!bag_open(g, b, path, name))
    return;
  const float *hidden = bag_read(b, "inputs", "", "hidden", &shape);
  const int32_t *mask = bag_ids(b, "", "attention_mask", NULL);
  e.weight = bag_read(b, "inputs", "", "head_weight", NULL);
  if (hidden == NULL || mask == NULL || e.weight == NULL || shape.ndim != 3) {
    golden_fail(g, name, "", "hidden, attention_mask or head_weight is missing");
    bag_close(b);
    return;
  }
  e.rows = shape.dim[0];
  e.time = shape.dim[1];
  e.width = shape.dim[2];
  int32_t *start = bag_zeros(b, e.rows, 4), *length = bag_zeros(b, e.rows, 4);
  float *x = bag_floats(b, shape.n);
  e.where = bag_zeros(b, e.rows * e.time, sizeof *e.where);
  e.seq = bag_zeros(b, e.rows, 4);
  e.last = bag_zeros(b, e.rows, 4);
  int32_t n = 0;
  for (int32_t i = 0; i < (int32_t)e.rows; i++) {
    start[i] = n;
    for (int64_t t = i * e.time; t < (i + 1) * e.time; t++)
      if (mask[t] != 0) {
        memcpy(x + n * e.width, hidden + t * e.width, (size_t)e.width * sizeof *x);
        e.where[n++] = t;
      }
    length[i] = n - start[i];
    e.seq[i] = i;
    e.last[i] = n - 1;
  }
  e.x = x;
  e.layout = (struct lrl_layout){n, e.rows, start, length, NULL, NULL};
  golden_ok(g, name, "scores", check_scores(&e));
  g5_each(&b->file, "/outputs", visit_loss, &e);
  bag_close(b);
}
GOLDEN_FAMILY("E1_", reward_head)

/* The penalties of the file stand alone and unweighted: our loss with penalty weight 1 less the
 * ranking loss. */
static lrl_status pair_loss(struct golden *g, struct bag *b, const char *name, const char *loss,
                            const float *c, const float *r, int64_t n) {
  const bool alone = strcmp(loss, "l2") == 0 || strcmp(loss, "log_barrier") == 0;
  double *value = bag_zeros(b, n, sizeof *value), *base = bag_zeros(b, n, sizeof *base);
  float *d[4];
  for (int i = 0; i < 4; i++)
    d[i] = bag_floats(b, n);
  struct lrl_bradley_terry_args a = options(b, loss, n);
  a.penalty_weight = 1.0f;
  a.chosen = c;
  a.rejected = r;
  a.loss = value;
  a.d_chosen = d[0];
  a.d_rejected = d[1];
  LRL_TRY(lrl_bradley_terry(&b->ctx, &a));
  if (alone) {
    a.penalty = LRL_PENALTY_NONE;
    a.loss = base;
    a.d_chosen = d[2];
    a.d_rejected = d[3];
    LRL_TRY(lrl_bradley_terry(&b->ctx, &a));
  }
  const float *want = bag_read(b, "outputs", "", loss, NULL);
  const float *want_d[2] = {bag_read(b, "grads", loss, "chosen", NULL),
                            bag_read(b, "grads", loss, "rejected", NULL)};
  double total = 0.0, worst = 0.0;
  for (int64_t i = 0; i < n; i++) {
    total += (value[i] - base[i]) / (double)n;
    for (int k = 0; k < 2; k++)
      if (want_d[k] != NULL)
        worst = bag_worse(worst, fabs((double)(d[k][i] - d[k + 2][i]) - (double)want_d[k][i]) /
                                     fmax(1.0, fabs((double)want_d[k][i])));
  }
  if (want == NULL)
    return LRL_OK;
  golden_check(g, name, loss,
               bag_worse(worst, fabs(total - (double)*want) / fmax(1.0, fabs((double)*want))),
               5e-6);
  return LRL_OK;
}

static void pair_losses(struct golden *g, const char *path, const char *name) {
  struct bag b;
  struct g5_array shape = {0};
  if (!bag_open(g, &b, path, name))
    return;
  const float *c = bag_read(&b, "inputs", "", "chosen", &shape);
  const float *r = bag_read(&b, "inputs", "", "rejected", NULL);
  const int64_t n_random = (int64_t)g5_num(&b.file, "n_random", 0.0);
  const char *const losses[] = {"bt", "focal", "log_barrier", "l2", "openrlhf_logexp"};
  for (int i = 0; c != NULL && r != NULL && i < 5; i++)
    golden_ok(g, name, losses[i],
              pair_loss(g, &b, name, losses[i], c, r, i == 4 ? n_random : shape.n));
  bag_close(&b);
}
GOLDEN_FAMILY("E2_", pair_losses)
