/* G1_: torch.optim.AdamW trajectories. G2_: torch clip_grad_norm_. */
#include "tests/golden/bag.h"

/* Worst error of one tensor's trajectory; `fields`: number of outputs found and compared. */
static lrl_status trajectory(struct bag *b, int tensor, const float *lr, int64_t steps,
                             double *worst, int *fields) {
  char key[64];
  struct g5_array shape = {0};
  snprintf(key, sizeof key, "%d", tensor);
  float *p = bag_read(b, "inputs", "param", key, &shape);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "parameter %d cannot be read", tensor);
  float *m = bag_floats(b, shape.n), *v = bag_floats(b, shape.n);
  for (int64_t s = 0; s < steps; s++) {
    snprintf(key, sizeof key, "step%d.%d", (int)s, tensor);
    const float *grad = bag_read(b, "inputs", "grad", key, NULL);
    if (grad == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT, "gradient %s is missing", key);
    LRL_TRY(lrl_adamw(
        &b->ctx, &(struct lrl_adamw_args){.n = shape.n,
                                          .param = p,
                                          .master = p,
                                          .m = m,
                                          .v = v,
                                          .grad = grad,
                                          .lr = (double)lr[s],
                                          .beta1 = g5_num(&b->file, "beta1", 0.9),
                                          .beta2 = g5_num(&b->file, "beta2", 0.999),
                                          .eps = g5_num(&b->file, "eps", 1e-8),
                                          .weight_decay = g5_num(&b->file, "weight_decay", 0.0),
                                          .grad_scale = 1.0,
                                          .step = s + 1}));
    const char *const names[] = {"param", "exp_avg", "exp_avg_sq", "param"};
    const float *const got[] = {p, m, v, p};
    for (int i = 0; i < 4; i++) {
      snprintf(key, sizeof key, "step%d.%d%s", (int)s, tensor, i == 3 ? "_f64" : "");
      const float *want = bag_read(b, "outputs", names[i], key, NULL);
      if (want == NULL)
        continue;
      *worst = bag_worse(*worst, golden_max_abs(got[i], want, shape.n));
      ++*fields;
    }
  }
  return LRL_OK;
}

static void adamw(struct golden *g, const char *path, const char *name) {
  struct bag b;
  struct g5_array steps = {0};
  char key[32];
  if (!bag_open(g, &b, path, name))
    return;
  double worst = 0.0;
  int fields = 0, status = LRL_OK;
  float *lr = bag_read(&b, "outputs", "", "lr_used", &steps);
  for (int i = 0; lr != NULL && status == LRL_OK; i++) {
    snprintf(key, sizeof key, "inputs/param.%d", i);
    if (!g5_has(&b.file, key))
      break;
    status = trajectory(&b, i, lr, steps.n, &worst, &fields);
  }
  if (golden_ok(g, name, "", status))
    golden_check(g, name, "param, moments", fields > 0 ? worst : NAN, 1e-6);
  bag_close(&b);
}
GOLDEN_FAMILY("G1_", adamw)

static lrl_status clip_case(struct bag *b, int c, double *worst) {
  char key[64];
  struct g5_array a[32] = {0};
  float *grad[32];
  int n = 0;
  double total = 0.0;
  for (; n < 32; n++) {
    snprintf(key, sizeof key, "%d.%d", c, n);
    grad[n] = bag_read(b, "inputs", "grad", key, &a[n]);
    if (grad[n] == NULL)
      break;
    double sum;
    LRL_TRY(lrl_sumsq(&b->ctx, &(struct lrl_sumsq_args){a[n].n, grad[n], &sum}));
    total += sum;
  }
  snprintf(key, sizeof key, "%d", c);
  const float *max_norm = bag_read(b, "inputs", "max_norm", key, NULL);
  const float *want = bag_read(b, "outputs", "total_norm", key, NULL);
  if (n == 0 || n == 32 || max_norm == NULL || want == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "case %d lacks a dataset", c);
  const double norm = sqrt(total), scale = fmin(1.0, (double)*max_norm / (norm + 1e-6));
  *worst = bag_worse(*worst, fabs(norm - (double)*want) / fmax((double)*want, 1e-30));
  for (int i = 0; i < n; i++) {
    snprintf(key, sizeof key, "%d.%d", c, i);
    const float *clipped = bag_read(b, "outputs", "clipped", key, NULL);
    LRL_TRY(lrl_scale(&b->ctx, &(struct lrl_scale_args){a[i].n, grad[i], (float)scale}));
    if (clipped == NULL)
      return LRL_FAIL(LRL_ERR_FORMAT, "clipped gradient %s is missing", key);
    double size = 1e-30;
    for (int64_t j = 0; j < a[i].n; j++)
      size = fmax(size, (double)fabsf(clipped[j]));
    *worst = bag_worse(*worst, golden_max_abs(grad[i], clipped, a[i].n) / size);
  }
  return LRL_OK;
}

static void clip(struct golden *g, const char *path, const char *name) {
  struct bag b;
  if (!bag_open(g, &b, path, name))
    return;
  double worst = 0.0;
  int status = LRL_OK, n = (int)g5_num(&b.file, "cases", 0.0);
  for (int c = 0; c < n && status == LRL_OK; c++)
    status = clip_case(&b, c, &worst);
  if (golden_ok(g, name, "", status))
    golden_check(g, name, "relative", n > 0 ? worst : NAN, 1e-6);
  bag_close(&b);
}
GOLDEN_FAMILY("G2_", clip)
